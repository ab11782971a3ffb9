package pages

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// database makes one with pages of every kind: branches, leaves, buckets with pages of
// their own and inline ones, overflow and a list of free pages.
func database(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	step := func(fn func(tx *bbolt.Tx) error) {
		t.Helper()
		if err := db.Update(fn); err != nil {
			t.Fatal(err)
		}
	}
	step(func(tx *bbolt.Tx) error {
		large, err := tx.CreateBucket([]byte("large"))
		for i := 0; err == nil && i < 3000; i++ {
			err = large.Put(fmt.Appendf(nil, "key %06d", i), bytes.Repeat([]byte{byte(i)}, 100))
		}
		if err == nil {
			err = large.Put([]byte("overflow"), make([]byte, 50_000))
		}
		outer, oerr := tx.CreateBucket([]byte("outer"))
		err = errors.Join(err, oerr)
		for i := 0; err == nil && i < 50; i++ {
			var b *bbolt.Bucket
			if b, err = outer.CreateBucket(fmt.Appendf(nil, "inner %d", i)); err == nil {
				err = b.Put([]byte("k"), make([]byte, 20*i))
			}
		}
		return err
	})
	step(func(tx *bbolt.Tx) error { // so that pages are free
		for i := range 500 {
			if err := tx.Bucket([]byte("large")).Delete(fmt.Appendf(nil, "key %06d", i)); err != nil {
				return err
			}
		}
		return nil
	})
	step(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("large")).Put([]byte("last"), nil) })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func check(t testing.TB, data []byte, writable bool) []Problem {
	t.Helper()
	r := bytes.NewReader(data)
	m, err := ReadMeta(r, int64(len(data)))
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("ReadMeta = %v, want ErrDamaged", err)
		}
		return []Problem{{Err: err}}
	}
	return Check(r, m, writable)
}

