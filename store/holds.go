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

// HeldOptions tune [Store.Held]. The zero value hashes every file.
type HeldOptions struct {
	// SizesOnly takes a file of the right size for intact.
	SizesOnly bool
	// OnPlan is called once, with how many blobs there are, and their sizes together.
	OnPlan func(count int, size int64)
	// OnBlob is called after each blob with its size.
	OnBlob func(size int64)
}

// Held lists the blobs of all repositories, each once, sorted by digest; manifests are
// not among them. Blobs whose file is damaged or missing are in damaged instead.
func (s *Store) Held(ctx context.Context, o HeldOptions) (held, damaged []Blob, err error) {
	all, err := s.listedBlobs(ctx)
	if err != nil {
		return nil, nil, s.wrap("", err)
	}
	if o.OnPlan != nil {
		var size int64
		for _, b := range all {
			size += b.Size
		}
		o.OnPlan(len(all), size)
	}
	for _, b := range all {
		intact, err := s.holds(ctx, b, o)
		if err := errors.Join(err, ctx.Err()); err != nil {
			return nil, nil, s.wrap(b.Digest, err)
		}
		if intact {
			held = append(held, b)
		} else {
			damaged = append(damaged, b)
		}
		if o.OnBlob != nil {
			o.OnBlob(b.Size)
		}
	}
	return held, damaged, nil
}

func (s *Store) holds(ctx context.Context, b Blob, o HeldOptions) (bool, error) {
	if o.SizesOnly {
		size, err := s.fileSize(b.Digest)
		return size == b.Size, err
	}
	state, err := s.examine(ctx, layout.Descriptor{Digest: b.Digest, Size: b.Size})
	return state == stateSound, err
}

// listedBlobs lists the blobs of all repositories, each once, sorted by digest.
func (s *Store) listedBlobs(ctx context.Context) ([]Blob, error) {
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
	out := make([]Blob, 0, len(listed))
	for dgst, size := range listed {
		out = append(out, Blob{dgst, size})
	}
	slices.SortFunc(out, func(a, b Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return out, err
}
