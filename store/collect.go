package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// CollectOptions tune [Store.Collect].
type CollectOptions struct {
	// Grace spares what was pushed less than this ago, and has no name yet: somebody
	// may be about to give it one.
	Grace time.Duration
	// Now is the time; the zero value means that of the clock.
	Now time.Time
	// DryRun tells what would be removed, and removes nothing.
	DryRun bool
}

// Collected says what a collection of garbage removed, or would.
type Collected struct {
	Manifests int   // from repositories, each as often as repositories had it
	Tags      int   // made from digests, of which the manifest is gone
	Blobs     int   // files, manifests included
	Bytes     int64 // of Blobs
	Orphans   int   // files that the database never listed, left by a crash
	Spared    int   // manifests and blobs that nothing leads to, but that somebody may be about to use
}

// Collect removes what no name leads to: not by what an index lists, and not by what is
// attached. It may run beside anything else that uses the store, in this process and in
// others. What a session counts on stays; what somebody is reading is read to its end.
//
// A tag that is made from a digest is a name only as long as its repository does not
// have that manifest: it goes with it. What is in quarantine stays if a name leads to it,
// in quarantine or not.
//
// If it fails or is interrupted, nothing that a name leads to is lost, and it can be run
// again.
func (s *Store) Collect(ctx context.Context, o CollectOptions) (Collected, error) {
	if s.readOnly && !o.DryRun {
		return Collected{}, s.wrap("", ErrReadOnly)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	c := &collection{store: s, o: o, repos: map[string]*garbage{}}
	if !s.readOnly {
		if err := s.publishing.lock(ctx); err != nil {
			return c.Collected, s.wrap("", err)
		}
		c.publishes = true
		defer c.leave()
	}
	err := errors.Join(s.usable(), s.view(func(tx *bbolt.Tx) error { return c.mark(ctx, tx) }))
	if err == nil && o.DryRun {
		err = s.view(func(tx *bbolt.Tx) error { return c.count(tx) })
	} else if err == nil {
		err = c.sweep(ctx)
	}
	return c.Collected, s.wrap("", err)
}

// collection is one run. The publication is held: no session commits meanwhile, but
// where it pauses.
type collection struct {
	store     *Store
	o         CollectOptions
	publishes bool
	removed   int // files, since it paused
	repos     map[string]*garbage
	blobs     map[digest.Digest]int64 // that no repository has any more, with sizes
	// claimed is what sessions count on: be it of no repository, too.
	claimed map[digest.Digest]bool
	Collected
}

// garbage is what a repository loses.
type garbage struct {
	manifests, blobs map[digest.Digest]bool
	tags             map[string]digest.Digest // made from digests, and what they stand for
}

// mark finds what nothing leads to.
func (c *collection) mark(ctx context.Context, tx *bbolt.Tx) error {
	return eachRepository(ctx, tx, func(repo string, b *bbolt.Bucket) error {
		m := &marking{collection: c, ctx: ctx, tx: tx, repo: repo, bucket: b, live: map[digest.Digest]bool{}, blobs: map[digest.Digest]bool{}}
		g, err := m.garbage()
		if err == nil && len(g.manifests)+len(g.blobs)+len(g.tags) > 0 {
			c.repos[repo] = g
		}
		return err
	})
}

// marking goes through one repository.
type marking struct {
	*collection
	ctx         context.Context
	tx          *bbolt.Tx
	repo        string
	bucket      *bbolt.Bucket
	live, blobs map[digest.Digest]bool
}

func (m *marking) garbage() (*garbage, error) {
	roots, derived, err := m.roots()
	if err != nil {
		return nil, err
	}
	if err := m.follow(roots); err != nil {
		return nil, err
	}
	g := &garbage{manifests: map[digest.Digest]bool{}, blobs: map[digest.Digest]bool{}, tags: derived}
	err = eachManifest(m.bucket, func(dgst digest.Digest) error {
		if !m.live[dgst] {
			g.manifests[dgst] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(derived, func(_ string, dgst digest.Digest) bool { return m.live[dgst] })
	return g, m.bucket.Bucket(repoBlobs).ForEach(func(k, v []byte) error {
		dgst, _, err := parseKey(k)
		if err == nil && !m.blobs[dgst] && !m.spared(v) {
			g.blobs[dgst] = true
		}
		return err
	})
}

// roots lists what is there for its own sake, and the tags that are not: those made
// from the digest of a manifest that the repository has.
func (m *marking) roots() (roots []digest.Digest, derived map[string]digest.Digest, err error) {
	subjects := map[string]bool{}
	err = m.bucket.Bucket(repoManifests).ForEach(func(k, v []byte) error {
		dgst, _, err := parseKey(k)
		if err != nil {
			return err
		}
		for _, form := range attachedForms {
			if tag, ok := form.Tag(dgst); ok {
				subjects[tag] = true
			}
		}
		rec, _, err := manifest(m.tx, m.repo, dgst)
		if err == nil && m.young(rec) {
			roots = append(roots, dgst)
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	names, err := namesIn(m.tx, m.repo, m.bucket, true)
	derived = map[string]digest.Digest{}
	for _, n := range names {
		if subjects[n.Reference.Tag] {
			derived[n.Reference.Tag] = n.Descriptor.Digest
		} else {
			roots = append(roots, n.Descriptor.Digest)
		}
	}
	return roots, derived, err
}

// follow marks what roots lead to.
func (m *marking) follow(todo []digest.Digest) error {
	for len(todo) > 0 {
		dgst := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if m.live[dgst] {
			continue
		}
		rec, ok, err := manifest(m.tx, m.repo, dgst)
		if err := errors.Join(err, m.ctx.Err()); err != nil {
			return err
		}
		if !ok {
			continue // an index may be sparse
		}
		m.live[dgst] = true
		parsed, err := m.store.parse(rec.descriptor(dgst))
		if err != nil {
			return m.store.damaged(dgst, err) // what it leads to must not be lost
		}
		for _, b := range parsed.Blobs() {
			m.blobs[b.Digest] = true
		}
		for _, d := range parsed.Manifests {
			todo = append(todo, d.Digest)
		}
		attached, err := attachedTo(m.tx, m.repo, dgst)
		if err != nil {
			return err
		}
		todo = append(todo, attached...)
	}
	return nil
}

// young says whether a manifest was pushed so late that it may get a name yet.
func (m *marking) young(rec record) bool { return m.recent(rec.Pushed) }

// spared says the same of a blob.
func (m *marking) spared(stamp []byte) bool {
	at, ok := parseSize(stamp)
	return ok && m.recent(at)
}

// recent says whether something was pushed, in Unix seconds, less than the grace ago. A
// clock that was put back makes nothing old.
func (m *marking) recent(pushed int64) bool {
	return pushed != 0 && m.o.Now.Sub(time.Unix(pushed, 0)) < m.o.Grace
}

// sweep removes what was marked: first from the database, in one transaction, and then
// the files.
func (c *collection) sweep(ctx context.Context) error {
	s := c.store
	s.looking.Lock()
	err := s.update(func(tx *bbolt.Tx) (err error) {
		// Whoever makes a claim after this looks at what is left.
		if c.claimed, err = s.claimed(); err != nil {
			return err
		}
		c.spare()
		if err := c.count(tx); err != nil {
			return err
		}
		return c.remove(tx)
	})
	s.looking.Unlock()
	if err != nil {
		return err
	}
	// Who reads an earlier state in this process counts on its files.
	s.db.settle()
	for _, dgst := range sorted(c.blobs) {
		if err := c.removeFile(ctx, dgst); err != nil {
			return err // the file is one that the database does not list
		}
	}
	return c.removeOrphans(ctx)
}

// removeFile removes the file of a blob, unless it was put again meanwhile.
func (c *collection) removeFile(ctx context.Context, dgst digest.Digest) error {
	listed, err := c.store.lists(string(dgst))
	if err != nil || listed {
		return err
	}
	if err := c.store.fs.Remove(layout.BlobPath(dgst)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.pause(ctx)
}

// pauseAfter is how many files are removed until others may publish. On a slow disk it
// takes long to remove all.
const pauseAfter = 100

// pause lets others publish, now and then. What the database lists afterwards is to be
// looked up again.
func (c *collection) pause(ctx context.Context) error {
	if c.removed++; c.removed < pauseAfter {
		return nil
	}
	c.removed = 0
	c.leave()
	if err := c.store.publishing.lock(ctx); err != nil {
		return err
	}
	c.publishes = true
	return c.store.usable()
}

func (c *collection) leave() {
	if c.publishes {
		c.publishes = false
		c.store.publishing.unlock()
	}
}

// spare keeps what sessions count on.
func (c *collection) spare() {
	for _, g := range c.repos {
		for _, all := range []map[digest.Digest]bool{g.manifests, g.blobs} {
			maps.DeleteFunc(all, func(d digest.Digest, _ bool) bool {
				if c.claimed[d] {
					c.Spared++
				}
				return c.claimed[d]
			})
		}
		maps.DeleteFunc(g.tags, func(_ string, d digest.Digest) bool { return !g.manifests[d] })
	}
}

// count says how much it is, and which blobs no repository has afterwards.
func (c *collection) count(tx *bbolt.Tx) error {
	users, err := c.users(tx)
	if err != nil {
		return err
	}
	c.blobs = map[digest.Digest]int64{}
	for _, g := range c.repos {
		c.Manifests += len(g.manifests)
		c.Tags += len(g.tags)
	}
	return tx.Bucket(blobsBucket).ForEach(func(k, v []byte) error {
		dgst, _, err := parseKey(k)
		if err != nil || users[dgst] {
			return err
		}
		if c.claimed[dgst] {
			c.Spared++
			return nil
		}
		size, _ := parseSize(v)
		c.blobs[dgst] = size
		c.Blobs, c.Bytes = c.Blobs+1, c.Bytes+size
		return nil
	})
}

// users are the blobs and manifests that some repository keeps.
func (c *collection) users(tx *bbolt.Tx) (map[digest.Digest]bool, error) {
	out := map[digest.Digest]bool{}
	err := eachRepository(context.Background(), tx, func(repo string, b *bbolt.Bucket) error {
		g := c.repos[repo]
		if g == nil {
			g = &garbage{}
		}
		for name, gone := range map[string]map[digest.Digest]bool{string(repoManifests): g.manifests, string(repoBlobs): g.blobs} {
			err := b.Bucket([]byte(name)).ForEach(func(k, _ []byte) error {
				dgst, _, err := parseKey(k)
				if err == nil && !gone[dgst] {
					out[dgst] = true
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// remove takes it out of the database.
func (c *collection) remove(tx *bbolt.Tx) error {
	for _, repo := range slices.Sorted(maps.Keys(c.repos)) {
		b := tx.Bucket(reposBucket).Bucket([]byte(repo))
		if err := c.repos[repo].remove(tx, repo, b); err != nil {
			return err
		}
		if empty(b) {
			if err := tx.Bucket(reposBucket).DeleteBucket([]byte(repo)); err != nil {
				return err
			}
		}
	}
	for _, dgst := range sorted(c.blobs) {
		if err := tx.Bucket(blobsBucket).Delete(key(dgst)); err != nil {
			return err
		}
	}
	return nil
}

func (g *garbage) remove(tx *bbolt.Tx, repo string, b *bbolt.Bucket) error {
	for _, dgst := range sorted(g.manifests) {
		rec, _, err := manifest(tx, repo, dgst)
		if err == nil && rec.Subject != "" {
			err = b.Bucket(repoAttached).Delete(append(key(rec.Subject), key(dgst)...))
		}
		if err == nil {
			err = release(tx, spot{repo, dgst})
		}
		if err == nil {
			err = b.Bucket(repoManifests).Delete(key(dgst))
		}
		if err != nil {
			return err
		}
	}
	for _, dgst := range sorted(g.blobs) {
		if err := b.Bucket(repoBlobs).Delete(key(dgst)); err != nil {
			return err
		}
	}
	for tag := range g.tags {
		ref := layout.Reference{Repository: repo, Tag: tag}
		if err := errors.Join(letGo(tx, ref), b.Bucket(repoTags).Delete([]byte(tag))); err != nil {
			return err
		}
	}
	return nil
}

// empty says whether nothing is left of a repository.
func empty(b *bbolt.Bucket) bool {
	for _, name := range repoBuckets {
		if k, _ := b.Bucket(name).Cursor().First(); k != nil {
			return false
		}
	}
	return true
}

// removeOrphans removes files that the database does not list. No session is about to
// list one: the publication is held.
func (c *collection) removeOrphans(ctx context.Context) error {
	return c.store.orphans(ctx, func(path string) error {
		if err := c.store.fs.Remove(path); err != nil {
			return err
		}
		c.Orphans++
		return c.pause(ctx)
	})
}

// orphans calls fn for each file among the blobs that the database does not list.
func (s *Store) orphans(ctx context.Context, fn func(path string) error) error {
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		dir := "blobs/" + alg.String()
		f, err := s.fs.Open(dir, os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		for err == nil {
			var entries []os.DirEntry
			entries, err = f.ReadDir(checkBatch)
			for _, e := range entries {
				if err := errors.Join(ctx.Err(), s.ifOrphan(alg, dir, e, fn)); err != nil {
					return errors.Join(err, f.Close())
				}
			}
		}
		if cerr := f.Close(); err == io.EOF {
			err = cerr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) ifOrphan(alg digest.Algorithm, dir string, e os.DirEntry, fn func(path string) error) error {
	listed, err := s.lists(string(alg) + ":" + e.Name())
	if err != nil || listed {
		return err
	}
	return fn(dir + "/" + e.Name())
}

// lists says whether name is the digest of a blob that the database lists.
func (s *Store) lists(name string) (listed bool, err error) {
	dgst, err := layout.ParseDigest(name)
	if err != nil {
		return false, nil // a file that is no blob
	}
	err = s.view(func(tx *bbolt.Tx) error {
		_, listed = blobSize(tx, dgst)
		return nil
	})
	return listed, err
}
