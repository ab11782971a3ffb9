package layout

import (
	"bytes"
	"errors"
	"io"
	"syscall"

	"airgap/layout/disk"
	"github.com/opencontainers/go-digest"
)

// salvage is an earlier file, whole or not, from which blobs may be taken. All
// that is believed of it is where a blob might stand; the digest decides.
type salvage struct {
	file  disk.File
	size  int64
	torn  bool // its headers end before the file does
	blobs map[digest.Digest]span
}

// newSalvage reads f's headers, as far as they are of our form. It returns nil
// if there is nothing to be had.
func newSalvage(f disk.File) *salvage {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil
	}
	s := &salvage{file: f, size: info.Size(), blobs: map[digest.Digest]span{}}
	// What the scan's error is does not matter: an unfinished file has blobs
	// that do not match, not headers that do not.
	s.torn = nil != scanTar(f, info.Size(), func(e tarEntry) error {
		if d, ok := digestOfPath(e.name); ok {
			s.blobs[d] = span{e.data, e.size}
		}
		return nil
	})
	if len(s.blobs) == 0 {
		return nil
	}
	return s
}

// matches says whether the file was laid out by the same plan: all headers are
// the same, in the same places.
func (s *salvage) matches(p *Plan) bool {
	if s.size != p.Size {
		return false
	}
	var want, got []byte
	for i := range p.Entries {
		e := &p.Entries[i]
		want = appendHeader(want[:0], e.Name(), e.Size)
		got = append(got[:0], want...)
		if _, err := s.file.ReadAt(got, e.Offset); err != nil || !bytes.Equal(got, want) {
			return false
		}
	}
	return true
}

// reader returns what stands where d would be, or nil. A blob is written front
// to back, so one that begins with a hole was never begun, and is not hashed to
// find that out.
func (s *salvage) reader(d Descriptor) io.Reader {
	at, ok := s.blobs[d.Digest]
	if !ok || at.size != d.Size {
		return nil
	}
	if d.Size > 1<<20 {
		head := make([]byte, 4096)
		if _, err := s.file.ReadAt(head, at.off); err != nil || allZero(head) {
			return nil
		}
	}
	return io.NewSectionReader(s.file, at.off, d.Size)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
