package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// View is the store as those have to see it who pull from it: as if what is in
// quarantine were not there, nor what only that leads to. Its children, its
// attachments and their blobs are kept back too, unless something that is given out
// lists them as well. All methods are safe for concurrent use.
type View struct {
	store   *Store
	pushers bool // with what was pushed and is in quarantine

	mu   sync.Mutex
	kept map[string]*kept // by repository
}

// View returns the store as those see it who pull from it.
func (s *Store) View() *View { return &View{store: s, kept: map[string]*kept{}} }

// kept is what a repository keeps back, as of one transaction.
type kept struct {
	tx               int
	nothing          bool // nothing ever was in quarantine there, nor a name
	manifests, blobs map[digest.Digest]bool
	listed           map[digest.Digest]bool // blobs that a manifest lists which is given out; nil: not looked
}

// Resolve finds a manifest by its tag, or by its digest.
func (v *View) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	d, why, err := v.look(ctx, ref)
	if err == nil && why != "" {
		err = v.store.missing(ref.String(), "")
	}
	if err != nil {
		return layout.Descriptor{}, err
	}
	return d, nil
}

// look finds a manifest, and says why it is not given out, if it is not.
func (v *View) look(ctx context.Context, ref layout.Reference) (d layout.Descriptor, why string, err error) {
	if err := ctx.Err(); err != nil {
		return d, "", err
	}
	err = v.store.view(func(tx *bbolt.Tx) (err error) {
		if d, err = resolve(tx, ref); err == nil {
			why, err = v.holds(tx, ref, d.Digest)
		}
		return err
	})
	if errors.Is(err, layout.ErrNotFound) {
		return d, "", v.store.missing(ref.String(), "")
	}
	return d, why, v.store.wrap(ref.Digest, err)
}

// holds says why a manifest that ref leads to is kept back; "" if it is not.
func (v *View) holds(tx *bbolt.Tx, ref layout.Reference, dgst digest.Digest) (string, error) {
	k, err := v.keptBack(tx, ref.Repository)
	if err != nil || k.nothing {
		return "", err
	}
	if held := cmp.Or(v.nameHidden(tx, ref, dgst), v.hidden(tx, ref.Repository, dgst)); held != nil {
		return held.Error(), nil
	}
	if k.manifests[dgst] {
		return "what it belongs to is in quarantine", nil
	}
	return "", nil
}

// Manifest reads a manifest that Resolve or Referrers told of, and checks it.
func (v *View) Manifest(ctx context.Context, repo string, d layout.Descriptor) ([]byte, error) {
	rc, err := v.store.openContent(ctx, repo, d, v.pushers)
	if err != nil {
		return nil, err
	}
	return layout.ReadAll(rc, d)
}

