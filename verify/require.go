package verify

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"time"

	"airgap/layout"
	"airgap/verify/notary"
	"airgap/verify/policy"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// scene is one manifest under one rule.
type scene struct {
	*bench
	digest digest.Digest
	parent digest.Digest       // the index whose child it is judged as; may be empty
	named  map[string]*Outcome // requirements judged so far, by name
}

// inside is another manifest under a part of the same rule. Requirements outside
// stay known by their names, so that sameSignerAs can lead from one to the other.
func (s *scene) inside(d digest.Digest) *scene {
	return &scene{bench: s.bench, digest: d, named: maps.Clone(s.named)}
}

// signer is who met a requirement, to be compared: by the key, or by identity and
// issuer.
type signer struct {
	fingerprint      string
	key              crypto.PublicKey
	identity, issuer string
}

func (s signer) is(o signer) bool {
	if s.fingerprint != "" || o.fingerprint != "" {
		return s.fingerprint == o.fingerprint
	}
	return s.identity != "" && s.identity == o.identity && s.issuer == o.issuer
}

// judge holds a requirement against what is attached. What another refers to by
// name is judged first, wherever it stands.
func (s *scene) judge(ctx context.Context, r *policy.Requirement) (*Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if o := s.named[r.Name]; o != nil && r.Name != "" {
		return o, nil
	}
	o := &Outcome{Requirement: r.Text(), Name: r.Name, State: Refused}
	var err error
	switch {
	case r.AllOf != nil:
		err = s.group(ctx, o, r.AllOf, len(r.AllOf))
	case r.AnyOf != nil:
		err = s.group(ctx, o, r.AnyOf, 1)
	case r.AtLeast != nil:
		if err = s.group(ctx, o, r.AtLeast.Of, r.AtLeast.Count); err == nil {
			o.several(r.AtLeast.Count)
		}
	case r.Notary != nil:
		err = s.notary(ctx, o, r.Notary)
	case r.Cosign != nil:
		err = s.cosign(ctx, o, r.Cosign)
	case r.Attestation != nil:
		err = s.attestation(ctx, o, r)
	case r.Artifact != nil:
		err = s.artifact(ctx, o, r)
	case r.BuildKit != nil:
		err = s.buildkit(ctx, o, r)
	case r.InsecureAnything:
		o.State = Passed
		o.Warnings = append(o.Warnings, "the policy accepts it unsigned")
	default:
		o.Reason = "the policy accepts nothing here"
	}
	if err != nil {
		return nil, err
	}
	if r.Name != "" {
		s.named[r.Name] = o
	}
	return o, nil
}

// group judges parts, of which n have to pass; those first that others refer to.
func (s *scene) group(ctx context.Context, o *Outcome, parts []policy.Requirement, n int) error {
	o.Parts = make([]*Outcome, len(parts))
	states := make([]State, len(parts))
	for _, second := range []bool{false, true} {
		for i := range parts {
			if parts[i].Refers() != second {
				continue
			}
			p, err := s.judge(ctx, &parts[i])
			if err != nil {
				return err
			}
			o.Parts[i], states[i] = p, p.State
		}
	}
	o.State = atLeast(n, states)
	if n == len(parts) {
		o.State = all(states)
	}
	return nil
}

// several demands that at least n of the parts were met by somebody else each: one
// who holds two roles is still one.
func (o *Outcome) several(n int) {
	var who [][]string
	for i, p := range o.Parts {
		if p.State != Passed {
			continue
		}
		ids := p.metBy(nil)
		if len(ids) == 0 {
			ids = []string{fmt.Sprint("part ", i)} // met by nobody in particular
		}
		who = append(who, ids)
	}
	if o.State == Passed && different(who) < n {
		o.State, o.Reason = Refused, fmt.Sprintf("fewer than %d different signers met them", n)
	}
}

// metBy adds who met any part of o.
func (o *Outcome) metBy(to []string) []string {
	for _, s := range o.signers {
		to = append(to, s.fingerprint+" "+s.identity+" "+s.issuer)
	}
	for _, p := range o.Parts {
		if p.State == Passed {
			to = p.metBy(to)
		}
	}
	return to
}

// different is how many lists can each be given a name that no other has: a
// maximum matching, found by augmenting paths.
func different(lists [][]string) int {
	owner := map[string]int{}
	var give func(i int, tried map[string]bool) bool
	give = func(i int, tried map[string]bool) bool {
		for _, name := range lists[i] {
			if tried[name] {
				continue
			}
			tried[name] = true
			j, taken := owner[name]
			if !taken || give(j, tried) {
				owner[name] = i
				return true
			}
		}
		return false
	}
	n := 0
	for i := range lists {
		if give(i, map[string]bool{}) {
			n++
		}
	}
	return n
}

