// Package disktest puts faults behind a [disk.FS].
//
// Every operation on the folder and on its open files has a number, counted from
// 1. A test runs once without a fault to learn the operations ([FS.Ops]), then
// once for each operation and each [Mode] that applies to it:
//
//	for n, op := range ops {
//		for _, mode := range disktest.Modes {
//			if !mode.Applies(op) {
//				continue
//			}
//			f := disktest.Wrap(folder)
//			f.Inject(n+1, mode)
//			// … run, then check that f.Fired()
//		}
//	}
//
// The numbers are the same in each run only if the code under test works in one
// goroutine and in a fixed order.
//
// After a crash every operation fails with [ErrCrash]: the process is gone. The
// folder is as the kernel has it. [FS.PowerCut] makes of it what the disk has.
package disktest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"syscall"

	"airgap/layout/disk"
)

// ErrCrash is what everything returns after a crash.
var ErrCrash = errors.New("disktest: crashed")

// Mode is what happens at the operation that was picked.
type Mode string

// The modes.
const (
	CrashBefore Mode = "crash before" // the operation is not done, and nothing after it
	CrashAfter  Mode = "crash after"  // the operation is done, and nothing after it
	Torn        Mode = "torn write"   // half of it is written, then a crash
	EIO         Mode = "EIO"          // it fails, undone; the rest works
	ENOSPC      Mode = "ENOSPC"       // it fails, half written; the rest works
	ErrorDone   Mode = "error, but done"
)

// Modes are all modes.
var Modes = []Mode{CrashBefore, CrashAfter, Torn, EIO, ENOSPC, ErrorDone}

// Op is a kind of operation.
type Op string

// The operations.
const (
	OpOpen     Op = "open"
	OpCreate   Op = "create" // an open that may make or change a file
	OpMkdir    Op = "mkdir"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpFlush    Op = "flush"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpStat     Op = "stat"
	OpReadDir  Op = "readdir"
	OpTruncate Op = "truncate"
	OpSync     Op = "sync"
	OpClose    Op = "close"
)

// changes says whether op can alter what is on the disk.
func (op Op) changes() bool {
	return !slices.Contains([]Op{OpOpen, OpRead, OpStat, OpReadDir}, op)
}

// Applies says whether mode can happen to op: only a write can be torn, and only
// what takes room can run out of it.
func (m Mode) Applies(op Op) bool {
	switch m {
	case Torn:
		return op == OpWrite
	case ENOSPC:
		return slices.Contains([]Op{OpCreate, OpMkdir, OpRename, OpWrite, OpTruncate, OpFlush, OpSync}, op)
	case CrashAfter, ErrorDone:
		return op.changes()
	}
	return true
}

// Call is one operation that was done.
type Call struct {
	Op   Op
	Name string
}

func (c Call) String() string { return string(c.Op) + " " + c.Name }

// FS is a folder with a fault in it.
type FS struct {
	inner disk.FS

	mu      sync.Mutex
	calls   []Call
	at      int
	mode    Mode
	fired   bool
	crashed bool
	// What a loss of power would undo.
	dirty   map[string]bool // written since it was last made durable
	created map[string]bool
	renames []rename
}

// rename is one that a loss of power would undo.
type rename struct {
	from, to string
	had      bool // there was a file under the new name
	replaced []byte
}

// maxReplaced is the largest file that comes back when its replacement is undone.
const maxReplaced = 16 << 20

var _ disk.FS = (*FS)(nil)

// Wrap returns inner without a fault.
func Wrap(inner disk.FS) *FS {
	return &FS{inner: inner, dirty: map[string]bool{}, created: map[string]bool{}}
}

// Inject makes mode happen at operation number n, counted from 1.
func (f *FS) Inject(n int, mode Mode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.mode = n, mode
}

// Ops returns the operations so far, in order.
func (f *FS) Ops() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Fired says whether the injected fault has happened.
func (f *FS) Fired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// Crashed says whether nothing works any more.
func (f *FS) Crashed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.crashed
}

// do counts an operation, and does it or what the fault makes of it. tear, if not
// nil, does half of it. f.mu is held throughout, so that the state on the disk
// and the account of it agree.
func (f *FS) do(op Op, name string, whole, tear func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return ErrCrash
	}
	f.calls = append(f.calls, Call{op, name})
	if len(f.calls) != f.at {
		return whole()
	}
	if !f.mode.Applies(op) {
		return fmt.Errorf("disktest: %q can not happen to %s %s", f.mode, op, name)
	}
	f.fired = true
	return f.fault(op, whole, tear)
}

func (f *FS) fault(op Op, whole, tear func() error) error {
	half := func() {
		if tear != nil {
			_ = tear()
		}
	}
	switch f.mode {
	case CrashAfter:
		_ = whole()
		f.crashed = true
		return ErrCrash
	case Torn:
		half()
		f.crashed = true
		return ErrCrash
	case EIO:
		return &fs.PathError{Op: string(op), Path: "injected", Err: syscall.EIO}
	case ENOSPC:
		half()
		return &fs.PathError{Op: string(op), Path: "injected", Err: syscall.ENOSPC}
	case ErrorDone:
		_ = whole()
		return &fs.PathError{Op: string(op), Path: "injected", Err: syscall.EIO}
	}
	f.crashed = true
	return ErrCrash
}

// Mkdir implements [disk.FS].
func (f *FS) Mkdir(name string) error {
	return f.do(OpMkdir, name, func() error { return f.inner.Mkdir(name) }, nil)
}

// Remove implements [disk.FS].
func (f *FS) Remove(name string) error {
	return f.do(OpRemove, name, func() error {
		delete(f.dirty, name)
		delete(f.created, name)
		return f.inner.Remove(name)
	}, nil)
}

// Rename implements [disk.FS].
func (f *FS) Rename(from, to string) error {
	return f.do(OpRename, from+" → "+to, func() error {
		replaced, rerr := disk.ReadFile(f.inner, to, maxReplaced)
		if err := f.inner.Rename(from, to); err != nil {
			return err
		}
		f.renames = append(f.renames, rename{from, to, rerr == nil, replaced})
		for _, set := range []map[string]bool{f.dirty, f.created} {
			if delete(set, to); set[from] {
				delete(set, from)
				set[to] = true
			}
		}
		return nil
	}, nil)
}

// Flush implements [disk.FS].
func (f *FS) Flush() error {
	return f.do(OpFlush, "", func() error {
		clear(f.dirty)
		clear(f.created)
		f.renames = nil
		return f.inner.Flush()
	}, nil)
}
