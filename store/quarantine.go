package store

import (
	"context"
	"errors"
	"fmt"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// repoQuarantined lists, in a repository, the manifests that are kept and not given
// out, each with a reason:
//
//	repositories/<repo>/quarantined/<digest>   why, for people
//
// A repository that never had one has no such bucket.
var repoQuarantined = []byte("quarantined")

// ErrQuarantined: the store has it, and does not give it out.
var ErrQuarantined = errors.New("in quarantine")

// maxReason is how long the reason of a quarantine may be, in bytes.
const maxReason = 4096

// Quarantined is a manifest that the store keeps and does not give out.
type Quarantined struct {
	Repository string
	Digest     digest.Digest
	Names      []layout.Reference // that lead to it
	Reason     string
}

// spot is a manifest in a repository.
type spot struct {
	repo   string
	digest digest.Digest
}

// changes are what a session does to what is there.
type changes struct {
	removed     []layout.Reference
	quarantined map[spot]string // reasons
	released    map[spot]bool
}

// Remove has Commit take away a name: a tag, or, if there is none in ref, the digest
// as a name. The content stays until it is collected. A name that is not there makes
// Commit fail with layout.ErrNotFound.
func (s *Session) Remove(ref layout.Reference) error {
	return s.change(func(c *changes) { c.removed = append(c.removed, ref) })
}

// Quarantine has Commit hide a manifest of repo: no name and no digest leads to it
// any more. Its bytes, and what is attached to it, stay; see [Store.Judged].
func (s *Session) Quarantine(repo string, dgst digest.Digest, reason string) error {
	if reason == "" || len(reason) > maxReason {
		return s.store.wrap(dgst, fmt.Errorf("a reason of %d bytes: %w", len(reason), layout.ErrLimit))
	}
	return s.change(func(c *changes) {
		if c.quarantined == nil {
			c.quarantined = map[spot]string{}
		}
		c.quarantined[spot{repo, dgst}] = reason
	})
}

// Release has Commit end a quarantine.
func (s *Session) Release(repo string, dgst digest.Digest) error {
	return s.change(func(c *changes) {
		if c.released == nil {
			c.released = map[spot]bool{}
		}
		c.released[spot{repo, dgst}] = true
	})
}

func (s *Session) change(fn func(*changes)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.store.wrap("", s.ended)
	}
	fn(&s.changes)
	return nil
}

// checkChanges fails if there is nothing to change. The locks are held.
func (s *Session) checkChanges() error {
	return s.store.view(func(tx *bbolt.Tx) error {
		for _, ref := range s.removed {
			if bucket, key, err := nameKey(tx, ref); err != nil {
				return err
			} else if bucket == nil || bucket.Get(key) == nil {
				return s.store.missing(ref.String(), ref.Digest)
			}
		}
		for at := range s.quarantined {
			if _, ok, err := manifest(tx, at.repo, at.digest); err != nil {
				return err
			} else if !ok {
				return s.store.missing(at.repo, at.digest)
			}
		}
		return nil
	})
}

// nameKey is where a name is kept; a nil bucket means that there is no such
// repository.
func nameKey(tx *bbolt.Tx, ref layout.Reference) (*bbolt.Bucket, []byte, error) {
	if ref.Tag != "" {
		return repoBucket(tx, ref.Repository, repoTags), []byte(ref.Tag), nil
	}
	if _, err := layout.ParseDigest(string(ref.Digest)); err != nil {
		return nil, nil, err
	}
	return repoBucket(tx, ref.Repository, repoPins), key(ref.Digest), nil
}

// recordChanges writes them.
func (s *Session) recordChanges(tx *bbolt.Tx) error {
	for _, ref := range s.removed {
		bucket, key, err := nameKey(tx, ref)
		if err != nil {
			return err
		}
		if err := bucket.Delete(key); err != nil {
			return err
		}
	}
	for at := range s.released {
		if err := release(tx, at); err != nil {
			return err
		}
	}
	for at, reason := range s.quarantined {
		b, err := tx.Bucket(reposBucket).Bucket([]byte(at.repo)).CreateBucketIfNotExists(repoQuarantined)
		if err != nil {
			return err
		}
		if err := b.Put(key(at.digest), []byte(reason)); err != nil {
			return err
		}
	}
	return nil
}

func release(tx *bbolt.Tx, at spot) error {
	if b := repoBucket(tx, at.repo, repoQuarantined); b != nil {
		return b.Delete(key(at.digest))
	}
	return nil
}

// hidden says why a manifest is not given out, if it is not.
func hidden(tx *bbolt.Tx, repo string, dgst digest.Digest) error {
	b := repoBucket(tx, repo, repoQuarantined)
	if b == nil {
		return nil
	}
	if reason := b.Get(key(dgst)); reason != nil {
		return fmt.Errorf("%w: %s", ErrQuarantined, reason)
	}
	return nil
}

// Quarantined lists everything in quarantine, by repository and digest.
func (s *Store) Quarantined(ctx context.Context) ([]Quarantined, error) {
	var out []Quarantined
	err := s.view(func(tx *bbolt.Tx) error {
		return eachRepository(ctx, tx, func(repo string, b *bbolt.Bucket) error {
			held := b.Bucket(repoQuarantined)
			if held == nil {
				return nil
			}
			names, err := namesIn(tx, repo, b, true)
			if err != nil {
				return err
			}
			return held.ForEach(func(k, reason []byte) error {
				dgst, _, err := parseKey(k)
				if err != nil {
					return err
				}
				q := Quarantined{Repository: repo, Digest: dgst, Reason: string(reason)}
				for _, n := range names {
					if n.Descriptor.Digest == dgst {
						q.Names = append(q.Names, n.Reference)
					}
				}
				out = append(out, q)
				return nil
			})
		})
	})
	return out, s.wrap("", err)
}

// Judged is the store as a judge has to see it: with what is in quarantine.
func (s *Store) Judged() layout.Source { return judged{s} }

type judged struct{ *Store }

// Resolve implements [layout.Source].
func (j judged) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	return j.resolve(ctx, ref, true)
}

// Names lists every name, those in quarantine too.
func (j judged) Names(ctx context.Context) ([]layout.Name, error) { return j.names(ctx, true) }
