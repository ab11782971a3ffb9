package layouttest

import (
	"testing"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// everythingDigest pins the bytes of Everything: tests elsewhere keep golden
// files made from them.
const everythingDigest = "sha256:005bbc21f2539e723d5018a9730550aab6dea65775a64f5ba2cc5e4df6fefd74"

func TestEverythingIsDeterministic(t *testing.T) {
	sum := digest.SHA256.Digester()
	for _, item := range Everything("reg.example/app").Repositories["reg.example/app"] {
		sum.Hash().Write([]byte(item.Descriptor.MediaType + " " + string(item.Descriptor.Digest) + "\n"))
	}
	if got := sum.Digest().String(); got != everythingDigest {
		t.Errorf("Everything has become %s", got)
	}
}

func TestContentIsSound(t *testing.T) {
	for name, c := range map[string]Content{
		"everything": Everything(repoA), "sparse": Sparse(repoA), "mixed": Mixed(repoA), "sha512": SHA512(repoA),
		"large": Large(repoA, 1000), "zeros": Zeros(repoA), "two repositories": twoRepositories(),
	} {
		t.Run(name, func(t *testing.T) {
			for repo, items := range c.Repositories {
				put := map[digest.Digest]bool{}
				for _, item := range items {
					soundItem(t, item, put, name == "sparse")
					if put[item.Descriptor.Digest] {
						t.Errorf("%s is there twice", item.Descriptor.Digest)
					}
					put[item.Descriptor.Digest] = true
				}
				for _, n := range c.Names {
					if n.Reference.Repository == repo && (!put[n.Descriptor.Digest] || len(n.Manifest) == 0) {
						t.Errorf("%s leads nowhere", n.Reference)
					}
				}
			}
		})
	}
}

// soundItem checks that what a manifest lists comes before it.
func soundItem(t *testing.T, item Item, put map[digest.Digest]bool, sparse bool) {
	t.Helper()
	if err := layout.CheckBytes(item.Bytes, item.Descriptor); err != nil {
		t.Error(err)
	}
	if !layout.IsManifest(item.Descriptor.MediaType) {
		return
	}
	m, err := layout.ParseManifest(item.Descriptor, item.Bytes)
	if err != nil {
		t.Error(err)
		return
	}
	listed := append(m.Blobs(), m.Manifests...)
	if m.Subject != nil {
		listed = append(listed, *m.Subject)
	}
	for _, d := range listed {
		if !put[d.Digest] && !sparse {
			t.Errorf("%s lists %s, which does not come before it", item.Descriptor.Digest, d.Digest)
		}
	}
}

func TestEverythingHasEveryForm(t *testing.T) {
	c := Everything(repoA)
	types := map[string]bool{}
	deepest := 0
	for _, item := range c.Repositories[repoA] {
		types[item.Descriptor.MediaType] = true
		deepest = max(deepest, depth(c, item.Descriptor.Digest))
	}
	for _, mediaType := range layout.ManifestTypes {
		if !types[mediaType] {
			t.Errorf("nothing of type %s", mediaType)
		}
	}
	if deepest < 3 {
		t.Errorf("attachments are %d levels deep, want 3", deepest)
	}
}

// depth counts the levels of attachments above dgst.
func depth(c Content, dgst digest.Digest) int {
	deepest := 0
	for _, a := range c.Attached(repoA, dgst) {
		deepest = max(deepest, 1+depth(c, a))
	}
	return deepest
}
