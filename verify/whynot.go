package verify

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
