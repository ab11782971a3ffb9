package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Environments lists the environments of a policy file: one without a name, if it
// has none.
func Environments(name string, data []byte) ([]string, error) {
	if foreign(data) != nil {
		return []string{""}, nil
	}
	var doc struct {
		Environments map[string]yaml.Node `yaml:"environments"`
	}
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, plain(err), ErrPolicy)
	}
	if len(doc.Environments) == 0 {
		return []string{""}, nil
	}
	return slices.Sorted(maps.Keys(doc.Environments)), nil
}

// each calls fn for every requirement of the policy.
func (p *Policy) each(fn func(*Requirement)) {
	for i := range p.Rules {
		p.Rules[i].Require.each(fn)
	}
}

// each calls fn for r and every requirement in it.
func (r *Requirement) each(fn func(*Requirement)) {
	fn(r)
	parts := r.parts()
	for i := range parts {
		parts[i].each(fn)
	}
	if by := r.signedBy(); by != nil {
		by.each(fn)
	}
}

// names collects what of gives for every requirement, sorted, each once.
func (p *Policy) names(of func(*Requirement) []string) []string {
	seen := map[string]bool{}
	p.each(func(r *Requirement) {
		for _, n := range of(r) {
			seen[n] = true
		}
	})
	return slices.Sorted(maps.Keys(seen))
}

// Stores lists the trust stores that the policy names, as "type:name".
func (p *Policy) Stores() []string {
	return p.names(func(r *Requirement) []string {
		if r.Notary == nil {
			return nil
		}
		return r.Notary.Stores
	})
}

// signer returns whom a requirement of Sigstore's forms names, or nil.
func (r *Requirement) signer() *Signer {
	switch {
	case r.Cosign != nil:
		return &r.Cosign.Signer
	case r.Attestation != nil:
		return &r.Attestation.SignedBy
	}
	return nil
}

// Keys lists the keys that the policy names.
func (p *Policy) Keys() []string {
	out := p.names(func(r *Requirement) []string {
		if s := r.signer(); s != nil && s.Key != "" {
			return []string{s.Key}
		}
		return nil
	})
	if p.Bundle != nil {
		out = append(out, p.Bundle.Keys...)
		slices.Sort(out)
	}
	return slices.Compact(out)
}

// Keyless says whether the policy names identities, which need a Sigstore trusted
// root.
func (p *Policy) Keyless() bool {
	return len(p.names(func(r *Requirement) []string {
		if s := r.signer(); s != nil && s.Identity+s.IdentityRegexp != "" && (s.Pinned == nil || len(s.Pinned.Roots) == 0) {
			return []string{"yes"}
		}
		return nil
	})) > 0
}

// Describe is the requirement with all its parts, in one line.
func (r *Requirement) Describe() string {
	parts := r.parts()
	if len(parts) == 0 {
		return r.Text()
	}
	var list []string
	for i := range parts {
		list = append(list, parts[i].Describe())
	}
	return r.Text() + " (" + strings.Join(list, "; ") + ")"
}
