package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"airgap/layout"
	"airgap/layout/disk"
)

// readThrough returns f, or, if it is compressed as a whole, what it expands to, in a
// file without a name in o.TempDir: a bundle is read here and there, and a compressed
// stream only from front to back. See [layout.Expand] for the limits. f is closed when
// it is needed no more.
func readThrough(ctx context.Context, name string, f ReaderAtCloser, size int64, o OpenOptions) (ReaderAtCloser, int64, error) {
	head := make([]byte, min(size, layout.SniffSize))
	if n, err := f.ReadAt(head, 0); n < len(head) {
		f.Close()
		return nil, 0, fmt.Errorf("its first bytes: %w", err)
	}
	format := layout.SniffCompression(head)
	if format == layout.CompressionNone {
		return f, size, nil
	}
	defer f.Close()
	out, err := disk.Unnamed(o.TempDir)
	if err != nil {
		return nil, 0, err
	}
	n, err := expandTo(ctx, out, io.NewSectionReader(f, 0, size), format)
	if err != nil {
		out.Close()
		return nil, 0, &layout.Error{Side: layout.SideBundle, Name: name, Err: err, Hint: expandHint(err, o.TempDir)}
	}
	return out, n, nil
}

func expandTo(ctx context.Context, out *os.File, in io.Reader, format layout.Compression) (int64, error) {
	r, err := layout.Expand(&cancellable{ctx, in}, format)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return io.Copy(out, &cancellable{ctx, r})
}

// cancellable is a reader that ends with its context.
type cancellable struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

func expandHint(err error, dir string) string {
	switch {
	case errors.Is(err, syscall.ENOSPC) && dir == "":
		return "a compressed bundle is decompressed to $TMPDIR: set that to a folder with room, or decompress it yourself"
	case errors.Is(err, syscall.ENOSPC):
		return "a compressed bundle is decompressed in the store's file system: free some space there, or decompress it yourself elsewhere"
	case errors.Is(err, layout.ErrLimit):
		return "no honest archive of images is like this; if it is one, decompress it yourself"
	case errors.Is(err, layout.ErrCorrupt):
		return "copy it again from where it was made; compare its size and checksum there"
	}
	return ""
}
