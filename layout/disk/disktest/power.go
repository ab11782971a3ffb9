package disktest

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"airgap/layout/disk"
)

// Loss is what a disk may lack after a loss of power of all that was not flushed.
type Loss string

// The losses.
const (
	// LoseData: names are there, but the second half of what was written is
	// not, as on a file system that journals only names.
	LoseData Loss = "data"
	// LoseNames: renames and new files are undone.
	LoseNames Loss = "names"
)

// Losses are all losses.
var Losses = []Loss{LoseData, LoseNames}

// PowerCut ends the process, if it still runs, and leaves in the folder what the
// disk has. A file that a rename replaced comes back with it, if it is not large.
func (f *FS) PowerCut(loss Loss) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	if loss == LoseData {
		return f.loseData()
	}
	return f.loseNames()
}

// keepNames makes the names in a folder durable. f.mu is held.
func (f *FS) keepNames(dir string) {
	in := func(name string) bool { return path.Dir(name) == path.Clean(dir) }
	f.renames = slices.DeleteFunc(f.renames, func(r rename) bool { return in(r.from) && in(r.to) })
	maps.DeleteFunc(f.created, func(name string, _ bool) bool { return in(name) })
}

func (f *FS) loseData() error {
	for name := range f.dirty {
		file, err := f.inner.Open(name, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := file.Stat()
		if err == nil {
			err = file.Truncate(info.Size() / 2)
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (f *FS) loseNames() error {
	created := f.created
	for _, r := range slices.Backward(f.renames) {
		if err := f.inner.Rename(r.to, r.from); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if r.had {
			if err := disk.WriteFile(f.inner, r.to, r.replaced); err != nil {
				return err
			}
		}
		if created[r.to] {
			delete(created, r.to)
			created[r.from] = true
		}
	}
	for name := range created {
		if err := f.inner.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
