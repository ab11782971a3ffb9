package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"time"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store/pages"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// errDatabase says that the database itself is damaged, not a blob. It matches
// layout.ErrCorrupt.
var errDatabase error = databaseError{}

type databaseError struct{}

func (databaseError) Error() string        { return "the database is damaged" }
func (databaseError) Is(target error) bool { return target == layout.ErrCorrupt }

// databaseOptions say how a database is opened.
type databaseOptions struct {
	path     string
	readOnly bool
	wait     time.Duration // for other processes
	maxSize  int           // in bytes; 0 means no limit
	checked  *checkedState // what was found earlier; nil means nothing
	create   bool          // an empty file becomes a database
}

// boltFile is an open database, with its file. bbolt keeps that open, and so locked, when
// it panics.
type boltFile struct {
	*bbolt.DB
	file *os.File
}

// abandon gives up a database in which a transaction panicked, and which bbolt may never
// close: others can open it.
func (b *boltFile) abandon() {
	_ = b.file.Close() // nothing that was committed is left to write
	go func() {
		var err error // of a database that is damaged, and not ours any more
		defer recoverDamage(&err)()
		err = b.DB.Close()
	}()
}

// openDatabase opens a database. Before bbolt reads it, its pages are checked: bbolt panics,
// faults or never ends when they are damaged. The error matches errDatabase then, and
// ErrLocked if another process does not let go of it in time.
func openDatabase(o databaseOptions) (_ *boltFile, err error) {
	b := &boltFile{}
	defer func() {
		if err != nil && b.file != nil {
			_ = b.file.Close() // whatever bbolt has left of it
		}
	}()
	defer recoverDamage(&err)()
	b.DB, err = bbolt.Open(o.path, 0o644, &bbolt.Options{
		ReadOnly:     o.readOnly,
		Timeout:      o.wait,
		FreelistType: bbolt.FreelistMapType,
		MaxSize:      o.maxSize,
		OpenFile: func(path string, flag int, mode fs.FileMode) (_ *os.File, err error) {
			if b.file, err = os.OpenFile(path, flag, mode); err != nil {
				return nil, err
			}
			return b.file, o.prepare(b.file)
		},
	})
	if err != nil {
		return nil, openError(err)
	}
	return b, nil
}

// prepare locks the file, as bbolt will again, and checks it. bbolt makes a database of an
// empty file, which is wanted only for a new one.
func (o *databaseOptions) prepare(f *os.File) error {
	if err := o.lock(f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && (info.Size() > 0 || !o.create) {
		err = o.checked.check(f, info, !o.readOnly)
	}
	if runtime.GOOS == "windows" { // where a file cannot be locked twice
		err = errors.Join(err, disk.Unlock(f))
	}
	return err
}

func (o *databaseOptions) lock(f *os.File) error {
	try := func() error { return disk.LockShared(f) }
	if !o.readOnly {
		try = func() error { return disk.Lock(f) }
	}
	deadline := time.Now().Add(o.wait)
	return retry(try, func() bool { return time.Now().Before(deadline) })
}

// openError sorts out what bbolt.Open fails with: the operating system refuses,
// the lock is taken, or else the file is not what it should be.
func openError(err error) error {
	if errors.Is(err, berrors.ErrTimeout) || errors.Is(err, ErrLocked) {
		return ErrLocked
	}
	if errno := syscall.Errno(0); errors.As(err, &errno) || errors.Is(err, errDatabase) {
		return err
	}
	return fmt.Errorf("%w: %v", errDatabase, err)
}

// checkedState is the state in which the database was checked, or written by this process.
type checkedState struct {
	known    bool
	writable bool // checked as one that is to be written
	tx       uint64
	size     int64
	changed  time.Time
	// cost is how long the last check took, and next when others' changes are checked
	// again: to check is never most of the work.
	cost time.Duration
	next time.Time
}

// checkShare is how many times as long as a check the next one waits, for those who read.
const checkShare = 20

// check reads the pages of a database that is locked, unless it is as it was. To read, it
// is good enough if bbolt refuses what is wrong by itself: only what that page has cannot
// be read.
func (s *checkedState) check(f *os.File, info fs.FileInfo, writable bool) error {
	m, err := pages.ReadMeta(f, info.Size())
	if err != nil {
		return fmt.Errorf("%w: %w", errDatabase, err)
	}
	if s == nil {
		s = &checkedState{}
	}
	begun := time.Now()
	if s.known && (s.writable || !writable) {
		same := s.tx == m.TxID && s.size == info.Size() && s.changed.Equal(info.ModTime())
		if same || !writable && begun.Before(s.next) {
			return nil
		}
	}
	for _, p := range pages.Check(f, m, writable) {
		if writable || !p.Noticed {
			return fmt.Errorf("%w: %w", errDatabase, p)
		}
	}
	s.note(m, info, writable)
	s.cost = time.Since(begun)
	s.next = time.Now().Add(checkShare * s.cost)
	return nil
}

func (s *checkedState) note(m pages.Meta, info fs.FileInfo, writable bool) {
	s.known, s.writable = true, writable
	s.tx, s.size, s.changed = m.TxID, info.Size(), info.ModTime()
}

// written notes the state that this process leaves, before it lets go of the file.
func (s *checkedState) written(f *os.File) {
	info, err := f.Stat()
	if err != nil {
		s.known = false
		return
	}
	if m, err := pages.ReadMeta(f, info.Size()); err == nil && m.Other == nil {
		s.note(m, info, true)
	} else {
		s.known = false
	}
}
