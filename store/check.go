package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"airgap/layout"
	"airgap/store/ledger"
	"airgap/store/pages"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// CheckOptions tune [Store.Check].
type CheckOptions struct {
	// Hashes reads every blob and compares its digest, and every manifest
	// with what the database says of it. Without, only sizes are compared.
	Hashes bool
	// Only limits hashing to these blobs; nil means all. Manifests are read in any case.
	Only map[digest.Digest]bool
	// OnBlob is called after each blob with its size.
	OnBlob func(size int64)
}

// Report says what Check found.
type Report struct {
	Blobs    int   // looked at, manifests included
	Bytes    int64 // their sizes
	Problems []Problem
	// Damaged lists what has a damaged or missing file; each is among Problems, too.
	Damaged []Damage
	// Orphans are files that the database does not list: left by a crash,
	// never served, and no problem.
	Orphans int
}

// Problem is one thing wrong with a store.
type Problem struct {
	Repository string        // empty if it concerns all
	Digest     digest.Digest // empty if it is the database
	Err        error
}

// Err returns nil for a sound store, else an error of layout.ErrCorrupt with the
// first problem.
func (r Report) Err() error {
	if len(r.Problems) == 0 {
		return nil
	}
	p := r.Problems[0]
	return &layout.Error{
		Side: layout.SideStore, Name: p.Repository, Digest: p.Digest,
		Err:  fmt.Errorf("%w (%d problems: %w)", p.Err, len(r.Problems), layout.ErrCorrupt),
		Hint: r.hint(),
	}
}

func (r Report) hint() string {
	for _, p := range r.Problems {
		if errors.Is(p.Err, errDatabase) {
			return hintRebuild
		}
	}
	if len(r.Damaged) > 0 {
		return hintRepair
	}
	return hintRebuild
}

// The ways out of damage: of files, and of the database.
const (
	hintRepair  = "airgap store check --repair BUNDLE replaces what a bundle has, and so does to import it again"
	hintRebuild = "put a copy of the database back (airgap store backup makes one), or make it anew with airgap store rebuild"
)

func (r *Report) add(repo string, dgst digest.Digest, err error) {
	r.Problems = append(r.Problems, Problem{Repository: repo, Digest: dgst, Err: err})
}

// Check compares the database with the files, and with itself. The error says
// that it could not look; what it found is in the Report. Others may use the store.
func (s *Store) Check(ctx context.Context, o CheckOptions) (Report, error) {
	var r Report
	for _, step := range []func(context.Context, *Report, CheckOptions) error{
		s.checkDatabase, s.checkLedger, s.checkBlobs, s.checkRepositories, s.countOrphans,
	} {
		if err := step(ctx, &r, o); err != nil {
			return r, s.wrap("", err)
		}
	}
	return r, s.wrap("", s.describeDamaged(ctx, &r))
}

func (s *Store) describeDamaged(ctx context.Context, r *Report) (err error) {
	var all []digest.Digest
	for _, d := range r.Damaged {
		all = append(all, d.Digest)
	}
	if all != nil {
		r.Damaged, err = s.damages(ctx, all)
	}
	return err
}

// checkDatabase checks the pages of the database, which must not change meanwhile: no
// other process can change them, since this one has the database open.
func (s *Store) checkDatabase(ctx context.Context, r *Report, _ CheckOptions) error {
	if !s.readOnly {
		if err := s.publishing.lock(ctx); err != nil {
			return err
		}
		defer s.publishing.unlock()
	}
	return s.view(func(*bbolt.Tx) error {
		problems, err := checkPages(s.db.path)
		for _, p := range problems {
			r.add("", "", fmt.Errorf("%w: %w", errDatabase, p))
		}
		return err
	})
}

// checkPages checks all pages of a database that nobody writes.
func checkPages(path string) ([]error, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	m, err := pages.ReadMeta(f, info.Size())
	if err != nil {
		return []error{err}, nil
	}
	var out []error
	for _, p := range pages.Check(f, m, true) {
		out = append(out, p)
	}
	if n := pages.Lost(f, m); n > 0 && out == nil {
		out = append(out, fmt.Errorf("%d pages are neither in use nor free: %w", n, pages.ErrDamaged))
	}
	return out, nil
}

