package bundle_test

import (
	"fmt"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
)

// tagged is an index of some images under some tags.
func tagged(t *testing.T, children, tags int) (*layout.Memory, []layout.Reference) {
	b := layouttest.New(repo)
	var list []layout.Descriptor
	for i := range children {
		list = append(list, layouttest.ForPlatform(b.Image(fmt.Sprint(i)), "linux", fmt.Sprintf("a%d", i)))
	}
	index := b.Index(list...)
	var refs []layout.Reference
	for i := range tags {
		tag := fmt.Sprintf("v%03d", i)
		b.Tag(tag, index)
		refs = append(refs, layout.Reference{Repository: repo, Tag: tag})
	}
	src := layout.NewMemory()
	if err := b.Content().Load(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	return src, refs
}

// What many tags lead to is summed up for each of them.
func TestImagesOfManyTags(t *testing.T) {
	src, refs := tagged(t, 2, 3)
	g, err := layout.Walk(t.Context(), src, refs, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := bundle.ImagesOf(g, g.Roots)
	if len(all) != 3 {
		t.Fatalf("%+v", all)
	}
	for i, img := range all {
		if img.Reference != refs[i].String() || img.Digest != all[0].Digest || img.Bytes != all[0].Bytes || img.Bytes == 0 || len(img.Platforms) != 2 {
			t.Errorf("%+v", img)
		}
	}
	all[0].Platforms[0] = "changed"
	if all[1].Platforms[0] == "changed" {
		t.Error("two images share their platforms")
	}
}

// An index under many tags is drawn in full under the first ones, and named under the rest.
func TestTreesAreBounded(t *testing.T) {
	const children, tags, most = 400, 300, 100_000 + 401
	src, refs := tagged(t, children, tags)
	trees, err := bundle.Trees(t.Context(), bundle.Selection{Source: src, References: refs}, nil)
	if err != nil || len(trees) != tags {
		t.Fatalf("%d trees, %v", len(trees), err)
	}
	full := 0
	for _, tree := range trees {
		if !tree.Above {
			full++
		}
		for _, c := range tree.Nodes {
			if !c.Above {
				full++
			}
		}
	}
	if full > most || full < children+1 {
		t.Errorf("%d manifests are drawn in full, want at most %d", full, most)
	}
	if trees[0].Above || len(trees[1].Nodes) != children || !trees[tags-1].Above {
		t.Errorf("the first is above: %v, the second has %d, the last is above: %v", trees[0].Above, len(trees[1].Nodes), trees[tags-1].Above)
	}
}
