package store

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"

	"go.etcd.io/bbolt"
)

// What one process commits, another that has the store open sees, and the other way
// round.
func TestShared(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, Options{}), open(t, dir, Options{})
	ro := open(t, dir, Options{ReadOnly: true})
	for i, s := range []*Store{a, b, a, b} {
		content := image(fmt.Sprint("v", i))
		add(t, s, content)
		for _, other := range []*Store{a, b, ro} {
			layouttest.CheckSource(t, other, content, layouttest.Traits{})
		}
	}
}

// Those who read do not keep a writer out, however many there are and however busy.
func TestReadersLetWritersIn(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Options{}), image("v1"))
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 8 {
		s := open(t, dir, Options{ReadOnly: true})
		for range 4 {
			readers.Go(func() {
				for ctx.Err() == nil {
					if _, err := s.Resolve(t.Context(), image("v1").Names[0].Reference); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	w := open(t, dir, Options{})
	for i := range 20 {
		add(t, w, image(fmt.Sprint("w", i)))
	}
	stop()
	readers.Wait()
}

// Two processes that write all the time both get on.
func TestWritersTakeTurns(t *testing.T) {
	dir := t.TempDir()
	var writers sync.WaitGroup
	for p := range 2 {
		s := open(t, dir, Options{})
		writers.Go(func() {
			for i := range 20 {
				add(t, s, image(fmt.Sprint("p", p, "-", i)))
			}
		})
	}
	writers.Wait()
	s := open(t, dir, Options{})
	for p := range 2 {
		for i := range 20 {
			layouttest.CheckSource(t, s, image(fmt.Sprint("p", p, "-", i)), layouttest.Traits{})
		}
	}
}

// A reader that does not end keeps a writer out for no longer than it wants to wait.
func TestWaitForAReaderEnds(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Options{}), image("v1"))
	reading, w := open(t, dir, Options{ReadOnly: true}), open(t, dir, Options{})
	w.db.wait = time.Millisecond
	no(t, reading.view(func(*bbolt.Tx) error {
		session := begin(t, w)
		no(t, image("v2").Put(t.Context(), session))
		if err := session.Commit(t.Context(), image("v2").Names); !errors.Is(err, ErrLocked) {
			t.Errorf("Commit = %v, want ErrLocked", err)
		}
		return nil
	}))
	w.db.wait = DefaultWait
	if r := sound(t, w); len(r.Problems) > 0 {
		t.Error(r)
	}
}

// Somebody reads, and does not end; somebody else waits to write. All others can read.
func TestReadBesideAWriterThatWaits(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Options{}), image("v1"))
	stuck, w, other := open(t, dir, Options{ReadOnly: true}), open(t, dir, Options{}), open(t, dir, Options{ReadOnly: true})
	var all sync.WaitGroup
	reads, end, wrote := make(chan struct{}), make(chan struct{}), make(chan struct{})
	all.Go(func() {
		no(t, stuck.view(func(*bbolt.Tx) error {
			close(reads)
			<-end
			return nil
		}))
	})
	<-reads
	all.Go(func() {
		no(t, w.update(func(*bbolt.Tx) error { return nil }))
		close(wrote)
	})
	for waits := false; !waits; runtime.Gosched() {
		waits = !w.db.mu.TryLock() // it opens it
		if !waits {
			waits = w.db.wanted > 0
			w.db.mu.Unlock()
		}
	}
	for range 5 {
		for _, s := range []*Store{w, other} {
			if _, err := s.Resolve(t.Context(), image("v1").Names[0].Reference); err != nil {
				t.Error(err)
			}
		}
	}
	select {
	case <-wrote:
		t.Error("it wrote beside one who reads")
	default:
	}
	close(end)
	all.Wait()
}

// A commit that found the database in use at its last step has written nothing: the store
// is as good as before.
func TestCommitAfterALockedOne(t *testing.T) {
	dir := t.TempDir()
	add(t, open(t, dir, Options{}), image("v1"))
	reading, w := open(t, dir, Options{ReadOnly: true}), open(t, dir, Options{})
	session := begin(t, w)
	no(t, image("v2").Put(t.Context(), session))
	var readers sync.WaitGroup
	reads, end := make(chan struct{}), make(chan struct{})
	session.origin.check = func(*bbolt.Tx) error {
		readers.Go(func() {
			no(t, reading.view(func(*bbolt.Tx) error {
				close(reads)
				<-end
				return nil
			}))
		})
		<-reads
		w.db.wait = time.Millisecond
		return nil
	}
	if err := session.Commit(t.Context(), image("v2").Names); !errors.Is(err, ErrLocked) {
		t.Errorf("Commit = %v, want ErrLocked", err)
	}
	close(end)
	readers.Wait()
	w.db.wait = DefaultWait
	no(t, session.Close())
	if got := leftovers(t, dir); len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
	add(t, w, image("v2"))
	layouttest.CheckSource(t, reading, image("v2"), layouttest.Traits{})
}

