package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"airgap/bundle"
	"airgap/bundle/registry"
	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store"

	"github.com/opencontainers/go-digest"
)

func TestExitCode(t *testing.T) {
	side := func(s layout.Side, err error) error { return &layout.Error{Side: s, Name: "x", Err: err} }
	with := func(s layout.Side, err error) error {
		return &layout.Error{Side: s, Digest: digest.FromString("x"), Err: err}
	}
	request := func(err error) error { return &registry.RequestError{Status: 500, Err: err} }
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, exitDone},
		{"a plain error", errors.New("x"), exitFailed},
		{"a missing file", fs.ErrNotExist, exitFailed},
		{"differing", errDifferent, exitFailed},
		{"moving tags", side(layout.SideDestination, bundle.ErrMoves), exitFailed},
		{"usage of ours", usagef("x %w", fs.ErrNotExist), exitUsage},
		{"usage of bundle", side(layout.SideBundle, bundle.ErrUsage), exitUsage},
		{"no policy", side(layout.SideBundle, bundle.ErrNoPolicy), exitRefused},
		{"a bundle that is damaged", side(layout.SideBundle, layout.ErrCorrupt), exitDamaged},
		{"a bundle beyond limits", side(layout.SideBundle, layout.ErrLimit), exitDamaged},
		{"a bundle of no known form", side(layout.SideBundle, layout.ErrUnsupported), exitDamaged},
		{"a folder that is damaged", side(layout.SideFolder, layout.ErrCorrupt), exitDamaged},
		{"a store that is damaged", side(layout.SideStore, layout.ErrCorrupt), exitDamaged},
		{"a store of a later version", side(layout.SideStore, layout.ErrUnsupported), exitFailed},
		{"damage in a bundle, told by the source", with(layout.SideSource, side(layout.SideBundle, layout.ErrCorrupt)), exitDamaged},
		{"damage in a local source", local(side(layout.SideSource, layout.ErrCorrupt)), exitDamaged},
		{"damage in a local source, with advice", &adviceError{local(side(layout.SideSource, layout.ErrCorrupt)), "x"}, exitDamaged},
		{"damage in a registry", side(layout.SideSource, layout.ErrCorrupt), exitRegistry},
		{"an image too large in a registry", side(layout.SideSource, layout.ErrLimit), exitRegistry},
		{"damage in an answer", side(layout.SideSource, request(layout.ErrCorrupt)), exitRegistry},
		{"not in a registry", side(layout.SideSource, request(layout.ErrNotFound)), exitRegistry},
		{"a registry while importing", local(side(layout.SideDestination, request(nil))), exitRegistry},
		{"one name for two digests", side(layout.SideSource, layout.ErrUnsupported), exitFailed},
		{"no such name in a bundle", side(layout.SideBundle, layout.ErrNotFound), exitFailed},
		{"no such store", side(layout.SideStore, layout.ErrNotFound), exitFailed},
		{"content that a layout lacks", with(layout.SideFolder, layout.ErrNotFound), exitDamaged},
		{"content that a layout lacks, told by the source", with(layout.SideSource, with(layout.SideFolder, layout.ErrNotFound)), exitDamaged},
		{"a locked store", side(layout.SideStore, store.ErrLocked), exitLocked},
		{"a bundle being written", side(layout.SideBundle, disk.ErrBusy), exitLocked},
		{"Ctrl-C", &stopped{os.Interrupt}, exitInterrupt},
		{"SIGTERM", fmt.Errorf("x: %w", &stopped{syscall.SIGTERM}), exitTerminate},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
}

// The table is complete, and in order.
func TestExitTable(t *testing.T) {
	codes := map[int]bool{}
	last := -1
	for _, row := range exitMeanings {
		if row.code <= last || row.meaning == "" {
			t.Errorf("row %d: %q", row.code, row.meaning)
		}
		codes[row.code], last = true, row.code
	}
	for code := range 8 {
		if !codes[code] {
			t.Errorf("code %d is not in the table", code)
		}
	}
}

func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	if stopCause(ctx) != nil {
		t.Error("a running context was stopped")
	}
	cancel(&stopped{os.Interrupt})
	if s := stopCause(ctx); s == nil || !errors.Is(s, context.Canceled) {
		t.Error("Ctrl-C is no reason")
	}
}

// What an error embeds cannot pass for a line of ours.
func TestErrorText(t *testing.T) {
	err := fmt.Errorf("a\nhint: b\x1b[0m:\n  first\n  second\n\tc")
	if got, want := errorText(err), `a\nhint: b\x1b[0m:`+"\n  first\n  second"+`\n\tc`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The word that marks an error is none for people.
func TestErrorTextUsage(t *testing.T) {
	_, err := bundle.ParseRule("nothing")
	if got := errorText(err); strings.HasSuffix(got, "usage") || !strings.HasSuffix(got, "registry.corp/acme") {
		t.Errorf("it says %q", got)
	}
	if got := exitCode(err); got != exitUsage {
		t.Errorf("exit code %d", got)
	}
	if got := errorText(errors.New("x: usage")); got != "x: usage" {
		t.Errorf("%q of another error", got)
	}
}
