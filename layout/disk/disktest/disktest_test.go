package disktest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"airgap/layout/disk"
)

func folder(t *testing.T) (*FS, string) {
	t.Helper()
	dir := t.TempDir()
	d, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return Wrap(d), dir
}

// writeThenRename writes a file of 8 bytes and renames it: open, write, close,
// rename.
func writeThenRename(fsys disk.FS) error {
	f, err := fsys.Open("temp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte("12345678"))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return fsys.Rename("temp", "final")
}

// size returns -1 for a file that is not there.
func size(dir, name string) int64 {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return -1
	}
	return info.Size()
}

func TestModes(t *testing.T) {
	const write, rename = 2, 4
	for _, test := range []struct {
		n           int
		mode        Mode
		err         error
		temp, final int64
	}{
		{0, "", nil, -1, 8},
		{write, CrashBefore, ErrCrash, 0, -1},
		{write, CrashAfter, ErrCrash, 8, -1},
		{write, Torn, ErrCrash, 4, -1},
		{write, EIO, syscall.EIO, 0, -1},
		{write, ENOSPC, syscall.ENOSPC, 4, -1},
		{write, ErrorDone, syscall.EIO, 8, -1},
		{rename, CrashBefore, ErrCrash, 8, -1},
		{rename, CrashAfter, ErrCrash, -1, 8},
		{rename, EIO, syscall.EIO, 8, -1},
		{rename, ErrorDone, syscall.EIO, -1, 8},
	} {
		f, dir := folder(t)
		f.Inject(test.n, test.mode)
		if err := writeThenRename(f); !errors.Is(err, test.err) {
			t.Errorf("%s at %d: %v, want %v", test.mode, test.n, err, test.err)
		}
		if f.Fired() != (test.n > 0) {
			t.Errorf("%s at %d: fired is %v", test.mode, test.n, f.Fired())
		}
		if temp, final := size(dir, "temp"), size(dir, "final"); temp != test.temp || final != test.final {
			t.Errorf("%s at %d: %d bytes in temp and %d in final, want %d and %d", test.mode, test.n, temp, final, test.temp, test.final)
		}
		if err := f.Flush(); f.Crashed() != errors.Is(err, ErrCrash) || f.Crashed() != errors.Is(test.err, ErrCrash) {
			t.Errorf("%s at %d: afterwards, Flush = %v", test.mode, test.n, err)
		}
	}
}

func TestOps(t *testing.T) {
	f, _ := folder(t)
	if err := writeThenRename(f); err != nil {
		t.Fatal(err)
	}
	var got []Op
	for _, c := range f.Ops() {
		got = append(got, c.Op)
	}
	if want := []Op{OpCreate, OpWrite, OpClose, OpRename}; !slices.Equal(got, want) {
		t.Errorf("operations are %v, want %v", got, want)
	}
}

func TestFaultThatCannotBe(t *testing.T) {
	f, _ := folder(t)
	f.Inject(4, Torn) // a rename
	if err := writeThenRename(f); err == nil || f.Fired() {
		t.Errorf("a torn rename: %v, fired is %v", err, f.Fired())
	}
}

func TestPowerCut(t *testing.T) {
	for _, test := range []struct {
		flush       bool
		loss        Loss
		temp, final int64
	}{
		{true, LoseData, -1, 8},
		{true, LoseNames, -1, 8},
		{false, LoseData, -1, 4},
		{false, LoseNames, -1, -1}, // the rename is undone, then the new file
	} {
		f, dir := folder(t)
		if err := writeThenRename(f); err != nil {
			t.Fatal(err)
		}
		if test.flush {
			if err := f.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.PowerCut(test.loss); err != nil {
			t.Fatal(err)
		}
		if temp, final := size(dir, "temp"), size(dir, "final"); temp != test.temp || final != test.final {
			t.Errorf("flushed %v, losing %s: %d bytes in temp and %d in final, want %d and %d", test.flush, test.loss, temp, final, test.temp, test.final)
		}
		if err := f.Mkdir("x"); !errors.Is(err, ErrCrash) {
			t.Errorf("Mkdir without power = %v", err)
		}
	}
}
