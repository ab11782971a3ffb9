package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"airgap/layout"
	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Session adds content to a store, all of it or nothing. It is a [layout.Sink]
// and a [layout.Mounter]. Several sessions may run at once; none sees what
// another has not committed.
type Session struct {
	store *Store

	mu     sync.Mutex
	ended  error // why nothing more is taken
	staged map[digest.Digest]*stagedBlob
	gains  map[string]*gain // by repository
	lists  map[string]*x509.RevocationList
	claims claims
	memory
	expectations
	changes
	origin origin

	broken   map[digest.Digest]bool // listed, and their files were damaged or missing
	repaired []digest.Digest
}

var (
	_ layout.Sink    = (*Session)(nil)
	_ layout.Mounter = (*Session)(nil)
)

// stagedBlob is a file that this session wrote, whole and verified.
type stagedBlob struct {
	temp  string
	moved bool // it may be under its final name
}

// gain is what a repository gets.
type gain struct {
	blobs     map[digest.Digest]int64 // sizes
	manifests map[digest.Digest]record
}

// Begin starts a session.
func (s *Store) Begin(ctx context.Context) (*Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.readOnly {
		return nil, s.wrap("", ErrReadOnly)
	}
	if err := s.usable(); err != nil {
		return nil, s.wrap("", err)
	}
	return &Session{store: s, staged: map[digest.Digest]*stagedBlob{}, gains: map[string]*gain{}, claims: claims{in: s.ingest}, expectations: expectations{seen: s.View()}}, nil
}

// Resolve implements [layout.Sink]: it tells what a name stands for before this
// session is committed.
//
// What it told is expected to be so still if Commit gives the name a manifest.
func (s *Session) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	d, err := s.store.resolve(ctx, ref, true)
	if err == nil || errors.Is(err, layout.ErrNotFound) {
		s.mu.Lock()
		s.told(ref, d.Digest)
		s.mu.Unlock()
	}
	return d, err
}

// ResolveAdmitted is like Resolve, but that a name which a client has set, and which
// nobody has admitted, stands for nothing: it is not in the way of an import.
func (s *Session) ResolveAdmitted(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	d, err := s.Resolve(ctx, ref)
	if err != nil {
		return d, err
	}
	admitted := false
	err = s.store.view(func(tx *bbolt.Tx) error {
		admitted = !wasPushed(tx, ref.Repository, d.Digest) ||
			!notAdmitted(tx, ref.Repository) && cmp.Or(nameHidden(tx, ref), hidden(tx, ref.Repository, d.Digest)) == nil
		return nil
	})
	if err == nil && !admitted {
		return layout.Descriptor{}, s.store.missing(ref.String(), "")
	}
	return d, s.store.wrap("", err)
}

// Open reads what repo had before this session, in quarantine or not.
func (s *Session) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	return s.store.openContent(ctx, repo, d, true)
}

// Has implements [layout.Sink]. It hashes the file. A blob whose file is missing, or has
// other bytes, is one that the store does not have, so that Put repairs the store.
func (s *Session) Has(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	if err := errors.Join(ctx.Err(), layout.CheckDescriptor(d)); err != nil {
		return false, s.store.wrap(d.Digest, err)
	}
	if s.gained(repo, d) {
		return true, nil
	}
	ok := false
	err := s.look(ctx, d.Digest, func() (err error) {
		err = s.store.view(func(tx *bbolt.Tx) error {
			ok = member(tx, repo, d)
			return nil
		})
		if ok && err == nil {
			ok, err = s.intact(ctx, d)
		}
		return err
	})
	if ok && err == nil { // who asks would bring it
		s.mu.Lock()
		s.found(repo, d)
		if layout.IsManifest(d.MediaType) {
			s.bring(repo, d.Digest)
		}
		s.mu.Unlock()
	}
	return ok, s.store.wrap(d.Digest, err)
}

// look has fn look whether the store has something. What it finds stays, as long as the
// session does.
func (s *Session) look(ctx context.Context, dgst digest.Digest, fn func() error) error {
	// This may wait for a collection, which waits for those who look.
	if err := s.claims.open(ctx); err != nil {
		return err
	}
	s.store.looking.RLock()
	defer s.store.looking.RUnlock()
	if err := s.claims.add(dgst); err != nil {
		return err
	}
	return fn()
}

// gained says whether d was put in repo by this session.
func (s *Session) gained(repo string, d layout.Descriptor) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gains[repo]
	if g == nil {
		return false
	}
	if layout.IsManifest(d.MediaType) {
		_, ok = g.manifests[d.Digest]
	} else {
		_, ok = g.blobs[d.Digest]
	}
	return ok
}

// listed reports whether the database lists d, with its size.
func (s *Store) listed(d layout.Descriptor) (known bool, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		size, ok := blobSize(tx, d.Digest)
		known = ok && size == d.Size
		return nil
	})
	return known, err
}

