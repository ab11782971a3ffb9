package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"airgap/bundle"
	"airgap/layout"
	"airgap/store"
)

// destination is where import brings things.
type destination struct {
	name     string
	spoolDir string // where a stream waits to be imported; empty means the system's
	// begin starts one import; done discards what was not committed.
	begin func(ctx context.Context) (sink layout.Sink, done func(), err error)
	close func() error
	keeps bool // what was sent stays, even if an import fails
	// lists are the revocation lists that were kept there earlier.
	lists []bundle.RevocationList
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
	return storeDestination(dir)
}

func (o *importOptions) registryDestination(ctx context.Context, u *ui) (*destination, error) {
	host, _, _ := strings.Cut(o.to, "/")
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

// storeDestination opens the store, and makes it if missing, when the first import
// needs it: for what a policy refuses there is nothing to make.
func storeDestination(dir string) (*destination, error) {
	var s *store.Store
	kept, err := keptLists(dir)
	if err != nil {
		return nil, err
	}
	return &destination{
		name: "store:" + dir, spoolDir: spoolIn(dir), lists: kept,
		begin: func(ctx context.Context) (layout.Sink, func(), error) {
			l := &lateSink{open: func() (layout.Sink, func(), error) {
				if s == nil {
					var err error
					if s, err = writeStore(dir); err != nil {
						return nil, nil, err
					}
				}
				session, err := s.Begin(ctx)
				if err != nil {
					return nil, nil, err
				}
				return storeSink{session, s}, func() { _ = session.Close() }, nil
			}}
			return l, l.close, nil
		},
		close: func() error {
			if s == nil {
				return nil
			}
			err := s.Close()
			s = nil
			return err
		},
	}, nil
}

// storeSink is a session that can also be asked what is attached in the store.
type storeSink struct {
	*store.Session
	store *store.Store
}

// Attached says what was attached before this session.
func (s storeSink) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	return s.store.Attached(ctx, repo, subject)
}

// keptLists reads the revocation lists of a store, if there is one.
func keptLists(dir string) ([]bundle.RevocationList, error) {
	// Lists that are there and cannot be read must not pass for none.
	if _, err := os.Stat(filepath.Join(dir, "airgap.db")); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	s, err := readStore(context.Background(), dir)
	if err != nil {
		return nil, err
	}
	return s.lists, s.close()
}

// spoolIn is where a stream waits for a store: beside it if it is there, for then
// it has the room.
func spoolIn(dir string) string {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return dir
	}
	return ""
}

// lateSink is a sink that is opened when it is first used.
type lateSink struct {
	open func() (layout.Sink, func(), error)

	once sync.Once
	sink layout.Sink
	done func()
	err  error
}

func (l *lateSink) opened() error {
	l.once.Do(func() { l.sink, l.done, l.err = l.open() })
	return l.err
}

func (l *lateSink) close() {
	if l.done != nil {
		l.done()
	}
}

// Resolve implements [layout.Sink].
func (l *lateSink) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	if err := l.opened(); err != nil {
		return layout.Descriptor{}, err
	}
	return l.sink.Resolve(ctx, ref)
}

// Open reads what the sink had before.
func (l *lateSink) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if err := l.opened(); err != nil {
		return nil, err
	}
	return l.sink.(interface {
		Open(context.Context, string, layout.Descriptor) (io.ReadCloser, error)
	}).Open(ctx, repo, d)
}

// Attached says what was attached in the sink before.
func (l *lateSink) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	if err := l.opened(); err != nil {
		return nil, err
	}
	return l.sink.(interface {
		Attached(context.Context, string, layout.Descriptor) (layout.Attachments, error)
	}).Attached(ctx, repo, subject)
}

// Has implements [layout.Sink].
func (l *lateSink) Has(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	if err := l.opened(); err != nil {
		return false, err
	}
	return l.sink.Has(ctx, repo, d)
}

// Put implements [layout.Sink].
func (l *lateSink) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	if err := l.opened(); err != nil {
		return err
	}
	return l.sink.Put(ctx, repo, d, r)
}

// Mount implements [layout.Mounter].
func (l *lateSink) Mount(ctx context.Context, repo string, d layout.Descriptor, from string) (bool, error) {
	if err := l.opened(); err != nil {
		return false, err
	}
	m, ok := l.sink.(layout.Mounter)
	if !ok {
		return false, nil
	}
	return m.Mount(ctx, repo, d, from)
}

// KeepList keeps a revocation list, where the sink does.
func (l *lateSink) KeepList(issuer string, der []byte) error {
	if err := l.opened(); err != nil {
		return err
	}
	if k, ok := l.sink.(interface {
		KeepList(issuer string, der []byte) error
	}); ok {
		return k.KeepList(issuer, der)
	}
	return nil
}

// Commit implements [layout.Sink].
func (l *lateSink) Commit(ctx context.Context, names []layout.Name) error {
	if err := l.opened(); err != nil {
		return err
	}
	return l.sink.Commit(ctx, names)
}

// explain says, of an import that failed, what of it is done.
func (d *destination) explain(err error, res *importResult) error {
	if d.keeps && again(err) {
		err = &adviceError{err, "run the same command again: what was sent already is not sent again"}
	}
	var names []string
	for _, b := range res.Bundles {
		if len(b.Names) > 0 { // it was not refused
			names = append(names, b.Bundle)
		}
	}
	if len(names) == 0 {
		return err
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
