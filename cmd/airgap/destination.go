package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"airgap/layout"
)

// destination is where import brings things.
type destination struct {
	name     string
	spoolDir string // where a stream waits to be imported; empty means the system's
	// begin starts one import; done discards what was not committed.
	begin func(ctx context.Context) (sink layout.Sink, done func(), err error)
	close func() error
	keeps bool // what was sent stays, even if an import fails
}

// destination opens what --to or --store name, or the default store.
func (o *importOptions) destination(ctx context.Context, u *ui) (*destination, error) {
	if o.to != "" {
		return o.registryDestination(ctx, u)
	}
	dir := o.store
	if dir == "" {
		var err error
		if dir, err = u.defaultStore(); err != nil {
			return nil, err
		}
	}
	if !o.skip {
		// Nothing will get in, so no store is made or locked for it.
		return &destination{name: "store:" + dir, begin: beginNothing, close: func() error { return nil }}, nil
	}
	return storeDestination(dir)
}

func beginNothing(context.Context) (layout.Sink, func(), error) { return nil, func() {}, nil }

func (o *importOptions) registryDestination(ctx context.Context, u *ui) (*destination, error) {
	host, _, _ := strings.Cut(o.to, "/")
	if _, err := layout.ParseReference(o.to + "/x"); err != nil {
		return nil, usagef("--to %q: want HOST[/PREFIX]: %w", o.to, err)
	}
	c, err := o.registry.client(ctx, u, host, layout.SideDestination)
	if err != nil {
		return nil, err
	}
	return &destination{
		name:  o.to,
		begin: func(context.Context) (layout.Sink, func(), error) { return c, func() {}, nil },
		close: func() error { return nil },
		keeps: true,
	}, nil
}

func storeDestination(dir string) (*destination, error) {
	s, err := writeStore(dir)
	if err != nil {
		return nil, err
	}
	closed := false
	return &destination{
		name: "store:" + dir, spoolDir: dir,
		begin: func(ctx context.Context) (layout.Sink, func(), error) {
			session, err := s.Begin(ctx)
			if err != nil {
				return nil, nil, err
			}
			return session, func() { _ = session.Close() }, nil
		},
		close: func() error {
			if closed {
				return nil
			}
			closed = true
			return s.Close()
		},
	}, nil
}

// explain says, of an import that failed, what of it is done.
func (d *destination) explain(err error, res *importResult) error {
	if d.keeps && again(err) {
		err = &adviceError{err, "run the same command again: what was sent already is not sent again"}
	}
	if len(res.Bundles) == 0 {
		return err
	}
	var names []string
	for _, b := range res.Bundles {
		names = append(names, b.Bundle)
	}
	return &adviceError{err, fmt.Sprintf("already imported to %s: %s", d.name, strings.Join(names, ", "))}
}

// spoolFile makes a file that has no name, so that it is gone when this process
// is, however it ends.
func spoolFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".airgap-stream-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