// A database that is so damaged that bbolt cannot even end what it began does not take
// those with it who have the store open: they get errors, and can close it.
func TestDamageWhileItIsWritten(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	add(t, s, image("v1"))
	err := s.update(func(*bbolt.Tx) error {
		f, err := os.OpenFile(filepath.Join(dir, databaseName), os.O_WRONLY, 0)
		no(t, err)
		_, err = f.Write(make([]byte, 2*os.Getpagesize())) // where its roots are
		no(t, errors.Join(err, f.Close()))
		panic("a page that makes no sense")
	})
	if !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("update = %v, want ErrCorrupt", err)
	}
	s.db.wait = time.Millisecond
	if _, err := s.Resolve(t.Context(), image("v1").Names[0].Reference); err == nil {
		t.Error("it can be read")
	}
	no(t, s.Close())
}

// removingFS calls fn after it has removed a file.
type removingFS struct {
	disk.FS
	fn func(name string)
}

func (f *removingFS) Remove(name string) error {
	err := f.FS.Remove(name)
	f.fn(name)
	return err
}

// Who opens a store clears the folder of one that is just closing it: to neither that is
// an error.
func TestCloseBesideOpen(t *testing.T) {
	dir := t.TempDir()
	folder, err := disk.Open(dir)
	no(t, err)
	defer folder.Close()
	s, err := Open(dir, Options{FS: &removingFS{folder, func(name string) {
		if filepath.Base(name) == aliveName {
			no(t, open(t, dir, Options{}).Close())
		}
	}}})
	no(t, err)
	add(t, s, image("v1"))
	if err := s.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// A name that a session has looked up and means to set has been set by another one.
func TestNameChangedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, Options{}), open(t, dir, Options{})
	ref := layout.Reference{Repository: testRepo, Tag: "latest"}
	named := func(label string) layouttest.Content {
		b := layouttest.New(testRepo)
		b.Tag("latest", b.Image(label))
		return b.Content()
	}
	for _, was := range []bool{false, true} { // whether there is such a name before
		first, second := begin(t, a), begin(t, b)
		for _, s := range []*Session{first, second} {
			if _, err := s.Resolve(t.Context(), ref); was != (err == nil) {
				t.Fatal(err)
			}
		}
		no(t, named(fmt.Sprint("first", was)).Load(t.Context(), first))
		err := named(fmt.Sprint("second", was)).Load(t.Context(), second)
		if !errors.Is(err, ErrChanged) || layout.Hint(err) == "" {
			t.Errorf("Commit = %v (hint %q), want ErrChanged", err, layout.Hint(err))
		}
		layouttest.CheckSource(t, b, named(fmt.Sprint("first", was)), layouttest.Traits{})
	}
}

// A session that rests on a state of the whole store fails once there is another.
func TestExpectedState(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, Options{}), open(t, dir, Options{})
	add(t, a, image("v1"))
	state, err := a.State()
	no(t, err)
	for _, changed := range []bool{false, true} {
		session := begin(t, a)
		no(t, session.Expect(state))
		no(t, session.Log([]byte("entry")))
		if err := session.Commit(t.Context(), nil); changed != errors.Is(err, ErrChanged) || !changed && err != nil {
			t.Errorf("changed: %v: Commit = %v", changed, err)
		}
	}
	if state, err = b.State(); err != nil {
		t.Fatal(err)
	}
	session := begin(t, a)
	no(t, session.Expect(state))
	no(t, session.Log([]byte("entry")))
	commit(t, session)
}

// Stores of every earlier form can be read, without being changed; to write makes them
// one of this form.
func TestOldStores(t *testing.T) {
	found, err := filepath.Glob(filepath.Join("testdata", "stores", "*.tar.gz"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d stores: %v", len(found), err)
	}
	for _, path := range found {
		dir := t.TempDir()
		unpack(t, path, dir)
		before, err := os.ReadFile(filepath.Join(dir, databaseName))
		no(t, err)
		for _, o := range []Options{{ReadOnly: true}, {}, {ReadOnly: true}} {
			s := open(t, dir, o)
			if r := sound(t, s); r.Blobs != 63 || r.Orphans != 0 {
				t.Errorf("%s: %+v", path, r)
			}
			if got := len(entries(t, s)); got != 8 {
				t.Errorf("%s: %d entries in the ledger", path, got)
			}
			if _, err := s.Resolve(t.Context(), layout.Reference{Repository: "reg.example/team/app", Tag: "v1"}); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if _, err := s.View().Resolve(t.Context(), layout.Reference{Repository: "reg.example/team/other", Tag: "v1"}); !errors.Is(err, layout.ErrNotFound) {
				t.Errorf("%s: in quarantine: %v", path, err)
			}
			no(t, s.Close())
			after, err := os.ReadFile(filepath.Join(dir, databaseName))
			no(t, err)
			if o.ReadOnly && string(after) != string(before) {
				t.Errorf("%s: reading has changed it", path)
			}
			before = after
		}
		add(t, open(t, dir, Options{}), image("new"))
	}
}

// unpack extracts one of our own fixtures.
func unpack(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	no(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	no(t, err)
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return
		}
		no(t, err)
		to := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag != tar.TypeReg {
			no(t, os.MkdirAll(to, 0o755))
			continue
		}
		data, err := io.ReadAll(tr)
		no(t, err)
		no(t, os.MkdirAll(filepath.Dir(to), 0o755))
		write(t, to, data)
	}
}
