//go:build interop && linux

package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What we brought into a registry is what was in the other, and its tools find
// and verify it, with and without the referrers API on either side.
func TestImported(t *testing.T) {
	for _, from := range []struct {
		name string
		get  func(*testing.T) *fixture
	}{{"from API", source}, {"from tags", sourceWithoutAPI}} {
		t.Run(from.name, func(t *testing.T) {
			f := from.get(t)
			bundle := exportFixture(t, f)
			for _, k := range registries {
				t.Run("into "+k.name, func(t *testing.T) {
					to := k.host(t)
					importTo(t, bundle, to)
					checkImported(t, f, below(to, "team/hello"), below(to, "team/tool"))
				})
			}
			t.Run("into a store", func(t *testing.T) { checkStored(t, f, bundle) })
		})
	}
}

func checkImported(t *testing.T, f *fixture, hello, tool repository) {
	want := take(t, f.hello, "v1", everything)
	t.Run("equal", func(t *testing.T) {
		equal(t, take(t, hello, "v1", everything), want)
		equal(t, take(t, tool, "2", everything), take(t, f.tool, "2", everything))
	})
	t.Run("verified", func(t *testing.T) { checkSignatures(t, f, hello) })
	t.Run("oras", func(t *testing.T) {
		checkDiscovered(t, want, "--plain-http", hello.String()+":v1")
	})
	t.Run("regctl", func(t *testing.T) { checkArtifacts(t, f, hello, want) })
	t.Run("crane", func(t *testing.T) {
		if got := run(t, "crane", "digest", hello.String()+":v1"); strings.TrimSpace(got) != string(f.index.Digest) {
			t.Errorf("crane digest says %s, want %s", got, f.index.Digest)
		}
		// It refuses every index that lists an attestation of BuildKit's.
		run(t, "crane", "validate", "--remote", hello.at(f.amd64))
		run(t, "crane", "validate", "--remote", tool.String()+":2")
	})
	t.Run("skopeo", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "out")
		run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", "--src-tls-verify=false", "docker://"+hello.String()+":v1", "dir:"+out)
		if got := fileDigest(t, filepath.Join(out, "manifest.json")); got != f.index.Digest {
			t.Errorf("skopeo copied %s, want %s", got, f.index.Digest)
		}
	})
}

// checkArtifacts has regctl list what is attached to the index: referrers, and
// cosign's tags.
func checkArtifacts(t *testing.T, f *fixture, repo repository, want *inventory) {
	var list struct{ Descriptors []ocispec.Descriptor }
	parse(t, regctl(t, "artifact", "list", "--digest-tags", "--format", "{{json .}}", repo.at(f.index)), &list)
	var got, attached []digest.Digest
	for _, d := range list.Descriptors {
		got = append(got, d.Digest)
	}
	for edge := range want.attached {
		subject, d, _ := strings.Cut(edge, " <- ")
		if subject, _, _ = strings.Cut(subject, "."); subject == string(f.index.Digest) {
			attached = append(attached, digest.Digest(d))
		}
	}
	if len(attached) != helloReferrers+3 {
		t.Fatalf("%d attachments are expected; the fixture has %d", len(attached), helloReferrers+3)
	}
	same(t, "artifact in regctl's list", got, attached)
}

// checkStored imports into a store, and looks at what comes out of it again.
func checkStored(t *testing.T, f *fixture, bundle string) {
	dir := filepath.Join(t.TempDir(), "store")
	run(t, "airgap", "import", "--quiet", "--insecure-skip-verify", bundle, "--store", dir)
	out := export(t, "store:"+dir)
	holds(t, out, take(t, f.hello, "v1", everything), take(t, f.tool, "2", everything))
	run(t, "airgap", "diff", bundle, out)
}
