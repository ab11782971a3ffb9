package store

import (
	"context"
	"fmt"
	"io"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Damage is a blob or manifest that the database lists, and whose file is damaged or
// missing.
type Damage struct {
	layout.Descriptor
	Repositories []string // that have it, sorted; none if only the store lists it
}

// damages describes what the database lists of digests.
func (s *Store) damages(ctx context.Context, all []digest.Digest) ([]Damage, error) {
	out := make([]Damage, len(all))
	err := s.view(func(tx *bbolt.Tx) error {
		for i, dgst := range all {
			size, _ := blobSize(tx, dgst)
			out[i].Descriptor = layout.Descriptor{MediaType: "application/octet-stream", Digest: dgst, Size: size}
		}
		return eachRepository(ctx, tx, func(repo string, b *bbolt.Bucket) error {
			for i := range out {
				rec, isManifest, err := manifest(tx, repo, out[i].Digest)
				if err != nil {
					return err
				}
				if isManifest {
					out[i].MediaType = rec.MediaType
				}
				if isManifest || b.Bucket(repoBlobs).Get(key(out[i].Digest)) != nil {
					out[i].Repositories = append(out[i].Repositories, repo)
				}
			}
			return nil
		})
	})
	return out, err
}

// Repair stages the content of d, which the database has to list, so that Commit replaces
// a file that is damaged or missing. The content is hashed. What repositories have does not
// change.
func (s *Session) Repair(ctx context.Context, d layout.Descriptor, r io.Reader) error {
	listed, err := s.store.listed(d)
	if err == nil && !listed {
		err = fmt.Errorf("the store does not list it with %d bytes: %w", d.Size, layout.ErrNotFound)
	}
	if err == nil {
		err = s.stage(ctx, d, r)
	}
	return s.store.wrap(d.Digest, err)
}

// Content opens what the store has under a digest, in whatever repository, in quarantine
// or not. It fails with layout.ErrNotFound for what the database does not list, and while
// it is read with layout.ErrCorrupt for what is damaged.
func (s *Store) Content(ctx context.Context, d layout.Descriptor) (io.ReadCloser, error) {
	listed, err := s.listed(d)
	if err != nil {
		return nil, s.wrap(d.Digest, err)
	}
	if !listed {
		return nil, s.missing("", d.Digest)
	}
	return s.openFile(ctx, "", d)
}
