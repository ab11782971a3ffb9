package store_test

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/store"

	"github.com/opencontainers/go-digest"
)

// What a store holds is what is listed, and whose file has its bytes: nothing that is
// not committed, no manifest, nothing that was lost.
func TestHolds(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	blob := func(text string) layout.Descriptor {
		return layout.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromString(text), Size: int64(len(text))}
	}
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"kept", "lost", "cut short", "altered"} {
		for _, repo := range []string{"a.example/x", "b.example/y"} {
			if err := session.Put(t.Context(), repo, blob(text), bytes.NewReader([]byte(text))); err != nil {
				t.Fatal(err)
			}
		}
	}
	manifest := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
	m := layout.Descriptor{MediaType: layout.MediaTypeIndex, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}
	if err := session.Put(t.Context(), "a.example/x", m, bytes.NewReader(manifest)); err != nil {
		t.Fatal(err)
	}
	if ok, err := session.Holds(t.Context(), blob("kept")); ok || err != nil {
		t.Errorf("Holds before the commit = %v, %v", ok, err)
	}
	if err := session.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	file := func(text string) string {
		return filepath.Join(dir, filepath.FromSlash(layout.BlobPath(blob(text).Digest)))
	}
	if err := errors.Join(os.Remove(file("lost")), os.Truncate(file("cut short"), 1), os.WriteFile(file("altered"), []byte("ALTERED"), 0o600)); err != nil {
		t.Fatal(err)
	}
	blobs := func(texts ...string) (out []store.Blob) {
		for _, text := range texts {
			out = append(out, store.Blob{Digest: blob(text).Digest, Size: blob(text).Size})
		}
		slices.SortFunc(out, func(a, b store.Blob) int { return cmp.Compare(a.Digest, b.Digest) })
		return out
	}
	count, size, seen := 0, int64(0), int64(0)
	for sizesOnly, want := range map[bool][2][]store.Blob{
		false: {blobs("kept"), blobs("lost", "cut short", "altered")},
		true:  {blobs("kept", "altered"), blobs("lost", "cut short")},
	} {
		seen = 0
		held, damaged, err := s.Held(t.Context(), store.HeldOptions{
			SizesOnly: sizesOnly,
			OnPlan:    func(n int, all int64) { count, size = n, all },
			OnBlob:    func(n int64) { seen += n },
		})
		if err != nil || !slices.Equal(held, want[0]) || !slices.Equal(damaged, want[1]) {
			t.Errorf("by sizes only %v: Held = %v, %v, %v; want %v", sizesOnly, held, damaged, err, want)
		}
		if count != 4 || seen != size || size != 24 {
			t.Errorf("%d blobs of %d bytes, seen %d", count, size, seen)
		}
	}
	session, err = s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	longer := blob("kept")
	longer.Size++
	for what, c := range map[string]struct {
		d    layout.Descriptor
		want bool
	}{
		"kept": {blob("kept"), true}, "altered": {blob("altered"), false}, "lost": {blob("lost"), false}, "cut short": {blob("cut short"), false},
		"never put": {blob("never put"), false}, "of another size": {longer, false},
	} {
		if ok, err := session.Holds(t.Context(), c.d); ok != c.want || err != nil {
			t.Errorf("%s: Holds = %v, %v; want %v", what, ok, err, c.want)
		}
	}
	if _, err := session.Holds(t.Context(), layout.Descriptor{Digest: "sha256:x"}); err == nil {
		t.Error("an odd digest: no error")
	}
}
