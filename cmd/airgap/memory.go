package main

import (
	"context"
	"errors"
	"fmt"

	"airgap/bundle"
	"airgap/store"
	"airgap/store/ledger"
)

// storeMemory is what a store remembers, as an import sees it. A store that is not
// there yet remembers nothing, and is made when something is to be remembered.
type storeMemory struct {
	store   *store.Store                   // nil if there is none yet
	session func() (*store.Session, error) // of the import; makes the store
	commit  func(context.Context) error    // nil where the sink's Commit does it
	pending []func(*store.Session) error
}

// Marked implements [bundle.Memory].
func (m *storeMemory) Marked(name string) ([]byte, error) {
	if m.store == nil {
		return nil, nil
	}
	return m.store.Marked(name)
}

// Mark implements [bundle.Memory].
func (m *storeMemory) Mark(name string, was, now []byte) error {
	m.pending = append(m.pending, func(s *store.Session) error { return s.Mark(name, was, now) })
	return nil
}

// Log implements [bundle.Memory].
func (m *storeMemory) Log(entry []byte) error {
	m.pending = append(m.pending, func(s *store.Session) error { return s.Log(entry) })
	return nil
}

// Last implements [bundle.Memory].
func (m *storeMemory) Last() (entry []byte, err error) {
	if m.store == nil {
		return nil, nil
	}
	err = m.store.Ledger(func(_ string, l ledger.Log) error {
		if l.Size() == 0 {
			return nil
		}
		entry, err = l.Entry(l.Size() - 1)
		return err
	})
	return entry, err
}

// Continues implements [bundle.Memory].
func (m *storeMemory) Continues(checkpoint []byte) error {
	c, err := ledger.ParseCheckpoint(checkpoint)
	if err == nil && m.store == nil {
		err = fmt.Errorf("it carries a checkpoint of %d entries, and %w", c.Size, errNoLedger)
	}
	if err == nil {
		err = m.store.Ledger(func(origin string, l ledger.Log) error { return l.Extends(origin, c) })
	}
	if errors.Is(err, ledger.ErrFork) || errors.Is(err, ledger.ErrCheckpoint) || errors.Is(err, errNoLedger) {
		return fmt.Errorf("%w: %w", bundle.ErrRollback, err)
	}
	return err
}

// keepList has a revocation list kept; see [store.Session.KeepList].
func (m *storeMemory) keepList(issuer string, der []byte) error {
	m.pending = append(m.pending, func(s *store.Session) error { return s.KeepList(issuer, der) })
	return nil
}

// Append implements [bundle.Memory].
func (m *storeMemory) Append(ctx context.Context, entries ...[]byte) error {
	if m.store == nil {
		return nil
	}
	s, err := m.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for _, e := range entries {
		if err := s.Log(e); err != nil {
			return err
		}
	}
	return s.Commit(ctx, nil)
}

// Commit implements [bundle.Memory].
func (m *storeMemory) Commit(ctx context.Context) error {
	s, err := m.session()
	if err != nil {
		return err
	}
	for _, do := range m.pending {
		if err := do(s); err != nil {
			return err
		}
	}
	m.pending = nil
	if m.commit == nil {
		return nil
	}
	return m.commit(ctx)
}
