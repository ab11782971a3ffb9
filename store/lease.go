package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"airgap/layout/disk"

	"go.etcd.io/bbolt"
)

// bbolt locks its file for as long as it is open: for one process that writes, or for
// several that read. So that a registry can serve a store while others import into it,
// nobody keeps the file open for longer than a lease.
const (
	// leaseTime is how long the database stays open when somebody waits for it, and
	// how long when nobody uses it. To open it takes a fraction of a millisecond.
	leaseTime = 50 * time.Millisecond
	// restTime is how long a process that has written leaves the database alone
	// before it opens it again: others look every maxPoll.
	restTime = 2 * maxPoll
	minPoll  = time.Millisecond
	maxPoll  = 10 * time.Millisecond
	// DefaultWait is how long to wait for another process, unless Options.Wait says
	// more. What others do with the database takes moments.
	DefaultWait = 30 * time.Second
)

// database is a bbolt file that is opened when it is needed. All methods are safe for
// concurrent use. Within view and update neither must be called again.
type database struct {
	path     string
	turnPath string
	wait     time.Duration
	readOnly bool
	maxSize  int

	writing sync.Mutex // one update at a time

	mu     sync.Mutex
	turn   *disk.LockFile // nil until somebody made it
	cur    *lease
	wanted int       // updates that wait
	rest   time.Time // until when nothing is opened
	closed bool
}

// lease is the database while it is open.
type lease struct {
	db       *bbolt.DB
	writable bool
	users    int
	used     bool          // since the last tick
	ending   bool          // takes no users any more
	gone     chan struct{} // closed once it is
	timer    *time.Timer
}

func (d *database) view(fn func(*bbolt.Tx) error) error {
	l, err := d.take(false)
	if err != nil {
		return err
	}
	defer d.leave(l)
	return l.db.View(fn)
}

func (d *database) update(fn func(*bbolt.Tx) error) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	l, err := d.take(true)
	if err != nil {
		return err
	}
	defer d.leave(l)
	return l.db.Update(fn)
}

// take joins a lease, or begins one.
func (d *database) take(write bool) (*lease, error) {
	deadline := time.Now().Add(d.wait)
	d.mu.Lock()
	defer d.mu.Unlock()
	if write {
		d.wanted++
		defer func() { d.wanted-- }()
	}
	for {
		l := d.cur
		switch {
		case d.closed:
			return nil, ErrClosed
		case l == nil:
			// Whoever reads opens it for those who wait to write, too.
			if err := d.open(d.wanted > 0, deadline); err != nil {
				return nil, err
			}
			continue
		case !l.ending && (l.writable || !write):
			l.users, l.used = l.users+1, true
			return l, nil
		}
		d.end(l)
		if d.cur == nil {
			continue
		}
		d.mu.Unlock()
		late := time.NewTimer(time.Until(deadline))
		select {
		case <-l.gone:
		case <-late.C:
		}
		late.Stop()
		d.mu.Lock()
		if d.cur == l && !time.Now().Before(deadline) {
			return nil, ErrLocked
		}
	}
}

func (d *database) leave(l *lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.users--; l.ending {
		d.end(l)
	}
}

// end lets nobody join a lease any more, and closes it if nobody uses it. d.mu is held.
func (d *database) end(l *lease) {
	l.ending = true
	if l.users > 0 || d.cur != l {
		return
	}
	l.timer.Stop()
	_ = l.db.Close() // every transaction has ended
	d.cur = nil
	if l.writable {
		d.rest = time.Now().Add(restTime)
		d.yield()
	}
	close(l.gone)
}

// tick ends a lease that nobody uses, or that somebody else waits for. Of who waits for
// one that can write nothing is known: it ends in any case.
func (d *database) tick(l *lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cur != l {
		return
	}
	idle := !l.used && l.users == 0
	l.used = false
	if idle || l.ending || l.writable || d.awaited() {
		d.end(l)
		return
	}
	l.timer.Reset(leaseTime)
}

// awaited says whether another process waits to write. d.mu is held.
func (d *database) awaited() bool {
	if d.turn == nil || d.turn.TryShared() != nil {
		return true // or nobody can say
	}
	d.yield()
	return false
}

// yield gives the turn to others. d.mu is held.
func (d *database) yield() {
	if d.turn != nil {
		_ = d.turn.Unlock()
	}
}

// open begins a lease. The turn is taken before the database is opened: by a writer
// alone, until the lease ends, so that others do not come in for ever while it waits
// for those who read. d.mu is held.
func (d *database) open(write bool, deadline time.Time) error {
	if write {
		if rest := time.Until(d.rest); rest > 0 {
			time.Sleep(rest)
		}
	}
	if err := d.openTurn(); err != nil {
		return err
	}
	if err := d.awaitTurn(write, deadline); err != nil {
		return err
	}
	opened := false
	defer func() {
		if !opened || !write {
			d.yield()
		}
	}()
	db, err := openDatabase(d.path, !write, max(time.Until(deadline), 1), d.maxSize)
	if err != nil {
		return err
	}
	opened = true
	l := &lease{db: db, writable: write, gone: make(chan struct{})}
	l.timer = time.AfterFunc(leaseTime, func() { d.tick(l) })
	d.cur = l
	return nil
}

// openTurn opens the turn's file, unless nobody has made one and this process must not.
func (d *database) openTurn() error {
	if d.turn != nil {
		return nil
	}
	f, err := disk.OpenLockFile(d.turnPath, !d.readOnly)
	if d.readOnly && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(d.turnPath), err)
	}
	d.turn = f
	return nil
}

func (d *database) awaitTurn(alone bool, deadline time.Time) error {
	if d.turn == nil {
		return nil
	}
	try := d.turn.TryShared
	if alone {
		try = d.turn.TryAlone
	}
	return retry(try, func() bool { return time.Now().Before(deadline) })
}

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

// settle returns once nobody reads a state of the database that is not the latest.
func (d *database) settle() {
	d.mu.Lock()
	l := d.cur
	if l != nil {
		d.end(l)
	}
	d.mu.Unlock()
	if l != nil {
		<-l.gone
	}
}

// close ends all use. What is under way is waited for.
func (d *database) close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.settle()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.turn == nil {
		return nil
	}
	return d.turn.Close()
}
