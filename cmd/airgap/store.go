package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"airgap/bundle"
	"airgap/layout"
	"airgap/store"

	"github.com/opencontainers/go-digest"
)

// isLocked says whether another process holds the store.
func isLocked(err error) bool { return errors.Is(err, store.ErrLocked) }

// defaultStore is the store that is meant where none is named.
func (u *ui) defaultStore() (string, error) {
	if dir := u.getenv("AIRGAP_STORE"); dir != "" {
		return dir, nil
	}
	if dir := u.getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "airgap", "store"), nil
	}
	if home := u.getenv("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "airgap", "store"), nil
	}
	return "", &adviceError{usagef("there is no folder for the default store: neither $AIRGAP_STORE nor $HOME is set"), "name a store with --store DIR"}
}

// keptManifests is the folder in which manifests are kept between runs; empty if the
// user has no cache folder.
func (u *ui) keptManifests() string {
	if dir := u.getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "airgap", "manifests")
	}
	if home := u.getenv("HOME"); home != "" {
		return filepath.Join(home, ".cache", "airgap", "manifests")
	}
	return ""
}

// storeSource is a store to read from.
type storeSource struct {
	layout.Source
	names  []layout.Name // of images; not those that lead to attachments
	pushed []layout.Name // the same, in repositories that are not admitted
	close  func() error
	lists  []bundle.RevocationList // that were kept
	held   []heldName              // names in quarantine
}

// heldName is a name in quarantine.
type heldName struct {
	ref    layout.Reference
	digest digest.Digest
	reason string
}

// pick is like [pick] of the names that are given out, and says of one that is not. What
// was pushed and not admitted has to be named.
func (s *storeSource) pick(t target) ([]layout.Reference, error) {
	refs, err := pick(t, references(s.names))
	if t.name == "" || !errors.Is(err, layout.ErrNotFound) {
		return refs, err
	}
	if refs, err := pick(t, references(s.pushed)); err == nil {
		return refs, nil
	}
	for _, h := range s.held {
		if _, unknown := pick(t, []layout.Reference{h.ref}); unknown == nil {
			return nil, &layout.Error{Side: layout.SideStore, Name: h.ref.Name(), Digest: h.digest, Err: fmt.Errorf("%w: %s", store.ErrQuarantined, h.reason),
				Hint: "it is kept; airgap reverify says by what policy, and import or reverify brings it back once it passes"}
		}
	}
	return nil, err
}

func references(names []layout.Name) []layout.Reference {
	out := make([]layout.Reference, len(names))
	for i, n := range names {
		out[i] = n.Reference
	}
	return out
}

func readStore(ctx context.Context, dir string) (*storeSource, error) {
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	out, err := sourceOf(ctx, s)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return out, nil
}

// sourceOf is an open store to read from.
func sourceOf(ctx context.Context, s *store.Store) (*storeSource, error) {
	all, err := s.Names(ctx)
	if err != nil {
		return nil, err
	}
	out := &storeSource{Source: s, close: s.Close}
	kept, err := s.RevocationLists()
	if err != nil {
		return nil, err
	}
	for _, l := range kept {
		out.lists = append(out.lists, bundle.RevocationList{DER: l.Raw})
	}
	marked, err := s.NotAdmitted(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, n := range all {
		switch {
		case layout.IsDerivedTag(n.Reference.Tag):
		case slices.Contains(marked, n.Reference.Repository):
			out.pushed = append(out.pushed, n)
		default:
			out.names = append(out.names, n)
		}
	}
	held, err := s.Quarantined(ctx)
	if err != nil {
		return nil, err
	}
	for _, q := range held {
		for _, n := range q.Names {
			if !layout.IsDerivedTag(n.Tag) {
				out.held = append(out.held, heldName{n.Reference, q.Digest, cmp.Or(n.Reason, q.Reason)})
			}
		}
	}
	return out, nil
}

// writeStore opens a store, and makes it if there is none.
func writeStore(dir string) (*store.Store, error) { return store.Open(dir, store.Options{}) }
