package policy_test

import (
	"testing"

	"airgap/layout"
	"airgap/verify/policy"
)

// A look-up returns the same rule for images that are judged alike, and for no others: a
// requirement about the signed reference, wherever it stands, is about one image.
func TestLookup(t *testing.T) {
	const asks = "cosign: {key: release, reference: matchExact}"
	for what, test := range map[string]struct {
		require string
		shared  bool
	}{
		"a key":                {"cosign: {key: release}", true},
		"several":              {"allOf: [{cosign: {key: release}}, {notary: {stores: ['ca:x'], identities: ['*']}}]", true},
		"conditions":           {"attestation: {predicateType: x, signedBy: {key: release}, conditions: ['predicate.a == 1']}", true},
		"a reference":          {asks, false},
		"in allOf":             {"allOf: [{cosign: {key: release}}, {" + asks + "}]", false},
		"in anyOf":             {"anyOf: [{" + asks + "}]", false},
		"in atLeast":           {"atLeast: {count: 1, of: [{" + asks + "}]}", false},
		"deep":                 {"allOf: [{anyOf: [{cosign: {key: a}}, {atLeast: {count: 1, of: [{" + asks + "}]}}]}]", false},
		"of an artifact":       {"artifact: {type: x, signedBy: {" + asks + "}}", false},
		"of an index":          {"buildkit: {predicateType: x, signedBy: {anyOf: [{" + asks + "}]}}", false},
		"a reference in full":  {"cosign: {key: release, reference: reg.example/team/app:v1}", false},
		"an artifact's signer": {"artifact: {type: x, signedBy: {cosign: {key: release}}}", true},
	} {
		p, err := policy.Parse("policy.yaml", []byte("version: airgap.policy/v1\nrules:\n- {name: all, match: ['**'], require: {"+test.require+"}}\n- {name: other, match: ['**:other'], require: {"+test.require+"}}\n"), "")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		l := policy.NewLookup(p)
		ref := func(tag string) layout.Reference {
			return layout.Reference{Repository: "reg.example/team/app", Tag: tag}
		}
		first := l.For(ref("v1"))
		if first != l.For(ref("v1")) {
			t.Errorf("%s: another rule for the same reference", what)
		}
		if shared := first == l.For(ref("v2")); shared != test.shared {
			t.Errorf("%s: shared with another reference: %v", what, shared)
		}
		if !first.Same(p.For(ref("v1"))) || first.Same(p.For(ref("other"))) || l.For(ref("other")) == first {
			t.Errorf("%s: it is mistaken for another rule", what)
		}
	}
}
