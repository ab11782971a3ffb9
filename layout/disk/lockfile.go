package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// LockFile is a file that processes share something by: any number at once, or one
// alone. It is one holder, however many goroutines use it, and lets go before it takes
// the other kind of lock. Its locks end with the process, however that ends.
type LockFile struct{ f *os.File }

// OpenLockFile opens the lock file at path. With create it is made if
// it is not there; else that is an error which matches [fs.ErrNotExist].
func OpenLockFile(path string, create bool) (*LockFile, error) {
	flag := os.O_RDONLY
	if create {
		flag = os.O_RDWR | os.O_CREATE
	}
	f, err := os.OpenFile(path, flag|nonBlock, 0o644)
	if create && errors.Is(err, fs.ErrPermission) {
		// Another user's, which can be locked all the same.
		f, err = os.OpenFile(path, os.O_RDONLY|nonBlock, 0)
	}
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, ErrNotRegular), err, f.Close())
	}
	return &LockFile{f}, nil
}

// TryShared takes the lock together with others, or fails with ErrBusy.
func (l *LockFile) TryShared() error { return lockShared(l.f.Fd()) }

// TryAlone takes the lock for this holder alone, or fails with ErrBusy.
func (l *LockFile) TryAlone() error { return lock(l.f.Fd()) }

// Unlock lets go.
func (l *LockFile) Unlock() error { return unlock(l.f.Fd()) }

// Close lets go, and closes the file.
func (l *LockFile) Close() error { return l.f.Close() }
