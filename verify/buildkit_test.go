package verify_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/predicate"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// provenanceOf is a statement as BuildKit makes it.
func provenanceOf(d digest.Digest, builder string) string {
	return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"name":"pkg:docker/app","digest":{"sha256":%q}}],"predicate":{"builder":{"id":%q}}}`,
		predicate.SLSAProvenance02, d.Encoded(), builder)
}

// BuildKit's attestations count by the signature on the index that lists them, for
// the images that they speak of, and not at all without it.
func TestBuildKit(t *testing.T) {
	key, other := signing.InsecureKey("key"), signing.InsecureKey("other")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	const by = "signedBy: {cosign: {key: release}}"
	const builder = `conditions: ['build.builder == "https://b.example"']`
	type statement struct {
		listedFor, about int // of the images
		builder          string
	}
	good := []statement{{0, 0, "https://b.example"}, {1, 1, "https://b.example"}}
	for what, test := range map[string]struct {
		listed   []statement
		signer   crypto.Signer
		children bool
		require  string
		state    verify.State
		why      string
	}{
		"both":                      {good, key, false, by + ", " + builder, verify.Passed, "built by https://b.example"},
		"both, by each child":       {good, key, true, by + ", " + builder, verify.Passed, ""},
		"index not signed":          {good, nil, false, by, verify.Refused, "no cosign signature"},
		"index signed by another":   {good, other, false, by, verify.Refused, "the index that lists them"},
		"key not pinned":            {good, key, false, "signedBy: {cosign: {key: none}}", verify.Undecided, "no key named"},
		"one image has none":        {good[:1], key, false, by, verify.Refused, "lists none about"},
		"one has none, by children": {good[:1], key, true, by, verify.Refused, "lists none about"},
		"speaks of the other":       {[]statement{good[0], {1, 0, "https://b.example"}}, key, false, by, verify.Refused, "does not speak of"},
		"another builder":           {[]statement{good[0], {1, 1, "https://c.example"}}, key, false, by + ", " + builder, verify.Refused, "condition"},
		"one that does beside":      {append([]statement{{1, 1, "https://c.example"}}, good...), key, false, by + ", " + builder, verify.Passed, ""},
	} {
		f := newFixture(t)
		b := layouttest.New(repo)
		images := []layout.Descriptor{b.Image("amd"), b.Image("arm")}
		children := []layout.Descriptor{layouttest.ForPlatform(images[0], "linux", "amd64"), layouttest.ForPlatform(images[1], "linux", "arm64")}
		for _, s := range test.listed {
			children = append(children, b.Attestation(images[s.listedFor], provenanceOf(images[s.about].Digest, s.builder)))
		}
		index := b.Index(children...)
		b.Tag("v1", index)
		f.content(b.Content())
		if test.signer != nil {
			f.attach(must(signing.BundleSignature(index, test.signer)))
		}
		p := ruled(t, "buildkit: {predicateType: slsaprovenance02, "+test.require+"}")
		if test.children {
			p.Rules[0].Index = policy.IndexChildren
		}
		v := f.judge(&verify.Judge{Policy: p, Trust: tr}, "v1")
		if text := string(must(json.Marshal(v))); v.State != test.state || !strings.Contains(text, test.why) {
			t.Errorf("%s: %s, want %s because %q\n%s", what, v.State, test.state, test.why, text)
		}
	}
}

// An image that no index lists has none, whoever signed it.
func TestBuildKitWithoutIndex(t *testing.T) {
	key := signing.InsecureKey("key")
	f := newFixture(t)
	f.attach(must(signing.BundleSignature(f.image("v1"), key)))
	p := ruled(t, "buildkit: {predicateType: slsaprovenance02, signedBy: {cosign: {key: release}}}")
	v := f.judge(&verify.Judge{Policy: p, Trust: pinned(t, nil, map[string]crypto.Signer{"release": key})}, "v1")
	if v.State != verify.Refused || !strings.Contains(v.Outcome.Reason, "no index") {
		t.Errorf("%+v", v.Outcome)
	}
}
