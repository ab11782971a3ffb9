//go:build interop && linux

package interop

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
)

// entries lists a tar as Go reads it: each name with its size.
func entries(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h.Name+" "+strconv.FormatInt(h.Size, 10))
	}
}

// checkListing compares a listing, whose lines have the size and the name in
// columns, with what Go reads.
func checkListing(t *testing.T, bundle, listing string, size, name int) {
	t.Helper()
	var got []string
	for line := range strings.Lines(listing) {
		if f := strings.Fields(line); len(f) > max(size, name) {
			got = append(got, f[name]+" "+f[size])
		}
	}
	same(t, "entry", got, entries(t, bundle))
}

func listedByGNU(t *testing.T, _ *fixture, bundle string) {
	checkListing(t, bundle, run(t, "tar", "-tvf", bundle), 2, 5)
	run(t, "tar", "--compare", "-f", bundle, "-C", unpack(t, bundle))
}

func listedByBSD(t *testing.T, _ *fixture, bundle string) {
	checkListing(t, bundle, run(t, "bsdtar", "-tvf", bundle), 4, 8)
	dir := t.TempDir()
	run(t, "bsdtar", "-xf", bundle, "-C", dir)
	run(t, "tar", "--compare", "-f", bundle, "-C", dir)
}

func listedByPython(t *testing.T, _ *fixture, bundle string) {
	const program = `import sys, tarfile
with tarfile.open(sys.argv[1], "r:") as t:
    for m in t:
        assert m.isfile() and len(t.extractfile(m).read()) == m.size
        print(m.size, m.name)`
	checkListing(t, bundle, run(t, "python3", "-c", program, bundle), 0, 1)
}
