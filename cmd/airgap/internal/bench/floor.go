//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// processors is how much may be done at once.
func processors() int { return runtime.GOMAXPROCS(0) }

// floor is the least that bringing a bundle into a folder can cost: every blob is
// read, hashed, compared and written to a file of its own, as many at once as
// there are processors, and all of it is brought to the disk. It knows where
// things are from the bundle's headers, and proves nothing else.
func floor(ctx context.Context, path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := layout.OpenTar(path, f, info.Size())
	if err != nil {
		return err
	}
	var blobs []layout.Descriptor
	err = r.Blobs(func(d digest.Digest, size int64) error {
		blobs = append(blobs, layout.Descriptor{Digest: d, Size: size})
		return nil
	})
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	// The largest first, or one processor would be left with a large one in the end.
	slices.SortFunc(blobs, func(a, b layout.Descriptor) int { return cmp.Compare(b.Size, a.Size) })
	err = parallel(ctx, len(blobs), func(ctx context.Context, i int) error { return floorBlob(ctx, r, blobs[i], dir) })
	syscall.Sync()
	return err
}

// floorCopy is as much as airgap moves at a time.
const floorCopy = 256 << 10

func floorBlob(ctx context.Context, r *layout.Reader, d layout.Descriptor, dir string) error {
	src, err := r.Open(ctx, "", d) // compares the digest
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(filepath.Join(dir, d.Digest.Encoded()))
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, floorCopy))
	return errors.Join(err, dst.Close())
}
