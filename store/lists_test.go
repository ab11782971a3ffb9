package store_test

import (
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"airgap/store"
	"airgap/verify/signing"
)

// list is a revocation list with a number.
func list(t *testing.T, number int64) []byte {
	t.Helper()
	ca, err := signing.NewTestCA("root", signing.TestOptions{InsecureSeed: "root"})
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
	}, ca.Certs[0], ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Of each issuer the newest list is kept, over any number of sessions, and only of
// sessions that were committed.
func TestRevocationListsNeverGoBack(t *testing.T) {
	dir := t.TempDir()
	keep := func(commit bool, issuer string, numbers ...int64) {
		t.Helper()
		s, err := store.Open(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		session, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		for _, n := range numbers {
			if err := session.KeepList(issuer, list(t, n)); err != nil {
				t.Fatal(err)
			}
		}
		if commit {
			if err := session.Commit(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	has := func(want ...int64) {
		t.Helper()
		s, err := store.Open(dir, store.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		got, err := s.RevocationLists()
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d lists, %v; want %d", len(got), err, len(want))
		}
		for i, l := range got {
			if l.Number.Int64() != want[i] {
				t.Errorf("list %d has number %d, want %d", i, l.Number, want[i])
			}
		}
	}
	keep(false, "a", 9)
	has()
	keep(true, "a", 3, 5, 4)
	has(5)
	keep(true, "a", 4)
	has(5)
	keep(true, "b", 1)
	has(5, 1)
	keep(true, "a", 6)
	has(6, 1)
}

func TestKeepListRefuses(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if session.KeepList("a", []byte("x")) == nil || session.KeepList("", list(t, 1)) == nil {
		t.Error("what is no list, or nobody's, is kept")
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if session.KeepList("a", list(t, 1)) == nil {
		t.Error("a closed session takes a list")
	}
}
