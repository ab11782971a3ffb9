package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/disk"
)

// openSpooled takes a bundle from stdin. It has to be whole before anything of it
// may be believed, so it is written to a file without a name first.
func openSpooled(ctx context.Context, u *ui, dir string, o bundle.OpenOptions) (*bundle.Bundle, error) {
	f, err := disk.Unnamed(dir)
	if err != nil {
		return nil, err
	}
	size, err := io.Copy(f, contextReader(ctx, u.stdin))
	if err != nil {
		f.Close()
		return nil, spoolError(err, dir)
	}
	o.TempDir = dir
	return bundle.OpenReader(ctx, "stdin", f, size, o)
}

func spoolError(err error, dir string) error {
	hint := ""
	if errors.Is(err, syscall.ENOSPC) {
		hint = "the stream is kept in $TMPDIR until it is whole: set that to a folder with room, and send it again"
		if dir != "" {
			hint = "the stream is kept in the store's file system until it is whole: free some space there, and send it again"
		}
	}
	return &layout.Error{Side: layout.SideBundle, Name: "stdin", Err: fmt.Errorf("while it was read: %w", err), Hint: hint}
}

// contextReader reads r, but not longer than ctx lasts: a read from a terminal or
// a pipe cannot be interrupted, only abandoned.
func contextReader(ctx context.Context, r io.Reader) io.Reader {
	c := &abandonable{ctx: ctx, want: make(chan struct{}), got: make(chan chunk)}
	go c.pump(r)
	return c
}

type abandonable struct {
	ctx  context.Context //nolint:containedctx // lives as long as one copy
	want chan struct{}
	got  chan chunk
	rest []byte
	err  error
}

type chunk struct {
	data []byte
	err  error
}

const pumpSize = 256 << 10

// pump fills its one buffer when the reader has used it up.
func (a *abandonable) pump(r io.Reader) {
	buf := make([]byte, pumpSize)
	for {
		n, err := r.Read(buf)
		select {
		case a.got <- chunk{buf[:n], err}:
		case <-a.ctx.Done():
			return
		}
		if err != nil {
			return
		}
		select {
		case <-a.want:
		case <-a.ctx.Done():
			return
		}
	}
}

func (a *abandonable) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.err != nil {
			return 0, a.err
		}
		select {
		case c := <-a.got:
			a.rest, a.err = c.data, c.err
		case <-a.ctx.Done():
			return 0, a.ctx.Err()
		}
	}
	n := copy(p, a.rest)
	if a.rest = a.rest[n:]; len(a.rest) == 0 && a.err == nil {
		select {
		case a.want <- struct{}{}:
		case <-a.ctx.Done():
			return n, a.ctx.Err()
		}
	}
	return n, nil
}
