package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"airgap/layout"
	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
)

// Sentinel errors, to be matched with [errors.Is].
var (
	// ErrLocked: another process keeps this one out for too long.
	ErrLocked = errors.New("in use by another airgap process")
	// ErrReadOnly: the store was opened for reading only.
	ErrReadOnly = errors.New("opened for reading only")
	// ErrClosed: the session has ended.
	ErrClosed = errors.New("the session has ended")
)

const (
	databaseName = "airgap.db"
	ingestDir    = "ingest"
)

// Options tune [Open]. The zero value opens for writing and does not wait.
type Options struct {
	// ReadOnly shares the store with other readers, and changes nothing.
	ReadOnly bool
	// Alone keeps all other processes out until the store is closed.
	Alone bool
	// Wait is how long to wait for another process that is alone in the store. For
	// what others do to the database is waited in any case, for [DefaultWait] or
	// longer.
	Wait time.Duration
	// FS is the store's folder, for tests; nil means the real one. The
	// database opens its file by itself.
	FS disk.FS

	maxDatabase int // bytes, for tests; 0 means no limit
}

// Store is an open store. All methods are safe for concurrent use.
type Store struct {
	dir      string
	fs       disk.FS
	closer   io.Closer // of fs, if it is ours
	db       *database
	readOnly bool
	use      *disk.LockFile
	ingest   *ingest

	publishing *publication
	// looking is held together by sessions that look whether the store has
	// something, and alone by who takes things away.
	looking sync.RWMutex

	mu sync.Mutex
	// broken is set when the disk failed to make something durable. The
	// kernel reports that once and forgets the data, so that nothing
	// written by this process can be relied on any more.
	broken error

	outlines outlines
	starts   layout.Inspector
	proofs   proofs

	changeFails func() error // for tests: why the next change fails
}

var _ layout.Source = (*Store)(nil)

// Is says whether the folder dir looks like a store.
func Is(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, databaseName))
	return err == nil && info.Mode().IsRegular()
}

// Open opens the store in dir. Unless it is opened for reading, the folder is
// made if missing, what a crash left in ingest/ is removed, and a store of an earlier
// version of airgap becomes one of this version. Any number of processes can have a
// store open; Open fails with ErrLocked if one of them is alone in it,
// layout.ErrNotFound if there is none to read, layout.ErrCorrupt if its database is
// damaged and layout.ErrUnsupported if a later version of airgap made it.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, fs: o.FS, readOnly: o.ReadOnly}
	err := s.open(o)
	if err == nil {
		return s, nil
	}
	_ = s.Close() // nothing was written through it
	if s.readOnly && errors.Is(err, fs.ErrNotExist) {
		return nil, s.missing("", "")
	}
	return nil, s.wrap("", err)
}

func (s *Store) open(o Options) error {
	if err := s.openFolder(); err != nil {
		return err
	}
	s.publishing = newPublication(s.lockPath(publishLock))
	s.ingest = &ingest{fs: s.fs, publish: s.publishing}
	if err := s.prepare(o); err != nil {
		return err
	}
	s.db = &database{
		path: filepath.Join(s.dir, databaseName), turnPath: s.lockPath(turnLock),
		wait: max(o.Wait, DefaultWait), readOnly: o.ReadOnly, maxSize: o.maxDatabase,
	}
	if s.readOnly {
		return s.view(checkSchema)
	}
	return s.begin()
}

// begin brings a store up to date. Others may use it.
func (s *Store) begin() error {
	if err := s.publishing.lock(context.Background()); err != nil {
		return err
	}
	defer s.publishing.unlock()
	err := errors.Join(s.migrate(), s.ingest.clear(nil))
	if err == nil {
		s.makeReserve()
	}
	return err
}

func (s *Store) openFolder() error {
	if s.fs != nil {
		return nil
	}
	open := disk.Create
	if s.readOnly {
		open = disk.Open
	}
	d, err := open(s.dir)
	if err != nil {
		return err
	}
	s.fs, s.closer = d, d
	return nil
}

