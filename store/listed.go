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
	return s.ask(ctx, asked{spot{repo, dgst}, true})
}

// Admitted is like Serves, but for a manifest that is not in quarantine itself it does not
// matter whether all that leads to it is: an index that is served would serve it.
func (s *Session) Admitted(ctx context.Context, repo string, dgst digest.Digest) (bool, error) {
	return s.ask(ctx, asked{spot{repo, dgst}, false})
}

// asked is what Serves or Admitted was asked about.
type asked struct {
	spot
	serves bool
}

func (s *Session) ask(ctx context.Context, a asked) (bool, error) {
	answer := false
	err := s.store.view(func(tx *bbolt.Tx) (err error) {
		answer, err = s.serves(tx, a)
		return err
	})
	if err = errors.Join(ctx.Err(), err); err != nil {
		return false, s.store.wrap(a.digest, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expectations.served == nil {
		s.expectations.served = map[asked]bool{}
	}
	s.expectations.served[a] = answer
	return answer, nil
}

func (s *Session) serves(tx *bbolt.Tx, a asked) (bool, error) {
	repo, dgst := a.repo, a.digest
	if _, there, err := manifest(tx, repo, dgst); err != nil || !there {
		return false, err
	}
	if notAdmitted(tx, repo) && wasPushed(tx, repo, dgst) {
		return false, nil
	}
	if !a.serves {
		return hidden(tx, repo, dgst) == nil, nil
	}
	why, err := s.seen.holds(tx, layout.Reference{Repository: repo, Digest: dgst}, dgst)
	return why == "", err
}

// Listed finds the indexes that are served and list a manifest of repo, at any depth: of each,
// the names by which it is served, of which there is at least one. All that an index lists
// share its names, which must not be changed. The manifest may be there or not. The answer is
// expected to hold still at Commit, which fails with ErrChanged otherwise.
func (s *Session) Listed(ctx context.Context, repo string, dgst digest.Digest) ([][]layout.Name, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := ctx.Err()
	all, known := s.indexes[repo]
	if err == nil && !known {
		err = s.store.view(func(tx *bbolt.Tx) (err error) {
			all, err = s.indexesIn(tx, repo)
			return err
		})
	}
	if err != nil {
		return nil, s.store.wrap("", fmt.Errorf("the indexes of %s: %w", repo, err))
	}
	if s.indexes == nil {
		s.indexes, s.expectations.listed = map[string]map[digest.Digest][][]layout.Name{}, map[spot][][]layout.Name{}
	}
	s.indexes[repo] = all
	s.expectations.listed[spot{repo, dgst}] = all[dgst]
	return all[dgst], nil
}

// indexesIn finds, for each manifest that an index of repo lists, the names of those indexes.
// It is empty for a repository that is not there.
func (s *Session) indexesIn(tx *bbolt.Tx, repo string) (map[digest.Digest][][]layout.Name, error) {
	out := map[digest.Digest][][]layout.Name{}
	if repo == "" {
		return out, nil
	}
	b := tx.Bucket(reposBucket).Bucket([]byte(repo))
	if b == nil {
		return out, nil
	}
	contained := map[digest.Digest]bool{}
	add := func(names []layout.Name) error {
		index := names[0].Descriptor.Digest
		below, err := s.store.allBelow(tx, repo, index)
		for _, d := range below {
			out[d] = append(out[d], names)
			contained[d] = true
		}
		contained[index] = true
		return err
	}
	named, err := namedIndexes(tx, repo, b)
	if err != nil {
		return nil, err
	}
	for _, names := range named {
		if err := add(names); err != nil {
			return nil, err
		}
	}
	// An index without such a name is served by its digest.
	err = eachManifest(b, func(dgst digest.Digest) error {
		rec, _, err := manifest(tx, repo, dgst)
		if err != nil || !layout.IsIndex(rec.MediaType) || contained[dgst] {
			return err
		}
		why, err := s.seen.holds(tx, layout.Reference{Repository: repo, Digest: dgst}, dgst)
		if err != nil || why != "" {
			return err
		}
		return add([]layout.Name{{Reference: layout.Reference{Repository: repo, Digest: dgst}, Descriptor: rec.descriptor(dgst)}})
	})
	return out, err
}

// namedIndexes lists the indexes of repo that are served by names, in the order of those: of
// each, the names.
func namedIndexes(tx *bbolt.Tx, repo string, b *bbolt.Bucket) ([][]layout.Name, error) {
	all, err := namesIn(tx, repo, b, false)
	if err != nil {
		return nil, err
	}
	var out [][]layout.Name
	at := map[digest.Digest]int{}
	for _, n := range all {
		if layout.IsDerivedTag(n.Reference.Tag) || !layout.IsIndex(n.Descriptor.MediaType) {
			continue
		}
		i, known := at[n.Descriptor.Digest]
		if !known {
			i, at[n.Descriptor.Digest] = len(out), len(out)
			out = append(out, nil)
		}
		out[i] = append(out[i], n)
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
	for a, was := range s.expectations.served {
		if now, err := s.serves(tx, a); err != nil {
			return err
		} else if now != was {
			return fmt.Errorf("%s of %s: %w", a.digest, a.repo, ErrChanged)
		}
	}
	same := sameNames()
	now := map[string]map[digest.Digest][][]layout.Name{}
	for at, was := range s.expectations.listed {
		if now[at.repo] == nil {
			var err error
			if now[at.repo], err = s.indexesIn(tx, at.repo); err != nil {
				return err
			}
		}
		if !slices.EqualFunc(was, now[at.repo][at.digest], same) {
			return fmt.Errorf("what lists %s of %s: %w", at.digest, at.repo, ErrChanged)
		}
	}
	return nil
}

// sameNames compares the names of two indexes, once for all that these list.
func sameNames() func(a, b []layout.Name) bool {
	known := map[[2]*layout.Name]bool{}
	return func(a, b []layout.Name) bool {
		k := [2]*layout.Name{&a[0], &b[0]}
		same, ok := known[k]
		if !ok {
			same = slices.EqualFunc(a, b, func(a, b layout.Name) bool {
				return a.Reference == b.Reference && a.Descriptor.Digest == b.Descriptor.Digest
			})
			known[k] = same
		}
		return same
	}
}
