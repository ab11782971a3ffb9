//go:build interop && linux

package interop

import (
	"strings"
	"testing"
)

// The fixture has to be what the other tests take it for.
func TestFixture(t *testing.T) {
	for name, get := range map[string]func(*testing.T) *fixture{
		"with the referrers API": source, "without": sourceWithoutAPI,
	} {
		t.Run(name, func(t *testing.T) {
			f := get(t)
			inv := take(t, f.hello, "v1", everything)
			tags, referrers := 0, 0
			for edge := range inv.attached {
				if subject, _, _ := strings.Cut(edge, " <- "); strings.Contains(subject, ".") {
					tags++
				} else {
					referrers++
				}
			}
			if referrers != helloReferrers+sbomReferrers || tags != cosignTags {
				t.Errorf("%d referrers and %d cosign tags, want %d and %d", referrers, tags, helloReferrers+sbomReferrers, cosignTags)
			}
			if want := 4 + referrers + tags; len(inv.manifests) != want {
				t.Errorf("%d manifests, want %d", len(inv.manifests), want)
			}
			if got := f.hello.digestOf(t, "v1"); got != f.index.Digest {
				t.Errorf("v1 is %s, want %s", got, f.index.Digest)
			}
			if inv := take(t, f.tool, "2", everything); len(inv.manifests) != 1 || len(inv.blobs) != 3 {
				t.Errorf("tool:2 has %d manifests and %d blobs, want 1 and 3", len(inv.manifests), len(inv.blobs))
			}
			checkSignatures(t, f, f.hello)
		})
	}
}
