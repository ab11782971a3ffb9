package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A default store that cannot be looked at is not the same as none: an import into a
// registry would go on without remembering anything.
func TestStoreThatCannotBeLookedAt(t *testing.T) {
	dir := t.TempDir()
	none, odd := filepath.Join(dir, "none"), filepath.Join(dir, "odd")
	if err := os.Mkdir(odd, 0o755); err != nil {
		t.Fatal(err)
	}
	// A link in a circle: there, and not to be looked at, for root either.
	if err := os.Symlink("airgap.db", filepath.Join(odd, "airgap.db")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{none: "", odd: odd} {
		u := &ui{getenv: func(name string) string { return map[string]string{"AIRGAP_STORE": path}[name] }}
		if got := (&importOptions{to: "registry.example"}).memoryDir(u); got != want {
			t.Errorf("%s: memory in %q, want %q", path, got, want)
		}
	}
	if _, err := keptLists(odd); err == nil {
		t.Error("its lists are taken for none")
	}
}
