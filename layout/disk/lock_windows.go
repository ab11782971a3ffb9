package disk

import (
	"errors"

	"golang.org/x/sys/windows"
)

func lock(fd uintptr) error { return lockByte(fd, windows.LOCKFILE_EXCLUSIVE_LOCK) }

func lockShared(fd uintptr) error { return lockByte(fd, 0) }

func unlock(fd uintptr) error {
	return windows.UnlockFileEx(windows.Handle(fd), 0, 1, 0, lockedByte())
}

func lockByte(fd uintptr, how uint32) error {
	err := windows.LockFileEx(windows.Handle(fd), how|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, lockedByte())
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrBusy
	}
	return err
}

// lockedByte is beyond what any file has: what is locked here cannot be read by others.
func lockedByte() *windows.Overlapped {
	return &windows.Overlapped{Offset: 1<<32 - 2, OffsetHigh: 1<<31 - 1}
}
