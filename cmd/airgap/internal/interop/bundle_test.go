//go:build interop && linux

package interop

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// export writes a bundle and returns its path.
func export(t *testing.T, refs ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "bundle.tar")
	run(t, "airgap", append([]string{"export", "--quiet", "-o", out}, refs...)...)
	return out
}

// exportFixture writes a bundle of both images of the fixture.
func exportFixture(t *testing.T, f *fixture) string {
	t.Helper()
	return export(t, f.hello.String()+":v1", f.tool.String()+":2")
}

// importTo imports a bundle, a tar or a folder, into a registry.
func importTo(t *testing.T, bundle, to string, flags ...string) {
	t.Helper()
	run(t, "airgap", append([]string{"import", "--quiet", "--insecure-skip-verify", bundle, "--to", to}, flags...)...)
}

// unpack extracts a tar with GNU tar.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, "tar", "-xf", archive, "-C", dir)
	return dir
}

// tarBlobs reads the blobs of a layout in a tar, and checks each.
func tarBlobs(t *testing.T, name string) map[digest.Digest]bool {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[digest.Digest]bool{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(h.Name, "blobs/") || h.Typeflag != tar.TypeReg {
			continue
		}
		d, err := digest.SHA256.FromReader(r)
		if err != nil {
			t.Fatal(err)
		}
		if d.Encoded() != path.Base(h.Name) {
			t.Errorf("%s in %s has digest %s", h.Name, name, d)
		}
		out[d] = true
	}
}

// holds says whether a bundle of ours has exactly what the inventories list, and
// its own record: a manifest, a statement and the empty config.
func holds(t *testing.T, bundle string, want ...*inventory) {
	t.Helper()
	blobs := tarBlobs(t, bundle)
	listed := map[digest.Digest]bool{digest.FromString("{}"): true}
	for _, inv := range want {
		for d := range inv.digests() {
			listed[d] = true
			if !blobs[d] {
				t.Errorf("%s lacks %s", bundle, d)
			}
		}
	}
	extra := 0
	for d := range blobs {
		if !listed[d] {
			extra++
		}
	}
	if extra != 2 {
		t.Errorf("%s has %d blobs that were not there, want the 2 of the export record", bundle, extra)
	}
}
