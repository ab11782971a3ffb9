package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store/pages"

	"go.etcd.io/bbolt"
)

// crowd is content of so many repositories that the database has pages of every kind.
func crowd() layouttest.Content {
	var all []layouttest.Content
	for i := range 40 {
		b := layouttest.New(fmt.Sprintf("reg.example/%d/%s", i, strings.Repeat("long", 50)))
		for j := range 3 {
			b.Tag(fmt.Sprint("v", j), b.Image(fmt.Sprint(i, j)))
		}
		all = append(all, b.Content())
	}
	return layouttest.Merge(all...)
}

// TestDamagedPages damages pages of a database (AIRGAP_CAMPAIGN=1: all) in several ways. Nothing panics or
// hangs; what cannot be done fails with advice, at once; and nobody else is kept out.
func TestDamagedPages(t *testing.T) {
	base := filepath.Join(memoryDir(t), "base")
	s := open(t, base, Options{})
	add(t, s, crowd())
	add(t, s, image("gone"))
	unname(t, s, "gone")
	collect(t, s, CollectOptions{})
	no(t, s.Close())
	data, err := os.ReadFile(filepath.Join(base, databaseName))
	no(t, err)
	f, err := os.Open(filepath.Join(base, databaseName))
	no(t, err)
	defer f.Close()
	m, err := pages.ReadMeta(f, int64(len(data)))
	no(t, err)
	ways := map[string]func(page []byte){
		"zeros":        func(page []byte) { clear(page) },
		"elements":     func(page []byte) { binary.NativeEndian.PutUint16(page[10:], 0x7FFF) },
		"first bytes":  func(page []byte) { copy(page[16:], make([]byte, 48)) },
		"lost a write": func(page []byte) { copy(page, data[m.Root*uint64(m.PageSize):][:len(page)]) },
	}
	dir := clone(t, base)
	refused, runs := 0, 0
	for page := uint64(0); page < m.HighWater; page++ {
		for name, damage := range ways {
			if os.Getenv("AIRGAP_CAMPAIGN") == "" && page > 8 && page%7 > 0 && page != m.Freelist && page != m.Root {
				continue
			}
			runs++
			bad := append([]byte(nil), data...)
			damage(bad[page*uint64(m.PageSize):][:m.PageSize])
			if damagedPages(t, dir, bad) {
				refused++
			}
			if t.Failed() {
				t.Fatalf("page %d: %s", page, name)
			}
		}
	}
	for _, n := range []int{0, 1, 4095, 4096, 8192, 3 * 4096, int(m.HighWater-1) * m.PageSize} {
		if !damagedPages(t, dir, data[:n]) {
			t.Errorf("cut off after %d bytes, it was written", n)
		}
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	t.Logf("%d pages, %d of %d writers were refused", m.HighWater, refused, runs)
}

// damagedPages reads and writes a store whose database is bad, and says whether it could
// not be written.
func damagedPages(t *testing.T, dir string, bad []byte) (refused bool) {
	t.Helper()
	write(t, filepath.Join(dir, databaseName), bad)
	advised := func(what string, err error) {
		t.Helper()
		if err != nil && (!errors.Is(err, layout.ErrCorrupt) || !strings.Contains(layout.Hint(err), "store rebuild")) {
			t.Errorf("%s: %v (hint %q)", what, err, layout.Hint(err))
		}
	}
	before := readAll(t, dir)
	advised("reading", before)
	w, err := Open(dir, Options{})
	if err == nil {
		defer w.Close()
		session := begin(t, w)
		err = session.Log([]byte("line"))
		if err == nil {
			err = session.Commit(t.Context(), nil)
		}
		_ = session.Close()
	}
	advised("writing", err)
	// The writer is still there, as in a process that serves.
	after := readAll(t, dir)
	if (before == nil) != (after == nil) {
		t.Errorf("reading: %v before somebody tried to write, %v after", before, after)
	}
	return err != nil
}

// readAll reads the names and what they lead to, as another process does.
func readAll(t *testing.T, dir string) error {
	t.Helper()
	s, err := Open(dir, Options{ReadOnly: true, Wait: time.Minute})
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Check(t.Context(), CheckOptions{}); err != nil {
		return err
	}
	_, err = s.Names(t.Context())
	return err
}

// A panic within a transaction lets go of the lock, and later transactions work.
func TestPanicInUpdate(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir, Options{}), open(t, dir, Options{})
	add(t, s, image("v1"))
	err := s.update(func(*bbolt.Tx) error { panic("page 7 has unexpected type") })
	if !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("update = %v, want ErrCorrupt", err)
	}
	add(t, other, image("v2"))
	add(t, s, image("v3"))
	for _, s := range []*Store{s, other} {
		for _, label := range []string{"v1", "v2", "v3"} {
			layouttest.CheckSource(t, s, image(label), layouttest.Traits{})
		}
	}
}
