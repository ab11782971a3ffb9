package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// packedMagic is how that begins which engines unpack or run. Media types do not tell:
// podman starts an image with layers that are said to be signatures, and all of them one
// whose config is said to be anything.
var packedMagic = []string{
	"\x1f\x8b",         // gzip
	"BZh",              // bzip2
	"\xfd7zXZ\x00",     // xz
	"\x28\xb5\x2f\xfd", // zstd
	"\x00asm",          // WebAssembly
}

// A tar begins with a header, which has the sum of its bytes in it.
const (
	tarBlock    = 512
	tarSumStart = 148
	tarSumEnd   = 156
)

// packed says whether a blob that begins so could be a layer of an image.
func packed(head []byte) bool {
	for _, magic := range packedMagic {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return skippable(head) || isTar(head)
}

// skippable says whether it is a frame that readers of zstd skip: another may follow
// (RFC 8878, 3.1.2).
func skippable(head []byte) bool {
	return len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
}

func isTar(head []byte) bool {
	if len(head) < tarBlock {
		return false
	}
	text := strings.Trim(string(head[tarSumStart:tarSumEnd]), " \x00")
	want, err := strconv.ParseInt(text, 8, 64)
	if err != nil {
		return false
	}
	var unsigned, signed int64 // old programs add the one, older ones the other
	for i, c := range head[:tarBlock] {
		if i >= tarSumStart && i < tarSumEnd {
			c = ' '
		}
		unsigned, signed = unsigned+int64(c), signed+int64(int8(c))
	}
	return want == unsigned || want == signed
}

// packedBlob finds a blob of a list that could be a layer of an image; empty if there is
// none. One that is not here could be anything.
func (s *Store) packedBlob(blobs []digest.Digest) (digest.Digest, error) {
	for _, dgst := range blobs {
		head, err := s.head(dgst)
		if errors.Is(err, fs.ErrNotExist) || err == nil && packed(head) {
			return dgst, nil
		}
		if err != nil {
			return "", err
		}
	}
	return "", nil
}

// head reads how a blob begins.
func (s *Store) head(dgst digest.Digest) ([]byte, error) {
	f, err := s.fs.Open(layout.BlobPath(dgst), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(f, tarBlock))
	return head, errors.Join(err, f.Close())
}

// Inert says whether nothing can be started from a manifest of repo: it is no index and
// no image, and if a client pushed it, then nothing that it lists is packed as layers are.
func (j Judged) Inert(repo string, dgst digest.Digest) (inert bool, err error) {
	err = j.view(func(tx *bbolt.Tx) error {
		inert = j.inert(tx, repo, dgst)
		return nil
	})
	if err != nil {
		return false, j.wrap(dgst, fmt.Errorf("what can be started: %w", err))
	}
	return inert, nil
}
