package layout_test

import (
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// Layers are what stands behind all metadata in a plan, and only they can be left
// out; the graph that they are left out of stays as it was.
func TestWithout(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything("reg.example/app"), layouttest.SHA512("reg.example/other"))
	mem := layout.NewMemory()
	if err := content.Load(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(t.Context(), mem, content.Roots(), layout.WalkOptions{Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	full, err := layout.NewPlan(g)
	if err != nil {
		t.Fatal(err)
	}
	var want []digest.Digest
	everything := map[digest.Digest]bool{}
	for i := range full.Entries {
		everything[full.Entries[i].Digest] = true
		if full.Entries[i].Layer {
			want = append(want, full.Entries[i].Digest)
		}
	}
	var got []digest.Digest
	for _, l := range g.Layers() {
		got = append(got, l.Digest)
	}
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Fatalf("Layers = %v, the plan has %v", got, want)
	}

	less, err := layout.NewPlan(g.Without(everything))
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for i := range full.Entries {
		if e := &full.Entries[i]; !e.Layer && e.Name() != "manifest.json" {
			kept = append(kept, e.Name())
		}
	}
	var names []string
	for i := range less.Entries {
		names = append(names, less.Entries[i].Name())
	}
	if !slices.Equal(names, kept) {
		t.Errorf("without layers it has\n%v\nwant\n%v", names, kept)
	}
	if again, err := layout.NewPlan(g); err != nil || again.Size != full.Size {
		t.Errorf("the graph itself has changed: %v", err)
	}
	if g.Without(nil) != g || g.Without(map[digest.Digest]bool{digest.FromString("x"): true}) != g {
		t.Error("without nothing it is another graph")
	}
}
