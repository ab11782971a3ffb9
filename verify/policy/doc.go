// Package policy reads what may enter an isolated network.
//
// A [Policy] is a list of rules. Each says for which source references it is, by
// patterns of which the most specific wins, and what such an image has to bring:
// a tree of requirements. An image that no rule is for may not enter.
//
// [Load] reads airgap's own form, a YAML file (docs/policy.md); an unknown field,
// a key given twice and a requirement that can never be met are errors with a line
// number. The forms of other tools become the same rules, chosen as those tools choose
// them: [FromNotation] reads a trust policy of the Notary Project, [FromContainers] a
// policy.json of containers/image, and [FromClusterImagePolicies] those of Sigstore's
// policy-controller. [Parse] knows the last two by what is in them. Whatever in one of
// those is not supported is an error that names it, and is never skipped.
//
// The package holds no trust and verifies nothing: verify does.
package policy
