package layout

import (
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
)

// At opens a blob to be read from anywhere in it, and tells its size. Nothing
// checks what is read: that is for the caller. Content that the layout does not
// have is ErrNotFound.
func (r *Reader) At(dgst digest.Digest) (io.ReadSeekCloser, int64, error) {
	if _, err := ParseDigest(string(dgst)); err != nil {
		return nil, 0, r.fail("", err)
	}
	rc, size, err := r.files.blob(dgst)
	if err != nil {
		return nil, 0, r.fail(dgst, err)
	}
	f, ok := rc.(ReaderAtCloser)
	if !ok {
		rc.Close()
		return nil, 0, r.fail(dgst, fmt.Errorf("it can only be read from front to back: %w", ErrUnsupported))
	}
	return Seekable(f, size), size, nil
}

// ReaderAtCloser is a file, or a piece of one.
type ReaderAtCloser interface {
	io.ReaderAt
	io.Closer
}

// Seekable returns a file of size bytes as it is if it can seek, as the operating
// system's own can, which may then be sent without being copied; else it is read by
// position.
func Seekable(f ReaderAtCloser, size int64) io.ReadSeekCloser {
	if s, ok := f.(io.ReadSeekCloser); ok {
		return s
	}
	return seekable{io.NewSectionReader(f, 0, size), f}
}

type seekable struct {
	io.ReadSeeker
	io.Closer
}