// checkLedger computes the ledger anew.
func (s *Store) checkLedger(ctx context.Context, r *Report, _ CheckOptions) error {
	return s.view(func(tx *bbolt.Tx) error {
		if _, err := ledger.In(tx.Bucket(ledgerBucket)).Check(ctx); err != nil {
			if cerr := ctx.Err(); cerr != nil {
				return cerr
			}
			r.add("", "", err)
		}
		if _, err := ledgerSigner(tx); err != nil {
			r.add("", "", err)
		}
		return nil
	})
}

// checkBatch is how many keys are read in one transaction. A transaction that is
// open for long keeps the database from reusing pages.
const checkBatch = 1000

type blobEntry struct {
	digest digest.Digest
	size   int64
}

func (s *Store) checkBlobs(ctx context.Context, r *Report, o CheckOptions) error {
	var from []byte
	for {
		batch, next, err := s.blobBatch(from)
		if err != nil {
			return err
		}
		for _, b := range batch {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := s.checkListed(ctx, r, b, o); err != nil {
				return err
			}
			if o.OnBlob != nil {
				o.OnBlob(b.size)
			}
		}
		if next == nil {
			return ctx.Err()
		}
		from = next
	}
}

// checkListed checks a blob, unless it is collected meanwhile.
func (s *Store) checkListed(ctx context.Context, r *Report, b blobEntry, o CheckOptions) error {
	if bad := s.checkBlob(ctx, b, o); bad != nil {
		listed, err := s.lists(string(b.digest))
		if err != nil || !listed {
			return err
		}
		r.add("", b.digest, bad)
		r.Damaged = append(r.Damaged, Damage{Descriptor: layout.Descriptor{Digest: b.digest}})
	}
	r.Blobs, r.Bytes = r.Blobs+1, r.Bytes+b.size
	return nil
}

// blobBatch lists blobs from a key on, and the key that follows.
func (s *Store) blobBatch(from []byte) (out []blobEntry, next []byte, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		c := tx.Bucket(blobsBucket).Cursor()
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if len(out) == checkBatch {
				next = bytes.Clone(k)
				return nil
			}
			dgst, rest, err := parseKey(k)
			size, ok := parseSize(v)
			if err != nil || len(rest) > 0 || !ok {
				return fmt.Errorf("blob %x is %x: %w", k, v, errDatabase)
			}
			out = append(out, blobEntry{dgst, size})
		}
		return nil
	})
	return out, next, err
}

