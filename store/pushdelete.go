package store

import (
	"context"
	"fmt"
	"slices"

	"airgap/layout"
	"airgap/store/push"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// Delete implements [push.Pusher]. Bytes stay until they are collected.
func (p *Pusher) Delete(ctx context.Context, what push.Removal) error {
	p.putting.Lock()
	defer p.putting.Unlock()
	return unchanged(func() error { return p.remove(ctx, what) })
}

func (p *Pusher) remove(ctx context.Context, what push.Removal) error {
	session, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	r := &removing{store: p.store, what: what}
	if err := p.store.view(r.look); err != nil {
		return p.store.wrap(what.Digest, err)
	}
	for _, ref := range append(r.names, what.Reference) {
		e := PushEvent{By: what.By, Deleted: true, Reference: ref, Digest: r.digest}
		if err := p.enter(session, e); err != nil {
			return err
		}
	}
	session.origin.check, session.origin.after = r.check, r.remove
	return session.Commit(ctx, nil)
}

// removing takes something away.
type removing struct {
	store  *Store
	what   push.Removal
	digest digest.Digest      // of what a tag leads to
	names  []layout.Reference // the tags that a manifest loses
}

// look fails if it is not there, or must stay.
func (r *removing) look(tx *bbolt.Tx) error {
	ref := r.what.Reference
	if !r.what.Blob {
		d, err := resolve(tx, ref)
		r.digest = d.Digest
		if err == nil && ref.Digest != "" {
			r.names, err = tagsTo(tx, ref.Repository, ref.Digest)
		}
		return err
	}
	r.digest = ref.Digest
	b := repoBucket(tx, ref.Repository, repoBlobs)
	if b == nil || b.Get(key(ref.Digest)) == nil {
		return r.store.missing(ref.Repository, ref.Digest)
	}
	var user digest.Digest
	err := r.store.eachBlob(tx, ref.Repository, func(manifest, blob digest.Digest) {
		if blob == ref.Digest {
			user = manifest
		}
	})
	if err == nil && user != "" {
		err = refuse(push.ErrInUse, "delete the manifest first", "%s lists it", user)
	}
	return err
}

// check looks again, with the locks held: a tag may have moved since the line of the
// ledger was written.
func (r *removing) check(tx *bbolt.Tx) error {
	was, names := r.digest, r.names
	err := r.look(tx)
	if err == nil && (r.digest != was || !slices.Equal(r.names, names)) {
		err = fmt.Errorf("%s: %w", r.what.Reference, ErrChanged)
	}
	return err
}

// tagsTo lists the tags of repo that lead to a manifest.
func tagsTo(tx *bbolt.Tx, repo string, dgst digest.Digest) ([]layout.Reference, error) {
	names, err := namesIn(tx, repo, tx.Bucket(reposBucket).Bucket([]byte(repo)), true)
	var out []layout.Reference
	for _, n := range names {
		if n.Descriptor.Digest == dgst && n.Reference.Tag != "" {
			out = append(out, n.Reference)
		}
	}
	return out, err
}

func (r *removing) remove(tx *bbolt.Tx) error {
	ref := r.what.Reference
	switch {
	case r.what.Blob:
		return repoBucket(tx, ref.Repository, repoBlobs).Delete(key(ref.Digest))
	case ref.Digest == "":
		return removeTag(tx, ref)
	}
	return removeManifest(tx, ref.Repository, ref.Digest)
}

func removeTag(tx *bbolt.Tx, ref layout.Reference) error {
	if err := repoBucket(tx, ref.Repository, repoTags).Delete([]byte(ref.Tag)); err != nil {
		return err
	}
	return letGo(tx, ref)
}

// removeManifest takes a manifest away, with all names that lead to it. That it was in
// quarantine is not forgotten where whatever is pushed is given out: it could be pushed
// again.
func removeManifest(tx *bbolt.Tx, repo string, dgst digest.Digest) error {
	rec, _, err := manifest(tx, repo, dgst)
	if err != nil {
		return err
	}
	b := tx.Bucket(reposBucket).Bucket([]byte(repo))
	names, err := namesIn(tx, repo, b, true)
	if err != nil {
		return err
	}
	for _, n := range names {
		if n.Descriptor.Digest != dgst {
			continue
		}
		bucket, k, err := nameKey(tx, n.Reference)
		if err == nil {
			err = bucket.Delete(k)
		}
		if err == nil {
			err = letGo(tx, n.Reference)
		}
		if err != nil {
			return err
		}
	}
	if rec.Subject != "" {
		if err := b.Bucket(repoAttached).Delete(append(key(rec.Subject), key(dgst)...)); err != nil {
			return err
		}
	}
	if !notAdmitted(tx, repo) {
		if err := release(tx, spot{repo, dgst}); err != nil {
			return err
		}
	}
	return b.Bucket(repoManifests).Delete(key(dgst))
}
