package bundle_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"

	"github.com/opencontainers/go-digest"
)

// huge is content with one more blob, of zeros, that is nowhere in memory.
type huge struct {
	*layout.Memory
	blob layout.Descriptor
}

func (h *huge) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if d.Digest == h.blob.Digest {
		return layout.Verify(io.NopCloser(io.LimitReader(zeros{}, d.Size)), d), nil
	}
	return h.Memory.Open(ctx, repo, d)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A blob larger than the 8 GiB that a tar header holds in octal goes the whole
// way, sparse on the disk. AIRGAP_LARGE_GIB is its size.
func TestBlobBeyond8GiB(t *testing.T) {
	gib, err := strconv.ParseInt(os.Getenv("AIRGAP_LARGE_GIB"), 10, 64)
	if err != nil || gib < 9 {
		t.Skip("hashes it five times; make large does")
	}
	src, refs := hugeImage(t, gib<<30)
	path := filepath.Join(t.TempDir(), "huge.tar")
	sel := []bundle.Selection{{Source: src, References: refs}}
	res, err := bundle.Export(t.Context(), sel, bundle.ExportOptions{Output: path})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() != res.Size || res.Size < gib<<30 {
		t.Fatalf("%d bytes planned, %v, %v", res.Size, info, err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 1<<20 {
		t.Errorf("%d bytes on the disk, for nothing but zeros", used)
	}
	listed(t, path, src.blob)
	report, err := bundle.Inspect(t.Context(), open(t, path))
	if err != nil || !report.Own || report.Contents.Bytes < gib<<30 {
		t.Errorf("Inspect: %+v, %v", report, err)
	}
	imported(t, path, src.blob)
}

func hugeImage(t *testing.T, size int64) (*huge, []layout.Reference) {
	t.Helper()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, io.LimitReader(zeros{}, size), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	blob := layout.Descriptor{
		MediaType: "application/vnd.oci.image.layer.v1.tar", Size: size,
		Digest: digest.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))),
	}
	b := layouttest.New(repo)
	b.Tag("huge", b.Image("huge", blob))
	return &huge{memory(t, b.Content()), blob}, b.Content().Roots()
}

// listed holds what GNU tar and bsdtar say against what is in it.
func listed(t *testing.T, path string, blob layout.Descriptor) {
	t.Helper()
	asked := 0
	for _, tool := range []string{"tar", "bsdtar"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Logf("%s is not here", tool)
			continue
		}
		asked++
		out, err := exec.Command(tool, "-tvf", path).Output()
		found := false
		for line := range strings.Lines(string(out)) {
			found = found || strings.Contains(line, blob.Digest.Encoded()) && strings.Contains(line, fmt.Sprint(blob.Size))
		}
		if err != nil || !found {
			t.Errorf("%s: %v, and no line for the blob of %d bytes in\n%s", tool, err, blob.Size, out)
		}
	}
	if asked == 0 {
		t.Error("neither tar nor bsdtar is here to ask")
	}
}

func imported(t *testing.T, path string, blob layout.Descriptor) {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if _, err := tryImport(t, path, session, bundle.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	rc, err := s.Open(t.Context(), repo, blob)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if n, err := io.Copy(io.Discard, rc); n != blob.Size || err != nil {
		t.Errorf("the store gives %d bytes of %d, %v", n, blob.Size, err)
	}
}
