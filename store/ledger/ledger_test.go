package ledger_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"airgap/store/ledger"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"go.etcd.io/bbolt"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// open makes a database with an empty log.
func open(t *testing.T) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("l")); return err }); err != nil {
		t.Fatal(err)
	}
	return db
}

func entry(n int64) []byte { return fmt.Appendf(nil, "entry %d", n) }

// fill appends entries up to size.
func fill(t *testing.T, db *bbolt.DB, size int64) {
	t.Helper()
	if err := db.Update(func(tx *bbolt.Tx) error {
		l := ledger.In(tx.Bucket([]byte("l")))
		for n := l.Size(); n < size; n++ {
			if at, err := l.Append(entry(n)); err != nil || at != n {
				return fmt.Errorf("entry %d at %d: %v", n, at, err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func view(t *testing.T, db *bbolt.DB, fn func(ledger.Log)) {
	t.Helper()
	if err := db.View(func(tx *bbolt.Tx) error { fn(ledger.In(tx.Bucket([]byte("l")))); return nil }); err != nil {
		t.Fatal(err)
	}
}

func hashes[T ~[]tlog.Hash](p T) [][]byte {
	var out [][]byte
	for _, h := range p {
		out = append(out, bytes.Clone(h[:]))
	}
	return out
}

// Roots and proofs hold by a verifier that is not the library they were made with.
func TestProofs(t *testing.T) {
	const size = 67
	db := open(t)
	fill(t, db, size)
	hasher := rfc6962.DefaultHasher
	view(t, db, func(l ledger.Log) {
		roots := [][]byte{hasher.EmptyRoot()}
		tree := (&compact.RangeFactory{Hash: hasher.HashChildren}).NewEmptyRange(0)
		for n := range int64(size) {
			if err := tree.Append(hasher.HashLeaf(entry(n)), nil); err != nil {
				t.Fatal(err)
			}
			root, err := tree.GetRootHash(nil)
			if err != nil {
				t.Fatal(err)
			}
			roots = append(roots, root)
		}
		for n, want := range roots {
			if got, err := l.Root(int64(n)); err != nil || n > 0 && !bytes.Equal(got[:], want) {
				t.Errorf("root of %d entries: %v, %v", n, got, err)
			}
		}
		for n := range int64(size) {
			p, err := l.Inclusion(size, n)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyInclusion(hasher, uint64(n), size, hasher.HashLeaf(entry(n)), hashes(p), roots[size]); err != nil {
				t.Errorf("entry %d: %v", n, err)
			}
			if proof.VerifyInclusion(hasher, uint64(n), size, hasher.HashLeaf([]byte("another")), hashes(p), roots[size]) == nil {
				t.Errorf("entry %d: another is proven", n)
			}
		}
		for old := int64(1); old <= size; old++ {
			p, err := l.Consistency(size, old)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyConsistency(hasher, uint64(old), size, hashes(p), roots[old], roots[size]); err != nil {
				t.Errorf("from %d: %v", old, err)
			}
		}
		if got, err := l.Check(t.Context()); err != nil || !bytes.Equal(got[:], roots[size]) {
			t.Errorf("checked: %v, %v", got, err)
		}
	})
}

// The exported tiles give the entries and the root, by code that knows nothing of
// the database (c2sp.org/tlog-tiles).
func TestTiles(t *testing.T) {
	hasher := rfc6962.DefaultHasher
	for _, size := range []int64{0, 1, 255, 256, 257, 70_000} {
		db := open(t)
		fill(t, db, size+3) // it has grown since
		files := map[string][]byte{}
		var root tlog.Hash
		view(t, db, func(l ledger.Log) {
			var err error
			if root, err = l.Root(size); err != nil {
				t.Fatal(err)
			}
			for _, f := range ledger.Files(size) {
				if files[f.Name] != nil {
					t.Errorf("%s twice", f.Name)
				}
				if files[f.Name], err = l.Read(f); err != nil {
					t.Fatal(err)
				}
			}
		})
		if size == 0 {
			if len(files) != 0 {
				t.Errorf("an empty log has files: %d", len(files))
			}
			continue
		}
		tree := (&compact.RangeFactory{Hash: hasher.HashChildren}).NewEmptyRange(0)
		for n := int64(0); n < size; n += 256 {
			w := min(256, size-n)
			name := path(n/256, w)
			leaves, bundle := files["tile/0/"+name], files["tile/entries/"+name]
			if int64(len(leaves)) != 32*w {
				t.Fatalf("%d entries: tile %s has %d bytes", size, name, len(leaves))
			}
			for i := range w {
				length := binary.BigEndian.Uint16(bundle)
				data := bundle[2 : 2+length]
				bundle = bundle[2+length:]
				leaf := hasher.HashLeaf(data)
				if !bytes.Equal(data, entry(n+i)) || !bytes.Equal(leaf, leaves[32*i:32*i+32]) {
					t.Fatalf("%d entries: entry %d is %q", size, n+i, data)
				}
				if err := tree.Append(leaf, nil); err != nil {
					t.Fatal(err)
				}
			}
			if len(bundle) > 0 {
				t.Errorf("%d bytes behind the entries of %s", len(bundle), name)
			}
		}
		if got, err := tree.GetRootHash(nil); err != nil || !bytes.Equal(got, root[:]) {
			t.Errorf("%d entries: root %x, want %x: %v", size, got, root, err)
		}
		reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, &tiles{t, files})
		if h, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, size-1)}); err != nil || h[0] != tlog.RecordHash(entry(size-1)) {
			t.Errorf("%d entries: the last by its tiles: %v", size, err)
		}
	}
}

// path is the index part of a tile's path, for up to a million tiles.
func path(n, w int64) string {
	p := fmt.Sprintf("%03d", n%1000)
	if n >= 1000 {
		p = fmt.Sprintf("x%03d/", n/1000) + p
	}
	if w < 256 {
		p += fmt.Sprintf(".p/%d", w)
	}
	return p
}

// tiles reads files as the client of the Go checksum database does.
type tiles struct {
	t     *testing.T
	files map[string][]byte
}

func (r *tiles) Height() int { return 8 }
func (r *tiles) ReadTiles(list []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, tile := range list {
		data := r.files[fmt.Sprintf("tile/%d/", tile.L)+path(tile.N, int64(tile.W))]
		if data == nil {
			return nil, fmt.Errorf("no tile %s", tile.Path())
		}
		out = append(out, data)
	}
	return out, nil
}
func (r *tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// What was edited behind its back shows, whatever it was.
func TestEdited(t *testing.T) {
	for what, edit := range map[string]func(entries, hashes *bbolt.Bucket) error{
		"an entry":         func(e, _ *bbolt.Bucket) error { return e.Put(key(3), []byte("another")) },
		"the last removed": func(e, _ *bbolt.Bucket) error { return e.Delete(key(9)) },
		"one removed":      func(e, _ *bbolt.Bucket) error { return e.Delete(key(4)) },
		"one added":        func(e, _ *bbolt.Bucket) error { return e.Put(key(10), []byte("x")) },
		"two swapped": func(e, _ *bbolt.Bucket) error {
			return errors.Join(e.Put(key(3), entry(4)), e.Put(key(4), entry(3)))
		},
		"a leaf's hash":   func(_, h *bbolt.Bucket) error { return h.Put(key(tlog.StoredHashIndex(0, 5)), make([]byte, 32)) },
		"a node's hash":   func(_, h *bbolt.Bucket) error { return h.Put(key(tlog.StoredHashIndex(2, 0)), make([]byte, 32)) },
		"a hash removed":  func(_, h *bbolt.Bucket) error { return h.Delete(key(tlog.StoredHashIndex(1, 0))) },
		"a hash too many": func(_, h *bbolt.Bucket) error { return h.Put(key(tlog.StoredHashCount(10)), make([]byte, 32)) },
	} {
		db := open(t)
		fill(t, db, 10)
		if err := db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte("l"))
			return edit(b.Bucket([]byte("entries")), b.Bucket([]byte("hashes")))
		}); err != nil {
			t.Fatal(err)
		}
		view(t, db, func(l ledger.Log) {
			if _, err := l.Check(t.Context()); !errors.Is(err, ledger.ErrDamaged) {
				t.Errorf("%s: %v", what, err)
			}
		})
	}
}

