package store

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/layout/layouttest"
)

// noLoss is a campaign's run in which the power stays on.
const noLoss disktest.Loss = ""

// faultRun is an import with one fault.
type faultRun struct {
	dir   string
	fs    *disktest.FS
	acked bool
}

// importThrough opens the store in dir through a folder with a fault, imports
// content and closes everything.
func importThrough(t *testing.T, dir string, content layouttest.Content, n int, mode disktest.Mode) faultRun {
	t.Helper()
	folder, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	run := faultRun{dir: dir, fs: disktest.Wrap(folder)}
	run.fs.Inject(n, mode)
	s, err := Open(dir, Options{FS: run.fs})
	if err != nil {
		return run
	}
	defer s.Close()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := session.Log([]byte("import")); err != nil {
		t.Fatal(err)
	}
	run.acked = content.Load(t.Context(), session) == nil
	return run
}

// starts are the states of the folder before the import.
var starts = map[string]func(t *testing.T, dir string){
	"new store":     func(*testing.T, string) {},
	"with content":  withContent,
	"after a crash": afterCrash,
}

func withContent(t *testing.T, dir string) {
	t.Helper()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, image("old"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func afterCrash(t *testing.T, dir string) {
	t.Helper()
	withContent(t, dir)
	write(t, filepath.Join(dir, ingestDir, "1"), []byte("half a bl"))
	write(t, blobFile(dir, largest(image("new")).Descriptor), []byte("torn"))
}

// TestFaults puts every fault at every operation of an import, and cuts the power
// after it or not. What was there before stays; what is new is there whole if it
// was acknowledged, and whole or not at all otherwise; and the same import, run
// again, succeeds.
//
// Each fault meets one kind of power cut, in turn; with AIRGAP_CAMPAIGN set, each
// meets all.
func TestFaults(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 5
	}
	losses := append(disktest.Losses, noLoss)
	for name, start := range starts {
		t.Run(name, func(t *testing.T) {
			base := filepath.Join(memoryDir(t), "base")
			if err := os.Mkdir(base, 0o755); err != nil {
				t.Fatal(err)
			}
			start(t, base)
			clean := importThrough(t, clone(t, base), image("new"), 0, "")
			ops := clean.fs.Ops()
			if !clean.acked || len(ops) == 0 {
				t.Fatalf("without a fault: acknowledged is %v after %d operations", clean.acked, len(ops))
			}
			runs := 0
			for i := 0; i < len(ops); i += step {
				for j, mode := range disktest.Modes {
					if !mode.Applies(ops[i].Op) {
						continue
					}
					for k, loss := range losses {
						if os.Getenv("AIRGAP_CAMPAIGN") != "" || k == (i+j)%len(losses) {
							runs++
							oneFault(t, base, name != "new store", i+1, ops[i], mode, loss)
						}
					}
				}
			}
			t.Logf("%d operations, %d runs", len(ops), runs)
		})
	}
}

func oneFault(t *testing.T, base string, hasOld bool, n int, op disktest.Call, mode disktest.Mode, loss disktest.Loss) {
	t.Helper()
	run := importThrough(t, clone(t, base), image("new"), n, mode)
	if !run.fs.Fired() {
		t.Errorf("operation %d (%s): %s did not happen", n, op, mode)
	}
	if loss != noLoss {
		if err := run.fs.PowerCut(loss); err != nil {
			t.Fatal(err)
		}
	}
	if run.survives(t, hasOld); t.Failed() {
		t.Fatalf("after %s at operation %d (%s), losing %q; acknowledged: %v", mode, n, op, loss, run.acked)
	}
}

// survives checks what is left, and that the import can be repeated.
func (run faultRun) survives(t *testing.T, hasOld bool) {
	t.Helper()
	s, err := Open(run.dir, Options{})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	sound(t, s)
	if hasOld {
		layouttest.CheckSource(t, s, image("old"), layouttest.Traits{})
	}
	visible := isVisible(t, s, image("new"))
	if run.acked && !visible {
		t.Error("acknowledged, and not there")
	}
	if n := len(entries(t, s)); visible != (n == 1) || n > 1 {
		t.Errorf("the image is there: %v; entries in the ledger: %d", visible, n)
	}
	if got := leftovers(t, run.dir); len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
	add(t, s, image("new"))
	layouttest.CheckSource(t, s, image("new"), layouttest.Traits{})
	if r := sound(t, s); r.Orphans > 0 {
		t.Errorf("%d files that the database does not list", r.Orphans)
	}
	if err := os.RemoveAll(run.dir); err != nil {
		t.Error(err)
	}
}

// isVisible says whether content is there, and fails the test if only part of it
// is.
func isVisible(t *testing.T, s *Store, content layouttest.Content) bool {
	t.Helper()
	if _, err := s.Resolve(t.Context(), content.Names[0].Reference); err == nil {
		layouttest.CheckSource(t, s, content, layouttest.Traits{})
		return true
	}
	for _, item := range content.Repositories[testRepo] {
		if _, old := image("old").Find(testRepo, item.Descriptor.Digest); old {
			continue
		}
		if _, err := s.Open(t.Context(), testRepo, item.Descriptor); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("%s is there, its name is not: %v", item.Descriptor.Digest, err)
		}
	}
	return false
}

