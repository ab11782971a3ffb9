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
	"airgap/bundle/custody"
	"airgap/bundle/registry"
	"airgap/layout"
	"airgap/store"

	"github.com/opencontainers/go-digest"
)

// destination is where import brings things.
type destination struct {
	name     string
	kind     custody.PlaceKind
	spoolDir string // where a stream waits to be imported; empty means the system's
	// begin starts one import; done discards what was not committed. The memory is
	// nil if nothing is remembered.
	begin func(ctx context.Context) (sink layout.Sink, memory *storeMemory, done func(), err error)
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

// memoryDir is the store that remembers imports into a registry: the one that is
// named, else the default store if there is one.
func (o *importOptions) memoryDir(u *ui) string {
	if o.memory != "" {
		return o.memory
	}
	dir, err := u.defaultStore()
	if err != nil || !maybeStore(dir) {
		return ""
	}
	return dir
}

// maybeStore says whether there is a store in dir, or something that cannot be looked
// at: what is there and cannot be read must not pass for nothing.
func maybeStore(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "airgap.db"))
	return !errors.Is(err, fs.ErrNotExist)
}

func (o *importOptions) registryDestination(ctx context.Context, u *ui) (*destination, error) {
	host, _, _ := strings.Cut(o.to, "/")
	c, err := o.registry.client(ctx, u, host, layout.SideDestination)
	if err != nil {
		return nil, err
	}
	d := &destination{name: o.to, kind: custody.InRegistry, keeps: true}
	d.begin = func(context.Context) (layout.Sink, *storeMemory, func(), error) { return c, nil, func() {}, nil }
	d.close = func() error { return nil }
	dir := o.memoryDir(u)
	if dir == "" {
		return d, nil
	}
	if d.lists, err = keptLists(dir); err != nil {
		return nil, err
	}
	w := &writing{dir: dir}
	d.begin = func(ctx context.Context) (layout.Sink, *storeMemory, func(), error) {
		m, done, err := w.remember(ctx)
		return rememberingLists{c, m}, m, done, err
	}
	d.close = w.close
	return d, nil
}

// rememberingLists is a registry beside which a store keeps revocation lists.
type rememberingLists struct {
	*registry.Client
	memory *storeMemory
}

// KeepList keeps a revocation list with the memory.
func (r rememberingLists) KeepList(issuer string, der []byte) error {
	return r.memory.keepList(issuer, der)
}

// writing is a store that is written to by one import after the other. It is opened
// by the first that needs it, and made then if it is missing: for what a policy
// refuses there is nothing to make.
type writing struct {
	dir   string
	store *store.Store
}

func (w *writing) open() (err error) {
	if w.store == nil {
		w.store, err = writeStore(w.dir)
	}
	return err
}

func (w *writing) close() error {
	if w.store == nil {
		return nil
	}
	err := w.store.Close()
	w.store = nil
	return err
}

// remember begins to remember one import beside its destination.
func (w *writing) remember(ctx context.Context) (*storeMemory, func(), error) {
	if maybeStore(w.dir) {
		if err := w.open(); err != nil {
			return nil, nil, err
		}
	}
	var session *store.Session
	m := &storeMemory{store: w.store}
	m.session = func() (*store.Session, error) {
		err := w.open()
		if err == nil && session == nil {
			session, err = w.store.Begin(ctx)
		}
		return session, err
	}
	m.commit = func(ctx context.Context) error { return session.Commit(ctx, nil) }
	return m, func() {
		if session != nil {
			_ = session.Close()
		}
	}, nil
}

// storeDestination is a store. One that is there is opened for each import that is
// about to begin, and not before: what has to be waited for, such as a stream, must
// not keep others from it.
func storeDestination(dir string) (*destination, error) {
	kept, err := keptLists(dir)
	if err != nil {
		return nil, err
	}
	w := &writing{dir: dir}
	return &destination{name: "store:" + dir, kind: custody.InStore, spoolDir: spoolIn(dir), lists: kept, close: w.close, begin: w.begin}, nil
}

// begin starts one import into the store.
func (w *writing) begin(ctx context.Context) (layout.Sink, *storeMemory, func(), error) {
	if maybeStore(w.dir) {
		if err := w.open(); err != nil {
			return nil, nil, nil, err
		}
	}
	l := &lateSink{there: func() bool { return store.Is(w.dir) }, open: func() (layout.Sink, func(), error) {
		if err := w.open(); err != nil {
			return nil, nil, err
		}
		session, err := w.store.Begin(ctx)
		if err != nil {
			return nil, nil, err
		}
		return storeSink{session, w.store}, func() { _ = session.Close() }, nil
	}}
	m := &storeMemory{store: w.store, session: func() (*store.Session, error) {
		if err := l.opened(); err != nil {
			return nil, err
		}
		return l.sink.(storeSink).Session, nil
	}}
	return l, m, l.close, nil
}

// storeSink is a session that can also be asked what is attached in the store.
type storeSink struct {
	*store.Session
	store *store.Store
}

// Resolve says what a name stands for, of what was admitted.
func (s storeSink) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	return s.ResolveAdmitted(ctx, ref)
}

// Attached says what was attached before this session.
func (s storeSink) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	return s.store.Judged().Attached(ctx, repo, subject)
}

// keptLists reads the revocation lists of a store, if there is one.
func keptLists(dir string) ([]bundle.RevocationList, error) {
	if !maybeStore(dir) {
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
	there func() bool // false: it has nothing, and will be made
	open  func() (layout.Sink, func(), error)

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
	if !l.there() {
		return false, nil
	}
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

// HoldBack keeps a manifest back, where the sink does.
func (l *lateSink) HoldBack(repo string, dgst digest.Digest, reason string) (bool, error) {
	if err := l.opened(); err != nil {
		return false, err
	}
	if k, ok := l.sink.(interface {
		HoldBack(repo string, dgst digest.Digest, reason string) (bool, error)
	}); ok {
		return k.HoldBack(repo, dgst, reason)
	}
	return false, nil
}

// Serves says whether the sink serves a manifest, as far as it can tell; see
// [store.Session.Serves].
func (l *lateSink) Serves(ctx context.Context, repo string, dgst digest.Digest) (bool, error) {
	if !l.there() {
		return false, nil
	}
	if err := l.opened(); err != nil {
		return false, err
	}
	return l.sink.(storeSink).Serves(ctx, repo, dgst)
}

// Admitted is like Serves; see [store.Session.Admitted].
func (l *lateSink) Admitted(ctx context.Context, repo string, dgst digest.Digest) (bool, error) {
	if !l.there() {
		return false, nil
	}
	if err := l.opened(); err != nil {
		return false, err
	}
	return l.sink.(storeSink).Admitted(ctx, repo, dgst)
}

// Listed finds the indexes of the sink that list a manifest; see [store.Session.Listed].
func (l *lateSink) Listed(ctx context.Context, repo string, dgst digest.Digest) ([][]layout.Name, error) {
	if !l.there() {
		return nil, nil
	}
	if err := l.opened(); err != nil {
		return nil, err
	}
	return l.sink.(storeSink).Listed(ctx, repo, dgst)
}

// Repaired lists what the sink has repaired.
func (l *lateSink) Repaired() []digest.Digest {
	if l.sink == nil {
		return nil
	}
	return repairedBy(l.sink)
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
