// Package disk is the one door through which airgap touches files.
//
// Everything that reads or writes a bundle, a layout folder or a store does so
// through [FS], so that a test can put numbered faults (a crash, a torn write,
// EIO, ENOSPC) behind any operation. The real implementation, [Open], is thin:
// it confines every name to one folder with [os.Root], so neither ".." nor a
// symbolic link can lead outside, and it refuses to open anything that is not a
// regular file or a folder.
//
// bbolt opens its database file by itself; that file is the one exception.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNotRegular says that a name leads to a link, a device, a socket or a pipe
// where a regular file or a folder was expected.
var ErrNotRegular = errors.New("not a regular file")

// FS is a folder. Names are relative, slash-separated and never leave it.
type FS interface {
	// Open opens name with the flags of [os.OpenFile]. It follows no
	// symbolic link in the last element and fails with ErrNotRegular for
	// anything but a regular file or a folder.
	Open(name string, flag int, perm fs.FileMode) (File, error)
	// Mkdir creates a folder and its parents; one that exists is no error.
	Mkdir(name string) error
	// Rename replaces to by from, atomically.
	Rename(from, to string) error
	// Remove deletes a file or an empty folder.
	Remove(name string) error
	// Flush returns once everything written and renamed through this FS so
	// far will survive a loss of power.
	Flush() error
}

// File is an open file or folder.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	ReadDir(n int) ([]fs.DirEntry, error)
	Truncate(size int64) error
	Sync() error
}

// Dir is a real folder of the operating system.
type Dir struct {
	root *os.Root
	sync flusher
}

// Open opens the folder dir, which must exist.
func Open(dir string) (*Dir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Dir{root: root}, nil
}

// Create makes the folder dir and its parents where missing, and opens it.
func Create(dir string) (*Dir, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return Open(dir)
}

// OpenFile opens one existing file for reading, wherever it lies.
func OpenFile(path string) (File, error) {
	// A user may well name a bundle by a link; only names that come out of
	// untrusted content are refused one.
	f, err := os.OpenFile(path, os.O_RDONLY|nonBlock, 0)
	if err != nil {
		return nil, err
	}
	return regular(f, path)
}

// Close releases the folder. Files opened through it stay open.
func (d *Dir) Close() error { return d.root.Close() }

// Path returns the folder's path as it was given.
func (d *Dir) Path() string { return d.root.Name() }

// Open implements [FS].
func (d *Dir) Open(name string, flag int, perm fs.FileMode) (File, error) {
	name = filepath.Clean(filepath.FromSlash(name))
	f, err := openNoFollow(d.root, name, flag, perm)
	if err != nil {
		if info, lerr := d.root.Lstat(name); lerr == nil && !info.Mode().IsRegular() && !info.IsDir() {
			return nil, fmt.Errorf("%s: %w", name, ErrNotRegular)
		}
		return nil, err
	}
	if flag&(os.O_WRONLY|os.O_RDWR) != 0 {
		d.sync.wrote(name)
	}
	return regular(f, name)
}

// Mkdir implements [FS].
func (d *Dir) Mkdir(name string) error {
	return d.root.MkdirAll(filepath.FromSlash(name), 0o755)
}

// Rename implements [FS].
func (d *Dir) Rename(from, to string) error {
	from, to = filepath.FromSlash(from), filepath.FromSlash(to)
	if err := d.root.Rename(from, to); err != nil {
		return err
	}
	d.sync.renamed(from, to)
	return nil
}

// Remove implements [FS].
func (d *Dir) Remove(name string) error {
	return d.root.Remove(filepath.FromSlash(name))
}

// Flush implements [FS].
func (d *Dir) Flush() error { return d.sync.flush(d.root) }

func regular(f *os.File, name string) (File, error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: larger than %d bytes", name, limit)
	}
	return data, err
}

// WriteFile replaces name by data: a temporary file, synced, renamed.
func WriteFile(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	f, err := fsys.Open(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp)
	}
	return err
}

// Exists says whether name is there, whatever it is.
func Exists(fsys FS, name string) (bool, error) {
	f, err := fsys.Open(name, os.O_RDONLY, 0)
	switch {
	case err == nil:
		return true, f.Close()
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, ErrNotRegular):
		return true, nil
	}
	return false, err
}

// ErrBusy says that another process holds the lock on a file.
var ErrBusy = errors.New("another airgap process is writing it")

// Lock takes an advisory lock on f until f is closed or the process ends, or
// fails at once with ErrBusy. A file that is not the operating system's own is
// not locked.
func Lock(f File) error {
	if h, ok := f.(interface{ Fd() uintptr }); ok {
		return lock(h.Fd())
	}
	return nil
}

// LockShared is like Lock, but any number of processes can hold the lock together.
func LockShared(f File) error {
	if h, ok := f.(interface{ Fd() uintptr }); ok {
		return lockShared(h.Fd())
	}
	return nil
}

// Unlock gives up what Lock or LockShared took.
func Unlock(f File) error {
	if h, ok := f.(interface{ Fd() uintptr }); ok {
		return unlock(h.Fd())
	}
	return nil
}