// memoryDir is a folder in memory where there is such a thing: syncing is most of
// the time of a campaign, and the loss of what was not synced is played by
// disktest.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "airgap-store-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func clone(t *testing.T, dir string) string {
	t.Helper()
	to, err := os.MkdirTemp(filepath.Dir(dir), "")
	if err == nil {
		err = os.CopyFS(to, os.DirFS(dir))
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// Power fails right after an import was acknowledged.
func TestPowerCutAfterCommit(t *testing.T) {
	for _, loss := range disktest.Losses {
		for _, existing := range []bool{false, true} {
			dir := t.TempDir()
			if existing {
				withContent(t, dir)
			}
			run := importThrough(t, dir, image("new"), 0, "")
			if err := run.fs.PowerCut(loss); err != nil || !run.acked {
				t.Fatal(err, run.acked)
			}
			run.survives(t, existing)
		}
	}
}

// After a flush failed, the kernel forgets what it could not write: nothing that
// was written before may be published by trying again.
func TestFlushFailureIsFinal(t *testing.T) {
	dir := t.TempDir()
	withContent(t, dir)
	folder, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() }) // after the store
	fsys := &failingFlush{FS: folder}
	s := open(t, dir, Options{FS: fsys})
	content := image("new")
	first, second := begin(t, s), begin(t, s)
	for _, session := range []*Session{first, second} {
		if err := content.Put(t.Context(), session); err != nil {
			t.Fatal(err)
		}
	}
	fsys.err = syscall.EIO
	if err := first.Commit(t.Context(), content.Names); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Commit = %v, want EIO", err)
	}
	fsys.err = nil
	if err := putItem(t, first, largest(content)); !errors.Is(err, syscall.EIO) {
		t.Errorf("Put = %v, want EIO", err)
	}
	for name, session := range map[string]*Session{"the same": first, "another": second} {
		if err := session.Commit(t.Context(), content.Names); !errors.Is(err, syscall.EIO) {
			t.Errorf("Commit of %s session = %v, want EIO", name, err)
		}
	}
	if _, err := s.Begin(t.Context()); !errors.Is(err, syscall.EIO) {
		t.Errorf("Begin = %v, want EIO", err)
	}
	if isVisible(t, s, content) {
		t.Error("visible")
	}
}

type failingFlush struct {
	disk.FS
	err error
}

func (f *failingFlush) Flush() error { return errors.Join(f.err, f.FS.Flush()) }

// A commit that failed may still have reached the database. What it lists stays.
func TestDiscardSparesWhatTheDatabaseLists(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	add(t, s, content)
	session := begin(t, s)
	for _, item := range content.Repositories[testRepo] {
		session.staged[item.Descriptor.Digest] = &stagedBlob{temp: ingestDir + "/moved", moved: true}
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	layouttest.CheckSource(t, s, content, layouttest.Traits{})
}

// The database can not grow.
func TestDatabaseFull(t *testing.T) {
	dir := t.TempDir()
	withContent(t, dir)
	s := open(t, dir, Options{maxDatabase: 64 << 10})
	content := many(600)
	session := begin(t, s)
	if err := content.Load(t.Context(), session); err == nil {
		t.Fatal("600 manifests go into 64 KiB")
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if isVisible(t, s, content) {
		t.Error("visible")
	}
	if r := sound(t, s); r.Orphans > 0 {
		t.Errorf("%d files were not discarded", r.Orphans)
	}
	add(t, s, image("small")) // for which there is room
	layouttest.CheckSource(t, s, image("small"), layouttest.Traits{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	add(t, s, content)
	layouttest.CheckSource(t, s, image("old"), layouttest.Traits{})
	if !isVisible(t, s, layouttest.Content{Repositories: map[string][]layouttest.Item{testRepo: nil}, Names: content.Names[:1]}) {
		t.Error("not visible")
	}
}

// many is an index of n small manifests.
func many(n int) layouttest.Content {
	b := layouttest.New(testRepo)
	config := b.Blob(layout.MediaTypeEmpty, []byte("{}"))
	var children []layout.Descriptor
	for i := range n {
		children = append(children, b.Manifest(layouttest.Document{
			SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config,
			Annotations: map[string]string{"n": strings.Repeat("i", i)},
		}))
	}
	b.Tag("many", b.Index(children...))
	return b.Content()
}

// A damaged database is an error, and never a crash or a hang.
func TestDamagedDatabase(t *testing.T) {
	dir := t.TempDir()
	withContent(t, dir)
	path := filepath.Join(dir, databaseName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	use := func(damaged []byte) error {
		write(t, path, damaged) // to fail on the last one has not left it locked
		s, err := Open(dir, Options{})
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		ctx := context.Background()
		_, err1 := s.Names(ctx)
		_, err2 := s.Stats(ctx)
		_, err3 := s.Attached(ctx, testRepo, image("old").Names[0].Descriptor)
		r, err4 := s.Check(ctx, CheckOptions{})
		return errors.Join(err1, err2, err3, err4, r.Err())
	}
	for _, n := range []int{1, 100, 4096, 4096 * 2, 4096 * 3, 4096 * 4} {
		if err := use(whole[:n]); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("cut off after %d of %d bytes: %v, want ErrCorrupt", n, len(whole), err)
		}
	}
	for at := 0; at < len(whole); at += 509 {
		damaged := append([]byte(nil), whole...)
		for i := at; i < min(at+64, len(damaged)); i++ {
			damaged[i] ^= 0xff
		}
		_ = use(damaged) // may or may not matter; must return
	}
	write(t, path, whole)
	layouttest.CheckSource(t, open(t, dir, Options{}), image("old"), layouttest.Traits{})
}

func TestNoStore(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, databaseName), []byte(strings.Repeat("not a database ", 1000)))
	if _, err := Open(dir, Options{}); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("Open = %v, want ErrCorrupt", err)
	}
}