func key(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// A log that was cut off, put back, or written anew does not continue a checkpoint
// that was carried away, even if it is sound in itself.
func TestExtends(t *testing.T) {
	db := open(t)
	fill(t, db, 5)
	var at5 ledger.Checkpoint
	view(t, db, func(l ledger.Log) {
		root, err := l.Root(5)
		if err != nil {
			t.Fatal(err)
		}
		at5 = ledger.Checkpoint{Origin: "here", Size: 5, Root: root}
	})
	fill(t, db, 9)
	short, other := open(t), open(t)
	fill(t, short, 4)
	if err := other.Update(func(tx *bbolt.Tx) error {
		_, err := ledger.In(tx.Bucket([]byte("l"))).Append([]byte("another past"))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	fill(t, other, 9)
	for what, test := range map[string]struct {
		db     *bbolt.DB
		origin string
		holds  bool
	}{
		"grown": {db, "here", true}, "cut off": {short, "here", false}, "written anew": {other, "here", false}, "another's": {db, "there", false},
	} {
		view(t, test.db, func(l ledger.Log) {
			if err := l.Extends(test.origin, at5); (err == nil) != test.holds || err != nil && !errors.Is(err, ledger.ErrFork) {
				t.Errorf("%s: %v", what, err)
			}
			if _, err := l.Check(t.Context()); err != nil {
				t.Errorf("%s is not sound in itself: %v", what, err)
			}
		})
	}
	view(t, db, func(l ledger.Log) {
		if err := l.Extends("here", ledger.Checkpoint{Origin: "here"}); !errors.Is(err, ledger.ErrFork) {
			t.Errorf("a checkpoint of nothing with a wrong root: %v", err)
		}
	})
}

func TestCheckpoint(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "here")
	if err != nil {
		t.Fatal(err)
	}
	_, another, err := note.GenerateKey(rand.Reader, "here")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier := func(key string) note.Verifier {
		v, err := note.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	c := ledger.Checkpoint{Origin: "here", Size: 7, Root: tlog.RecordHash([]byte("x"))}
	msg, err := c.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ledger.OpenCheckpoint(msg, verifier(vkey)); err != nil || got != c {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ledger.ParseCheckpoint(msg); err != nil || got != c {
		t.Errorf("unverified: %+v, %v", got, err)
	}
	if _, err := ledger.OpenCheckpoint(msg, verifier(another)); !errors.Is(err, ledger.ErrCheckpoint) {
		t.Errorf("by another key: %v", err)
	}
	for i := range msg {
		bad := bytes.Clone(msg)
		bad[i] ^= 1
		// The last letter of base64 has bits to spare.
		if got, err := ledger.OpenCheckpoint(bad, verifier(vkey)); err == nil && got != c {
			t.Errorf("byte %d changed: %+v", i, got)
		}
	}
	if len(msg) > 300 {
		t.Errorf("%d bytes do not fit into a small QR code", len(msg))
	}
	for _, text := range []string{"", "here\n", "here\n-1\n" + c.Root.String() + "\n", "here\n07\n" + c.Root.String() + "\n", "here\n7\nAAAA\n", "here\n7\n" + c.Root.String() + "\nmore\n"} {
		msg, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			continue
		}
		if _, err := ledger.OpenCheckpoint(msg, verifier(vkey)); !errors.Is(err, ledger.ErrCheckpoint) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLimits(t *testing.T) {
	db := open(t)
	if err := db.Update(func(tx *bbolt.Tx) error {
		l := ledger.In(tx.Bucket([]byte("l")))
		for _, size := range []int{0, ledger.MaxEntryBytes + 1} {
			if _, err := l.Append(make([]byte, size)); !errors.Is(err, ledger.ErrEntry) {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
		_, err := l.Append(make([]byte, ledger.MaxEntryBytes))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.In(nil).Append([]byte("x")); !errors.Is(err, ledger.ErrEntry) {
		t.Errorf("nowhere: %v", err)
	}
	view(t, db, func(l ledger.Log) {
		for _, n := range []int64{-1, 1} {
			_, err := l.Entry(n)
			_, err2 := l.Inclusion(1, n)
			if !errors.Is(err, ledger.ErrRange) || !errors.Is(err2, ledger.ErrRange) {
				t.Errorf("entry %d: %v, %v", n, err, err2)
			}
		}
		_, err := l.Root(2)
		_, err2 := l.Consistency(1, 0)
		if !errors.Is(err, ledger.ErrRange) || !errors.Is(err2, ledger.ErrRange) {
			t.Errorf("%v, %v", err, err2)
		}
	})
}