// fileSize returns -1 for a file that is not there.
func (s *Store) fileSize(dgst digest.Digest) (int64, error) {
	f, err := s.fs.Open(layout.BlobPath(dgst), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Put implements [layout.Sink]. Nothing that a manifest lists has to be there:
// indexes may be sparse.
func (s *Session) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	err := errors.Join(ctx.Err(), layout.CheckDescriptor(d))
	if err == nil {
		err = checkName(repo, maxRepositoryBytes)
	}
	if err != nil {
		return s.store.wrap(d.Digest, err)
	}
	if layout.IsManifest(d.MediaType) {
		err = s.putManifest(ctx, repo, d, r)
	} else if err = s.stage(ctx, d, r); err == nil {
		err = s.gain(repo, func(g *gain) { g.blobs[d.Digest] = d.Size })
	}
	return s.store.wrap(d.Digest, err)
}

func (s *Session) putManifest(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	data, err := layout.ReadAll(layout.NopCloser(withContext(ctx, r)), d)
	if err != nil {
		return err
	}
	m, err := layout.ParseManifest(d, data)
	if err != nil {
		return err
	}
	if err := s.stage(ctx, d, bytes.NewReader(data)); err != nil {
		return err
	}
	rec := record{MediaType: d.MediaType, Size: d.Size, ArtifactType: m.ArtifactType}
	if m.Subject != nil {
		rec.Subject = m.Subject.Digest
	}
	return s.gain(repo, func(g *gain) {
		g.manifests[d.Digest] = rec
		s.bring(repo, d.Digest)
	})
}

// gain changes what repo gets.
func (s *Session) gain(repo string, change func(*gain)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return s.ended
	}
	g := s.gains[repo]
	if g == nil {
		g = &gain{blobs: map[digest.Digest]int64{}, manifests: map[digest.Digest]record{}}
		s.gains[repo] = g
	}
	change(g)
	return nil
}

// stage makes sure that a whole file with d's content is there: in place and
// listed, or staged by this session. r is read to its end, and verified, in any
// case: a Put of wrong content never succeeds.
func (s *Session) stage(ctx context.Context, d layout.Descriptor, r io.Reader) error {
	content := layout.Verify(layout.NopCloser(withContext(ctx, r)), d)
	have, err := s.haveFile(ctx, d)
	if err != nil {
		return err
	}
	if have {
		return copyAll(io.Discard, content)
	}
	temp, err := s.store.ingest.file(ctx, "")
	if err != nil {
		return err
	}
	if err := s.write(temp, content); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Somebody may have staged the same meanwhile, or ended the session.
	if s.ended != nil || s.staged[d.Digest] != nil {
		return errors.Join(s.ended, s.store.fs.Remove(temp))
	}
	s.staged[d.Digest] = &stagedBlob{temp: temp}
	return nil
}

func (s *Session) haveFile(ctx context.Context, d layout.Descriptor) (have bool, err error) {
	s.mu.Lock()
	ended, staged := s.ended, s.staged[d.Digest] != nil
	s.mu.Unlock()
	if ended != nil || staged {
		return staged, ended
	}
	err = s.look(ctx, d.Digest, func() error {
		have, err = s.intact(ctx, d)
		return err
	})
	return have, err
}

// write fills a new file, and removes it if that fails.
func (s *Session) write(temp string, content io.Reader) error {
	f, err := s.store.fs.Open(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	w := &disk.SparseWriter{File: f}
	if err = copyAll(w, content); err == nil {
		err = w.Finish()
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		_ = s.store.fs.Remove(temp) // else the next Open does
	}
	return err
}

// Mount implements [layout.Mounter]: repo gets a blob that from has, be it in the
// store or put in this session. An empty from stands for any repository in the
// store.
func (s *Session) Mount(ctx context.Context, repo string, d layout.Descriptor, from string) (bool, error) {
	has, err := s.Has(ctx, repo, d)
	if has || err != nil || layout.IsManifest(d.MediaType) {
		return has, err
	}
	if from == "" {
		has, err = s.Holds(ctx, d)
	} else {
		has, err = s.Has(ctx, from, d)
	}
	if err == nil && has {
		if err = checkName(repo, maxRepositoryBytes); err == nil {
			err = s.gain(repo, func(g *gain) { g.blobs[d.Digest] = d.Size })
		}
	}
	return has && err == nil, s.store.wrap(d.Digest, err)
}

// Close ends the session. What was not committed is discarded, and the files that
// only this session wrote are removed. After Commit it does nothing.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil {
		s.ended = ErrClosed
	}
	errs := []error{s.claims.drop()}
	if len(s.staged) > 0 {
		errs = append(errs, s.discardAll())
	}
	s.staged, s.gains = nil, nil
	return s.store.wrap("", errors.Join(errs...))
}

func (s *Session) discardAll() error {
	if err := s.store.publishing.lock(context.Background()); err != nil {
		return err
	}
	defer s.store.publishing.unlock()
	var errs []error
	for dgst, b := range s.staged {
		errs = append(errs, s.discard(dgst, b))
	}
	return errors.Join(errs...)
}

func (s *Session) discard(dgst digest.Digest, b *stagedBlob) error {
	err := s.store.fs.Remove(b.temp)
	if b.moved && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		known := true
		err = s.store.view(func(tx *bbolt.Tx) error {
			_, known = blobSize(tx, dgst)
			return nil
		})
		if err == nil && !known {
			err = s.store.fs.Remove(layout.BlobPath(dgst))
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// copySize is how much is read, hashed and written at a time.
const copySize = 256 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, copySize); return &b }}

func copyAll(w io.Writer, r io.Reader) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	// Without ReadFrom and WriteTo, which bring buffers of their own.
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *buf)
	return err
}

// withContext ends a long read when its context does.
func withContext(ctx context.Context, r io.Reader) io.Reader { return &ctxReader{ctx, r} }

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

// Conduit implements layout.Conduit.
func (c *ctxReader) Conduit() io.Reader { return c.r }

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, fmt.Errorf("stopped: %w", err)
	}
	return c.r.Read(p)
}
