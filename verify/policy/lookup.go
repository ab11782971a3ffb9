package policy

import (
	"reflect"

	"airgap/layout"
)

// Lookup finds the rules of a policy, and returns the same rule for all images that are
// judged alike, so that what was found out for one need not be found out again for the
// others. One goroutine uses it at a time.
type Lookup struct {
	policy *Policy
	known  map[lookupKey][]*Rule
}

// lookupKey only says which rules are worth a comparison.
type lookupKey struct {
	rule  string
	image string // of a rule that asks for a signed reference
}

// NewLookup returns a Lookup for p.
func NewLookup(p *Policy) *Lookup { return &Lookup{p, map[lookupKey][]*Rule{}} }

// For returns the rule for an image, as [Policy.For] does, or nil. Two calls return the same
// pointer only if the two rules are equal in all that a judgement looks at: a requirement
// that is bound to the image's reference is shared with no image of another reference.
func (l *Lookup) For(ref layout.Reference) *Rule {
	rule := l.policy.For(ref)
	if rule == nil {
		return nil
	}
	k := lookupKey{rule: rule.Name}
	if rule.Require.asksReference() {
		k.image = ref.String()
	}
	for _, known := range l.known[k] {
		if known.Same(rule) {
			return known
		}
	}
	l.known[k] = append(l.known[k], rule)
	return rule
}

// Same reports whether two rules decide alike. Each look-up in a policy makes a new rule.
func (r *Rule) Same(o *Rule) bool {
	return r != nil && o != nil && r.Name == o.Name && r.Index == o.Index && reflect.DeepEqual(r.Require, o.Require)
}

// asksReference reports whether r, or a part of it, asks under which reference an image was
// signed; see forImage.
func (r *Requirement) asksReference() bool {
	if r.Cosign != nil && r.Cosign.Reference != nil {
		return true
	}
	parts := append(r.AllOf[:len(r.AllOf):len(r.AllOf)], r.AnyOf...)
	if r.AtLeast != nil {
		parts = append(parts, r.AtLeast.Of...)
	}
	for i := range parts {
		if parts[i].asksReference() {
			return true
		}
	}
	by := r.signedBy()
	return by != nil && by.asksReference()
}
