package bundle_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/predicate"
	"airgap/verify/signing"
	"airgap/verify/verifytest"

	"github.com/opencontainers/go-digest"
)

// diamonds is an index of indexes, two on each level, each of which lists both of the next:
// 2^depth ways lead from the top to each of the two images, which are signed.
func diamonds(t *testing.T, depth int) (p *traced, images []layout.Descriptor) {
	p = newTraced(t)
	b := layouttest.New(repo)
	images = []layout.Descriptor{b.Image("one"), b.Image("two")}
	level := images
	for range depth {
		level = []layout.Descriptor{b.Index(level[0], level[1]), b.Index(level[1], level[0])}
	}
	b.Tag("v1", b.Index(level...))
	p.load(b)
	for _, d := range images {
		p.attach(repo, got(signing.BundleSignature(d, release))(t), nil)
	}
	return p, images
}

// descriptions counts how often each manifest is described, and how often it is named.
func descriptions(p *bundle.Provenance, described, named map[digest.Digest]int) {
	if named[p.Digest]++; !p.DescribedAbove {
		described[p.Digest]++
	}
	for _, c := range p.Images {
		descriptions(c, described, named)
	}
}

// Each manifest is described once, however many ways lead to it, and named wherever an
// index lists it.
func TestTraceDescribesOnce(t *testing.T) {
	const depth = 11
	p, images := diamonds(t, depth)
	for what, o := range map[string]bundle.ProvenanceOptions{
		"keys":     {Keys: everybody},
		"a policy": {Judge: &verify.Judge{Policy: verifytest.Policy(t, "cosign: {key: release}"), Trust: verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"release": release}})}},
	} {
		described, named := map[digest.Digest]int{}, map[digest.Digest]int{}
		descriptions(p.trace(o), described, named)
		if want := 2*depth + 3; len(described) != want {
			t.Errorf("%s: %d manifests are described, want %d", what, len(described), want)
		}
		for d, n := range described {
			if n != 1 || named[d] > 2 {
				t.Errorf("%s: %s is described %d times and named %d times", what, d, n, named[d])
			}
		}
		if len(images) != 2 || named[images[0].Digest] != 2 {
			t.Errorf("%s: the image is named %d times", what, named[images[0].Digest])
		}
	}
}

// What comes through an index stands where that lists the image, also if the image was
// described before; and each root is described, whatever was before it.
func TestTraceDescribedAbove(t *testing.T) {
	p := newTraced(t)
	b := layouttest.New(repo)
	img := b.Image("one")
	st, err := signing.Statement(img, signing.Attestation{PredicateType: predicate.SLSAProvenance1, Predicate: json.RawMessage(slsa())})
	if err != nil {
		t.Fatal(err)
	}
	plain := b.Index(layouttest.ForPlatform(img, "linux", "amd64"))
	listing := b.Index(layouttest.ForPlatform(img, "linux", "arm64"), b.Attestation(img, string(st)))
	b.Tag("v1", plain)
	b.Tag("v2", listing)
	b.Tag("v3", img)
	p.load(b)
	p.attach(repo, got(signing.BundleSignature(img, release))(t), nil)
	p.attach(repo, got(signing.BundleSignature(listing, release))(t), nil)
	var refs []layout.Reference
	for _, tag := range []string{"v1", "v2", "v3"} {
		refs = append(refs, layout.Reference{Repository: repo, Tag: tag})
	}
	all, err := bundle.Trace(t.Context(), bundle.Selection{Source: p.Memory, References: refs}, bundle.ProvenanceOptions{Keys: everybody})
	if err != nil || len(all) != 3 || len(all[0].Images) != 1 || len(all[1].Images) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	if first := all[0].Images[0]; first.DescribedAbove || len(first.Signatures) != 1 || first.Platform != "linux/amd64" {
		t.Errorf("%+v", first)
	}
	again := all[1].Images[0]
	if !again.DescribedAbove || len(again.Signatures) != 0 || again.Platform != "linux/arm64" || again.Digest != img.Digest {
		t.Errorf("%+v", again)
	}
	if !slices.ContainsFunc(again.Builds, func(s bundle.BuildStep) bool { return s.Through == listing.Digest }) {
		t.Errorf("what the second index lists is missing: %+v", again.Builds)
	}
	if root := all[2]; root.DescribedAbove || len(root.Signatures) != 1 {
		t.Errorf("%+v", root)
	}
}

// Whoever interrupts it does not wait.
func TestTraceInterrupted(t *testing.T) {
	p, _ := diamonds(t, 3)
	refs := []layout.Reference{{Repository: repo, Tag: "v1"}}
	g, err := layout.Walk(t.Context(), p.Memory, refs, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bundle.Trace(ctx, bundle.Selection{Source: p.Memory, References: refs}, bundle.ProvenanceOptions{Graph: g}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
