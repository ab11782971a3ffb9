//go:build unix

package main

import (
	"archive/tar"
	"context"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"airgap/layout"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxFile is the largest file that goes into a layer. A single huge one would be
// most of the workload, and images are made of many.
const maxFile = 64 << 20

// realFiles hands out regular files below some folders, each once, in the order
// of their names.
func realFiles(ctx context.Context, roots []string) <-chan string {
	out := make(chan string)
	go func() {
		defer close(out)
		for _, root := range roots {
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return nil // what cannot be read is of no use here, and no error
				}
				if info, err := d.Info(); err != nil || info.Size() == 0 || info.Size() > maxFile {
					return nil
				}
				select {
				case out <- path:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}
	}()
	return out
}

// layer is a gzip of a tar of real files.
type layer struct {
	desc   layout.Descriptor
	diffID digest.Digest
	path   string
	files  []string // names, for the SBOM
}

// errNoFiles says that there were fewer real files than wanted.
var errNoFiles = errors.New("not enough files on this machine to make layers of")

// newLayer fills path with files until it is at least size bytes long.
func newLayer(path string, files <-chan string, size int64) (*layer, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := &counted{w: f, hash: digest.SHA256.Hash()}
	zip, err := gzip.NewWriterLevel(sum, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	plain := &counted{w: zip, hash: digest.SHA256.Hash()}
	l := &layer{path: path}
	w := tar.NewWriter(plain)
	for sum.n < size {
		name, ok := <-files
		if !ok {
			return nil, errNoFiles
		}
		taken, err := addFile(w, name, size-sum.n)
		if err != nil {
			return nil, err
		}
		if taken {
			l.files = append(l.files, strings.TrimPrefix(name, "/"))
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		return nil, err
	}
	l.diffID = plain.digest()
	l.desc = layout.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: sum.digest(), Size: sum.n}
	return l, f.Sync()
}

// addFile adds one file, or what fits of it where little room is left: a layer
// that should be small must not become large by its last file.
func addFile(w *tar.Writer, name string, room int64) (bool, error) {
	f, err := os.Open(name)
	if err != nil {
		return false, nil // not for us to read
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return false, nil
	}
	size := min(info.Size(), 2*room+4096)
	h := &tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: int64(info.Mode().Perm()), Size: size, Format: tar.FormatGNU}
	if err := w.WriteHeader(h); err != nil {
		return false, err
	}
	n, err := io.CopyN(w, f, size)
	if err == io.EOF { // it shrank
		_, err = io.CopyN(w, zeros{}, size-n)
	}
	return true, err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// counted hashes and counts what is written through it.
type counted struct {
	w    io.Writer
	hash hash.Hash
	n    int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.hash.Write(p[:n])
	c.n += int64(n)
	return n, err
}

func (c *counted) digest() digest.Digest {
	return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(c.hash.Sum(nil)))
}