// sameAs returns who met the requirement called name, or says why nobody did.
func (s *scene) sameAs(name string) ([]signer, error) {
	o := s.named[name]
	switch {
	case o == nil:
		return nil, fmt.Errorf("%s was not judged before", name)
	case o.State != Passed:
		return nil, fmt.Errorf("nobody met %s", name)
	}
	return o.signers, nil
}

// met notes evidence that holds.
func (o *Outcome) met(e Evidence, who signer) {
	o.State = Passed
	o.Evidence = append(o.Evidence, e)
	o.signers = append(o.signers, who)
}

// missed notes an attempt. Only what could not be checked leaves a requirement
// open that nothing else meets.
func (o *Outcome) missed(a Attempt) {
	o.Tried = append(o.Tried, a)
	if o.State != Passed && a.State == Undecided {
		o.State = Undecided
	}
}

// nothing says that there was nothing to judge.
func (o *Outcome) nothing(what string) {
	if len(o.Evidence)+len(o.Tried) == 0 && o.Reason == "" {
		o.Reason = "no " + what + " is attached"
	}
}

func (s *scene) notary(ctx context.Context, o *Outcome, want *policy.Notary) error {
	var same []signer
	if want.SameSignerAs != "" {
		var err error
		if same, err = s.sameAs(want.SameSignerAs); err != nil {
			o.Reason = err.Error()
			return nil
		}
	}
	p, err := s.of(ctx, s.repo, s.digest)
	if err != nil {
		return err
	}
	for _, x := range p.notary {
		done, err := x.load(ctx, s.collector)
		if err != nil {
			return err
		}
		err = s.notaryPiece(ctx, o, x, p.subject, want, same)
		done()
		if err != nil {
			return err
		}
	}
	o.nothing("Notary signature")
	return nil
}

func (s *scene) notaryPiece(ctx context.Context, o *Outcome, x *piece, subject layout.Descriptor, want *policy.Notary, same []signer) error {
	a := Attempt{Manifest: x.manifest, Kind: x.kind, State: Refused}
	if x.err != nil {
		a.State, a.Reason = decide(x.err), x.err.Error()
		o.missed(a)
		return nil
	}
	signed, err := s.verifyNotaryOnce(ctx, x, subject, want)
	if cerr := ctx.Err(); cerr != nil {
		return cerr
	}
	if err != nil {
		a.State, a.Reason, a.Claims = decide(err), err.Error(), claims(err)
		o.missed(a)
		return nil
	}
	if err := s.clock(signed.Time); err != nil {
		a.State, a.Reason, a.Claims = Undecided, err.Error(), signed.Signer.Subject
		o.missed(a)
		return nil
	}
	who := signer{fingerprint: signed.Signer.Fingerprint, key: signed.Signer.Key}
	if want.SameSignerAs != "" && !among(who, same) {
		a.Claims, a.Reason = signed.Signer.Subject, "not signed by who met "+want.SameSignerAs
		o.missed(a)
		return nil
	}
	o.met(Evidence{Manifest: x.manifest, Kind: x.kind, Signer: signed.Signer.Subject, SignedAt: at(signed.Time), Clock: signed.TimeSource}, who)
	o.lists = append(o.lists, signed.Lists...)
	for _, w := range signed.LetThrough {
		o.Warnings = append(o.Warnings, fmt.Sprintf("%s by %s: %s", x.kind, signed.Signer.Subject, w))
	}
	return nil
}

// clockSkew is how far clocks may differ.
const clockSkew = notary.ClockSkew

// clock fails if a trusted clock says that something was signed in the future: then
// this machine's is behind, and nothing that expires can be judged by it.
func (s *scene) clock(signed time.Time) error {
	if signed.After(s.now.Add(clockSkew)) {
		return &undecided{fmt.Errorf("signed at %s by a trusted clock: the clock of this machine is behind", signed.UTC().Format(time.RFC3339))}
	}
	return nil
}

func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func among(who signer, list []signer) bool {
	for _, s := range list {
		if s.is(who) {
			return true
		}
	}
	return false
}

// decide tells "no" from "could not be checked".
func decide(err error) State {
	var u interface{ Undecided() bool }
	switch {
	case errors.As(err, &u) && u.Undecided():
		return Undecided
	case errors.Is(err, layout.ErrLimit): // too large to be looked at
		return Undecided
	}
	return Refused
}

// claims is whose signature it says it is.
func claims(err error) string {
	var n *notary.Failure
	var s *sigstore.Failure
	switch {
	case errors.As(err, &n):
		return n.Claimed.Subject
	case errors.As(err, &s) && s.Claimed != (sigstore.Signer{}):
		return s.Claimed.String()
	}
	return ""
}