// prepare makes the folders and the database where missing.
func (s *Store) prepare(o Options) error {
	exists, err := disk.Exists(s.fs, databaseName)
	if err != nil {
		return err
	}
	if s.readOnly {
		if !exists {
			return fs.ErrNotExist
		}
		return s.share(o)
	}
	for _, name := range []string{lockDir, "blobs/sha256", "blobs/sha512", ingestDir} {
		if err := s.fs.Mkdir(name); err != nil {
			return err
		}
	}
	if err := s.share(o); err != nil || exists {
		return err
	}
	return s.create()
}

// create makes the database under another name and renames it, since bbolt
// would refuse for ever a file that a crash left half-made.
func (s *Store) create() error {
	if err := s.publishing.lock(context.Background()); err != nil {
		return err
	}
	defer s.publishing.unlock()
	const temp = ingestDir + "/" + databaseName
	// Another process may have made it since we looked.
	if ok, err := disk.Exists(s.fs, databaseName); ok || err != nil {
		return err
	}
	if err := s.checkNew(); err != nil {
		return err
	}
	if err := s.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := createDatabase(filepath.Join(s.dir, temp)); err != nil {
		return err
	}
	if err := s.fs.Rename(temp, databaseName); err != nil {
		return err
	}
	return s.fs.Flush() // before there are blobs
}

// checkNew refuses to make a new store of one that has lost its database, and with it
// the ledger and all that is to be remembered.
func (s *Store) checkNew() error {
	lost := func(what string) error {
		return &layout.Error{Side: layout.SideStore, Name: s.dir, Err: fmt.Errorf("it has %s, and no %s: %w", what, databaseName, layout.ErrCorrupt),
			Hint: "put a copy of the database back, or make it anew with airgap store rebuild"}
	}
	for _, dir := range []string{"blobs/sha256", "blobs/sha512"} {
		entries, err := readDir(s.fs, dir)
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			return lost("blobs")
		}
	}
	replaced, err := disk.Exists(s.fs, replacedName)
	if replaced {
		return lost(replacedName)
	}
	return err
}

// Close ends all use of the store. Sessions are closed before.
func (s *Store) Close() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, s.db.close())
	}
	if s.ingest != nil {
		errs = append(errs, s.ingest.close())
	}
	if s.publishing != nil {
		errs = append(errs, s.publishing.close())
	}
	if s.closer != nil {
		errs = append(errs, s.closer.Close())
	}
	if s.use != nil {
		errs = append(errs, s.use.Close())
	}
	return errors.Join(errs...)
}

// wrap adds the store, the content and, where there is one, advice to err.
func (s *Store) wrap(dgst digest.Digest, err error) error {
	if known := (*layout.Error)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	e := &layout.Error{Side: layout.SideStore, Name: s.dir, Digest: dgst, Err: err}
	switch {
	case errors.Is(err, ErrLocked):
		e.Hint = "another airgap process is using " + s.dir + ": wait for it to end, or stop it"
	case errors.Is(err, ErrChanged):
		e.Hint = "run it again; nothing was changed by this one"
	case isFull(err):
		e.Hint = "free some space (airgap store gc removes what no name leads to) and run it again; nothing has changed"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		e.Hint = "allow more open files (ulimit -n, or LimitNOFILE= of the service), or move fewer layers at once (--jobs)"
	case errors.Is(err, errDatabase):
		e.Hint = hintRebuild
	case errors.Is(err, layout.ErrUnsupported):
		e.Hint = "use the version of airgap that wrote it, or a later one"
	}
	return e
}

// missing says that repo does not have something.
func (s *Store) missing(name string, dgst digest.Digest) error {
	return &layout.Error{Side: layout.SideStore, Name: cmp.Or(name, s.dir), Digest: dgst, Err: layout.ErrNotFound}
}

// damaged says that the store has lost what its database lists.
func (s *Store) damaged(dgst digest.Digest, err error) error {
	return &layout.Error{
		Side: layout.SideStore, Name: s.dir, Digest: dgst, Err: err,
		Hint: "the disk lost or changed it: import it again from a bundle that has it, or run airgap store check --repair BUNDLE",
	}
}