func (s *Store) checkBlob(ctx context.Context, b blobEntry, o CheckOptions) error {
	size, err := s.fileSize(b.digest)
	switch {
	case err != nil:
		return err
	case size < 0:
		return fmt.Errorf("its file is gone: %w", layout.ErrCorrupt)
	case size != b.size:
		return fmt.Errorf("its file has %d bytes instead of %d: %w", size, b.size, layout.ErrCorrupt)
	case !o.Hashes || o.Only != nil && !o.Only[b.digest]:
		return nil
	}
	f, err := s.fs.Open(layout.BlobPath(b.digest), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	content := layout.Verify(f, layout.Descriptor{Digest: b.digest, Size: b.size})
	return copyAll(io.Discard, withContext(ctx, content))
}

// checkRepositories looks for content that is not there, for names and edges that
// lead nowhere, and for edges that the manifests do not bear out. Manifests are read when
// nobody is kept from writing any more.
func (s *Store) checkRepositories(ctx context.Context, r *Report, o CheckOptions) error {
	var read []listedManifest
	err := s.view(func(tx *bbolt.Tx) error {
		return eachRepository(ctx, tx, func(repo string, b *bbolt.Bucket) error {
			c := repoCheck{tx: tx, repo: repo, bucket: b, report: r, read: &read}
			return errors.Join(
				b.Bucket(repoBlobs).ForEach(c.blob),
				b.Bucket(repoManifests).ForEach(c.manifest),
				b.Bucket(repoTags).ForEach(c.tag),
				b.Bucket(repoPins).ForEach(c.pin),
				b.Bucket(repoAttached).ForEach(c.edge),
			)
		})
	})
	if err != nil || !o.Hashes {
		return err
	}
	for _, m := range read {
		if err := errors.Join(ctx.Err(), s.checkManifest(r, m)); err != nil {
			return err
		}
	}
	return nil
}

type repoCheck struct {
	tx     *bbolt.Tx
	repo   string
	bucket *bbolt.Bucket
	report *Report
	read   *[]listedManifest
}

// listedManifest is a manifest as the database has it.
type listedManifest struct {
	repo    string
	desc    layout.Descriptor
	subject digest.Digest
}

func (c *repoCheck) blob(k, _ []byte) error {
	dgst, _, err := parseKey(k)
	if err != nil {
		return err
	}
	if _, ok := blobSize(c.tx, dgst); !ok {
		c.report.add(c.repo, dgst, errors.New("the repository has it, the store does not"))
	}
	return nil
}

func (c *repoCheck) manifest(k, _ []byte) error {
	if err := c.blob(k, nil); err != nil {
		return err
	}
	dgst, _, _ := parseKey(k)
	rec, _, err := manifest(c.tx, c.repo, dgst)
	if err != nil {
		return err
	}
	if size, ok := blobSize(c.tx, dgst); ok && size != rec.Size {
		c.report.add(c.repo, dgst, fmt.Errorf("%d bytes in the repository, %d in the store", rec.Size, size))
	}
	if rec.Subject != "" && c.bucket.Bucket(repoAttached).Get(append(key(rec.Subject), k...)) == nil {
		c.report.add(c.repo, dgst, fmt.Errorf("not listed as attached to %s", rec.Subject))
	}
	*c.read = append(*c.read, listedManifest{c.repo, rec.descriptor(dgst), rec.Subject})
	return nil
}

// checkManifest compares a manifest's own words with what is kept of it, unless it is
// taken away meanwhile.
func (s *Store) checkManifest(r *Report, m listedManifest) error {
	bad := s.reread(m)
	if bad == nil {
		return nil
	}
	there := false
	err := s.view(func(tx *bbolt.Tx) error {
		there = member(tx, m.repo, m.desc)
		return nil
	})
	if there && err == nil {
		r.add(m.repo, m.desc.Digest, bad)
	}
	return err
}

func (s *Store) reread(m listedManifest) error {
	parsed, err := s.parse(m.desc)
	if err != nil {
		return err
	}
	said := digest.Digest("")
	if parsed.Subject != nil {
		said = parsed.Subject.Digest
	}
	if said != m.subject {
		return fmt.Errorf("its subject is %q, the database says %q", said, m.subject)
	}
	return nil
}

func (c *repoCheck) tag(k, v []byte) error {
	if _, err := resolve(c.tx, layout.Reference{Repository: c.repo, Tag: string(k)}); err != nil {
		c.report.add(c.repo, digest.Digest(v), fmt.Errorf("tag %q: %w", k, err))
	}
	return nil
}

func (c *repoCheck) pin(k, _ []byte) error {
	if c.bucket.Bucket(repoManifests).Get(k) == nil {
		dgst, _, err := parseKey(k)
		c.report.add(c.repo, dgst, errors.Join(errors.New("named, but not there"), err))
	}
	return nil
}

func (c *repoCheck) edge(k, _ []byte) error {
	subject, rest, err := parseKey(k)
	if err != nil {
		return err
	}
	dgst, _, err := parseKey(rest)
	if err != nil {
		return err
	}
	rec, ok, err := manifest(c.tx, c.repo, dgst)
	if err == nil && (!ok || rec.Subject != subject) {
		c.report.add(c.repo, dgst, fmt.Errorf("listed as attached to %s, which it is not", subject))
	}
	return err
}

// countOrphans looks for files that the database does not list.
func (s *Store) countOrphans(ctx context.Context, r *Report, _ CheckOptions) error {
	return s.orphans(ctx, func(string) error {
		r.Orphans++
		return nil
	})
}
