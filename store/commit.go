package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Commit implements [layout.Sink]. It publishes everything put in this session,
// and names, in one transaction, and returns when that would survive a loss of
// power. A name that exists moves.
//
// If it fails, the store is as before. If it fails because a name's manifest is
// missing, there is nothing to change, something that it counts on has changed
// (ErrChanged), or ctx is done before it began, the session goes on; otherwise all that
// is left is to Close it.
func (s *Session) Commit(ctx context.Context, names []layout.Name) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := errors.Join(s.ended, ctx.Err()); err != nil {
		return s.store.wrap("", err)
	}
	if err := s.store.publishing.lock(ctx); err != nil {
		return s.store.wrap("", err)
	}
	defer s.store.publishing.unlock()
	if err := s.store.usable(); err != nil {
		return s.store.wrap("", err)
	}
	if err := errors.Join(s.checkNames(names), s.checkMarks(), s.checkChanges(), s.checkExpected(names), s.checkPush()); err != nil {
		return s.store.wrap("", err)
	}
	if err := s.publish(ctx, names); err != nil {
		s.ended = fmt.Errorf("an earlier commit failed: %w", err)
		return s.store.wrap("", err)
	}
	s.finish()
	// It is committed, whatever becomes of this: what is left of it goes with the
	// process.
	_ = s.claims.drop()
	return nil
}

// finish ends a session that is committed.
func (s *Session) finish() {
	written := sorted(s.staged)
	for _, dgst := range written {
		if s.broken[dgst] {
			s.repaired = append(s.repaired, dgst)
		}
	}
	if s.origin.at != 0 || s.repaired != nil { // who pushes relies on it next
		s.store.proveWritten(written)
	}
	s.ended, s.staged, s.gains = ErrClosed, nil, nil
}

// usable fails once the disk has lost something.
func (s *Store) usable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// lost says that nothing can be relied on any more, until the store is opened again.
func (s *Store) lost(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = fmt.Errorf("the %s failed, and the store has to be opened again: %w", what, err)
}

// checkNames refuses names that lead nowhere. The locks are held.
func (s *Session) checkNames(names []layout.Name) error {
	return s.store.view(func(tx *bbolt.Tx) error {
		for _, n := range names {
			if err := s.checkName(tx, n); err != nil {
				return &layout.Error{
					Side: layout.SideStore, Name: n.Reference.String(), Digest: n.Descriptor.Digest, Err: err,
				}
			}
		}
		return nil
	})
}

func (s *Session) checkName(tx *bbolt.Tx, n layout.Name) error {
	ref, d := n.Reference, n.Descriptor
	if err := layout.CheckDescriptor(d); err != nil {
		return err
	}
	if ref.Tag == "" && ref.Digest == "" || ref.Digest != "" && ref.Digest != d.Digest {
		return fmt.Errorf("the name does not fit its manifest: %w", layout.ErrCorrupt)
	}
	if ref.Tag != "" {
		if err := checkName(ref.Tag, maxTagBytes); err != nil {
			return err
		}
	}
	if g := s.gains[ref.Repository]; g != nil {
		if _, ok := g.manifests[d.Digest]; ok {
			return nil
		}
	}
	_, ok, err := manifest(tx, ref.Repository, d.Digest)
	if err == nil && !ok {
		err = fmt.Errorf("its manifest was never put: %w", layout.ErrNotFound)
	}
	return err
}

// maxTagBytes is the longest tag (distribution-spec 1.1, "Pulling manifests").
const maxTagBytes = 128

// publish makes the session's files part of the store, and durable, before the
// database speaks of them.
func (s *Session) publish(ctx context.Context, names []layout.Name) error {
	if err := s.moveAll(ctx); err != nil {
		return err
	}
	if err := s.store.fs.Flush(); err != nil {
		s.store.lost("disk", err)
		return err
	}
	change := s.store.change
	if len(s.staged)+len(s.gains) == 0 { // it takes something away, or keeps it from being served
		change = s.store.changeFreeing
	}
	return change(func(tx *bbolt.Tx) error { return s.record(tx, names) })
}

// moveAll gives the session's files their final names.
func (s *Session) moveAll(ctx context.Context) error {
	if len(s.broken) > 0 {
		// A file may have been repaired meanwhile: it is replaced only by one that a loss
		// of power leaves whole.
		if err := s.store.fs.Flush(); err != nil {
			return err
		}
	}
	for _, dgst := range sorted(s.staged) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.move(dgst, s.staged[dgst]); err != nil {
			return err
		}
	}
	return nil
}

// undone says whether a transaction failed because there was no room for it, and has left
// the database as it was: bbolt makes a transaction count with its last write, of a page
// that is there. Of any other failure of the disk nobody knows what it has left.
func (s *Store) undone(err error, state int) bool {
	if !isFull(err) {
		return false
	}
	s.db.settle() // what bbolt remembers of it is not used again
	before := false
	verr := s.view(func(tx *bbolt.Tx) error {
		before = tx.ID() < state
		return nil
	})
	return verr == nil && before
}

