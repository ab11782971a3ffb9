package bundle_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/klauspost/compress/zstd"
)

// compressions compress as the tools do. xz has no writer here, so its program has to
// be there.
var compressions = map[string]func(t *testing.T, w io.Writer, data []byte){
	"gzip": func(t *testing.T, w io.Writer, data []byte) {
		z := gzip.NewWriter(w)
		writeAll(t, z, data)
	},
	"zstd": func(t *testing.T, w io.Writer, data []byte) {
		z, err := zstd.NewWriter(w)
		if err != nil {
			t.Fatal(err)
		}
		writeAll(t, z, data)
	},
	"xz":    program("xz"),
	"bzip2": program("bzip2"),
}

func writeAll(t *testing.T, w io.WriteCloser, data []byte) {
	t.Helper()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func program(name string) func(t *testing.T, w io.Writer, data []byte) {
	return func(t *testing.T, w io.Writer, data []byte) {
		t.Helper()
		if _, err := exec.LookPath(name); err != nil {
			t.Skip(err)
		}
		cmd := exec.Command(name, "-c")
		cmd.Stdin, cmd.Stdout = bytes.NewReader(data), w
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
}

// A bundle that was compressed as a whole is read through, and is ours to the last byte;
// one that ends early, or has a flipped bit anywhere but in a field that says nothing of
// the content, is refused. No file stays behind.
func TestCompressedBundle(t *testing.T) {
	path := export(t, layouttest.Everything(repo), bundle.ExportOptions{})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, compress := range compressions {
		t.Run(name, func(t *testing.T) {
			var buf bytes.Buffer
			compress(t, &buf, whole)
			temp := t.TempDir()
			open := func(data []byte) error {
				file := filepath.Join(t.TempDir(), "app.tar") // the content tells, not the name
				if err := os.WriteFile(file, data, 0o644); err != nil {
					t.Fatal(err)
				}
				b, err := bundle.Open(t.Context(), file, bundle.OpenOptions{TempDir: temp})
				if err != nil {
					return err
				}
				defer b.Close()
				if !b.Own() || b.Size != int64(len(whole)) {
					t.Errorf("own %v, %d bytes, want %d", b.Own(), b.Size, len(whole))
				}
				_, err = b.Graph(t.Context())
				return err
			}
			if err := open(buf.Bytes()); err != nil {
				t.Fatal(err)
			}
			if err := open(buf.Bytes()[:buf.Len()-9]); !errors.Is(err, layout.ErrIncomplete) && !errors.Is(err, layout.ErrCorrupt) {
				t.Errorf("cut short: %v", err)
			}
			flipped := bytes.Clone(buf.Bytes())
			flipped[len(flipped)/2] ^= 4
			if err := open(flipped); !errors.Is(err, layout.ErrCorrupt) {
				t.Errorf("with a flipped bit: %v, want ErrCorrupt", err)
			}
			var twice bytes.Buffer
			compress(t, &twice, buf.Bytes())
			if err := open(twice.Bytes()); !errors.Is(err, layout.ErrNotBundle) || !strings.Contains(layout.Hint(err), "decompress it first") {
				t.Errorf("compressed twice: %v (hint %q)", err, layout.Hint(err))
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// A small file that expands without end is refused before it has filled the disk.
func TestDecompressionBomb(t *testing.T) {
	zeros := make([]byte, 1<<20)
	var gz, zst bytes.Buffer
	z := gzip.NewWriter(&gz)
	s, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for range layout.MinExpand>>20 + 64 {
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zst.Bytes()} {
		r, err := layout.Expand(bytes.NewReader(data), layout.Compression(what))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		r.Close()
		if !errors.Is(err, layout.ErrLimit) || n > layout.MinExpand+layout.MaxExpandRatio*int64(len(data))+1<<20 {
			t.Errorf("%s: %d bytes of %d, %v, want ErrLimit", what, n, len(data), err)
		}
	}
}

// A window that would take more memory than is accepted is refused before it is made.
func TestDecompressionWindow(t *testing.T) {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf, zstd.WithWindowSize(512<<20), zstd.WithSingleSegment(false), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := w.Write(bytes.Repeat([]byte("window"), 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	// The same in xz: a header that asks for 1.5 GiB (xz --lzma2=dict=1536MiB).
	xz := []byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x25\x00\x00\x00\x3b\x78\x7b\x41\x01\x00\x01x\n\x00\x00\x00\x37\x4a\x51\xdc")
	for format, data := range map[layout.Compression][]byte{layout.CompressionZstd: buf.Bytes(), layout.CompressionXZ: xz} {
		r, err := layout.Expand(bytes.NewReader(data), format)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		if !errors.Is(err, layout.ErrLimit) {
			t.Errorf("%s: %v, want ErrLimit", format, err)
		}
	}
}
