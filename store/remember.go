package store

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"airgap/layout"
	"airgap/store/ledger"

	"golang.org/x/mod/sumdb/note"

	"go.etcd.io/bbolt"
)

// What a store remembers beside its content, in buckets that one made before has
// not: the ledger, and marks.
//
//	ledger/…             see package ledger
//	meta/ledgerKey       signs its checkpoints (C2SP signed note)
//	marks/<name>         a value for the caller to understand
var (
	ledgerBucket = []byte("ledger")
	marksBucket  = []byte("marks")
	ledgerKey    = []byte("ledgerKey")
)

// Limits of marks.
const (
	maxMarkName  = 2048
	maxMarkValue = 1 << 20
)

// ErrChanged says that another session changed what this one counts on.
var ErrChanged = errors.New("it was changed meanwhile")

// memory is what a session will have remembered.
type memory struct {
	entries [][]byte
	marks   map[string]markChange
}

type markChange struct{ was, now []byte }

// Log has Commit add an entry to the ledger, after those of earlier calls. It is
// there if and only if what else is committed is. It has 1 to
// [ledger.MaxEntryBytes] bytes.
func (s *Session) Log(entry []byte) error {
	if len(entry) == 0 || len(entry) > ledger.MaxEntryBytes {
		return s.store.wrap("", fmt.Errorf("%d bytes: %w", len(entry), ledger.ErrEntry))
	}
	return s.remember(func(m *memory) { m.entries = append(m.entries, slices.Clone(entry)) })
}

// Mark has Commit set a mark, if it still is what it was; nil means that there is
// none. Else Commit changes nothing and fails with ErrChanged.
func (s *Session) Mark(name string, was, now []byte) error {
	if name == "" || len(name) > maxMarkName || len(now) > maxMarkValue {
		return s.store.wrap("", fmt.Errorf("mark %.100q of %d bytes: %w", name, len(now), layout.ErrLimit))
	}
	return s.remember(func(m *memory) {
		if m.marks == nil {
			m.marks = map[string]markChange{}
		}
		if first, ok := m.marks[name]; ok {
			was = first.was
		}
		m.marks[name] = markChange{slices.Clone(was), slices.Clone(now)}
	})
}

func (s *Session) remember(change func(*memory)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.store.wrap("", s.ended)
	}
	change(&s.memory)
	return nil
}

// Marked returns a mark as it was before this session; nil if there is none.
func (s *Session) Marked(name string) ([]byte, error) { return s.store.Marked(name) }

// Marked returns a mark, or nil if there is none.
func (s *Store) Marked(name string) (value []byte, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		value = marked(tx, name)
		return nil
	})
	return value, s.wrap("", err)
}

func marked(tx *bbolt.Tx, name string) []byte {
	if b := tx.Bucket(marksBucket); b != nil {
		return bytes.Clone(b.Get([]byte(name)))
	}
	return nil
}

// checkMarks fails if a mark is not what the session took it for. The locks are
// held.
func (s *Session) checkMarks() error {
	return s.store.view(func(tx *bbolt.Tx) error {
		for name, m := range s.marks {
			if now := marked(tx, name); !bytes.Equal(now, m.was) || (now == nil) != (m.was == nil) {
				return fmt.Errorf("mark %q: %w", name, ErrChanged)
			}
		}
		return nil
	})
}

// recordMemory writes what the session will have remembered.
func (s *Session) recordMemory(tx *bbolt.Tx) error {
	if len(s.marks) > 0 {
		b, err := tx.CreateBucketIfNotExists(marksBucket)
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(s.marks)) {
			if err := b.Put([]byte(name), s.marks[name].now); err != nil {
				return err
			}
		}
	}
	if len(s.entries) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(ledgerBucket)
	if err != nil {
		return err
	}
	if err := makeLedgerKey(tx); err != nil {
		return err
	}
	for _, e := range s.entries {
		if _, err := ledger.In(b).Append(e); err != nil {
			return err
		}
	}
	return nil
}

// makeLedgerKey gives the ledger a name that no other has, and a key.
func makeLedgerKey(tx *bbolt.Tx) error {
	if tx.Bucket(metaBucket).Get(ledgerKey) != nil {
		return nil
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	return nameLedger(tx, "airgap/ledger/"+hex.EncodeToString(id[:]))
}

// nameLedger gives the ledger a name and a new key.
func nameLedger(tx *bbolt.Tx, name string) error {
	key, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return err
	}
	return tx.Bucket(metaBucket).Put(ledgerKey, []byte(key))
}

// Ledger reads the ledger: fn gets it, and its name, which is empty for one without
// entries. Both are good until fn returns.
func (s *Store) Ledger(fn func(origin string, l ledger.Log) error) error {
	return s.wrap("", s.view(func(tx *bbolt.Tx) error {
		signer, err := ledgerSigner(tx)
		if err != nil {
			return err
		}
		origin := ""
		if signer != nil {
			origin = signer.Name()
		}
		return fn(origin, ledger.In(tx.Bucket(ledgerBucket)))
	}))
}

// ledgerSigner is nil for a ledger that has no entries yet.
func ledgerSigner(tx *bbolt.Tx) (note.Signer, error) {
	key := tx.Bucket(metaBucket).Get(ledgerKey)
	if key == nil {
		if b := tx.Bucket(ledgerBucket); b != nil {
			return nil, fmt.Errorf("the ledger has no key: %w", errDatabase)
		}
		return nil, nil
	}
	signer, err := note.NewSigner(string(key))
	if err != nil {
		return nil, fmt.Errorf("the ledger's key: %v: %w", err, errDatabase)
	}
	return signer, nil
}

// Checkpoint signs the present state of the ledger. For one without entries it
// fails with layout.ErrNotFound.
func (s *Store) Checkpoint() (msg []byte, c ledger.Checkpoint, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		signer, err := ledgerSigner(tx)
		if err != nil {
			return err
		}
		if signer == nil {
			return fmt.Errorf("the ledger has no entries: %w", layout.ErrNotFound)
		}
		l := ledger.In(tx.Bucket(ledgerBucket))
		c = ledger.Checkpoint{Origin: signer.Name(), Size: l.Size()}
		if c.Root, err = l.Root(c.Size); err != nil {
			return err
		}
		msg, err = c.Sign(signer)
		return err
	})
	return msg, c, s.wrap("", err)
}
