//go:build unix

package disk

import (
	"errors"

	"golang.org/x/sys/unix"
)

func lock(fd uintptr) error { return flock(fd, unix.LOCK_EX|unix.LOCK_NB) }

func lockShared(fd uintptr) error { return flock(fd, unix.LOCK_SH|unix.LOCK_NB) }

func unlock(fd uintptr) error { return flock(fd, unix.LOCK_UN) }

func flock(fd uintptr, how int) error {
	for {
		err := unix.Flock(int(fd), how)
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrBusy
		case !errors.Is(err, unix.EINTR):
			return err
		}
	}
}
