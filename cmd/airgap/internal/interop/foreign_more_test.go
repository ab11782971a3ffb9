//go:build interop && linux

package interop

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var regctlMakes = []foreign{
	{
		name: "regctl image export", lands: "team/hello:v1", want: only(scope{}, helloIndex),
		make: func(t *testing.T, f *fixture, out string) {
			regctl(t, "image", "export", "--name", farHello+":v1", f.hello.String()+":v1", out)
		},
	}, {
		name: "regctl image export of a platform", lands: "team/hello:v1", want: only(scope{}, helloAMD64),
		make: func(t *testing.T, f *fixture, out string) {
			regctl(t, "image", "export", "--platform", "linux/amd64", "--name", farHello+":v1", f.hello.String()+":v1", out)
		},
	}, {
		// Where there are both, regctl mixes up referrers and fallback tags.
		name: "regctl ocidir", from: sourceWithoutAPI, as: farHello, lands: "team/hello:v1", want: only(everything, helloIndex),
		make: func(t *testing.T, f *fixture, out string) {
			regctl(t, "image", "copy", "--referrers", "--digest-tags", f.hello.String()+":v1", "ocidir://"+out+":v1")
		},
	},
}

var craneMakes = []foreign{
	{
		name: "crane pull --format oci", as: farHello + ":v1", lands: "team/hello:v1", want: only(scope{}, helloIndex),
		make: func(t *testing.T, f *fixture, out string) {
			run(t, "crane", "pull", "--format", "oci", f.hello.String()+":v1", out)
		},
	}, {
		name: "crane pull --annotate-ref", lands: "team/tool:2", want: only(scope{}, toolImage),
		make: func(t *testing.T, f *fixture, out string) {
			run(t, "crane", "pull", "--format", "oci", "--annotate-ref", f.tool.String()+":2", out)
		},
	},
}

var cosignMakes = []foreign{{
	name: "cosign save", as: farHello + ":v1", lands: "team/hello:v1", want: whatCosignSaves,
	make: func(t *testing.T, f *fixture, out string) {
		run(t, "cosign", "save", "--allow-http-registry", "--dir", out, f.hello.String()+":v1")
	},
}}

// whatCosignSaves is what is attached to the index itself, but for the .sbom
// tag: the tags .sig and .att in index.json, and the referrers as blobs that
// nothing lists.
func whatCosignSaves(t *testing.T, f *fixture) *inventory {
	t.Helper()
	image, all := take(t, f.hello, "v1", scope{}), take(t, f.hello, "v1", everything)
	for edge := range all.attached {
		subject, d, _ := strings.Cut(edge, " <- ")
		if !strings.HasPrefix(subject, string(f.index.Digest)) || strings.HasSuffix(subject, ".sbom") {
			continue
		}
		image.attached[edge] = true
		maps.Copy(image.manifests, take(t, f.hello, d, scope{}).manifests)
		maps.Copy(image.blobs, take(t, f.hello, d, scope{}).blobs)
	}
	return image
}

// What cosign saved is verified by cosign where we brought it.
func TestCosignSaved(t *testing.T) {
	f := source(t)
	dir := t.TempDir() + "/saved"
	cosignMakes[0].make(t, f, dir)
	dst, _ := importForeign(t, dir, withReferrers(t), farHello+":v1", "team/hello:v1")
	checkCosign(t, f, "verify", dst.at(f.index))
	checkCosign(t, f, "verify", dst.at(f.index), "--new-bundle-format=false")
	checkCosign(t, f, "verify-attestation", dst.at(f.index), "--type", "custom")
	checkCosign(t, f, "verify-attestation", dst.at(f.index), "--type", "custom", "--new-bundle-format=false")
	checkNotation(t, f, dst.at(f.index), byCLI)
}

var ctrMakes = []foreign{{
	// It writes the whole index and the content of one platform.
	name: "ctr images export", to: sparse, lands: "team/hello:v1",
	want: func(t *testing.T, f *fixture) *inventory {
		inv := take(t, f.hello, "v1", scope{platform: "amd64"})
		for _, c := range inv.manifests[f.index.Digest].Manifests {
			if _, ok := inv.manifests[c.Digest]; !ok {
				inv.absent[c.Digest] = true
			}
		}
		return inv
	},
	make: func(t *testing.T, f *fixture, out string) {
		ctr := ctr(t)
		ctr("images", "pull", "--plain-http", "--snapshotter", "native", "--platform", "linux/amd64", f.hello.String()+":v1")
		ctr("images", "export", "--platform", "linux/amd64", out, f.hello.String()+":v1")
	},
}}

// sparse returns where to put indexes that lack children.
func sparse(t *testing.T) string {
	t.Helper()
	host, err := sparseRegistry()
	if err != nil {
		t.Fatal(err)
	}
	return host
}

var sparseRegistry = sync.OnceValues(func() (string, error) {
	return the.distribution("registry", "validation: {manifests: {indexes: {platforms: none}}}")
})

// A registry that wants all children of an index says so, and airgap with it.
func TestSparseRefused(t *testing.T) {
	f := source(t)
	out := filepath.Join(t.TempDir(), "foreign.tar")
	ctrMakes[0].make(t, f, out)
	to := withReferrers(t)
	said := refused(t, "airgap", "import", "--quiet", "--insecure-skip-verify", out, "--to", to)
	if !strings.Contains(said, "exit status 5") || !strings.Contains(said, string(f.arm64.Digest)) {
		t.Errorf("the refusal does not name the child that is missing, %s:\n%s", f.arm64.Digest, said)
	}
	if _, err := below(to, "team/hello").get("manifests", "v1"); !errors.Is(err, errAbsent) {
		t.Errorf("a tag was written for what was refused: %v", err)
	}
}
