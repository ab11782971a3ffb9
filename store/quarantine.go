package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// repoQuarantined lists, in a repository, the manifests and the names that are kept and
// not given out, each with a reason:
//
//	repositories/<repo>/quarantined/<digest>     why, for people
//	repositories/<repo>/quarantined/<tag>        why; the manifest may be another name's too
//	repositories/<repo>/quarantined/\x03<digest>  why; a name without a tag
//
// The first byte of a digest is 1 or 2, and no tag begins with a control character. A
// repository that never had one has no such bucket.
var repoQuarantined = []byte("quarantined")

const heldPin = 3

// ErrQuarantined: the store has it, and does not give it out.
var ErrQuarantined = errors.New("in quarantine")

// MaxReason is how long the reason of a quarantine may be, in bytes.
const MaxReason = 4096

// Quarantined is a manifest that the store keeps and does not give out, at all or not
// under some names.
type Quarantined struct {
	Repository string
	Digest     digest.Digest
	Names      []HeldName // that lead to it, and to nothing any more
	Reason     string
	// NamesOnly: by its digest it is given out, for it is part of something else.
	NamesOnly bool
}

// HeldName is a name in quarantine. Reason is why the name is held, for itself; empty if
// only its manifest is.
type HeldName struct {
	layout.Reference
	Reason string
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
	held        map[layout.Reference]string // names, with reasons; "" lets go
	brought     map[spot]bool               // manifests, be they there already
}

// Remove has Commit take away a name: a tag, or, if there is none in ref, the digest
// as a name. The content stays until it is collected. A name that is not there makes
// Commit fail with layout.ErrNotFound.
func (s *Session) Remove(ref layout.Reference) error {
	return s.change(func(c *changes) { c.removed = append(c.removed, ref) })
}

// Quarantine has Commit hide a manifest of repo: no name and no digest leads to it
// any more. Its bytes, and what is attached to it, stay, and are given to a judge alone;
// see [Store.Judged]. It ends when a name that leads to it is committed again.
func (s *Session) Quarantine(repo string, dgst digest.Digest, reason string) error {
	if err := s.checkReason(dgst, reason); err != nil {
		return err
	}
	return s.change(func(c *changes) {
		if c.quarantined == nil {
			c.quarantined = map[spot]string{}
		}
		c.quarantined[spot{repo, dgst}] = reason
	})
}

