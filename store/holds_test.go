package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"airgap/layout"
	"airgap/store"

	"github.com/opencontainers/go-digest"
)

// What a store holds is what is listed and lies there in its size: nothing that is
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
	for _, text := range []string{"kept", "lost", "cut short"} {
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
	if err := errors.Join(os.Remove(file("lost")), os.Truncate(file("cut short"), 1)); err != nil {
		t.Fatal(err)
	}
	all, err := s.Blobs(t.Context())
	if want := (store.Blob{Digest: blob("kept").Digest, Size: 4}); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("Blobs = %v, %v; want %v", all, err, want)
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
		"kept": {blob("kept"), true}, "lost": {blob("lost"), false}, "cut short": {blob("cut short"), false},
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
