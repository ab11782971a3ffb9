package bundle_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
)

// A bundle that was not copied to its end says how much of it is there, and how much
// there should be, as soon as its record is there; it is not called damaged.
func TestIncompleteBundle(t *testing.T) {
	for what, path := range map[string]string{
		"everything": export(t, layouttest.Everything(repo), bundle.ExportOptions{}),
		"mixed":      export(t, layouttest.Mixed(repo), bundle.ExportOptions{}),
		"sha512":     export(t, layouttest.SHA512(repo), bundle.ExportOptions{}),
	} {
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 100, len(whole) / 2, len(whole) * 3 / 4, len(whole) - 600, len(whole) - 1} {
			short := filepath.Join(t.TempDir(), "short.tar")
			if err := os.WriteFile(short, whole[:n], 0o644); err != nil {
				t.Fatal(err)
			}
			b, err := bundle.Open(t.Context(), short, bundle.OpenOptions{})
			if err == nil {
				b.Close()
			}
			want := fmt.Sprintf("incomplete: %d of ", n)
			if n >= len(whole)*3/4 {
				want += fmt.Sprintf("%d bytes", len(whole))
			}
			if !errors.Is(err, layout.ErrIncomplete) || !errors.Is(err, layout.ErrCorrupt) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "damaged") || layout.Hint(err) == "" {
				t.Errorf("%s: the first %d of %d bytes: %v (hint %q), want %q", what, n, len(whole), err, layout.Hint(err), want)
			}
		}
	}
}
