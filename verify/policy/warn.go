package policy

import "slices"

// Warnings says what of the policy can be used and is probably not what its author
// thinks it is.
func (p *Policy) Warnings() []string {
	return slices.Clone(p.warnings)
}
