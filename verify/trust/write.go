package trust

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"airgap/layout/disk"
)

// A writer waits this often, and this long each time, for another to finish: two
// seconds in all, where a file takes milliseconds.
const (
	lockTries = 100
	lockPause = 20 * time.Millisecond
)

// writer changes a trust directory, one at a time. Readers need no lock: each
// file is there whole, or not at all.
type writer struct {
	fsys disk.FS
	dir  string // for errors
	lock disk.File
}

// openWriter locks a trust directory. Of any other folder it leaves no trace.
func openWriter(d disk.FS, dir string) (*writer, error) {
	entries, err := readDir(d, ".")
	if err != nil {
		return nil, inDir(dir, "", err)
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return isPart(e.Name()) }) {
		return nil, inDir(dir, "", hint(ErrNotTrust, howToInit))
	}
	f, err := d.Open(lockFile, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, inDir(dir, lockFile, err)
	}
	for try := 0; ; try++ {
		if err = disk.Lock(f); !errors.Is(err, disk.ErrBusy) || try == lockTries {
			break
		}
		time.Sleep(lockPause)
	}
	if err != nil {
		f.Close()
		return nil, inDir(dir, "", err)
	}
	w := &writer{fsys: d, dir: dir, lock: f}
	w.sweep(entries)
	return w, nil
}

func (w *writer) close() { w.lock.Close() }

// sweep takes away what a writer left that was stopped half-way. Nobody else
// writes now, so it is nobody's.
func (w *writer) sweep(entries []fs.DirEntry) {
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) {
			_ = w.fsys.Remove(e.Name()) // it does no harm where it is
		}
	}
}

// put writes a file, or puts another in its place. It is written at the top and moved, as
// notation would read half a file in a store.
func (w *writer) put(file string, data []byte) error {
	temp := tempPrefix + rand.Text()
	err := w.write(temp, data)
	if err == nil {
		err = w.fsys.Mkdir(path.Dir(file))
	}
	if err == nil {
		err = w.fsys.Rename(temp, file)
	}
	if err != nil {
		_ = w.fsys.Remove(temp)
		return inDir(w.dir, file, err)
	}
	if err := w.fsys.Flush(); err != nil {
		return inDir(w.dir, file, fmt.Errorf("it is there, but may not outlast a loss of power: %w", err))
	}
	return nil
}

func (w *writer) write(name string, data []byte) error {
	f, err := w.fsys.Open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
