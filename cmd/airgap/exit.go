package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"airgap/bundle"
	"airgap/bundle/registry"
	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store"
)

// The exit codes.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitRefused   = 3
	exitDamaged   = 4
	exitRegistry  = 5
	exitRollback  = 6
	exitLocked    = 7
	exitUndecided = 8
	exitInterrupt = 128 + int(syscall.SIGINT)
	exitTerminate = 128 + int(syscall.SIGTERM)
)

// exitMeanings is the table as docs/cli.md shows it.
var exitMeanings = []struct {
	code    int
	meaning string
}{
	{exitDone, "done"},
	{exitFailed, "failed: a file or a name that is not there, tags that would move, layers that a delta counts on and the destination lacks, a container engine that cannot be reached or refuses, no space left, and with `diff --exit-code` a difference"},
	{exitUsage, "usage: the command line makes no sense, or what it names (a list, a certificate) cannot be read"},
	{exitRefused, "verification refused it, it is in quarantine, or there is no policy that could say yes; `import --partial` has brought in what passed"},
	{exitDamaged, "the bundle or store is damaged, or is nothing that airgap can read safely"},
	{exitRegistry, "network or registry: it cannot be reached, refuses, does not have it, or gave content that is not what its digest says"},
	{exitRollback, "rollback or replay: a bundle or an image in it is older than what came before, has expired, or is not what should follow; or the ledger is not what it was"},
	{exitLocked, "the store, or the output file, is in use by another airgap process"},
	{exitUndecided, "verification could not be decided: something that was needed to say yes or no is not here; `import --partial` has brought in what passed"},
	{exitInterrupt, "stopped by Ctrl-C (SIGINT)"},
	{exitTerminate, "stopped by SIGTERM"},
}

var (
	errUsage     = errors.New("usage")
	errDifferent = errors.New("they differ")
)

// usagef is an error about the command line.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// usageError marks an error as one of the command line. The mark is not said.
type usageError struct{ err error }

func (e *usageError) Error() string        { return e.err.Error() }
func (e *usageError) Unwrap() error        { return e.err }
func (e *usageError) Is(target error) bool { return target == errUsage }

// localError marks what was found in content that lies on this side, where the
// error itself says no more than "source".
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

func local(err error) error {
	if err == nil {
		return nil
	}
	return &localError{err}
}

// exitCode is the one place where an error becomes a code. The order counts: a
// damaged file in a registry's answer is the registry's.
func exitCode(err error) int {
	var s *stopped
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &s):
		return s.code()
	case errors.Is(err, errDifferent):
		return exitFailed
	case errors.Is(err, errUsage), errors.Is(err, bundle.ErrUsage):
		return exitUsage
	case errors.Is(err, bundle.ErrRollback):
		return exitRollback
	case errors.Is(err, bundle.ErrNoPolicy), errors.Is(err, bundle.ErrRefused), errors.Is(err, store.ErrQuarantined):
		return exitRefused
	case errors.Is(err, bundle.ErrUndecided):
		return exitUndecided
	case isLocked(err), errors.Is(err, disk.ErrBusy):
		return exitLocked
	case errors.Is(err, registry.ErrRegistry):
		return exitRegistry
	case isDamage(err), lacksContent(err):
		if isLocal(err) {
			return exitDamaged
		}
		return exitRegistry
	}
	return exitFailed
}

// isDamage says whether content is not what it has to be. What is over a limit
// counts too, and a file in no form that can be read: it may have been a bundle
// before it was damaged.
func isDamage(err error) bool {
	return errors.Is(err, layout.ErrCorrupt) || errors.Is(err, layout.ErrLimit) || errors.Is(err, bundle.ErrRecords) ||
		errors.Is(err, layout.ErrUnsupported) && on(err, layout.SideBundle, layout.SideFolder)
}

// isLocal says whether the fault lies in a file or a store, not in a registry.
func isLocal(err error) bool {
	var l *localError
	return errors.As(err, &l) || on(err, localSides...)
}

var localSides = []layout.Side{layout.SideBundle, layout.SideFolder, layout.SideStore}

// lacksContent says whether a bundle or store lists content that it does not
// have, which is not the same as a name that nobody promised.
func lacksContent(err error) bool {
	found := false
	eachSide(err, func(e *layout.Error) {
		found = found || e.Digest != "" && slices.Contains(localSides, e.Side)
	})
	return found && errors.Is(err, layout.ErrNotFound)
}

// again says whether advice to run the same command again is true and the best
// there is: the run was stopped, or what failed may work at another time and has
// no advice of its own.
func again(err error) bool {
	if errors.Is(err, context.Canceled) {
		return true
	}
	// The first that says it is not temporary may only mean that it has been
	// tried often enough, so the request itself is asked.
	var r *registry.RequestError
	var t interface{ Temporary() bool }
	return layout.Hint(err) == "" &&
		(errors.As(err, &r) && r.Temporary() || errors.As(err, &t) && t.Temporary())
}

// on says whether an error names one of the sides, at any depth.
func on(err error, sides ...layout.Side) bool {
	found := false
	eachSide(err, func(e *layout.Error) { found = found || slices.Contains(sides, e.Side) })
	return found
}

func eachSide(err error, fn func(*layout.Error)) {
	for e := (*layout.Error)(nil); errors.As(err, &e); err = e.Err {
		fn(e)
	}
}

// stopped is why a context ended: somebody pressed Ctrl-C.
type stopped struct{ sig os.Signal }

func (s *stopped) Error() string {
	if s.sig == os.Interrupt {
		return "stopped by Ctrl-C"
	}
	return "stopped: " + s.sig.String()
}

// Is lets whoever looks for a cancelled context find one.
func (s *stopped) Is(target error) bool { return target == context.Canceled }

func (s *stopped) code() int {
	if s.sig == os.Interrupt {
		return exitInterrupt
	}
	return exitTerminate
}

// stoppable returns a context that the first SIGINT or SIGTERM ends. The next
// one finds the system's own handler and kills.
func stoppable(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case sig := <-signals:
			signal.Stop(signals)
			cancel(&stopped{sig})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// stopCause returns the signal that ended ctx, or nil.
func stopCause(ctx context.Context) *stopped {
	var s *stopped
	errors.As(context.Cause(ctx), &s)
	return s
}
