package policy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"

	"airgap/verify/predicate"
)

// check says whether a tree of requirements makes sense. An empty one would be
// met by everything.
func (r *Requirement) check() error {
	named := map[string]*Requirement{}
	if err := r.collect(named, 0); err != nil {
		return err
	}
	if err := r.checkSame(named); err != nil {
		return err
	}
	return r.checkOrder(map[string]bool{})
}

// fail puts the line in front.
func (r *Requirement) fail(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if r.line > 0 {
		return fmt.Errorf("line %d: %w", r.line, err)
	}
	return err
}

// parts are the requirements that r is made of.
func (r *Requirement) parts() []Requirement {
	switch {
	case r.AllOf != nil:
		return r.AllOf
	case r.AnyOf != nil:
		return r.AnyOf
	case r.AtLeast != nil:
		return r.AtLeast.Of
	}
	return nil
}

// signedBy is the requirement on the artifact, or on the index, that r asks for;
// nil for others.
func (r *Requirement) signedBy() *Requirement {
	switch {
	case r.Artifact != nil:
		return r.Artifact.SignedBy
	case r.BuildKit != nil:
		return r.BuildKit.SignedBy
	}
	return nil
}

func (r *Requirement) kinds() int {
	n := 0
	for _, set := range []bool{
		r.AllOf != nil, r.AnyOf != nil, r.AtLeast != nil, r.Notary != nil, r.Cosign != nil,
		r.Attestation != nil, r.Artifact != nil, r.BuildKit != nil, r.InsecureAnything, r.Nothing,
	} {
		if set {
			n++
		}
	}
	return n
}

// collect checks each requirement for itself, and lists those with a name.
func (r *Requirement) collect(named map[string]*Requirement, depth int) error {
	if depth > maxDepth {
		return r.fail("requirements are nested more than %d deep", maxDepth)
	}
	if n := r.kinds(); n != 1 {
		return r.fail("%d of allOf, anyOf, atLeast, notary, cosign, attestation, artifact, buildkit are given; want one", n)
	}
	if r.Name != "" {
		if named[r.Name] != nil {
			return r.fail("two requirements are named %q", r.Name)
		}
		named[r.Name] = r
	}
	if err := r.checkLeaf(); err != nil {
		return err
	}
	parts := r.parts()
	for i := range parts {
		if err := parts[i].collect(named, depth+1); err != nil {
			return err
		}
	}
	if by := r.signedBy(); by != nil {
		return by.collect(named, depth+1)
	}
	return nil
}

func (r *Requirement) checkLeaf() error {
	switch {
	case r.AllOf != nil && len(r.AllOf) == 0, r.AnyOf != nil && len(r.AnyOf) == 0:
		return r.fail("an empty list requires nothing")
	case r.AtLeast != nil && (r.AtLeast.Count < 1 || r.AtLeast.Count > len(r.AtLeast.Of)):
		return r.fail("atLeast: count %d of %d requirements; want 1 to %d", r.AtLeast.Count, len(r.AtLeast.Of), len(r.AtLeast.Of))
	case r.Notary != nil:
		if err := r.Notary.Want(false).Check(); err != nil {
			return r.fail("notary: %w", err)
		}
	case r.Cosign != nil:
		return r.checkSigner("cosign", r.Cosign.Signer, r.Cosign.SameSignerAs)
	case r.Attestation != nil:
		if r.Attestation.PredicateType == "" {
			return r.fail("attestation: no predicateType; any attestation would do")
		}
		if r.Attestation.MaxAge != 0 && r.Attestation.SignedBy.Key != "" {
			return r.fail("attestation: maxAge: what a key signed long ago can be stamped or logged anew; limit the age by a condition on a time that is in the predicate")
		}
		return r.checkSigner("attestation: signedBy", r.Attestation.SignedBy, r.Attestation.SameSignerAs)
	case r.Artifact != nil:
		if r.Artifact.Type == "" {
			return r.fail("artifact: no type")
		}
		if predicate.KindOf(r.Artifact.Type) == predicate.Summary {
			return r.fail("artifact: type %q: a verification summary counts only if it says PASSED, which is not read in an artifact; require an attestation", r.Artifact.Type)
		}
		if r.Artifact.SignedBy == nil {
			return r.fail("artifact: no signedBy; anybody can attach an artifact")
		}
	case r.BuildKit != nil:
		if r.BuildKit.PredicateType == "" {
			return r.fail("buildkit: no predicateType; any attestation would do")
		}
		if r.BuildKit.SignedBy == nil {
			return r.fail("buildkit: no signedBy; nobody signs BuildKit's attestations, they count by a signature on the index")
		}
	}
	return nil
}

var errSigner = errors.New("want a key, or an identity and an issuer")

func (r *Requirement) checkSigner(what string, s Signer, same string) error {
	identity, issuer := cmp.Or(s.Identity, s.IdentityRegexp), cmp.Or(s.Issuer, s.IssuerRegexp)
	switch {
	case s == (Signer{}) && same != "":
		return nil
	case s.Pinned != nil && len(s.Pinned.Keys) > 0 && s.Key == "" && identity == "" && issuer == "":
		return nil
	case s.Key != "" && (identity != "" || issuer != ""), s.Identity != "" && s.IdentityRegexp != "", s.Issuer != "" && s.IssuerRegexp != "":
		return r.fail("%s: more than one signer; %w", what, errSigner)
	case s.Stamped && s.Log:
		return r.fail("%s: logOrTimestamp beside transparencyLog: a timestamp is enough, or it is not", what)
	case s.Stamped && identity == "":
		return r.fail("%s: logOrTimestamp is about an identity; a key needs neither unless transparencyLog says so", what)
	case s.Key == "" && (identity == "") != (issuer == ""):
		return r.fail("%s: an identity means nothing without its issuer; %w", what, errSigner)
	case s.Key == "" && identity == "":
		return r.fail("%s: %w", what, errSigner)
	}
	for _, expr := range []string{s.IdentityRegexp, s.IssuerRegexp} {
		if expr == "" {
			continue
		}
		if _, err := regexp.Compile(expr); err != nil {
			return r.fail("%s: %w", what, err)
		}
	}
	return nil
}

// prepare compiles conditions, once.
func (r *Requirement) prepare(count *int, depth int) error {
	if *count++; *count > maxRequirements {
		return fmt.Errorf("more than %d requirements", maxRequirements)
	}
	parts := r.parts()
	for i := range parts {
		if err := parts[i].prepare(count, depth+1); err != nil {
			return err
		}
	}
	var err error
	switch {
	case r.Attestation != nil:
		a := r.Attestation
		a.PredicateType = predicate.Type(a.PredicateType)
		if a.conditions, err = compile(aboutPredicate, a.Conditions); err != nil {
			return r.fail("attestation: %w", err)
		}
	case r.Artifact != nil:
		if r.Artifact.conditions, err = compile(aboutContent, r.Artifact.Conditions); err != nil {
			return r.fail("artifact: %w", err)
		}
	case r.BuildKit != nil:
		b := r.BuildKit
		b.PredicateType = predicate.Type(b.PredicateType)
		if b.conditions, err = compile(aboutPredicate, b.Conditions); err != nil {
			return r.fail("buildkit: %w", err)
		}
	}
	if by := r.signedBy(); by != nil {
		return by.prepare(count, depth+1)
	}
	return nil
}
