package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"

	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
)

// PartialSuffix is appended to a bundle's name until it is whole.
const PartialSuffix = ".partial"

// oldSuffix is appended to a partial file of another plan, while what it holds
// is taken over.
const oldSuffix = ".partial.old"

// TarWriter writes a planned bundle: a [Sink] whose every blob has its place in
// the file, so that any number of goroutines write at once. The file has its
// final name only after Commit. Until then it is NAME.partial, and what an
// interrupted run left there, or an earlier bundle of that name holds, is taken
// over blob by blob after its digest was checked.
type TarWriter struct {
	fsys disk.FS
	name string
	plan *Plan
	file disk.File
	old  []*salvage
	// fresh says that the file was empty, so that zeros need not be written.
	fresh bool

	slots []slot // one for each entry of the plan
}

// NewTarWriter opens NAME.partial in fsys and writes everything but blobs.
func NewTarWriter(fsys disk.FS, name string, plan *Plan) (*TarWriter, error) {
	w := &TarWriter{fsys: fsys, name: name, plan: plan, slots: make([]slot, len(plan.Entries))}
	for i := range plan.Entries {
		w.slots[i].done = plan.Entries[i].Data != nil // it goes with the frame
	}
	err := w.open()
	if err == nil {
		err = w.writeFrame()
	}
	if err != nil {
		w.Close()
		return nil, w.fail(err)
	}
	return w, nil
}

func (w *TarWriter) fail(err error) error {
	if err == nil {
		return nil
	}
	hint := ""
	switch {
	case isNoSpace(err):
		hint = fmt.Sprintf("free some space (the bundle needs %d bytes) and run the same command again: what is there is kept", w.plan.Size)
	case errors.Is(err, disk.ErrBusy):
		hint = "wait for it, or write to another file"
	}
	return &Error{Side: SideBundle, Name: w.name, Err: err, Hint: hint}
}

// open takes NAME.partial if it was laid out alike, and otherwise puts it aside
// as a place to take blobs from, together with an earlier NAME.
func (w *TarWriter) open() error {
	f, err := w.lockPartial()
	if err != nil {
		return err
	}
	s := newSalvage(f)
	switch {
	case s == nil, s.torn && w.have(w.name+oldSuffix):
		// Nothing to be had from it, or so little (its headers were not
		// finished, so no blob was begun) that it must not replace the older.
		// Without what it held it is new.
		w.file, w.fresh = f, true
		err = f.Truncate(0)
	case s.matches(w.plan):
		w.file = f
		w.old = append(w.old, s)
	default:
		err = w.replace(f)
	}
	if err != nil {
		return err
	}
	for _, name := range []string{w.name, w.name + oldSuffix} {
		if f, err := w.fsys.Open(name, os.O_RDONLY, 0); err == nil {
			if s := newSalvage(f); s != nil {
				w.old = append(w.old, s)
			} else {
				f.Close()
			}
		}
	}
	return w.file.Truncate(w.plan.Size)
}

func (w *TarWriter) have(name string) bool {
	ok, err := disk.Exists(w.fsys, name)
	return ok && err == nil
}

// lockPartial opens and locks NAME.partial.
func (w *TarWriter) lockPartial() (disk.File, error) {
	partial := w.name + PartialSuffix
	f, err := w.fsys.Open(partial, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	err = disk.Lock(f)
	if err == nil && !w.is(partial, f) {
		// Whoever had the lock has renamed it: it is a bundle by now.
		err = disk.ErrBusy
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", partial, err)
	}
	return f, nil
}

// is says whether f is what name stands for.
func (w *TarWriter) is(name string, f disk.File) bool {
	now, err := w.fsys.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return false
	}
	defer now.Close()
	a, aerr := f.Stat()
	b, berr := now.Stat()
	return aerr == nil && berr == nil && os.SameFile(a, b)
}

// replace begins a new partial file beside one of another plan. Of two old ones
// the newer is kept.
func (w *TarWriter) replace(f disk.File) error {
	partial := w.name + PartialSuffix
	err := w.fsys.Rename(partial, w.name+oldSuffix)
	f.Close()
	if err != nil {
		return err
	}
	w.file, err = w.fsys.Open(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		err = fmt.Errorf("%s: %w", partial, disk.ErrBusy) // another process was quicker
	}
	if err != nil {
		return err
	}
	w.fresh = true
	return disk.Lock(w.file)
}

// frameBuffer is how much of the frame is written at a time.
const frameBuffer = 512 << 10

// writeFrame writes all headers and padding, the end, and what the plan made.
func (w *TarWriter) writeFrame() error {
	buf := make([]byte, 0, 2*frameBuffer)
	start := int64(0)
	flush := func(next int64) error {
		_, err := w.file.WriteAt(buf, start)
		buf, start = buf[:0], next
		return err
	}
	for i := range w.plan.Entries {
		e := &w.plan.Entries[i]
		buf = appendHeader(buf, e.Name(), e.Size)
		if e.Data != nil && len(e.Data) <= frameBuffer {
			buf = append(buf, e.Data...)
		} else if e.Size > 0 {
			if err := flush(e.DataOffset() + e.Size); err != nil {
				return err
			}
			if _, err := w.file.WriteAt(e.Data, e.DataOffset()); err != nil {
				return err
			}
		}
		buf = append(buf, zeros[:padding(e.Size)]...)
		if len(buf) > frameBuffer {
			if err := flush(e.End()); err != nil {
				return err
			}
		}
	}
	buf = append(buf, zeros[:endBlocks*blockSize]...)
	return flush(w.plan.Size)
}

