package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// A blob's file has the right bytes when it is written. Disks change bytes, and people
// edit files: what a session relies on, instead of writing it again, is hashed first.

// proofTime is how long the outcome of hashing a file counts, as long as the file looks
// the same: one import asks several times for one blob.
const proofTime = 10 * time.Minute

// maxProofs is how many outcomes are kept, of a few hundred bytes each.
const maxProofs = 1 << 16

// proofs remember which files were hashed.
type proofs struct {
	mu  sync.Mutex
	all map[digest.Digest]proof
}

// proof is the outcome of hashing a file.
type proof struct {
	file    fs.FileInfo
	at      time.Time
	damaged bool
}

// of returns the outcome for a file that looks like info.
func (p *proofs) of(dgst digest.Digest, info fs.FileInfo) (damaged, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, ok := p.all[dgst]
	if !ok || !sameFile(was.file, info) || !was.damaged && time.Since(was.at) > proofTime {
		return false, false
	}
	return was.damaged, true
}

func (p *proofs) keep(dgst digest.Digest, info fs.FileInfo, damaged bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil || len(p.all) >= maxProofs {
		p.all = map[digest.Digest]proof{}
	}
	p.all[dgst] = proof{info, time.Now(), damaged}
}

// sameFile reports whether nobody has replaced or written a file between a and b.
func sameFile(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// state is what became of a blob's file.
type state int

const (
	stateSound   state = iota
	stateDamaged       // other bytes, or another size
	stateMissing
)

// examine hashes the file of d, unless it did so a short while ago.
func (s *Store) examine(ctx context.Context, d layout.Descriptor) (state, error) {
	f, err := s.fs.Open(layout.BlobPath(d.Digest), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return stateMissing, nil
	}
	if err != nil {
		return stateDamaged, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return stateDamaged, err
	}
	if info.Size() != d.Size {
		return stateDamaged, nil
	}
	damaged, known := s.proofs.of(d.Digest, info)
	if !known {
		err := copyAll(io.Discard, layout.Verify(layout.NopCloser(withContext(ctx, f)), d))
		if err != nil && ctx.Err() != nil {
			return stateDamaged, err
		}
		damaged = err != nil // what the disk cannot read is damaged, too
		s.proofs.keep(d.Digest, info, damaged)
	}
	if damaged {
		return stateDamaged, nil
	}
	return stateSound, nil
}

// knownDamage fails for a file that was hashed and had other bytes, unless it was
// replaced or written since.
func (s *Store) knownDamage(dgst digest.Digest, f interface{ Stat() (fs.FileInfo, error) }) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if damaged, known := s.proofs.of(dgst, info); known && damaged {
		return s.damaged(dgst, fmt.Errorf("its bytes have another digest: %w", layout.ErrCorrupt))
	}
	return nil
}

// proveWritten notes that files have the right bytes: this process has hashed them while
// it wrote them.
func (s *Store) proveWritten(all []digest.Digest) {
	for _, dgst := range all {
		f, err := s.fs.Open(layout.BlobPath(dgst), os.O_RDONLY, 0)
		if err != nil {
			continue // it is hashed when somebody asks
		}
		if info, err := f.Stat(); err == nil {
			s.proofs.keep(dgst, info, false)
		}
		_ = f.Close() // nothing was written
	}
}

// intact reports whether the database lists d, with a file that has its bytes. Whether a
// file was completed is for the database alone to say. If the file is damaged or missing,
// the session replaces it once it has the content.
func (s *Session) intact(ctx context.Context, d layout.Descriptor) (bool, error) {
	known, err := s.store.listed(d)
	if err != nil || !known {
		return false, err
	}
	state, err := s.store.examine(ctx, d)
	if err != nil {
		return false, err
	}
	if state != stateSound {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.broken == nil {
			s.broken = map[digest.Digest]bool{}
		}
		s.broken[d.Digest] = true
	}
	return state == stateSound, nil
}

// Repaired lists the blobs and manifests, sorted, whose file in the store was damaged or
// missing, and that Commit has replaced.
func (s *Session) Repaired() []digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repaired
}
