package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"airgap/layout/disk"
)

// The files that processes share a store by. They hold nothing, and stay.
const (
	lockDir = "lock"
	// useLock is held together by all who have the store open, and alone by who
	// makes its database anew.
	useLock = "use"
	// turnLock is about the database; see database.open.
	turnLock = "turn"
	// publishLock is held by who publishes or discards files: nothing may be
	// replaced or removed by one while another counts on it.
	publishLock = "publish"
)

// publishWait is how long a commit waits for those of others, and for a collection of
// garbage.
const publishWait = 10 * time.Minute

func (s *Store) lockPath(name string) string { return filepath.Join(s.dir, lockDir, name) }

// share joins those who use the store, or keeps all others out.
func (s *Store) share(o Options) error {
	f, err := disk.OpenLockFile(s.lockPath(useLock), !s.readOnly)
	if s.readOnly && errors.Is(err, fs.ErrNotExist) {
		return nil // no version that knows the lock has ever written here
	}
	if err != nil {
		return err
	}
	try := f.TryShared
	if o.Alone {
		try = f.TryAlone
	}
	deadline := time.Now().Add(o.Wait)
	if err := retry(try, func() bool { return time.Now().Before(deadline) }); err != nil {
		return errors.Join(err, f.Close())
	}
	s.use = f
	return nil
}

// publication is held by one goroutine of one process.
type publication struct {
	path  string
	token chan struct{} // holds one while nobody has it
	file  *disk.LockFile
}

func newPublication(path string) *publication {
	p := &publication{path: path, token: make(chan struct{}, 1)}
	p.token <- struct{}{}
	return p
}

// lock waits until nobody else publishes.
func (p *publication) lock(ctx context.Context) error {
	select {
	case <-p.token:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := p.open()
	if err == nil {
		deadline := time.Now().Add(publishWait)
		err = retry(p.file.TryAlone, func() bool { return ctx.Err() == nil && time.Now().Before(deadline) })
	}
	if err != nil {
		p.token <- struct{}{}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("to publish: %w", err)
	}
	return nil
}

func (p *publication) open() (err error) {
	if p.file == nil {
		p.file, err = disk.OpenLockFile(p.path, true)
	}
	return err
}

func (p *publication) unlock() {
	_ = p.file.Unlock()
	p.token <- struct{}{}
}

func (p *publication) close() error {
	if p.file == nil {
		return nil
	}
	return p.file.Close()
}
