package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Serves says whether repo serves a manifest by its digest, before this session. What was
// only pushed, to a repository that nobody admitted anything to, does not count: the
// session ends that. The answer is expected to hold still at Commit, which fails with
// ErrChanged otherwise.
func (s *Session) Serves(ctx context.Context, repo string, dgst digest.Digest) (bool, error) {
	serves := false
	err := s.store.view(func(tx *bbolt.Tx) (err error) {
		serves, err = s.serves(tx, repo, dgst)
		return err
	})
	if err = errors.Join(ctx.Err(), err); err != nil {
		return false, s.store.wrap(dgst, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expectations.served == nil {
		s.expectations.served = map[spot]bool{}
	}
	s.expectations.served[spot{repo, dgst}] = serves
	return serves, nil
}

func (s *Session) serves(tx *bbolt.Tx, repo string, dgst digest.Digest) (bool, error) {
	if _, there, err := manifest(tx, repo, dgst); err != nil || !there {
		return false, err
	}
	if notAdmitted(tx, repo) && wasPushed(tx, repo, dgst) {
		return false, nil
	}
	why, err := s.seen.holds(tx, layout.Reference{Repository: repo, Digest: dgst}, dgst)
	return why == "", err
}

// Listed finds the names by which an index is served that lists a manifest of repo, at any
// depth. The manifest may be there or not. The answer is expected to hold still at Commit,
// which fails with ErrChanged otherwise.
func (s *Session) Listed(ctx context.Context, repo string, dgst digest.Digest) ([]layout.Name, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := ctx.Err()
	all, known := s.indexes[repo]
	if err == nil && !known {
		err = s.store.view(func(tx *bbolt.Tx) (err error) {
			all, err = s.store.indexesIn(tx, repo)
			return err
		})
	}
	if err != nil {
		return nil, s.store.wrap("", fmt.Errorf("the indexes of %s: %w", repo, err))
	}
	if s.indexes == nil {
		s.indexes, s.expectations.listed = map[string]map[digest.Digest][]layout.Name{}, map[spot][]layout.Name{}
	}
	s.indexes[repo] = all
	s.expectations.listed[spot{repo, dgst}] = all[dgst]
	return all[dgst], nil
}

// indexesIn finds, for each manifest that an index of repo lists, the names of those. It is
// empty for a repository that is not there.
func (s *Store) indexesIn(tx *bbolt.Tx, repo string) (map[digest.Digest][]layout.Name, error) {
	out := map[digest.Digest][]layout.Name{}
	if repo == "" {
		return out, nil
	}
	b := tx.Bucket(reposBucket).Bucket([]byte(repo))
	if b == nil {
		return out, nil
	}
	names, err := namesIn(tx, repo, b, false)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if layout.IsDerivedTag(n.Reference.Tag) || !layout.IsIndex(n.Descriptor.MediaType) {
			continue
		}
		below, err := s.allBelow(tx, repo, n.Descriptor.Digest)
		if err != nil {
			return nil, err
		}
		for _, d := range below {
			out[d] = append(out[d], n)
		}
	}
	return out, nil
}

// allBelow lists what an index of repo lists, at any depth, there or not. An index that
// cannot be read is not served, and lists nothing: an import can repair it.
func (s *Store) allBelow(tx *bbolt.Tx, repo string, index digest.Digest) ([]digest.Digest, error) {
	seen := map[digest.Digest]bool{index: true}
	out := []digest.Digest{}
	for todo := []digest.Digest{index}; len(todo) > 0; todo = todo[1:] {
		children, err := s.listedIn(tx, repo, todo[0])
		if err != nil && !errors.Is(err, layout.ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, c := range children {
			if !seen[c] {
				seen[c] = true
				out, todo = append(out, c), append(todo, c)
			}
		}
	}
	return out, nil
}

// listedIn is everything that an index of repo lists, under whatever media type.
func (s *Store) listedIn(tx *bbolt.Tx, repo string, dgst digest.Digest) ([]digest.Digest, error) {
	rec, ok, err := manifest(tx, repo, dgst)
	if err != nil || !ok || !layout.IsIndex(rec.MediaType) {
		return nil, err
	}
	o, err := s.outline(rec.descriptor(dgst))
	if err != nil {
		return nil, err
	}
	return slices.Concat(o.children, o.blobs), nil
}

// checkListed fails if what Serves and Listed told is not so any more. The locks are held.
func (s *Session) checkListed(tx *bbolt.Tx) error {
	for at, was := range s.expectations.served {
		if now, err := s.serves(tx, at.repo, at.digest); err != nil {
			return err
		} else if now != was {
			return fmt.Errorf("%s of %s: %w", at.digest, at.repo, ErrChanged)
		}
	}
	same := func(a, b layout.Name) bool {
		return a.Reference == b.Reference && a.Descriptor.Digest == b.Descriptor.Digest
	}
	now := map[string]map[digest.Digest][]layout.Name{}
	for at, was := range s.expectations.listed {
		if now[at.repo] == nil {
			var err error
			if now[at.repo], err = s.store.indexesIn(tx, at.repo); err != nil {
				return err
			}
		}
		if !slices.EqualFunc(was, now[at.repo][at.digest], same) {
			return fmt.Errorf("what lists %s of %s: %w", at.digest, at.repo, ErrChanged)
		}
	}
	return nil
}
