package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxEntryBytes is how large an entry may be (c2sp.org/tlog-tiles, "Log entries":
// its length has two bytes).
const MaxEntryBytes = 1<<16 - 1

// Errors, to be matched with [errors.Is].
var (
	// ErrDamaged: the log does not fit itself.
	ErrDamaged = errors.New("the ledger is damaged")
	// ErrEntry: the entry is empty or too large.
	ErrEntry = errors.New("not an entry")
	// ErrRange: the log has no such entry, or was never of that size.
	ErrRange = errors.New("beyond the end of the ledger")
)

// The buckets inside a log's: entries by index, and the hashes that the tree is
// made of by tlog's index. Both indexes are 8 bytes, big-endian.
var (
	entriesBucket = []byte("entries")
	hashesBucket  = []byte("hashes")
)

// Log is a log in its bucket, for as long as the bucket's transaction.
type Log struct{ b *bbolt.Bucket }

// In is the log in a bucket; nil is one that has no entries, and takes none.
func In(b *bbolt.Bucket) Log { return Log{b} }

func index(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func (l Log) bucket(name []byte) *bbolt.Bucket {
	if l.b == nil {
		return nil
	}
	return l.b.Bucket(name)
}

// Size is how many entries there are.
func (l Log) Size() int64 {
	b := l.bucket(entriesBucket)
	if b == nil {
		return 0
	}
	k, _ := b.Cursor().Last()
	if len(k) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(k)) + 1
}

// Append adds an entry at the end and returns its index.
func (l Log) Append(data []byte) (int64, error) {
	if len(data) == 0 || len(data) > MaxEntryBytes {
		return 0, fmt.Errorf("%d bytes, want 1 to %d: %w", len(data), MaxEntryBytes, ErrEntry)
	}
	if l.b == nil {
		return 0, fmt.Errorf("there is no log to add to: %w", ErrEntry)
	}
	entries, err := l.b.CreateBucketIfNotExists(entriesBucket)
	if err != nil {
		return 0, err
	}
	hashes, err := l.b.CreateBucketIfNotExists(hashesBucket)
	if err != nil {
		return 0, err
	}
	n := l.Size()
	fresh, err := tlog.StoredHashes(n, data, tlog.HashReaderFunc(l.hashes))
	if err != nil {
		return 0, err
	}
	// Appended keys are the largest: pages fill up from the left.
	entries.FillPercent, hashes.FillPercent = 1, 1
	at := tlog.StoredHashIndex(0, n)
	for i, h := range fresh {
		if err := hashes.Put(index(at+int64(i)), h[:]); err != nil {
			return 0, err
		}
	}
	return n, entries.Put(index(n), data)
}

// Entry returns the bytes of an entry.
func (l Log) Entry(n int64) ([]byte, error) {
	if n < 0 || n >= l.Size() {
		return nil, fmt.Errorf("entry %d of %d: %w", n, l.Size(), ErrRange)
	}
	v := l.bucket(entriesBucket).Get(index(n))
	if v == nil {
		return nil, fmt.Errorf("entry %d is gone: %w", n, ErrDamaged)
	}
	return slices.Clone(v), nil
}

// hashes reads stored hashes.
func (l Log) hashes(indexes []int64) ([]tlog.Hash, error) {
	b := l.bucket(hashesBucket)
	out := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		var v []byte
		if b != nil {
			v = b.Get(index(n))
		}
		if len(v) != tlog.HashSize {
			return nil, fmt.Errorf("hash %d is gone: %w", n, ErrDamaged)
		}
		out[i] = tlog.Hash(v)
	}
	return out, nil
}

func (l Log) within(size int64) error {
	if size < 0 || size > l.Size() {
		return fmt.Errorf("%d entries, it has %d: %w", size, l.Size(), ErrRange)
	}
	return nil
}

// Root is the hash of the tree of the first size entries (RFC 6962, 2.1).
func (l Log) Root(size int64) (tlog.Hash, error) {
	if err := l.within(size); err != nil {
		return tlog.Hash{}, err
	}
	return tlog.TreeHash(size, tlog.HashReaderFunc(l.hashes))
}

// Inclusion proves that entry n is in the tree of the first size entries
// (RFC 6962, 2.1.1).
func (l Log) Inclusion(size, n int64) (tlog.RecordProof, error) {
	if err := l.within(size); err != nil {
		return nil, err
	}
	if n < 0 || n >= size {
		return nil, fmt.Errorf("entry %d of %d: %w", n, size, ErrRange)
	}
	return tlog.ProveRecord(size, n, tlog.HashReaderFunc(l.hashes))
}

// Consistency proves that the tree of the first size entries begins with that of
// the first old ones (RFC 6962, 2.1.2). Both have at least one.
func (l Log) Consistency(size, old int64) (tlog.TreeProof, error) {
	if err := l.within(size); err != nil {
		return nil, err
	}
	if old < 1 || old > size {
		return nil, fmt.Errorf("%d entries of %d: %w", old, size, ErrRange)
	}
	return tlog.ProveTree(size, old, tlog.HashReaderFunc(l.hashes))
}

// Check computes every hash anew from the entries, compares them with what is
// stored, and returns the root.
func (l Log) Check(ctx context.Context) (tlog.Hash, error) {
	size := l.Size()
	if err := l.checkCounts(size); err != nil {
		return tlog.Hash{}, err
	}
	for n := range size {
		if err := ctx.Err(); err != nil {
			return tlog.Hash{}, err
		}
		data, err := l.Entry(n)
		if err != nil {
			return tlog.Hash{}, err
		}
		// Each level rests on hashes that were compared before.
		fresh, err := tlog.StoredHashes(n, data, tlog.HashReaderFunc(l.hashes))
		if err != nil {
			return tlog.Hash{}, err
		}
		at := tlog.StoredHashIndex(0, n)
		for i, want := range fresh {
			got, err := l.hashes([]int64{at + int64(i)})
			if err != nil {
				return tlog.Hash{}, err
			}
			if got[0] != want {
				return tlog.Hash{}, fmt.Errorf("entry %d is not the one that was written: %w", n, ErrDamaged)
			}
		}
	}
	return l.Root(size)
}

// checkCounts looks for entries and hashes too few or too many.
func (l Log) checkCounts(size int64) error {
	for _, c := range []struct {
		name []byte
		want int64
	}{{entriesBucket, size}, {hashesBucket, tlog.StoredHashCount(size)}} {
		got := int64(0)
		if b := l.bucket(c.name); b != nil {
			got = int64(b.Stats().KeyN)
		}
		if got != c.want {
			return fmt.Errorf("%d %s, want %d: %w", got, c.name, c.want, ErrDamaged)
		}
	}
	return nil
}
