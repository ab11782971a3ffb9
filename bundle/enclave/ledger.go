package enclave

import (
	"context"
	"errors"
	"fmt"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/store"
	"airgap/store/ledger"
	"airgap/verify"
)

// LedgerTime returns the time of the next entry in a store's ledger: now, or that of the
// last entry if that is a little later. The error matches bundle.ErrRollback if the clock
// is behind the last entry by more.
func LedgerTime(st *store.Store, now time.Time) (time.Time, error) {
	var last []byte
	err := st.Ledger(func(_ string, l ledger.Log) (err error) {
		if l.Size() > 0 {
			last, err = l.Entry(l.Size() - 1)
		}
		return err
	})
	if err != nil {
		return now, err
	}
	return bundle.CheckClock(last, now.UTC())
}

// Enter has a session's commit add an entry to the ledger.
func Enter(s *store.Session, e custody.Entry) error {
	data, err := e.Bytes()
	if err != nil {
		return err
	}
	return s.Log(data)
}

// PushEntry returns the ledger entry for what a client did to a store that is served.
func PushEntry(st *store.Store, now time.Time, e store.PushEvent) ([]byte, error) {
	at, err := LedgerTime(st, now)
	if err != nil {
		return nil, err
	}
	entry := custody.Entry{At: at, Act: custody.Push, Reference: e.Reference.Name(), Digest: e.Digest, By: e.By, Reason: e.Held}
	if e.Deleted {
		entry.Act = custody.Delete
	}
	if e.Served {
		entry.Result = string(verify.Passed)
	}
	return entry.Bytes()
}

// KeptLists returns the revocation lists that a store has kept.
func KeptLists(st *store.Store) ([]bundle.RevocationList, error) {
	kept, err := st.RevocationLists()
	var out []bundle.RevocationList
	for _, l := range kept {
		out = append(out, bundle.RevocationList{DER: l.Raw})
	}
	return out, err
}

// EachEntry calls fn with every entry of a ledger, in order. Damage matches
// layout.ErrCorrupt.
func EachEntry(ctx context.Context, l ledger.Log, fn func(n int64, e custody.Entry)) error {
	for n := range l.Size() {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := l.Entry(n)
		if err != nil {
			return err
		}
		e, err := custody.ParseEntry(data)
		if err != nil {
			return fmt.Errorf("ledger: entry %d: %v: %w", n, err, layout.ErrCorrupt)
		}
		fn(n, e)
	}
	return nil
}

// DamagedLedger makes a damaged ledger a damaged store.
func DamagedLedger(err error) error {
	if errors.Is(err, ledger.ErrDamaged) {
		return fmt.Errorf("%w (%w)", err, layout.ErrCorrupt)
	}
	return err
}
