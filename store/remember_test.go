package store

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/store/ledger"

	"go.etcd.io/bbolt"
)

// entries reads the whole ledger.
func entries(t *testing.T, s *Store) []string {
	t.Helper()
	var out []string
	if err := s.Ledger(func(_ string, l ledger.Log) error {
		for n := range l.Size() {
			e, err := l.Entry(n)
			if err != nil {
				return err
			}
			out = append(out, string(e))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func commit(t *testing.T, session *Session) {
	t.Helper()
	if err := session.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func no(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Entries and marks are there with what else is committed, and not before, nor
// without it.
func TestRemembered(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if _, _, err := s.Checkpoint(); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("a checkpoint of nothing: %v", err)
	}
	discarded, kept := begin(t, s), begin(t, s)
	for _, session := range []*Session{discarded, kept} {
		no(t, session.Log([]byte("first")))
		no(t, session.Log([]byte("second")))
		no(t, session.Mark("line", nil, []byte("7")))
	}
	no(t, discarded.Close())
	if v, err := s.Marked("line"); err != nil || v != nil || len(entries(t, s)) > 0 {
		t.Errorf("before the commit: mark %q, %v, entries %q", v, err, entries(t, s))
	}
	commit(t, kept)
	no(t, s.Close())
	s = open(t, dir, Options{ReadOnly: true})
	if v, err := s.Marked("line"); err != nil || string(v) != "7" {
		t.Errorf("mark %q, %v", v, err)
	}
	if got := entries(t, s); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("entries %q", got)
	}
	msg, c, err := s.Checkpoint()
	if got, perr := ledger.ParseCheckpoint(msg); err != nil || perr != nil || got != c || c.Size != 2 {
		t.Errorf("checkpoint %+v of %+v: %v, %v", got, c, err, perr)
	}
	no(t, s.Ledger(func(origin string, l ledger.Log) error { return l.Extends(origin, c) }))
}

// A mark that another session set meanwhile is not overwritten, and nothing else of
// the session happens either.
func TestMarkMoved(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	a, b := begin(t, s), begin(t, s)
	for i, session := range []*Session{a, b} {
		no(t, session.Mark("line", nil, []byte{byte(i)}))
		no(t, session.Log([]byte{'0' + byte(i)}))
	}
	commit(t, a)
	if err := b.Commit(t.Context(), nil); !errors.Is(err, ErrChanged) {
		t.Errorf("the second: %v", err)
	}
	if got := entries(t, s); !slices.Equal(got, []string{"0"}) {
		t.Errorf("entries %q", got)
	}
	// And it goes on, once it knows better.
	no(t, b.Close())
	c := begin(t, s)
	was, err := c.Marked("line")
	no(t, err)
	no(t, c.Mark("line", was, []byte{9}))
	no(t, c.Mark("line", []byte{9}, []byte{10})) // twice in one session
	commit(t, c)
	if v, _ := s.Marked("line"); string(v) != string([]byte{10}) {
		t.Errorf("mark %q", v)
	}
}

func TestRememberLimits(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	session := begin(t, s)
	for what, err := range map[string]error{
		"no entry": session.Log(nil), "a large entry": session.Log(make([]byte, ledger.MaxEntryBytes+1)),
		"no name": session.Mark("", nil, nil), "a long name": session.Mark(strings.Repeat("x", maxMarkName+1), nil, nil),
		"no reason": session.Quarantine("r", "", ""),
	} {
		if err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

// What was edited in the ledger is a problem of the store.
func TestCheckLedger(t *testing.T) {
	for what, edit := range map[string]func(tx *bbolt.Tx) error{
		"an entry": func(tx *bbolt.Tx) error {
			return tx.Bucket(ledgerBucket).Bucket([]byte("entries")).Put(make([]byte, 8), []byte("another"))
		},
		"its key": func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Delete(ledgerKey) },
	} {
		dir := t.TempDir()
		s, err := Open(dir, Options{})
		no(t, err)
		session := begin(t, s)
		no(t, session.Log([]byte("import")))
		commit(t, session)
		no(t, s.update(edit))
		if r, err := s.Check(t.Context(), CheckOptions{}); err != nil || len(r.Problems) == 0 {
			t.Errorf("%s: %v, %+v", what, err, r)
		}
		no(t, s.Close())
	}
}

// What is in quarantine has no name and no digest for those who pull, is there for
// those who judge, and comes back when it is admitted.
func TestQuarantine(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	add(t, s, content)
	add(t, s, image("other"))
	name := content.Names[0]
	byDigest := layout.Reference{Repository: testRepo, Digest: name.Descriptor.Digest}
	session := begin(t, s)
	no(t, session.Quarantine(testRepo, name.Descriptor.Digest, "its key was revoked"))
	no(t, session.Log([]byte("quarantine")))
	commit(t, session)
	for _, ref := range []layout.Reference{name.Reference, byDigest} {
		if _, err := s.Resolve(t.Context(), ref); !errors.Is(err, ErrQuarantined) || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("%s: %v", ref, err)
		}
		if d, err := s.Judged().Resolve(t.Context(), ref); err != nil || d.Digest != name.Descriptor.Digest {
			t.Errorf("%s for a judge: %v, %v", ref, d, err)
		}
	}
	listed := func() int {
		names, err := s.Names(t.Context())
		no(t, err)
		return len(names)
	}
	if n := listed(); n != 1 {
		t.Errorf("%d names are listed", n)
	}
	held, err := s.Quarantined(t.Context())
	if err != nil || len(held) != 1 || len(held[0].Names) != 1 || held[0].Names[0].Reference != name.Reference {
		t.Errorf("held: %+v, %v", held, err)
	}
	sound(t, s)
	add(t, s, content) // admitted again
	if _, err := s.Resolve(t.Context(), name.Reference); err != nil || listed() != 2 {
		t.Errorf("admitted again: %v, %d names", err, listed())
	}
	session = begin(t, s)
	no(t, session.Quarantine(testRepo, name.Descriptor.Digest, "x"))
	commit(t, session)
	session = begin(t, s)
	no(t, session.Release(testRepo, name.Descriptor.Digest))
	commit(t, session)
	if listed() != 2 {
		t.Errorf("released: %d names", listed())
	}
	session = begin(t, s)
	no(t, session.Quarantine(testRepo, image("never").Names[0].Descriptor.Digest, "x"))
	if err := session.Commit(t.Context(), nil); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestRemove(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	add(t, s, content)
	name := content.Names[0]
	session := begin(t, s)
	no(t, session.Remove(name.Reference))
	commit(t, session)
	if _, err := s.Resolve(t.Context(), name.Reference); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
	session = begin(t, s)
	no(t, session.Remove(name.Reference))
	no(t, session.Log([]byte("never")))
	if err := session.Commit(t.Context(), nil); !errors.Is(err, layout.ErrNotFound) || len(entries(t, s)) > 0 {
		t.Errorf("removed twice: %v, entries %q", err, entries(t, s))
	}
}
