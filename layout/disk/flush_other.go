//go:build !linux

package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// flusher remembers what was written and syncs each file and its folder.
type flusher struct {
	mu    sync.Mutex
	dirty map[string]struct{}
}

func (f *flusher) wrote(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dirty == nil {
		f.dirty = map[string]struct{}{}
	}
	f.dirty[name] = struct{}{}
	f.dirty[filepath.Dir(name)] = struct{}{}
}

func (f *flusher) renamed(from, to string) {
	f.wrote(to)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.dirty, from)
	f.dirty[filepath.Dir(from)] = struct{}{}
}

func (f *flusher) flush(root *os.Root) error {
	f.mu.Lock()
	dirty := f.dirty
	f.dirty = nil
	f.mu.Unlock()
	var errs error
	for name := range dirty {
		file, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(file.Sync(), file.Close())
		}
		errs = errors.Join(errs, err)
	}
	return errs
}
