package layout_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"
)

const bundleName = "b.tar"

// job is a bundle to be written, and what has to be in it.
type job struct {
	plan  *layout.Plan
	items []layouttest.Item // everything that has to be put
	want  []byte
}

func newJob(t testing.TB, content layouttest.Content) job {
	t.Helper()
	want, plan := bundled(t, content)
	j := job{plan: plan, want: want}
	for i := range plan.Entries {
		e := &plan.Entries[i]
		if e.Digest == "" {
			continue
		}
		for _, r := range content.Sorted() {
			if item, ok := content.Find(r, e.Digest); ok {
				j.items = append(j.items, layouttest.Item{Descriptor: e.Descriptor(), Bytes: item.Bytes})
				break
			}
		}
	}
	return j
}

func tarWriter(t testing.TB, fsys disk.FS, plan *layout.Plan) *layout.TarWriter {
	t.Helper()
	w, err := layout.NewTarWriter(fsys, bundleName, plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func put(ctx context.Context, w layout.Sink, item layouttest.Item) error {
	return w.Put(ctx, "", item.Descriptor, bytes.NewReader(item.Bytes))
}

// finish asks for each item, puts those that are missing, commits, and returns
// how many were there.
func (j job) finish(t testing.TB, w *layout.TarWriter) (had int) {
	t.Helper()
	for _, item := range j.items {
		has, err := w.Has(t.Context(), "", item.Descriptor)
		if err != nil {
			t.Fatal(err)
		}
		if has {
			had++
		} else if err := put(t.Context(), w, item); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(t.Context(), j.plan.Names); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return had
}

// written compares the bundle with what it has to be, and sees that nothing else
// is there.
func (j job) written(t testing.TB, dir string) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, bundleName))
	if err != nil || !bytes.Equal(got, j.want) {
		t.Errorf("the bundle is not what it has to be: %d bytes, want %d, %v", len(got), len(j.want), err)
	}
	if left := leftovers(t, dir); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func unnamed(t testing.TB, dir string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(dir, bundleName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bundle has its name before it is whole: %v", err)
	}
}

func resumable() layouttest.Content {
	b := layouttest.New(repo)
	image := b.Image("image", b.Blob(layerType, bytes.Repeat([]byte("large "), 400_000)), b.Blob(layerType, make([]byte, 1<<20+1)), b.Blob(layerType, nil))
	b.Tag("v1", image)
	b.Notary(image, "signature")
	return b.Content()
}

// Stopped after any number of Puts, and in the middle of the next, the export
// goes on from there: it asks for what is missing, and the bytes are the same.
func TestTarResume(t *testing.T) {
	t.Parallel()
	j := newJob(t, resumable())
	zeros := 0 // what is only zeros cannot be told from what was never written
	for k := range len(j.items) + 1 {
		dir := t.TempDir()
		fsys := openDir(t, dir)
		w := tarWriter(t, fsys, j.plan)
		for _, item := range j.items[:k] {
			if err := put(t.Context(), w, item); err != nil {
				t.Fatal(err)
			}
		}
		if k < len(j.items) {
			item := j.items[k]
			r := io.MultiReader(bytes.NewReader(item.Bytes[:len(item.Bytes)/2]), errorReader{errors.New("connection lost")})
			if err := w.Put(t.Context(), "", item.Descriptor, r); err == nil {
				t.Fatal("half a blob was taken")
			}
			if err := w.Commit(t.Context(), nil); !errors.Is(err, layout.ErrNotFound) {
				t.Errorf("committed after %d of %d: %v", k, len(j.items), err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		unnamed(t, dir)
		zeros = 0
		for _, item := range j.items[:k] {
			if len(item.Bytes) > 1<<20 && item.Bytes[0] == 0 {
				zeros++
			}
		}
		// The empty blob is there as soon as its header is.
		if had := j.finish(t, tarWriter(t, fsys, j.plan)); had < k-zeros || had > k+1 {
			t.Errorf("stopped after %d of %d: %d were found", k, len(j.items), had)
		}
		j.written(t, dir)
	}
}

type errorReader struct{ err error }

func (e errorReader) Read([]byte) (int, error) { return 0, e.err }

// Whatever of an unfinished file is damaged is fetched again.
func TestTarResumeTrustsNothing(t *testing.T) {
	j := newJob(t, resumable())
	for damage, change := range map[string]func(b []byte){
		"flipped at the start": func(b []byte) { b[0] ^= 1 },
		"flipped at the end":   func(b []byte) { b[len(b)-1] ^= 1 },
		"zeroed in the middle": func(b []byte) { clear(b[len(b)/2:]); b[len(b)/2] = 1 },
		"swapped":              func(b []byte) { b[0], b[len(b)-1] = b[len(b)-1]+1, b[0] },
	} {
		dir := t.TempDir()
		fsys := openDir(t, dir)
		w := tarWriter(t, fsys, j.plan)
		for _, item := range j.items {
			if err := put(t.Context(), w, item); err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		path := filepath.Join(dir, bundleName+layout.PartialSuffix)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		empty := 0
		for _, item := range j.items {
			e, _ := j.plan.Lookup(item.Descriptor.Digest)
			if part := data[e.DataOffset() : e.DataOffset()+e.Size]; len(part) > 0 {
				change(part)
			} else {
				empty++
			}
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if had := j.finish(t, tarWriter(t, fsys, j.plan)); had != empty {
			t.Errorf("%s: %d of %d damaged blobs were taken", damage, had-empty, len(j.items))
		}
		j.written(t, dir)
	}
}

// What lies at NAME.partial, whatever it is, does no harm.
func TestTarResumeFromAnything(t *testing.T) {
	j, other := newJob(t, resumable()), newJob(t, layouttest.Everything("a.example/other"))
	head := j.plan.Entries[3].Offset
	for what, data := range map[string][]byte{
		"nothing": {}, "a byte": {1}, "text": []byte("notes to self"), "zeros": make([]byte, 100_000), "random": bytes.Repeat([]byte("\x93random\x00\xff"), 1_000_000),
		"larger": append(bytes.Clone(j.want), j.want...), "all of it": j.want, "cut short": j.want[:len(j.want)-1], "its first headers": j.want[:head], "half": j.want[:len(j.want)/2],
		"another bundle": other.want, "another tool's": pack(t, simple(t)...),
	} {
		for _, at := range []string{bundleName, bundleName + layout.PartialSuffix, bundleName + layout.PartialSuffix + ".old"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, at), data, 0o644); err != nil {
				t.Fatal(err)
			}
			had := j.finish(t, tarWriter(t, openDir(t, dir), j.plan))
			if what == "all of it" && had < len(j.items)-1 { // zeros are fetched again
				t.Errorf("%s at %s: only %d of %d were taken", what, at, had, len(j.items))
			}
			j.written(t, dir)
		}
	}
}

// Another selection goes on from what the first had fetched, be it whole or not,
// and a run that was stopped before it fetched anything costs nothing.
func TestTarResumeAnotherPlan(t *testing.T) {
	b := layouttest.New(repo)
	shared := b.Blob(layerType, bytes.Repeat([]byte("shared "), 300_000))
	b.Tag("v1", b.Image("one", shared))
	one := newJob(t, b.Content())
	b.Tag("v2", b.Image("two", shared, b.Layer(layerType, "more")))
	two := newJob(t, b.Content())
	common := len(one.items)
	for _, whole := range []bool{false, true} {
		dir := t.TempDir()
		fsys := openDir(t, dir)
		w := tarWriter(t, fsys, one.plan)
		if whole {
			one.finish(t, w)
		} else {
			for _, item := range one.items {
				if err := put(t.Context(), w, item); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
		}
		// Started and stopped, twice; the second time in the middle of writing
		// its headers.
		tarWriter(t, fsys, two.plan).Close()
		tarWriter(t, fsys, two.plan).Close()
		path := filepath.Join(dir, bundleName+layout.PartialSuffix)
		if err := os.Truncate(path, two.plan.Entries[4].Offset+100); err != nil {
			t.Fatal(err)
		}
		if had := two.finish(t, tarWriter(t, fsys, two.plan)); had != common {
			t.Errorf("whole %v: %d of %d were taken over", whole, had, common)
		}
		two.written(t, dir)
	}
}

// A bad sector under an earlier file: its blobs are fetched instead.
func TestTarResumeBadSector(t *testing.T) {
	j := newJob(t, resumable())
	for _, at := range []string{bundleName, bundleName + layout.PartialSuffix} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, at), j.want, 0o644); err != nil {
			t.Fatal(err)
		}
		for i := range j.items {
			e, _ := j.plan.Lookup(j.items[i].Descriptor.Digest)
			if e.Size == 0 {
				continue
			}
			fsys := &badSector{FS: openDir(t, dir), from: e.DataOffset(), to: e.DataOffset() + e.Size}
			w, err := layout.NewTarWriter(fsys, bundleName, j.plan)
			if err != nil {
				t.Fatal(err)
			}
			if has, err := w.Has(t.Context(), "", j.items[i].Descriptor); err != nil || has {
				t.Errorf("%s with a bad sector under %s: Has = %v, %v", at, e.Name(), has, err)
			}
			if err := put(t.Context(), w, j.items[i]); err != nil {
				t.Error(err)
			}
			w.Close()
		}
	}
}

// badSector fails to read what overlaps a range, of any file.
type badSector struct {
	disk.FS
	from, to int64
}

func (b *badSector) Open(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := b.FS.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &badFile{f, b}, nil
}

type badFile struct {
	disk.File
	b *badSector
}

func (f *badFile) ReadAt(p []byte, off int64) (int, error) {
	if len(p) != 16<<10 && off < f.b.to && off+int64(len(p)) > f.b.from { // 16 KiB: reading headers
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

// Fd lets the file be locked.
func (f *badFile) Fd() uintptr { return f.File.(interface{ Fd() uintptr }).Fd() }

func TestTarWritersAtOnce(t *testing.T) {
	j, other := newJob(t, resumable()), newJob(t, layouttest.Everything("a.example/other"))
	dir := t.TempDir()
	fsys := openDir(t, dir)
	w := tarWriter(t, fsys, j.plan)
	for _, plan := range []*layout.Plan{j.plan, other.plan} {
		if _, err := layout.NewTarWriter(fsys, bundleName, plan); !errors.Is(err, disk.ErrBusy) || layout.Hint(err) == "" {
			t.Errorf("a second writer: %v, hint %q, want ErrBusy and what to do", err, layout.Hint(err))
		}
	}
	j.finish(t, w)
	j.written(t, dir)
	if err := tarWriter(t, fsys, other.plan).Close(); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

// between is a file system on which something happens right after a file was
// opened for the first time.
type between struct {
	disk.FS
	name string
	then func()
}

func (b *between) Open(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := b.FS.Open(name, flag, perm)
	if then := b.then; err == nil && name == b.name && then != nil {
		b.then = nil
		then()
	}
	return f, err
}

// The first writer ends between the second one's opening of the partial file and
// its lock: what the second has open is a finished bundle, and stays as it is.
func TestTarWriterOpensWhatIsFinished(t *testing.T) {
	j, other := newJob(t, resumable()), newJob(t, layouttest.Everything("a.example/other"))
	for _, plan := range []*layout.Plan{j.plan, other.plan} {
		dir := t.TempDir()
		fsys := openDir(t, dir)
		w := tarWriter(t, fsys, j.plan)
		late := &between{FS: fsys, name: bundleName + layout.PartialSuffix, then: func() { j.finish(t, w) }}
		if _, err := layout.NewTarWriter(late, bundleName, plan); !errors.Is(err, disk.ErrBusy) {
			t.Errorf("the file was renamed under the second writer: %v, want ErrBusy", err)
		}
		if late.then != nil {
			t.Fatal("the race was not run")
		}
		j.written(t, dir)
	}
}

// A failing Put after a good one changes nothing, be it a blob or what the plan
// made itself.
func TestTarWriterKeepsWhatIsRight(t *testing.T) {
	content := resumable()
	mem := load(t, content)
	g, err := layout.Walk(t.Context(), mem, content.Roots(), layout.WalkOptions{Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := layout.NewPlan(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	j := newJob(t, content)
	dir := t.TempDir()
	w := tarWriter(t, openDir(t, dir), plan)
	for _, item := range j.items {
		if err := put(t.Context(), w, item); err != nil {
			t.Fatal(err)
		}
		for _, wrong := range [][]byte{bytes.Repeat([]byte("wrong"), len(item.Bytes)/5+1), nil, append(bytes.Clone(item.Bytes), 1)} {
			if err := w.Put(t.Context(), "", item.Descriptor, bytes.NewReader(wrong)); !errors.Is(err, layout.ErrCorrupt) && len(item.Bytes) > 0 {
				t.Errorf("wrong bytes for %s: %v", item.Descriptor.Digest, err)
			}
		}
	}
	if err := w.Commit(t.Context(), plan.Names); err != nil {
		t.Fatal(err)
	}
	j.written(t, dir)
}

func TestTarWriterRefuses(t *testing.T) {
	j := newJob(t, resumable())
	dir := t.TempDir()
	w := tarWriter(t, openDir(t, dir), j.plan)
	stranger := describe([]byte("not in the plan"))
	if err := w.Put(t.Context(), "", stranger, strings.NewReader("not in the plan")); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := w.Has(t.Context(), "", stranger); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("a stranger: %v", err)
	}
	for _, item := range j.items {
		if err := put(t.Context(), w, item); err != nil {
			t.Fatal(err)
		}
	}
	moved := j.plan.Names[0]
	moved.Descriptor = stranger
	unknown := j.plan.Names[0]
	unknown.Reference.Tag = "unplanned"
	for _, n := range []layout.Name{moved, unknown} {
		if err := w.Commit(t.Context(), []layout.Name{n}); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("a name that was not planned: %v", err)
		}
	}
	unnamed(t, dir)
	for _, link := range []string{bundleName + layout.PartialSuffix, bundleName} {
		dir := t.TempDir()
		victim := filepath.Join(dir, "victim")
		if err := errors.Join(os.WriteFile(victim, []byte("victim"), 0o644), os.Symlink("victim", filepath.Join(dir, link))); err != nil {
			t.Fatal(err)
		}
		w, err := layout.NewTarWriter(openDir(t, dir), bundleName, j.plan)
		if link != bundleName && !errors.Is(err, disk.ErrNotRegular) {
			t.Errorf("%s is a link: %v, want ErrNotRegular", link, err)
		}
		if err == nil {
			j.finish(t, w)
		}
		if got, err := os.ReadFile(victim); err != nil || string(got) != "victim" {
			t.Errorf("%s is a link, and what it leads to is %q now, %v", link, got[:min(len(got), 100)], err)
		}
	}
}
