package store

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Holds reports whether the store has a blob, in whatever repository. Its file is hashed.
// What only this session has put does not count.
func (s *Session) Holds(ctx context.Context, d layout.Descriptor) (bool, error) {
	err := errors.Join(ctx.Err(), layout.CheckDescriptor(d))
	ok := false
	if err == nil {
		err = s.look(ctx, d.Digest, func() error {
			ok, err = s.intact(ctx, d)
			return err
		})
	}
	return ok, s.store.wrap(d.Digest, err)
}

// Blob is content that a store holds.
type Blob struct {
	Digest digest.Digest
	Size   int64
}

// Blobs lists the blobs of all repositories, each once, sorted by digest; manifests
// are not among them. One whose file is gone, or of another size, is left out.
func (s *Store) Blobs(ctx context.Context) ([]Blob, error) {
	listed := map[digest.Digest]int64{}
	err := s.view(func(tx *bbolt.Tx) error {
		return eachRepository(ctx, tx, func(_ string, b *bbolt.Bucket) error {
			return b.Bucket(repoBlobs).ForEach(func(k, _ []byte) error {
				dgst, _, err := parseKey(k)
				if err != nil {
					return err
				}
				if size, ok := blobSize(tx, dgst); ok {
					listed[dgst] = size
				}
				return nil
			})
		})
	})
	if err != nil {
		return nil, s.wrap("", err)
	}
	var out []Blob
	for dgst, size := range listed {
		have, err := s.fileSize(dgst)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, s.wrap(dgst, err)
		}
		if have == size {
			out = append(out, Blob{dgst, size})
		}
	}
	slices.SortFunc(out, func(a, b Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return out, nil
}
