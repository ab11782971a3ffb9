package store

import (
	"errors"
	"io"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
)

const layerType = "application/vnd.oci.image.layer.v1.tar"

// seen says whether a view gives out an item, by every way that there is.
func seen(t *testing.T, v *View, item layouttest.Item) bool {
	t.Helper()
	d := item.Descriptor
	if layout.IsManifest(d.MediaType) {
		got, err := v.Resolve(t.Context(), layout.Reference{Repository: testRepo, Digest: d.Digest})
		if errors.Is(err, layout.ErrNotFound) {
			return false
		}
		no(t, err)
		data, err := v.Manifest(t.Context(), testRepo, got)
		no(t, err)
		return string(data) == string(item.Bytes)
	}
	f, err := v.Blob(t.Context(), testRepo, d.Digest)
	if errors.Is(err, layout.ErrNotFound) {
		return false
	}
	no(t, err)
	defer f.Close()
	data, err := io.ReadAll(f)
	no(t, err)
	return string(data) == string(item.Bytes)
}

func tagsOf(t *testing.T, v *View) []string {
	t.Helper()
	tags, err := v.Tags(t.Context(), testRepo)
	if errors.Is(err, layout.ErrNotFound) {
		return []string{"no such repository"}
	}
	no(t, err)
	return tags
}

// What only something in quarantine leads to is not there either: children, what is
// attached to them, blobs. What something else leads to, too, is.
func TestViewOfQuarantine(t *testing.T) {
	b := layouttest.New(testRepo)
	shared, own := b.Layer(layerType, "shared"), b.Layer(layerType, "own")
	child := b.Image("amd64", shared)
	other := b.Image("arm64", shared, own)
	index := b.Index(layouttest.ForPlatform(child, "linux", "amd64"), layouttest.ForPlatform(other, "linux", "arm64"))
	signature := b.Notary(child, "on the child")
	hidden := []layout.Descriptor{index, other, own, b.Notary(index, "on the index"), b.Notary(other, "on the other"), b.Cosign(layout.FormCosignSig, other, "by tag")}
	b.Tag("v1", index)
	b.Tag("v1-amd64", child)
	b.Tag("old", b.Image("old"))
	content := b.Content()
	// What the hidden manifests alone list goes with them.
	gone := map[string]bool{}
	for _, d := range hidden {
		gone[string(d.Digest)] = true
	}
	for _, d := range hidden {
		item, _ := content.Find(testRepo, d.Digest)
		m, err := layout.ParseManifest(d, item.Bytes)
		if err != nil {
			continue // a layer
		}
		for _, blob := range m.Blobs() {
			if blob.Digest != shared.Digest && blob.Size > 2 { // {} is a config of what is seen, too
				gone[string(blob.Digest)] = true
			}
		}
	}
	s := open(t, t.TempDir(), Options{})
	add(t, s, content)
	v := s.View()
	allSeen := func() {
		t.Helper()
		for _, item := range content.Repositories[testRepo] {
			if !seen(t, v, item) {
				t.Errorf("%s %s is not there", item.Descriptor.MediaType, item.Descriptor.Digest)
			}
		}
	}
	allSeen()
	session := begin(t, s)
	no(t, session.Quarantine(testRepo, index.Digest, "revoked"))
	commit(t, session)
	n := 0
	for _, item := range content.Repositories[testRepo] {
		d := item.Descriptor
		if got, want := seen(t, v, item), !gone[string(d.Digest)]; got != want {
			t.Errorf("%s %s: seen %v, want %v", d.MediaType, d.Digest, got, want)
		} else if !got {
			n++
		}
	}
	if n < len(hidden)+5 {
		t.Errorf("only %d items are hidden", n)
	}
	if got := tagsOf(t, v); !slices.Equal(got, []string{"old", "v1-amd64"}) {
		t.Errorf("tags: %q", got)
	}
	if _, err := v.Resolve(t.Context(), tagged("v1")); !errors.Is(err, layout.ErrNotFound) || errors.Is(err, ErrQuarantined) {
		t.Errorf("its name: %v", err)
	}
	for _, d := range []layout.Descriptor{index, other} {
		if found, err := v.Referrers(t.Context(), testRepo, d.Digest); err != nil || len(found) > 0 {
			t.Errorf("referrers of %s: %v (%v)", d.Digest, found, err)
		}
	}
	if found, err := v.Referrers(t.Context(), testRepo, child.Digest); err != nil || len(found) != 1 || found[0].Digest != signature.Digest {
		t.Errorf("referrers of the child: %v (%v)", found, err)
	}
	session = begin(t, s)
	no(t, session.Release(testRepo, index.Digest))
	commit(t, session)
	allSeen()
}

