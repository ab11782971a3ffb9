package store

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// An outline has all that an index lists, under whatever type, and what a manifest is
// attached to. The remembered one reads no file twice; the other one does.
func TestOutline(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	b := layouttest.New(testRepo)
	image, xml := b.Image("image"), b.Blob("application/xml", []byte("<x/>"))
	index := b.Index(image, xml)
	b.Tag("v1", index)
	signature := b.Notary(index, "signature")
	add(t, s, b.Content())
	for d, want := range map[*layout.Descriptor]Outline{
		&image:     {},
		&index:     {Children: []digest.Digest{image.Digest, xml.Digest}},
		&signature: {Subject: index.Digest},
	} {
		for _, outline := range []func() (Outline, error){
			func() (Outline, error) { return s.Judged().Outline(t.Context(), testRepo, *d) },
			func() (Outline, error) { return s.Judged().RememberedOutline(t.Context(), testRepo, *d) },
		} {
			if got, err := outline(); err != nil || !slices.Equal(got.Children, want.Children) || got.Subject != want.Subject {
				t.Errorf("%s: %+v, %v, want %+v", d.MediaType, got, err, want)
			}
		}
	}
	path := filepath.Join(dir, filepath.FromSlash(layout.BlobPath(index.Digest)))
	whole, err := os.ReadFile(path)
	no(t, err)
	write(t, path, []byte("damaged"))
	if _, err := s.Judged().RememberedOutline(t.Context(), testRepo, index); err != nil {
		t.Error(err)
	}
	if o, err := s.Judged().Outline(t.Context(), testRepo, index); err == nil {
		t.Errorf("of a damaged index: %+v", o)
	}
	write(t, path, whole)
}
