package store

import (
	"crypto/x509"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"airgap/layout"

	"go.etcd.io/bbolt"
)

// listsBucket keeps, for each issuer, the newest revocation list that a verdict
// rested on: meta/… of the schema knows nothing of it, and a store made before has
// no such bucket.
var listsBucket = []byte("revocationLists")

// Limits of what is kept. Only what verified under pinned certificates gets here.
const (
	maxListBytes  = 32 << 20
	maxIssuerText = 256
)

// KeepList has Commit keep the revocation list in der, unless the store has a newer
// one of that issuer: numbers never go back (RFC 5280, 5.2.3). issuer is whatever
// tells issuers, and the scopes of their lists, apart.
func (s *Session) KeepList(issuer string, der []byte) error {
	list, err := x509.ParseRevocationList(der)
	if err == nil && (issuer == "" || len(issuer) > maxIssuerText || len(der) > maxListBytes) {
		err = layout.ErrLimit
	}
	if err != nil {
		return s.store.wrap("", fmt.Errorf("revocation list: %w", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.store.wrap("", s.ended)
	}
	if old := s.lists[issuer]; old == nil || number(list).Cmp(number(old)) > 0 {
		if s.lists == nil {
			s.lists = map[string]*x509.RevocationList{}
		}
		s.lists[issuer] = list
	}
	return nil
}

// number is a list's number; a list without one is older than any.
func number(l *x509.RevocationList) *big.Int {
	if l.Number == nil {
		return big.NewInt(-1)
	}
	return l.Number
}

// recordLists writes the session's lists, each if it is newer than what is there.
func (s *Session) recordLists(tx *bbolt.Tx) error {
	if len(s.lists) == 0 {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(listsBucket)
	if err != nil {
		return err
	}
	for _, issuer := range slices.Sorted(maps.Keys(s.lists)) {
		list := s.lists[issuer]
		if v := b.Get([]byte(issuer)); v != nil {
			old, err := x509.ParseRevocationList(v)
			if err != nil {
				return fmt.Errorf("revocation list of %s: %v: %w", issuer, err, layout.ErrCorrupt)
			}
			if number(list).Cmp(number(old)) <= 0 {
				continue
			}
		}
		if err := b.Put([]byte(issuer), list.Raw); err != nil {
			return err
		}
	}
	return nil
}

// RevocationLists returns the lists that are kept, one for each issuer.
func (s *Store) RevocationLists() ([]*x509.RevocationList, error) {
	var out []*x509.RevocationList
	err := s.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(listsBucket)
		if b == nil {
			return nil
		}
		return b.ForEach(func(issuer, v []byte) error {
			list, err := x509.ParseRevocationList(slices.Clone(v)) // the page goes with the transaction
			if err != nil {
				return fmt.Errorf("revocation list of %s: %v: %w", issuer, err, layout.ErrCorrupt)
			}
			out = append(out, list)
			return nil
		})
	})
	return out, s.wrap("", err)
}
