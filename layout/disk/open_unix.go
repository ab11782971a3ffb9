//go:build unix

package disk

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nonBlock keeps a pipe from blocking the open.
const nonBlock = unix.O_NONBLOCK

// openNoFollow opens name, which is clean, without following a link in its last
// element. [os.Root.OpenFile] follows it, whatever the flags say, as long as it
// does not lead out of root; so root opens the folder, and the kernel the file.
// O_DIRECTORY keeps a pipe that stands where the folder should from blocking.
func openNoFollow(root *os.Root, name string, flag int, perm fs.FileMode) (*os.File, error) {
	if !filepath.IsLocal(name) || name == "." {
		return root.OpenFile(name, flag, perm)
	}
	dir, err := root.OpenFile(filepath.Dir(name), os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	conn, err := dir.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	var oerr error
	err = conn.Control(func(at uintptr) {
		for {
			fd, oerr = unix.Openat(int(at), filepath.Base(name), flag|unix.O_NOFOLLOW|nonBlock|unix.O_CLOEXEC, uint32(perm.Perm()))
			if oerr != unix.EINTR {
				return
			}
		}
	})
	if err == nil {
		err = oerr
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(root.Name(), name), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(root.Name(), name)), nil
}
