package disk_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"airgap/layout/disk"
)

// Any number share a lock, or one has it alone; who lets go, or is gone, is out of the
// way.
func TestLockFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	if _, err := disk.OpenLockFile(path, false); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("one that is not there: %v", err)
	}
	open := func(create bool) *disk.LockFile {
		l, err := disk.OpenLockFile(path, create)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	a, b, c := open(true), open(true), open(false)
	step := func(what string, err error, busy bool) {
		t.Helper()
		if busy != errors.Is(err, disk.ErrBusy) || !busy && err != nil {
			t.Errorf("%s: %v, want busy: %v", what, err, busy)
		}
	}
	step("a shares", a.TryShared(), false)
	step("b shares", b.TryShared(), false)
	step("c alone", c.TryAlone(), true)
	step("a lets go", a.Unlock(), false)
	step("c alone", c.TryAlone(), true)
	step("b is gone", b.Close(), false)
	step("c alone", c.TryAlone(), false)
	step("a shares", a.TryShared(), true)
	step("a alone", a.TryAlone(), true)
	step("c lets go", c.Unlock(), false)
	step("a alone", a.TryAlone(), false)
	if _, err := disk.OpenLockFile(t.TempDir(), false); !errors.Is(err, disk.ErrNotRegular) {
		t.Errorf("a folder: %v", err)
	}
}