// HoldBack is like Quarantine of a manifest that this session brings, unless repo has it in
// quarantine already, or serves it: then it stays as it is. That a client has pushed it to a
// repository without admitted content does not count; see [Session.Serves]. It says which of
// the two.
func (s *Session) HoldBack(repo string, dgst digest.Digest, reason string) (held bool, err error) {
	stays := false
	err = s.store.view(func(tx *bbolt.Tx) error {
		if _, there, err := manifest(tx, repo, dgst); err != nil || !there {
			return err
		}
		if hidden(tx, repo, dgst) != nil {
			stays = true
			return nil
		}
		// What only an image in quarantine leads to is not served, and would be by what it
		// is attached to now.
		stays, err = s.serves(tx, asked{spot{repo, dgst}, true})
		return err
	})
	if err != nil || stays {
		return false, s.store.wrap(dgst, err)
	}
	return true, s.Quarantine(repo, dgst, reason)
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

// Hold has Commit hide a name: it leads to nothing any more, whatever becomes of its
// manifest, which may be part of something that is given out.
func (s *Session) Hold(ref layout.Reference, reason string) error {
	if err := s.checkReason(ref.Digest, reason); err != nil {
		return err
	}
	return s.hold(ref, reason)
}

// LetGo has Commit end that.
func (s *Session) LetGo(ref layout.Reference) error { return s.hold(ref, "") }

func (s *Session) hold(ref layout.Reference, reason string) error {
	return s.change(func(c *changes) {
		if c.held == nil {
			c.held = map[layout.Reference]string{}
		}
		c.held[ref] = reason
	})
}

func (s *Session) checkReason(dgst digest.Digest, reason string) error {
	if reason == "" || len(reason) > MaxReason {
		return s.store.wrap(dgst, fmt.Errorf("a reason of %d bytes, want 1 to %d: %w", len(reason), MaxReason, layout.ErrLimit))
	}
	return nil
}

// bring notes that a manifest is part of what the session brings. s.mu is held.
func (s *Session) bring(repo string, dgst digest.Digest) {
	if s.brought == nil {
		s.brought = map[spot]bool{}
	}
	s.brought[spot{repo, dgst}] = true
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
		for _, ref := range slices.Concat(s.removed, slices.Collect(maps.Keys(s.held))) {
			if bucket, key, err := nameKey(tx, ref); err != nil {
				return err
			} else if bucket == nil || bucket.Get(key) == nil {
				return s.store.missing(ref.String(), "")
			}
		}
		for at := range s.quarantined {
			if g := s.gains[at.repo]; g != nil {
				if _, ok := g.manifests[at.digest]; ok {
					continue
				}
			}
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
		if err == nil {
			err = bucket.Delete(key)
		}
		if err == nil {
			err = letGo(tx, ref)
		}
		if err != nil {
			return err
		}
	}
	for at := range s.released {
		if err := release(tx, at); err != nil {
			return err
		}
	}
	for at, reason := range s.quarantined {
		if err := quarantine(tx, at.repo, key(at.digest), reason); err != nil {
			return err
		}
	}
	for ref, reason := range s.held {
		err := letGo(tx, ref)
		if reason != "" {
			err = quarantine(tx, ref.Repository, holdKey(ref), reason)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func quarantine(tx *bbolt.Tx, repo string, key []byte, reason string) error {
	b, err := tx.Bucket(reposBucket).Bucket([]byte(repo)).CreateBucketIfNotExists(repoQuarantined)
	if err != nil {
		return err
	}
	return b.Put(key, []byte(reason))
}

func release(tx *bbolt.Tx, at spot) error {
	if b := repoBucket(tx, at.repo, repoQuarantined); b != nil {
		return b.Delete(key(at.digest))
	}
	return nil
}

// holdKey is where it stands that a name is held.
func holdKey(ref layout.Reference) []byte {
	if ref.Tag != "" {
		return []byte(ref.Tag)
	}
	return append([]byte{heldPin}, key(ref.Digest)...)
}

func letGo(tx *bbolt.Tx, ref layout.Reference) error {
	if b := repoBucket(tx, ref.Repository, repoQuarantined); b != nil {
		return b.Delete(holdKey(ref))
	}
	return nil
}

// hidden says why a manifest is not given out, if it is not.
func hidden(tx *bbolt.Tx, repo string, dgst digest.Digest) error {
	return heldBack(tx, repo, key(dgst))
}

// nameHidden says why a name leads to nothing, if it does not. One with a digest is
// asked for by that: the manifest alone counts.
func nameHidden(tx *bbolt.Tx, ref layout.Reference) error {
	if ref.Digest != "" || ref.Tag == "" {
		return nil
	}
	return heldBack(tx, ref.Repository, holdKey(ref))
}

func heldBack(tx *bbolt.Tx, repo string, key []byte) error {
	b := repoBucket(tx, repo, repoQuarantined)
	if b == nil {
		return nil
	}
	if reason := b.Get(key); reason != nil {
		return fmt.Errorf("%w: %s", ErrQuarantined, reason)
	}
	return nil
}

// Quarantined lists everything in quarantine, by repository and digest; after the
// manifests of a repository come those of which only names are held.
func (s *Store) Quarantined(ctx context.Context) ([]Quarantined, error) {
	var out []Quarantined
	err := s.view(func(tx *bbolt.Tx) error {
		return eachRepository(ctx, tx, func(repo string, b *bbolt.Bucket) error {
			if b.Bucket(repoQuarantined) == nil {
				return nil
			}
			held, err := quarantinedIn(tx, repo, b)
			out = append(out, held...)
			return err
		})
	})
	return out, s.wrap("", err)
}

func quarantinedIn(tx *bbolt.Tx, repo string, b *bbolt.Bucket) ([]Quarantined, error) {
	held := b.Bucket(repoQuarantined)
	names, err := namesIn(tx, repo, b, true)
	if err != nil {
		return nil, err
	}
	var out []Quarantined
	at := map[digest.Digest]int{}
	err = held.ForEach(func(k, reason []byte) error {
		if dgst, _, err := parseKey(k); err == nil {
			at[dgst] = len(out)
			out = append(out, Quarantined{Repository: repo, Digest: dgst, Reason: string(reason)})
		}
		return nil
	})
	for _, n := range names {
		d := n.Descriptor.Digest
		i, ok := at[d]
		reason := held.Get(holdKey(n.Reference))
		if reason == nil && (!ok || out[i].NamesOnly) {
			continue
		}
		if !ok {
			i, at[d] = len(out), len(out)
			out = append(out, Quarantined{Repository: repo, Digest: d, Reason: string(reason), NamesOnly: true})
		}
		out[i].Names = append(out[i].Names, HeldName{n.Reference, string(reason)})
	}
	return out, err
}
