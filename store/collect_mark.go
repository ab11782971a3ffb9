package store

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

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
