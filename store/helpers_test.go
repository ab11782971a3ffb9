package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
)

const testRepo = "reg.example:5000/team/app"

// open opens the store in dir. Every test ends with a check of its store.
func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.db.closed { // not by the test
			sound(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

func sound(t *testing.T, s *Store) Report {
	t.Helper()
	r, err := s.Check(t.Context(), CheckOptions{Hashes: true})
	if err != nil && t.Context().Err() == nil {
		t.Error(err)
	}
	for _, p := range r.Problems {
		t.Errorf("check: %s %s: %v", p.Repository, p.Digest, p.Err)
	}
	return r
}

// add imports content in one session.
func add(t *testing.T, s *Store, content layouttest.Content) {
	t.Helper()
	session := begin(t, s)
	if err := content.Load(t.Context(), session); err != nil {
		t.Fatal(err)
	}
}

func begin(t *testing.T, s *Store) *Session {
	t.Helper()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// image returns an image with a signature, under a tag.
func image(label string) layouttest.Content {
	b := layouttest.New(testRepo)
	img := b.Image(label)
	b.Notary(img, "signature")
	b.Tag(label, img)
	return b.Content()
}

// files lists all files below one of the store's folders.
func files(t *testing.T, dir, sub string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}

// leftovers lists what is in ingest/, but for the locks of processes that run.
func leftovers(t *testing.T, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, dir, ingestDir), func(path string) bool { return filepath.Base(path) == aliveName })
}

// content lists all files, but for locks and the reserve.
func content(t *testing.T, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(files(t, dir, ""), func(path string) bool {
		return filepath.Base(path) == aliveName || filepath.Base(path) == reserveName || filepath.Base(filepath.Dir(path)) == lockDir
	})
}

func blobFile(dir string, d layout.Descriptor) string {
	return filepath.Join(dir, filepath.FromSlash(layout.BlobPath(d.Digest)))
}

// largest returns the biggest item of content.
func largest(content layouttest.Content) (out layouttest.Item) {
	for _, items := range content.Repositories {
		for _, item := range items {
			if len(item.Bytes) > len(out.Bytes) {
				out = item
			}
		}
	}
	return out
}

func putItem(t *testing.T, session *Session, item layouttest.Item) error {
	t.Helper()
	return session.Put(t.Context(), testRepo, item.Descriptor, bytes.NewReader(item.Bytes))
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
