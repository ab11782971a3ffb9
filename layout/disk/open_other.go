//go:build !unix

package disk

import (
	"fmt"
	"io/fs"
	"os"
)

const nonBlock = 0

// openNoFollow opens name and makes sure that no link was followed.
func openNoFollow(root *os.Root, name string, flag int, perm fs.FileMode) (*os.File, error) {
	isLink := func() bool {
		info, err := root.Lstat(name)
		return err == nil && info.Mode()&fs.ModeSymlink != 0
	}
	if isLink() {
		return nil, fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	f, err := root.OpenFile(name, flag, perm)
	if err == nil && isLink() {
		f.Close()
		return nil, fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	return f, err
}
