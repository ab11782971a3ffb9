package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// startable says why an engine could start something from a manifest whose bytes are
// checked, as far as its blobs are here; "" if nothing can be. See
// [layout.Inspector.Startable].
func (s *Store) startable(m *layout.Manifest) (string, error) {
	return s.starts.Startable(m, func(d layout.Descriptor) (io.ReadCloser, error) {
		f, err := s.fs.Open(layout.BlobPath(d.Digest), os.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, s.missing("", d.Digest)
		}
		return f, err
	})
}

// inert says whether nothing can be started from a manifest of repo. What cannot be read
// is not.
func (s *Store) inert(tx *bbolt.Tx, repo string, dgst digest.Digest) bool {
	rec, ok, err := manifest(tx, repo, dgst)
	if err != nil || !ok || layout.IsIndex(rec.MediaType) {
		return false
	}
	o, err := s.outline(rec.descriptor(dgst))
	if err != nil {
		return false
	}
	if o.image {
		return false
	}
	if o.inert.Load() {
		return true
	}
	m, err := s.parse(rec.descriptor(dgst))
	if err != nil {
		return false
	}
	why, err := s.startable(m)
	if err != nil || why != "" { // it may have been damaged, or not here
		return false
	}
	o.inert.Store(true) // bytes with a digest do not change
	return true
}

// Inert says whether nothing can be started from a manifest of repo.
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
