package verify_test

import (
	"crypto"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// shipped is the policy of docs/policy.md about an image's way, with the names of
// this test's parties in it.
func shipped(t *testing.T) *policy.Policy {
	t.Helper()
	page, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(page), "## An image's way, as a policy")
	_, text, ok2 := strings.Cut(text, "```yaml\n")
	text, _, ok3 := strings.Cut(text, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatal("docs/policy.md has no such example")
	}
	for from, to := range map[string]string{
		"registry.vendor.example/**": repo, "C=US, ST=WA, O=Vendor": "C=XX, ST=Test, O=airgap test, CN=vendor",
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("%s is not in it", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	p, err := policy.Parse("docs/policy.md", []byte(text), "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The three claims and the gate: each is needed, each for this very image, and the
// scan by the one who published it.
func TestShippedExample(t *testing.T) {
	org, stranger := must(signing.NewTestChain("org")), must(signing.NewTestChain("stranger"))
	ca := must(signing.NewTestCA("vendor root", signing.TestOptions{}))
	vendor := must(ca.Issue("vendor", signing.TestOptions{}))
	intern := must(ca.Issue("intern", signing.TestOptions{})) // under the vendor's root, but not the vendor
	cache := signing.InsecureKey("cache")
	tr := pinned(t, map[string]signing.Chain{"vendor": vendor, "organisation": org}, map[string]crypto.Signer{"cache": cache})
	notary := func(c signing.Chain) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact { return must(signing.Notary(d, c, signing.NotaryOptions{})) }
	}
	cosign := func(k crypto.Signer) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact { return must(signing.BundleSignature(d, k)) }
	}
	scanned := func(severity string, k crypto.Signer) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact {
			return must(signing.BundleAttestation(d, scan(severity), k))
		}
	}
	good := map[string]func(layout.Descriptor) signing.Artifact{
		"published": notary(vendor), "approved": notary(org), "cached": cosign(cache), "scanned": scanned("HIGH", vendor.Key),
	}
	type change = map[string]func(layout.Descriptor) signing.Artifact
	about := func(label string, sign func(layout.Descriptor) signing.Artifact) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact {
			other := d
			other.Digest = digest.FromString(label)
			return moved(sign(other), d)
		}
	}
	for what, test := range map[string]struct {
		change change
		state  verify.State
		why    string
	}{
		"all of it":               {nil, verify.Passed, ""},
		"not published":           {change{"published": nil}, verify.Refused, "published"},
		"by the vendor's intern":  {change{"published": notary(intern), "scanned": scanned("HIGH", intern.Key)}, verify.Refused, "wrong identity"},
		"by a stranger":           {change{"published": notary(stranger)}, verify.Refused, "untrusted"},
		"for another image":       {change{"published": about("other", notary(vendor))}, verify.Refused, "bad signature"},
		"not approved":            {change{"approved": nil}, verify.Refused, "approved"},
		"approved by the vendor":  {change{"approved": notary(vendor)}, verify.Refused, "approved"},
		"not cached":              {change{"cached": nil}, verify.Refused, "cosign"},
		"changed in the cache":    {change{"cached": about("other", cosign(cache))}, verify.Refused, "cosign"},
		"not scanned":             {change{"scanned": nil}, verify.Refused, "attestation"},
		"scanned by another":      {change{"scanned": scanned("HIGH", cache)}, verify.Refused, "wrong key"},
		"something critical":      {change{"scanned": scanned("CRITICAL", vendor.Key)}, verify.Refused, "condition"},
		"a scan of another image": {change{"scanned": about("other", scanned("HIGH", vendor.Key))}, verify.Refused, "wrong subject"},
	} {
		f := newFixture(t)
		image := f.image("v1")
		for name, sign := range good {
			if changed, ok := test.change[name]; ok {
				sign = changed
			}
			if sign != nil {
				f.attach(sign(image))
			}
		}
		v := f.judge(&verify.Judge{Policy: shipped(t), Trust: tr}, "v1")
		if text := string(must(json.Marshal(v))); v.State != test.state || !strings.Contains(text, test.why) {
			t.Errorf("%s: %s, want %s because of %q\n%s", what, v.State, test.state, test.why, text)
		}
	}
}
