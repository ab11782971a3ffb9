package serve_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"
)

const (
	ghcr  = "ghcr.io/acme/team/app"
	hub   = "docker.io/library/nginx"
	port  = "reg.example:5000/team/app"
	plain = "quay.io/acme/sha512"
)

// everything is content of all forms, in repositories of four registries.
func everything() layouttest.Content {
	return layouttest.Merge(layouttest.Everything(ghcr), layouttest.Everything(hub), layouttest.Everything(port), layouttest.SHA512(plain))
}

// newStore makes a store with content in it.
func newStore(t testing.TB, content layouttest.Content) (*store.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := content.Load(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	return s, dir
}

// newTar writes content as a bundle and serves that.
func newTar(t *testing.T, content layouttest.Content) serve.Content {
	t.Helper()
	m := layout.NewMemory()
	if err := content.Load(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(t.Context(), m, content.Roots(), layout.WalkOptions{Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := layout.NewPlan(g)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bundle.tar")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(layout.WriteTar(t.Context(), out, m, plan, nil), out.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := disk.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := layout.OpenTar(path, f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return serve.FromGraph(g, r)
}
