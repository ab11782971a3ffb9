package store

import (
	"fmt"
	"maps"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// expectations are what a session counts on. Several processes can change a store, each
// on the ground of what it has read before.
type expectations struct {
	names   map[layout.Reference]digest.Digest // "" for one that was not there
	pieces  map[spot]string                    // media types of what was found there
	state   uint64                             // 0: any
	served  map[asked]bool
	listed  map[spot][][]layout.Name
	indexes map[string]map[digest.Digest][][]layout.Name // by repository, as they were read
	seen    *View
}

// found notes that repo has something, so that it was not put.
func (e *expectations) found(repo string, d layout.Descriptor) {
	if e.pieces == nil {
		e.pieces = map[spot]string{}
	}
	e.pieces[spot{repo, d.Digest}] = d.MediaType
}

// told notes what was said of a name, the first time.
func (e *expectations) told(ref layout.Reference, dgst digest.Digest) {
	if _, ok := e.names[ref]; ok {
		return
	}
	if e.names == nil {
		e.names = map[layout.Reference]digest.Digest{}
	}
	e.names[ref] = dgst
}

// State numbers the state that the store is in: what has changed since has another.
func (s *Store) State() (state uint64, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		state = uint64(tx.ID())
		return nil
	})
	return state, s.wrap("", err)
}

// Expect has Commit fail with ErrChanged, and change nothing, unless the store is in
// that state still.
func (s *Session) Expect(state uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.store.wrap("", s.ended)
	}
	s.expectations.state = state
	return nil
}

// checkExpected fails if what the session counts on has changed. The locks are held.
func (s *Session) checkExpected(names []layout.Name) error {
	return s.store.view(func(tx *bbolt.Tx) error {
		if s.state != 0 && s.state != uint64(tx.ID()) {
			return fmt.Errorf("the store: %w", ErrChanged)
		}
		for at, mediaType := range s.pieces {
			if !member(tx, at.repo, layout.Descriptor{Digest: at.digest, MediaType: mediaType}) {
				return fmt.Errorf("%s of %s was deleted: %w", at.digest, at.repo, ErrChanged)
			}
		}
		if err := s.checkListed(tx); err != nil {
			return err
		}
		refs := slices.Collect(maps.Keys(s.held))
		for _, n := range names {
			refs = append(refs, n.Reference)
		}
		for _, ref := range refs {
			was, ok := s.expectations.names[ref]
			if !ok {
				continue
			}
			if now, err := resolve(tx, ref); err == nil && now.Digest != was || err != nil && was != "" {
				return fmt.Errorf("%s: %w", ref, ErrChanged)
			}
		}
		return nil
	})
}
