package disk

import (
	"errors"

	"golang.org/x/sys/windows"
)

func (l *LockFile) tryShared() error { return l.lock(0) }

func (l *LockFile) tryAlone() error { return l.lock(windows.LOCKFILE_EXCLUSIVE_LOCK) }

// lock locks the first byte, which is never read.
func (l *LockFile) lock(how uint32) error {
	err := windows.LockFileEx(windows.Handle(l.f.Fd()), how|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrBusy
	}
	return err
}

func (l *LockFile) unlock() error {
	return windows.UnlockFileEx(windows.Handle(l.f.Fd()), 0, 1, 0, &windows.Overlapped{})
}