// move gives a file its final name, unless another session has done so. What this session
// has found damaged is replaced.
func (s *Session) move(dgst digest.Digest, b *stagedBlob) error {
	size := int64(-1)
	err := s.store.view(func(tx *bbolt.Tx) error {
		if n, ok := blobSize(tx, dgst); ok {
			size = n
		}
		return nil
	})
	if err != nil {
		return err
	}
	if size >= 0 && !s.broken[dgst] {
		have, err := s.store.fileSize(dgst)
		if err != nil {
			return err
		}
		if have == size {
			return s.store.fs.Remove(b.temp)
		}
	}
	b.moved = true
	return s.store.fs.Rename(b.temp, layout.BlobPath(dgst))
}

// record writes all that the session brings. Keys go into each bucket sorted: bbolt
// splits pages only at the end, and until then inserts into one long list.
func (s *Session) record(tx *bbolt.Tx, names []layout.Name) error {
	if err := s.recordBlobs(tx); err != nil {
		return err
	}
	for _, repo := range sorted(s.gains) {
		if err := s.recordRepository(tx, repo, s.gains[repo]); err != nil {
			return fmt.Errorf("repository %s: %w", repo, err)
		}
	}
	if err := s.recordChanges(tx); err != nil {
		return err
	}
	if err := s.recordOrigin(tx, names); err != nil {
		return err
	}
	if err := s.recordLists(tx); err != nil {
		return err
	}
	return s.recordMemory(tx)
}

func (s *Session) recordRepository(tx *bbolt.Tx, repo string, g *gain) error {
	b, err := s.makeRepository(tx, repo)
	if err != nil {
		return err
	}
	for _, dgst := range sorted(g.blobs) {
		if err := b.Bucket(repoBlobs).Put(key(dgst), s.origin.stamp()); err != nil {
			return err
		}
	}
	var edges [][]byte
	for _, dgst := range sorted(g.manifests) {
		r := g.manifests[dgst]
		if r.Pushed, err = s.origin.pushed(tx, repo, dgst); err != nil {
			return err
		}
		if err := recordManifest(b, dgst, r); err != nil {
			return err
		}
		if r.Subject != "" {
			edges = append(edges, append(key(r.Subject), key(dgst)...))
		}
	}
	slices.SortFunc(edges, bytes.Compare)
	for _, edge := range edges {
		if err := b.Bucket(repoAttached).Put(edge, present); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) makeRepository(tx *bbolt.Tx, repo string) (*bbolt.Bucket, error) {
	all := tx.Bucket(reposBucket)
	isNew := all.Bucket([]byte(repo)) == nil
	b, err := all.CreateBucketIfNotExists([]byte(repo))
	if err == nil && isNew && s.origin.marks() {
		err = b.Put(notAdmittedKey, present)
	}
	if err != nil {
		return nil, err
	}
	for _, name := range repoBuckets {
		if _, err := b.CreateBucketIfNotExists(name); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// recordBlobs lists the blobs and manifests of all repositories.
func (s *Session) recordBlobs(tx *bbolt.Tx) error {
	all := make(map[digest.Digest]int64, len(s.staged))
	for _, g := range s.gains {
		maps.Copy(all, g.blobs)
		for dgst, r := range g.manifests {
			all[dgst] = r.Size
		}
	}
	for _, dgst := range sorted(all) {
		if err := s.recordBlob(tx, dgst, all[dgst]); err != nil {
			return err
		}
	}
	return nil
}

// recordBlob lists a blob that this session staged. One that it did not stage was
// in the store when it was put, and still has to be.
func (s *Session) recordBlob(tx *bbolt.Tx, dgst digest.Digest, size int64) error {
	if _, known := blobSize(tx, dgst); known {
		return nil
	}
	if s.staged[dgst] == nil {
		return fmt.Errorf("%s was removed from the store meanwhile: %w", dgst, layout.ErrNotFound)
	}
	return putSize(tx.Bucket(blobsBucket), dgst, size)
}

func recordManifest(b *bbolt.Bucket, dgst digest.Digest, r record) error {
	v, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.Bucket(repoManifests).Put(key(dgst), v)
}

// recordName publishes a name.
func recordName(tx *bbolt.Tx, n layout.Name) error { return recordNameAs(tx, n, present) }

// recordNameAs is recordName; pin is what a name without a tag says of itself.
func recordNameAs(tx *bbolt.Tx, n layout.Name, pin []byte) error {
	if tag := n.Reference.Tag; tag != "" {
		return repoBucket(tx, n.Reference.Repository, repoTags).Put([]byte(tag), []byte(n.Descriptor.Digest))
	}
	return repoBucket(tx, n.Reference.Repository, repoPins).Put(key(n.Descriptor.Digest), pin)
}

func sorted[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
