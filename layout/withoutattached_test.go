package layout_test

import (
	"reflect"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// What is attached can be left out of one repository, and with it what it alone leads to.
func TestWithoutAttached(t *testing.T) {
	b := layouttest.New("reg.example/app")
	img := b.Image("image")
	shared := b.Image("shared")
	sbom := b.Referrer(img, "application/spdx+json", "sbom")
	rider := b.ReferrerIndex(img, b.Image("child"), shared)
	of := b.Notary(rider, "signature")
	cosign := b.Cosign(layout.FormCosignSig, rider, "signature")
	root := b.Index(layouttest.ForPlatform(img, "linux", "amd64"), layouttest.ForPlatform(shared, "linux", "arm64"))
	b.Tag("v1", root)
	other := layouttest.New("reg.example/other")
	other.Image("image")
	other.ReferrerIndex(img, other.Image("child"), other.Image("shared"))
	other.Tag("v1", img)
	content := layouttest.Merge(b.Content(), other.Content())
	mem := layout.NewMemory()
	if err := content.Load(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(t.Context(), mem, content.Roots(), layout.WalkOptions{Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	if same := g.WithoutAttached(func(string, digest.Digest) bool { return false }); !reflect.DeepEqual(same.Places, g.Places) ||
		!reflect.DeepEqual(same.Tags, g.Tags) || len(same.Nodes) != len(g.Nodes) {
		t.Error("without nothing it is another graph")
	}
	less := g.WithoutAttached(func(repo string, d digest.Digest) bool { return repo == "reg.example/app" && d == rider.Digest })
	in := func(g *layout.Graph, repo string) []digest.Digest {
		var out []digest.Digest
		for _, p := range g.Places {
			if p.Repository == repo {
				out = append(out, p.Digest)
			}
		}
		return out
	}
	want := []digest.Digest{root.Digest, img.Digest, shared.Digest, sbom.Digest}
	slices.Sort(want)
	if got := in(less, "reg.example/app"); !slices.Equal(got, want) {
		t.Errorf("there are %v, want %v", got, want)
	}
	if got, want := in(less, "reg.example/other"), in(g, "reg.example/other"); !slices.Equal(got, want) {
		t.Errorf("in the other repository there are %v, want %v", got, want)
	}
	if len(g.Tags) != 1 || len(less.Tags) != 0 || less.Nodes[of.Digest] != nil || less.Nodes[cosign.Digest] != nil || less.Nodes[rider.Digest] == nil {
		t.Errorf("tags are %v, of %v", less.Tags, g.Tags)
	}
	if p, _ := less.Place("reg.example/app", img.Digest); len(p.Attached) != 1 || p.Attached[0].Digest != sbom.Digest {
		t.Errorf("attached are %v", p.Attached)
	}
	if _, err := layout.NewPlan(less); err != nil {
		t.Error(err)
	}
}
