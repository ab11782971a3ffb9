package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Content was imported, and so admitted; or a client pushed it (see [Pusher]). Of the
// latter the database knows:
//
//	repositories/<repo>/notAdmitted      a push made the repository, and nothing in it was admitted
//	repositories/<repo>/blobs/<digest>   when it was pushed, in Unix seconds, 8 bytes; nothing if it was imported
//	repositories/<repo>/manifests/…      "pushed" in the record: the same
//	repositories/<repo>/pins/<digest>    "pushed": no tag led to it when it was pushed
//
// What is pushed to a repository without that mark is given out only if it is attached
// to something, or if a judge released it; else it is in quarantine.
var (
	notAdmittedKey = []byte("notAdmitted")
	pushedPin      = []byte("pushed")
)

// reasonPushed is why what was only pushed is not given out once a repository holds
// admitted content.
const reasonPushed = "it was pushed by a client, and nobody has admitted it"

// origin is how the content of a session comes; the zero value is an import.
type origin struct {
	at     int64 // when it was pushed, in Unix seconds
	judged bool  // a judge decides about it: a repository that it makes gets no mark
	// check looks at what is there before anything is done; the locks are held.
	check func(*bbolt.Tx) error
	// after completes what was recorded.
	after func(*bbolt.Tx) error
}

func (o origin) marks() bool { return o.at != 0 && !o.judged }

// stamp is what a repository says of a blob.
func (o origin) stamp() []byte {
	if o.at == 0 {
		return present
	}
	return binary.BigEndian.AppendUint64(nil, uint64(o.at))
}

// pushed says when a manifest was pushed, for its record: what was admitted stays so.
func (o origin) pushed(tx *bbolt.Tx, repo string, dgst digest.Digest) (int64, error) {
	if o.at == 0 {
		return 0, nil
	}
	rec, there, err := manifest(tx, repo, dgst)
	if there && rec.Pushed == 0 {
		return 0, err
	}
	return o.at, err
}

// notAdmitted says whether repo has the mark.
func notAdmitted(tx *bbolt.Tx, repo string) bool {
	if repo == "" {
		return false
	}
	b := tx.Bucket(reposBucket).Bucket([]byte(repo))
	return b != nil && b.Get(notAdmittedKey) != nil
}

// NotAdmitted lists the repositories that give out what clients pushed, and nobody has
// admitted.
func (s *Store) NotAdmitted(ctx context.Context) ([]string, error) {
	var out []string
	err := s.view(func(tx *bbolt.Tx) error {
		return eachRepository(ctx, tx, func(repo string, b *bbolt.Bucket) error {
			if b.Get(notAdmittedKey) != nil {
				out = append(out, repo)
			}
			return nil
		})
	})
	return out, s.wrap("", err)
}

// checkPush looks whether a push is to be taken. The locks are held.
func (s *Session) checkPush() error {
	if s.origin.check == nil {
		return nil
	}
	return s.store.view(s.origin.check)
}

// recordOrigin publishes names, and what becomes of the rest by how all came.
func (s *Session) recordOrigin(tx *bbolt.Tx, names []layout.Name) error {
	if s.origin.at != 0 {
		return s.recordPush(tx, names)
	}
	if err := s.recordAdmitted(tx, names); err != nil {
		return err
	}
	for _, n := range names {
		if err := errors.Join(recordName(tx, n), s.admit(tx, n)); err != nil {
			return fmt.Errorf("name %s: %w", n.Reference, err)
		}
	}
	return nil
}

func (s *Session) recordPush(tx *bbolt.Tx, names []layout.Name) error {
	for _, n := range names {
		if err := recordNameAs(tx, n, pushedPin); err != nil {
			return fmt.Errorf("name %s: %w", n.Reference, err)
		}
	}
	if s.origin.after == nil {
		return nil
	}
	return s.origin.after(tx)
}

// recordAdmitted makes what an import brings admitted content, and takes the mark off
// repositories that get a name.
func (s *Session) recordAdmitted(tx *bbolt.Tx, names []layout.Name) error {
	for at := range s.brought {
		if g := s.gains[at.repo]; g != nil && g.manifests[at.digest].Size > 0 {
			continue // its record was made just now
		}
		rec, there, err := manifest(tx, at.repo, at.digest)
		if err != nil {
			return err
		}
		if there && rec.Pushed != 0 {
			rec.Pushed = 0
			if err := recordManifest(tx.Bucket(reposBucket).Bucket([]byte(at.repo)), at.digest, rec); err != nil {
				return err
			}
		}
	}
	for _, n := range names {
		repo := n.Reference.Repository
		if !layout.IsDerivedTag(n.Reference.Tag) && notAdmitted(tx, repo) {
			if err := unmark(tx, repo); err != nil {
				return fmt.Errorf("repository %s: %w", repo, err)
			}
		}
	}
	return nil
}

// unmark takes the mark off a repository: what was only pushed there goes into
// quarantine, and so do all its names, which lead to it or were not admitted.
func unmark(tx *bbolt.Tx, repo string) error {
	b := tx.Bucket(reposBucket).Bucket([]byte(repo))
	if err := b.Delete(notAdmittedKey); err != nil {
		return err
	}
	var keys [][]byte
	err := eachManifest(b, func(dgst digest.Digest) error {
		rec, _, err := manifest(tx, repo, dgst)
		if rec.Pushed != 0 {
			keys = append(keys, key(dgst))
		}
		return err
	})
	if err != nil {
		return err
	}
	names, err := namesIn(tx, repo, b, true)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !layout.IsDerivedTag(n.Reference.Tag) {
			keys = append(keys, holdKey(n.Reference))
		}
	}
	for _, k := range keys {
		if heldBack(tx, repo, k) != nil {
			continue // for a reason of its own
		}
		if err := quarantine(tx, repo, k, reasonPushed); err != nil {
			return err
		}
	}
	return nil
}

// wasPushed says whether a manifest of repo came from a client.
func wasPushed(tx *bbolt.Tx, repo string, dgst digest.Digest) bool {
	rec, there, err := manifest(tx, repo, dgst)
	return err == nil && there && rec.Pushed != 0
}
