//go:build linux || darwin || freebsd

package disk

import "golang.org/x/sys/unix"

// Free is how many bytes there is room for in the file system that has path, for
// those who are not root.
func Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
