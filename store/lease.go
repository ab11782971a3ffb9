package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// bbolt locks its file for as long as it is open: for one process that writes, or for
// several that read. So that a registry can serve a store while others import into it,
// nobody keeps the file open for longer than a lease.
const (
	// leaseTime is how long the database stays open when somebody waits for it, and
	// how long when nobody uses it. To open it takes a fraction of a millisecond.
	leaseTime = 50 * time.Millisecond
	// patience is how long who wants to write keeps others from beginning to read, while
	// somebody reads who does not end.
	patience = 10 * leaseTime
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
	turn   *gate // nil until somebody made it
	cur    *lease
	state  checkedState
	wanted int       // updates that wait
	rest   time.Time // until when others may open it
	reads  time.Time // until when it is opened for those who read alone
	closed bool
}

// lease is the database while it is open.
type lease struct {
	db       *boltFile
	writable bool
	users    int
	used     bool          // since the last tick
	ending   bool          // takes no users any more
	torn     bool          // an update panicked, and bbolt may never close the file
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
	ended := false
	defer func() {
		if !ended {
			d.mu.Lock()
			l.torn, l.ending = true, true
			d.mu.Unlock()
		}
	}()
	err = l.db.Update(fn)
	ended = true
	return err
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
			alone := write || d.wanted > 0 && time.Now().After(d.reads)
			err := d.open(alone, deadline)
			if alone && !write && errors.Is(err, errDatabase) {
				err = d.open(false, deadline) // it may be good enough to read
			}
			if alone && errors.Is(err, ErrLocked) && time.Now().Before(deadline) {
				d.letRead(write)
			} else if err != nil {
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

// letRead has those read who want to, in this process and in others: to write it could not
// be opened, for somebody reads for long. d.mu is held.
func (d *database) letRead(write bool) {
	d.reads = time.Now().Add(restTime)
	if write {
		d.mu.Unlock()
		time.Sleep(restTime)
		d.mu.Lock()
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
	switch {
	case l.torn:
		d.state.known = false
		l.db.abandon()
	case l.writable:
		d.state.written(l.db.file)
		fallthrough
	default:
		_ = l.db.Close() // every transaction has ended
	}
	d.cur = nil
	if l.writable {
		if d.turn.awaited() {
			d.rest = time.Now().Add(restTime)
		}
		d.turn.leave()
	}
	close(l.gone)
}

// tick ends a lease that nobody uses, or that another process waits for.
func (d *database) tick(l *lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cur != l {
		return
	}
	idle := !l.used && l.users == 0
	l.used = false
	if idle || l.ending || d.turn == nil || d.turn.awaited() {
		d.end(l)
		if d.cur != l {
			return
		}
	}
	l.timer.Reset(leaseTime)
}

// open begins a lease. The turn is taken before the database is opened: by a writer
// alone, until the lease ends or it is out of patience, so that others do not come in for
// ever while it waits for those who read. Those who read have the turn together while they
// open it; the writer is in the queue until they have ended. d.mu is held.
func (d *database) open(write bool, deadline time.Time) error {
	time.Sleep(time.Until(d.rest))
	if err := d.openTurn(); err != nil {
		return err
	}
	inTime := func() bool { return time.Now().Before(deadline) }
	if d.turn != nil {
		if err := d.turn.enter(write, inTime); err != nil {
			return err
		}
		if write { // those who read have it open still
			defer d.turn.queue.Unlock()
			if err := retry(d.turn.queue.TryShared, inTime); err != nil {
				d.turn.leave()
				return err
			}
		}
	}
	wait := max(time.Until(deadline), 1)
	if write {
		wait = min(wait, patience)
	}
	db, err := openDatabase(databaseOptions{path: d.path, readOnly: !write, wait: wait, maxSize: d.maxSize, checked: &d.state})
	if d.turn != nil && (err != nil || !write) {
		d.turn.leave()
	}
	if err != nil {
		return err
	}
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
	f, err := openGate(d.turnPath, !d.readOnly)
	if d.readOnly && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(d.turnPath), err)
	}
	d.turn = f
	return nil
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
	return d.turn.close()
}
