package verify

import (
	"slices"
	"strings"
)

// WhyNot says why a verdict did not pass: each reason once.
func (v *Verdict) WhyNot() string {
	var reasons, out []string
	if v.Reason != "" {
		reasons = append(reasons, v.Reason)
	}
	reasons = v.Outcome.WhyNot(reasons)
	for _, c := range v.Children {
		reasons = c.Outcome.WhyNot(reasons)
	}
	for _, r := range reasons {
		if !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		return "its requirements are not met"
	}
	return strings.Join(out, "; ")
}

// WhyNot adds to reasons why a requirement was not met: those of its parts and of the
// signatures that were tried. Of one that was met, nil, it adds nothing.
func (o *Outcome) WhyNot(reasons []string) []string {
	if o == nil || o.State == Passed {
		return reasons
	}
	if o.Reason != "" {
		reasons = append(reasons, o.Requirement+": "+o.Reason)
	}
	for _, a := range o.Tried {
		reasons = append(reasons, a.Reason)
	}
	for _, p := range o.Parts {
		reasons = p.WhyNot(reasons)
	}
	return reasons
}
