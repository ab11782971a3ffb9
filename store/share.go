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
	// queueSuffix is of the file that belongs to each of these two; see gate.
	queueSuffix = ".queue"
)

// Whoever waits for a lock tries again and again.
const (
	minPoll = time.Millisecond
	maxPoll = 10 * time.Millisecond
	// restTime is how long somebody who has just had a lock leaves it to those who
	// wait for it.
	restTime = 2 * maxPoll
)

// gate is a lock that those who want it often do not keep from others: who waits holds
// the queue, together with all others who wait, so that who has the lock can know.
type gate struct {
	lock, queue *disk.LockFile
}

// openGate opens the two files of a lock.
func openGate(path string, create bool) (*gate, error) {
	lock, err := disk.OpenLockFile(path, create)
	if err != nil {
		return nil, err
	}
	queue, err := disk.OpenLockFile(path+queueSuffix, create)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &gate{lock, queue}, nil
}

// enter takes the lock, alone or together with others, or fails with ErrLocked when
// going on makes no sense.
func (g *gate) enter(alone bool, goOn func() bool) error {
	try := g.lock.TryShared
	if alone {
		try = g.lock.TryAlone
	}
	err := try()
	if !errors.Is(err, disk.ErrBusy) {
		return err
	}
	queued := false
	defer func() {
		if queued {
			_ = g.queue.Unlock()
		}
	}()
	return retry(func() error {
		if !queued {
			queued = g.queue.TryShared() == nil // else somebody looks who is there
		}
		return try()
	}, goOn)
}

// leave gives the lock up.
func (g *gate) leave() { _ = g.lock.Unlock() }

// awaited says whether another process waits for the lock.
func (g *gate) awaited() bool {
	if g.queue.TryAlone() != nil {
		return true
	}
	_ = g.queue.Unlock()
	return false
}

func (g *gate) close() error { return errors.Join(g.lock.Close(), g.queue.Close()) }

// retry tries until something is not busy any more, or going on makes no sense.
func retry(try func() error, goOn func() bool) error {
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		err := try()
		if !errors.Is(err, disk.ErrBusy) {
			return err
		}
		if !goOn() {
			return ErrLocked
		}
		time.Sleep(pause)
	}
}

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
	gate  *gate
	rest  time.Time // until when it is left to others
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
	if err := p.enter(ctx); err != nil {
		p.token <- struct{}{}
		return fmt.Errorf("to publish: %w", err)
	}
	return nil
}

func (p *publication) enter(ctx context.Context) (err error) {
	if p.gate == nil {
		if p.gate, err = openGate(p.path, true); err != nil {
			return err
		}
	}
	time.Sleep(time.Until(p.rest))
	deadline := time.Now().Add(publishWait)
	err = p.gate.enter(true, func() bool { return ctx.Err() == nil && time.Now().Before(deadline) })
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return err
}

func (p *publication) unlock() {
	if p.gate.awaited() {
		p.rest = time.Now().Add(restTime)
	}
	p.gate.leave()
	p.token <- struct{}{}
}

func (p *publication) close() error {
	if p.gate == nil {
		return nil
	}
	return p.gate.close()
}