var zeros [endBlocks * blockSize]byte

// Resolve implements [Sink]: a bundle that is being written has no names yet.
func (w *TarWriter) Resolve(_ context.Context, ref Reference) (Descriptor, error) {
	return Descriptor{}, &Error{Side: SideBundle, Name: ref.String(), Err: ErrNotFound}
}

// slot is the state of one entry. Its lock is held while content is written, so
// that a wrong Put never touches what a right one has finished.
type slot struct {
	mu    sync.Mutex
	begun bool // something may have been written
	done  bool // the content is there, checked
}

// slot returns the state of a blob or manifest of the plan.
func (w *TarWriter) slot(e *Entry) *slot { return &w.slots[w.plan.byDgst[e.Digest]] }

// Has implements [Sink]. It takes d over from an earlier file if one has it.
func (w *TarWriter) Has(ctx context.Context, _ string, d Descriptor) (bool, error) {
	e, err := w.entry(d)
	if err != nil {
		return false, err
	}
	s := w.slot(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range w.old {
		if s.done {
			break
		}
		if s.done, err = w.takeOver(ctx, old, e, s); err != nil {
			return false, w.fail(err)
		}
	}
	return s.done, nil
}

func (w *TarWriter) takeOver(ctx context.Context, old *salvage, e *Entry, s *slot) (bool, error) {
	r := old.reader(e.Descriptor())
	if r == nil || ctx.Err() != nil {
		return false, ctx.Err()
	}
	dst := io.Discard // it is in place already
	if old.file != w.file {
		dst = w.writer(e, s)
	}
	_, err := copyBuffer(dst, Verify(NopCloser(&ctxReader{ctx, r}), e.Descriptor()))
	if we := (*writeError)(nil); errors.As(err, &we) {
		return false, we.err
	}
	// It was not all there, or cannot be read: then it is fetched.
	return err == nil, ctx.Err()
}

// Put implements [Sink].
func (w *TarWriter) Put(ctx context.Context, _ string, d Descriptor, r io.Reader) error {
	e, err := w.entry(d)
	if err != nil {
		return err
	}
	s := w.slot(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	dst := io.Discard // once it is there, more of the same is checked only
	if !s.done {
		dst = w.writer(e, s)
	}
	if _, err := copyBuffer(dst, Verify(NopCloser(&ctxReader{ctx, r}), d)); err != nil {
		var we *writeError
		if errors.As(err, &we) {
			return w.fail(we.err)
		}
		return err
	}
	s.done = true
	return nil
}

// writer writes to where e's content belongs. Zeros are left out where nothing
// was written yet.
func (w *TarWriter) writer(e *Entry, s *slot) io.Writer {
	sparse := w.fresh && !s.begun
	s.begun = true
	if sparse {
		return &disk.SparseWriter{File: w.file, Off: e.DataOffset()}
	}
	return &offsetWriter{w.file, e.DataOffset()}
}

func (w *TarWriter) entry(d Descriptor) (*Entry, error) {
	if err := CheckDescriptor(d); err != nil {
		return nil, w.fail(err)
	}
	e, ok := w.plan.Lookup(d.Digest)
	if !ok || e.Size != d.Size {
		return nil, &Error{Side: SideBundle, Name: w.name, Digest: d.Digest,
			Err: fmt.Errorf("not in the plan with %d bytes: %w", d.Size, ErrCorrupt)}
	}
	return e, nil
}

// Commit implements [Sink]: it checks that every blob is there, makes the file
// durable and gives it its name. The names themselves are in the plan.
func (w *TarWriter) Commit(ctx context.Context, names []Name) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	planned := make(map[Reference]digest.Digest, len(w.plan.Names))
	for _, n := range w.plan.Names {
		planned[n.Reference] = n.Descriptor.Digest
	}
	for _, n := range names {
		if planned[n.Reference] != n.Descriptor.Digest {
			return w.fail(fmt.Errorf("name %s is not in the plan: %w", n.Reference, ErrCorrupt))
		}
	}
	for i := range w.plan.Entries {
		if e := &w.plan.Entries[i]; !w.slots[i].written() {
			return w.fail(fmt.Errorf("%s was never written: %w", e.Digest, ErrNotFound))
		}
	}
	if err := w.file.Sync(); err != nil {
		return w.fail(err)
	}
	if err := w.fsys.Rename(w.name+PartialSuffix, w.name); err != nil {
		return w.fail(err)
	}
	if err := w.fsys.Remove(w.name + oldSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w.fail(err)
	}
	return w.fail(syncDir(w.fsys, path.Dir(w.name)))
}

func (s *slot) written() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

func syncDir(fsys disk.FS, name string) error {
	dir, err := fsys.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Close releases the files. Without a Commit, NAME.partial stays for the next
// run to go on from.
func (w *TarWriter) Close() error {
	var err error
	if w.file != nil {
		err = w.file.Close()
	}
	for _, s := range w.old {
		if s.file != w.file {
			s.file.Close()
		}
	}
	return err
}
