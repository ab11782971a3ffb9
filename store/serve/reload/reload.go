// Package reload keeps what was read from files up to date with them.
//
// A [Value] is looked at when it is used, at most once in a while: nothing runs
// beside. Files that change are read again; if that fails, what was read before
// stays, and somebody is told, once.
//
// Files are best replaced by a rename. One that is written in place may be read half
// written, and is read again when the rest is there.
package reload

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"airgap/layout/disk"
)

// Every is how often files are looked at, at most.
const Every = time.Second

// Options tune [Open].
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Failed is told of files that changed and could not be read, or hold what
	// makes no sense. What they held before goes on to count.
	Failed func(error)
}

// Value is what files hold. It is safe for concurrent use.
type Value[T any] struct {
	o     Options
	paths []string
	load  func() (T, error)

	current atomic.Pointer[T]
	mu      sync.Mutex // held by whoever looks at the files
	looked  time.Time
	seen    []state // of the files when they were last read
}

// Open reads a value from the files at paths with load, which fails or gives the
// whole of it.
func Open[T any](o Options, load func() (T, error), paths ...string) (*Value[T], error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Value[T]{o: o, paths: paths, load: load, looked: o.Now()}
	// Before they are read: what changes meanwhile differs from it.
	v.seen = look(paths)
	read, err := load()
	if err != nil {
		return nil, err
	}
	v.current.Store(&read)
	return v, nil
}

// Get returns the value. Whoever comes while the files are read gets what was there
// before.
func (v *Value[T]) Get() T {
	if v.mu.TryLock() {
		v.refresh()
		v.mu.Unlock()
	}
	return *v.current.Load()
}

func (v *Value[T]) refresh() {
	now := v.o.Now()
	if since := now.Sub(v.looked); since >= 0 && since < Every {
		return
	}
	v.looked = now
	seen := look(v.paths)
	if slices.EqualFunc(seen, v.seen, same) {
		return
	}
	v.seen = seen
	read, err := v.load()
	if err != nil {
		if v.o.Failed != nil {
			v.o.Failed(fmt.Errorf("what was read before still counts: %w", err))
		}
		return
	}
	v.current.Store(&read)
}

// state is what is seen of a file from outside.
type state struct {
	info fs.FileInfo
	err  string
}

func look(paths []string) []state {
	states := make([]state, len(paths))
	for i, path := range paths {
		info, err := os.Stat(path)
		states[i].info = info
		if err != nil {
			states[i].err = err.Error()
		}
	}
	return states
}

func same(a, b state) bool {
	if a.info == nil || b.info == nil {
		return a.info == nil && b.info == nil && a.err == b.err
	}
	return os.SameFile(a.info, b.info) && a.info.Size() == b.info.Size() && a.info.ModTime().Equal(b.info.ModTime())
}

// ReadFile reads a regular file of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := disk.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("%s: larger than %d bytes", path, limit)
	}
	return data, nil
}
