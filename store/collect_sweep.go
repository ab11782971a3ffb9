package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// sweep removes what was marked: first from the database, and then the files. If the disk is
// too full for that, files that the database never listed go first, then the reserve; and
// what is left goes in parts, each of which needs little.
func (c *collection) sweep(ctx context.Context) error {
	err := c.forget(ctx, c.repos, c.store.change)
	if c.stillFull(err) {
		if err = c.removeOrphans(ctx); err == nil {
			err = c.again(ctx, c.store.changeFreeing)
		}
	}
	for c.stillFull(err) {
		part := takePart(c.repos)
		if part == nil {
			return err
		}
		if err = c.forget(ctx, part, c.store.change); err != nil {
			return err
		}
		err = c.again(ctx, c.store.change)
	}
	if err != nil {
		return err
	}
	if err := c.removeOrphans(ctx); err != nil {
		return err
	}
	c.store.makeReserve()
	return nil
}

// stillFull reports whether it failed for lack of space, and left the store as it was.
func (c *collection) stillFull(err error) bool { return isFull(err) && c.store.usable() == nil }

// again marks once more, since others may have published meanwhile, and forgets all of it.
func (c *collection) again(ctx context.Context, change changeFunc) error {
	c.repos = map[string]*garbage{}
	if err := c.store.view(func(tx *bbolt.Tx) error { return c.mark(ctx, tx) }); err != nil {
		return err
	}
	return c.forget(ctx, c.repos, change)
}

// changeFunc is Store.change or Store.changeFreeing.
type changeFunc = func(func(*bbolt.Tx) error) error

// partSize is how many pieces a part has that is forgotten when the disk is full.
const partSize = 20

// takePart chooses a few pieces of what was marked, of one repository, with the tags that
// lead to them; nil if nothing was marked.
func takePart(marked map[string]*garbage) map[string]*garbage {
	for _, repo := range slices.Sorted(maps.Keys(marked)) {
		g := marked[repo]
		part := &garbage{manifests: map[digest.Digest]bool{}, blobs: map[digest.Digest]bool{}, tags: map[string]digest.Digest{}}
		for _, pair := range [][2]map[digest.Digest]bool{{g.manifests, part.manifests}, {g.blobs, part.blobs}} {
			for _, dgst := range sorted(pair[0]) {
				if len(part.manifests)+len(part.blobs) < partSize {
					pair[1][dgst] = true
				}
			}
		}
		for tag, dgst := range g.tags {
			if part.manifests[dgst] {
				part.tags[tag] = dgst
			}
		}
		if len(part.manifests)+len(part.blobs) > 0 {
			return map[string]*garbage{repo: part}
		}
	}
	return nil
}

// forget takes garbage out of the database, in one transaction, and removes its files.
func (c *collection) forget(ctx context.Context, repos map[string]*garbage, change changeFunc) error {
	s := c.store
	before := c.Collected
	before.Spared = 0 // they are counted again
	s.looking.Lock()
	err := change(func(tx *bbolt.Tx) (err error) {
		c.repos, c.Collected = clonedGarbage(repos), before // it may be tried again
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
		c.repos, c.Collected = repos, before
		return err
	}
	// Who reads an earlier state in this process counts on its files.
	s.db.settle()
	for _, dgst := range sorted(c.blobs) {
		if err := c.removeFile(ctx, dgst); err != nil {
			return err // the file is one that the database does not list
		}
	}
	return nil
}

// clonedGarbage copies what is changed while it is removed.
func clonedGarbage(repos map[string]*garbage) map[string]*garbage {
	out := make(map[string]*garbage, len(repos))
	for repo, g := range repos {
		out[repo] = &garbage{manifests: maps.Clone(g.manifests), blobs: maps.Clone(g.blobs), tags: maps.Clone(g.tags)}
	}
	return out
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
