package verify

import (
	"fmt"
	"strings"
)

// maxReasons is how many reasons are told of one verdict.
const maxReasons = 100

// WhyNot says why a verdict did not pass: each reason once, and of many the first ones.
func (v *Verdict) WhyNot() string {
	var reasons, out []string
	known := map[string]bool{}
	if v.Reason != "" {
		reasons = append(reasons, v.Reason)
	}
	reasons = v.Outcome.WhyNot(reasons)
	for _, c := range v.Children {
		reasons = c.Outcome.WhyNot(reasons)
	}
	for _, r := range reasons {
		if !known[r] {
			known[r] = true
			out = append(out, r)
		}
	}
	if n := len(out) - maxReasons; n > 0 {
		out = append(out[:maxReasons], fmt.Sprintf("and %d more reasons", n))
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