// pagesOf lists pages by their type.
func pagesOf(t testing.TB, data []byte) (m Meta, of map[uint16][]uint64) {
	t.Helper()
	m, err := ReadMeta(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	c := &checking{f: bytes.NewReader(data), meta: m, seen: make([]uint64, m.HighWater/64+1)}
	c.page(m.Root, bounds{}, 0, true)
	of = map[uint16][]uint64{}
	for id := uint64(2); id < m.HighWater; id++ {
		if at := data[int(id)*m.PageSize:]; c.has(id) && binary.NativeEndian.Uint64(at) == id {
			kind := binary.NativeEndian.Uint16(at[8:])
			of[kind] = append(of[kind], id)
		}
	}
	return m, of
}

func TestSound(t *testing.T) {
	data := database(t)
	m, of := pagesOf(t, data)
	for _, kind := range []uint16{branchPage, leafPage} {
		if len(of[kind]) < 3 {
			t.Fatalf("%d pages of type %d", len(of[kind]), kind)
		}
	}
	for _, writable := range []bool{true, false} {
		for _, p := range check(t, data, writable) {
			t.Error(p)
		}
	}
	if n := Lost(bytes.NewReader(data), m); n != 0 {
		t.Errorf("%d pages are neither in use nor free", n)
	}
}

// Each kind of page is damaged in each way; nothing of it passes for something to write to.
func TestDamage(t *testing.T) {
	data := database(t)
	m, of := pagesOf(t, data)
	of[metaPage], of[freelistPage] = []uint64{0, 1}, []uint64{m.Freelist}
	order := binary.NativeEndian
	ways := map[string]func(page []byte, id uint64){
		"zeros":             func(page []byte, _ uint64) { clear(page) },
		"ones":              func(page []byte, _ uint64) { copy(page, bytes.Repeat([]byte{0xFF}, len(page))) },
		"another page":      func(page []byte, id uint64) { order.PutUint64(page, id+1) },
		"another type":      func(page []byte, _ uint64) { order.PutUint16(page[8:], 0x20) },
		"too many elements": func(page []byte, _ uint64) { order.PutUint16(page[10:], 0xFFFE) },
		"too many pages":    func(page []byte, _ uint64) { order.PutUint32(page[12:], 0xFFFFFF) },
		"noise": func(page []byte, _ uint64) {
			r := rand.New(rand.NewPCG(1, 2))
			for i := range page {
				page[i] = byte(r.Uint32())
			}
		},
	}
	for kind, ids := range of {
		for name, damage := range ways {
			if kind == metaPage && (name == "another page" || name == "another type" || name == "too many elements" || name == "too many pages") {
				continue // bbolt does not look at the header of a meta page
			}
			for _, id := range ids[:min(len(ids), 20)] {
				bad := bytes.Clone(data)
				damage(bad[int(id)*m.PageSize:int(id+1)*m.PageSize], id)
				if len(check(t, bad, true)) == 0 {
					t.Errorf("page %d of type %#x: %s: nothing is reported", id, kind, name)
				}
				check(t, bad, false)
			}
		}
	}
}

// What bbolt would follow for ever, or take for less than there is, is no database to read
// either.
func TestMisleading(t *testing.T) {
	data := database(t)
	m, of := pagesOf(t, data)
	order := binary.NativeEndian
	at := func(bad []byte, id uint64) []byte { return bad[int(id)*m.PageSize:] }
	for _, id := range of[branchPage] {
		for name, damage := range map[string]func(page []byte){
			"a cycle":         func(page []byte) { order.PutUint64(page[headerBytes+8:], id) },
			"a page twice":    func(page []byte) { copy(page[headerBytes+elementBytes+8:][:8], page[headerBytes+8:]) },
			"a meta page":     func(page []byte) { order.PutUint64(page[headerBytes+8:], 0) },
			"beyond the end":  func(page []byte) { order.PutUint64(page[headerBytes+8:], m.HighWater) },
			"far beyond it":   func(page []byte) { order.PutUint64(page[headerBytes+8:], 1<<63) },
			"no elements":     func(page []byte) { order.PutUint16(page[10:], 0) },
			"a key out of it": func(page []byte) { order.PutUint32(page[headerBytes:], 1<<31) },
			"a key twice": func(page []byte) { // positions are relative to the element
				order.PutUint32(page[headerBytes:], order.Uint32(page[headerBytes+elementBytes:])+elementBytes)
				copy(page[headerBytes+4:][:4], page[headerBytes+elementBytes+4:])
			},
		} {
			bad := bytes.Clone(data)
			damage(at(bad, id))
			refusedToRead(t, bad, name)
		}
	}
	for _, id := range of[leafPage] {
		if order.Uint16(at(data, id)[10:]) < 2 {
			continue
		}
		bad := bytes.Clone(data)
		order.PutUint32(at(bad, id)[headerBytes:], 7)
		refusedToRead(t, bad, "unknown flags")
	}
}

func refusedToRead(t *testing.T, data []byte, what string) {
	t.Helper()
	for _, p := range check(t, data, false) {
		if !p.Noticed {
			return
		}
	}
	t.Errorf("%s: can be read", what)
}

func TestFreelist(t *testing.T) {
	data := database(t)
	m, of := pagesOf(t, data)
	order := binary.NativeEndian
	list := int(m.Freelist) * m.PageSize
	if order.Uint16(data[list+10:]) < 3 {
		t.Fatal("no free pages")
	}
	for name, id := range map[string]uint64{"in use": of[leafPage][0], "itself": m.Freelist, "a meta page": 1, "beyond": m.HighWater, "far beyond": 1 << 63,
		"twice": order.Uint64(data[list+headerBytes+8:])} {
		bad := bytes.Clone(data)
		order.PutUint64(bad[list+headerBytes:], id)
		if len(check(t, bad, true)) == 0 {
			t.Errorf("%s: nothing is reported", name)
		}
		if p := check(t, bad, false); len(p) > 0 {
			t.Errorf("%s: cannot be read: %v", name, p)
		}
	}
	bad := bytes.Clone(data)
	order.PutUint16(bad[list+10:], 1) // the others are lost
	if n := Lost(bytes.NewReader(bad), m); n == 0 {
		t.Error("lost pages are not counted")
	}
}

func TestMetaPages(t *testing.T) {
	data := database(t)
	m, _ := pagesOf(t, data)
	for page := range 2 {
		bad := bytes.Clone(data)
		bad[page*m.PageSize+metaBytes-1] ^= 1
		got, err := ReadMeta(bytes.NewReader(bad), int64(len(bad)))
		if err != nil || got.Other == nil || got.PageSize != m.PageSize {
			t.Errorf("without page %d: %+v, %v", page, got, err)
		}
		if len(check(t, bad, true)) == 0 {
			t.Errorf("without page %d it can be written", page)
		}
		if p := check(t, bad, false); len(p) > 0 {
			t.Errorf("without page %d it cannot be read: %v", page, p)
		}
	}
	for _, n := range []int{0, 1, 79, 4096, 4097, 8192, 12288, int(m.HighWater)*m.PageSize - 1} {
		if _, err := ReadMeta(bytes.NewReader(data[:n]), int64(n)); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut off after %d bytes: %v, want ErrDamaged", n, err)
		}
	}
}

// Whatever the bytes are, it comes to an end.
func FuzzCheck(f *testing.F) {
	data := database(f)
	m, of := pagesOf(f, data)
	for _, ids := range of {
		for _, id := range ids[:min(3, len(ids))] {
			f.Add(int(id)*m.PageSize+10, []byte{1, 2, 3})
		}
	}
	f.Fuzz(func(t *testing.T, at int, with []byte) {
		if at < 2*m.PageSize || at >= len(data) {
			return
		}
		bad := bytes.Clone(data)
		copy(bad[at:], with)
		check(t, bad, true)
		check(t, bad, false)
	})
}