// A repository of which everything is in quarantine is not there. A name that is
// held is not there, and its manifest is.
func TestViewOfNothing(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	one := b.Image("one")
	b.Tag("one", one)
	b.Cosign(layout.FormCosignSig, one, "by tag")
	add(t, s, b.Content())
	v := s.View()
	session := begin(t, s)
	no(t, session.Hold(tagged("one"), "no rule is for it"))
	commit(t, session)
	if got := tagsOf(t, v); len(got) != 1 || !layout.IsDerivedTag(got[0]) {
		t.Errorf("tags: %q", got)
	}
	if _, err := v.Resolve(t.Context(), layout.Reference{Repository: testRepo, Digest: one.Digest}); err != nil {
		t.Errorf("by its digest: %v", err)
	}
	session = begin(t, s)
	no(t, session.Quarantine(testRepo, one.Digest, "revoked"))
	commit(t, session)
	if got := tagsOf(t, v); !slices.Equal(got, []string{"no such repository"}) {
		t.Errorf("tags: %q", got)
	}
	for _, item := range b.Content().Repositories[testRepo] {
		if seen(t, v, item) {
			t.Errorf("%s %s is there", item.Descriptor.MediaType, item.Descriptor.Digest)
		}
	}
	if repos, err := v.Repositories(t.Context()); err != nil || len(repos) > 0 {
		t.Errorf("repositories: %q (%v)", repos, err)
	}
}

// What has lost its name stays there for whoever knows its digest.
func TestViewOfNameless(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	one := b.Image("one")
	b.Tag("v1", one)
	b.Tag("other", b.Image("other"))
	add(t, s, b.Content())
	session := begin(t, s)
	no(t, session.Remove(tagged("v1")))
	commit(t, session)
	v := s.View()
	for range 2 {
		for _, item := range b.Content().Repositories[testRepo] {
			if d := item.Descriptor.Digest; d == one.Digest && !seen(t, v, item) {
				t.Errorf("%s is not there", d)
			}
		}
		// … with something else in quarantine, too.
		session := begin(t, s)
		no(t, session.Hold(tagged("other"), "x"))
		commit(t, session)
	}
}

// An index that is attached to an image and in quarantine takes its children with it; what
// else is attached is listed, and the list is one.
func TestViewOfHeldAttachment(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("image")
	signature := b.Notary(img, "signature")
	var riders, children []layout.Descriptor
	for _, label := range []string{"one", "two", "three"} {
		child := b.Image(label)
		children, riders = append(children, child), append(riders, b.ReferrerIndex(img, child))
	}
	b.Tag("v1", img)
	add(t, s, b.Content())
	session := begin(t, s)
	for _, rider := range riders {
		no(t, session.Quarantine(testRepo, rider.Digest, "nobody judged it"))
	}
	no(t, session.Commit(t.Context(), nil))
	v := s.View()
	found, err := v.Referrers(t.Context(), testRepo, img.Digest)
	if err != nil || len(found) != 1 || found[0].Digest != signature.Digest {
		t.Errorf("attached: %v, %v", found, err)
	}
	for _, d := range append(riders, children...) {
		if sees(t, v, testRepo, d.Digest) {
			t.Errorf("%s is given out", d.Digest)
		}
	}
	if !sees(t, v, testRepo, img.Digest) || !sees(t, v, testRepo, signature.Digest) {
		t.Error("the image is not given out")
	}
}