// Blob opens a blob of repo. Its file has the size that it was stored with. The content
// is not hashed; of a file that was hashed earlier and had other bytes, Blob fails with
// layout.ErrCorrupt.
func (v *View) Blob(ctx context.Context, repo string, dgst digest.Digest) (io.ReadSeekCloser, error) {
	size, known, err := v.blobSize(repo, dgst)
	if err = errors.Join(ctx.Err(), err); err != nil {
		return nil, v.store.wrap(dgst, err)
	}
	if !known {
		return nil, v.store.missing(repo, dgst)
	}
	f, err := v.store.fs.Open(layout.BlobPath(dgst), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, v.store.fileGone(repo, dgst)
	}
	if err != nil {
		return nil, v.store.wrap(dgst, err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != size {
		err = v.store.damaged(dgst, fmt.Errorf("%d bytes, it was stored with %d: %w", info.Size(), size, layout.ErrCorrupt))
	}
	if err == nil {
		err = v.store.knownDamage(dgst, f)
	}
	if err != nil {
		return nil, v.store.wrap(dgst, errors.Join(err, f.Close()))
	}
	return layout.Seekable(f, size), nil
}

// Tags lists the tags of repo, sorted. A repository of which nothing is given out
// is one that is not there.
func (v *View) Tags(ctx context.Context, repo string) ([]string, error) {
	var out []string
	known := false
	err := v.see(repo, func(tx *bbolt.Tx, k *kept) error {
		b := tx.Bucket(reposBucket).Bucket([]byte(repo))
		if b == nil {
			return nil
		}
		known = gives(b, k)
		names, err := namesIn(tx, repo, b, true)
		for _, n := range names {
			held := cmp.Or(v.nameHidden(tx, n.Reference, n.Descriptor.Digest), v.hidden(tx, repo, n.Descriptor.Digest))
			if n.Reference.Tag != "" && held == nil && !k.manifests[n.Descriptor.Digest] {
				out = append(out, n.Reference.Tag)
			}
		}
		return errors.Join(err, ctx.Err())
	})
	if err == nil && !known {
		err = v.store.missing(repo, "")
	}
	return out, v.store.wrap("", err)
}

// gives says whether a repository has a manifest that it does not keep back.
func gives(b *bbolt.Bucket, k *kept) bool {
	n := 0
	c := b.Bucket(repoManifests).Cursor()
	for key, _ := c.First(); key != nil && n <= len(k.manifests); key, _ = c.Next() {
		n++
	}
	return n > len(k.manifests)
}

// Referrers lists the manifests of repo whose subject is the given one, sorted by
// digest. Of what is kept back, and of what is not there, there are none.
func (v *View) Referrers(ctx context.Context, repo string, subject digest.Digest) ([]layout.Descriptor, error) {
	var out []layout.Descriptor
	err := ctx.Err()
	if err == nil {
		err = v.see(repo, func(tx *bbolt.Tx, k *kept) error {
			if k.manifests[subject] {
				return nil
			}
			found, err := referrers(tx, repo, subject)
			for _, d := range found {
				if !k.manifests[d.Digest] {
					out = append(out, d)
				}
			}
			return err
		})
	}
	return out, v.store.wrap(subject, err)
}

// Repositories lists the repositories of which something is given out, sorted.
func (v *View) Repositories(ctx context.Context) ([]string, error) {
	all, err := v.store.Repositories(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, repo := range all {
		err := v.see(repo, func(tx *bbolt.Tx, k *kept) error {
			if b := tx.Bucket(reposBucket).Bucket([]byte(repo)); b != nil && gives(b, k) {
				out = append(out, repo)
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, v.store.wrap("", err)
		}
	}
	return out, nil
}

// see calls fn with a transaction, and with what repo keeps back in it.
func (v *View) see(repo string, fn func(*bbolt.Tx, *kept) error) error {
	return v.store.view(func(tx *bbolt.Tx) error {
		k, err := v.keptBack(tx, repo)
		if err != nil {
			return err
		}
		return fn(tx, k)
	})
}

// keptBack finds what repo keeps back, once for each state of the database.
func (v *View) keptBack(tx *bbolt.Tx, repo string) (*kept, error) {
	if repo == "" || tx.Bucket(reposBucket).Bucket([]byte(repo)) == nil {
		return &kept{}, nil
	}
	b := repoBucket(tx, repo, repoQuarantined)
	v.mu.Lock()
	defer v.mu.Unlock()
	if k := v.kept[repo]; k != nil && k.tx == tx.ID() {
		return k, nil
	}
	k, err := v.findKept(tx, repo, b)
	if err != nil {
		return nil, fmt.Errorf("what is in quarantine in %s leads to: %w", repo, err)
	}
	v.kept[repo] = k
	return k, nil
}

func (v *View) findKept(tx *bbolt.Tx, repo string, quarantined *bbolt.Bucket) (*kept, error) {
	if quarantined == nil {
		return &kept{tx: tx.ID(), nothing: true}, nil
	}
	s := v.store
	var hidden []digest.Digest
	err := quarantined.ForEach(func(k, _ []byte) error {
		if dgst, _, err := parseKey(k); err == nil && v.hidden(tx, repo, dgst) != nil { // else a name that is held
			hidden = append(hidden, dgst)
		}
		return nil
	})
	k := &kept{tx: tx.ID()}
	if err != nil || len(hidden) == 0 {
		return k, err
	}
	all := map[digest.Digest]bool{}
	if err := s.spread(tx, repo, all, hidden, nil); err != nil {
		return nil, err
	}
	given, err := s.given(tx, repo, all, hidden)
	if err != nil {
		return nil, err
	}
	here := repoBucket(tx, repo, repoManifests)
	for dgst := range all {
		if given[dgst] || here.Get(key(dgst)) == nil { // an index may be sparse
			delete(all, dgst)
		}
	}
	k.manifests = all
	k.blobs, err = s.keptBlobs(tx, repo, all)
	return k, err
}

// spread adds to found what the given manifests lead to, and themselves; not what
// only manifests among stop lead to.
func (s *Store) spread(tx *bbolt.Tx, repo string, found map[digest.Digest]bool, from []digest.Digest, stop map[digest.Digest]bool) error {
	from = slices.Clone(from) // what follows is written over it
	for len(from) > 0 {
		dgst := from[len(from)-1]
		from = from[:len(from)-1]
		if found[dgst] || stop[dgst] {
			continue
		}
		found[dgst] = true
		below, err := s.below(tx, repo, dgst)
		if err != nil {
			return err
		}
		from = append(from, below...)
	}
	return nil
}

// given is all that is given out of repo: what is under no quarantined manifest,
// what has a name of its own, and what those lead to. A tag that is made from a
// digest is no such name: it leads to what is attached.
func (s *Store) given(tx *bbolt.Tx, repo string, under map[digest.Digest]bool, hidden []digest.Digest) (map[digest.Digest]bool, error) {
	b := tx.Bucket(reposBucket).Bucket([]byte(repo))
	var from []digest.Digest
	names, err := namesIn(tx, repo, b, false)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if !layout.IsDerivedTag(n.Reference.Tag) {
			from = append(from, n.Descriptor.Digest)
		}
	}
	err = eachManifest(b, func(dgst digest.Digest) error {
		if !under[dgst] {
			from = append(from, dgst)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	stop, out := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for _, dgst := range hidden {
		stop[dgst] = true
	}
	return out, s.spread(tx, repo, out, from, stop)
}

func eachManifest(b *bbolt.Bucket, fn func(digest.Digest) error) error {
	return b.Bucket(repoManifests).ForEach(func(k, _ []byte) error {
		dgst, _, err := parseKey(k)
		if err != nil {
			return err
		}
		return fn(dgst)
	})
}
