package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"airgap/layout"
	"airgap/store/push"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// reasonUnjudged is why what was just pushed is in quarantine.
const reasonUnjudged = "it was pushed, and has not been judged yet"

const (
	hintImport = "what is to be started here comes by airgap import; push it to a repository of its own, or have it judged (airgap serve --admit)"
	hintCrowd  = "delete what is not needed first"
	hintMove   = "push it under another tag, or have somebody who may do so delete this one first"
)

// maxPushedAttached is to how many attached manifests a client may add one. It leaves
// room for what imports bring.
const maxPushedAttached = layout.MaxAttached / 10

// check holds a manifest against what is there. The locks are held.
func (in *putting) check(tx *bbolt.Tx) error {
	if err := errors.Join(in.checkType(tx), in.checkBlobs(tx), in.checkChildren(tx), in.checkCrowd(tx)); err != nil {
		return err
	}
	in.before(tx)
	if !maps.Equal(in.same, in.noted) {
		return ErrChanged
	}
	repo := in.m.Repository
	there := tx.Bucket(reposBucket).Bucket([]byte(repo)) != nil
	switch {
	case in.p.o.Admit != nil:
		return in.checkMoves(tx)
	case !there || notAdmitted(tx, repo):
		return nil
	}
	if err := in.checkAttached(tx); err != nil {
		return err
	}
	return in.checkMoves(tx)
}

// before notes what is given out already.
func (in *putting) before(tx *bbolt.Tx) {
	repo := in.m.Repository
	_, there, err := manifest(tx, repo, in.m.Digest)
	in.given, in.same = err == nil && there && hidden(tx, repo, in.m.Digest) == nil, map[string]bool{}
	for _, tag := range in.m.Tags {
		ref := layout.Reference{Repository: repo, Tag: tag}
		if d, err := resolve(tx, ref); err == nil && d.Digest == in.m.Digest && nameHidden(tx, ref) == nil {
			in.same[tag] = true
		}
	}
}

// checkType refuses bytes that are there as another kind of manifest: whoever pulls them
// would be told of the new one.
func (in *putting) checkType(tx *bbolt.Tx) error {
	rec, there, err := manifest(tx, in.m.Repository, in.m.Digest)
	if err == nil && there && rec.MediaType != in.m.MediaType {
		err = refuse(push.ErrManifest, "", "%s is there as %s", in.m.Digest, rec.MediaType)
	}
	return err
}

// checkCrowd bounds what clients attach to one manifest: what has more attached than
// layout.MaxAttached can be neither judged nor exported any more.
func (in *putting) checkCrowd(tx *bbolt.Tx) error {
	if in.parsed.Subject == nil {
		return nil
	}
	if _, there, err := manifest(tx, in.m.Repository, in.m.Digest); there || err != nil {
		return err
	}
	b := repoBucket(tx, in.m.Repository, repoAttached)
	if b == nil {
		return nil
	}
	prefix, n := key(in.parsed.Subject.Digest), 0
	c := b.Cursor()
	for k, _ := c.Seek(prefix); n < maxPushedAttached && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		n++
	}
	if n == maxPushedAttached {
		return refuse(push.ErrDenied, hintCrowd, "%s has %d manifests attached to it, and clients attach no more", in.parsed.Subject.Digest, n)
	}
	return nil
}

// checkBlobs refuses a manifest whose blobs are not there, as they are said to be.
// Those of what was imported and is in quarantine are not there for a client that has
// not pushed them: it could give them out by listing them.
func (in *putting) checkBlobs(tx *bbolt.Tx) error {
	here := repoBucket(tx, in.m.Repository, repoBlobs)
	kept, err := in.p.pending.keptBack(tx, in.m.Repository)
	if err != nil {
		return err
	}
	for _, d := range in.parsed.Blobs() {
		var stamp []byte
		if here != nil {
			stamp = here.Get(key(d.Digest))
		}
		if stamp == nil || len(stamp) == 0 && kept.blobs[d.Digest] {
			if in.p.o.Sparse || layout.IsForeign(d.MediaType) && !layout.IsIndex(in.m.MediaType) {
				continue
			}
			return refuse(push.ErrBlobUnknown, "push it first", "%s", d.Digest)
		}
		if size, ok := blobSize(tx, d.Digest); ok && size != d.Size {
			return refuse(push.ErrManifest, "", "%s has %d bytes, the manifest says %d", d.Digest, size, d.Size)
		}
	}
	return nil
}

// checkChildren refuses an index that describes what is there as something else.
func (in *putting) checkChildren(tx *bbolt.Tx) error {
	for _, d := range in.parsed.Manifests {
		rec, ok, err := manifest(tx, in.m.Repository, d.Digest)
		if err != nil {
			return err
		}
		if ok && (rec.MediaType != d.MediaType || rec.Size != d.Size) {
			return refuse(push.ErrManifest, "", "%s is %s of %d bytes, the index says %s of %d", d.Digest, rec.MediaType, rec.Size, d.MediaType, d.Size)
		}
	}
	return nil
}

// checkAttached lets only that into a repository with admitted content which belongs to
// something there, and from which nothing can be started.
func (in *putting) checkAttached(tx *bbolt.Tx) error {
	repo := in.m.Repository
	if list, err := in.listsAttached(tx); err != nil || list {
		return err
	}
	why, err := in.p.store.startable(in.parsed)
	if err != nil {
		return err
	}
	if why != "" {
		return refuse(push.ErrDenied, hintImport, "%s holds admitted images, and takes only what is attached to them and cannot be started: %s", repo, why)
	}
	subjects := map[digest.Digest]bool{}
	if in.parsed.Subject != nil {
		subjects[in.parsed.Subject.Digest] = true
	}
	for _, tag := range in.m.Tags {
		subject, _, ok := layout.ParseCosignTag(tag)
		if !ok {
			return refuse(push.ErrDenied, hintImport, "%s holds admitted images, and gets no tag %q from a client", repo, tag)
		}
		subjects[subject] = true
	}
	if len(subjects) == 0 {
		return refuse(push.ErrDenied, hintImport, "%s holds admitted images, and this belongs to none of them: it has no subject", repo)
	}
	for subject := range subjects {
		if _, ok, err := manifest(tx, repo, subject); err != nil {
			return err
		} else if !ok {
			return refuse(push.ErrDenied, hintImport, "%s holds admitted images, and %s, to which this belongs, is none of them", repo, subject)
		}
	}
	return nil
}

// listsAttached says whether it is an index as clients keep it, under a tag made from the
// digest of its subject, where a registry has no referrers API, or where they do not ask
// for that (distribution-spec 1.1, "Referrers Tag Schema"): nothing but a list of what is
// attached to something there, and from which nothing can be started.
func (in *putting) listsAttached(tx *bbolt.Tx) (bool, error) {
	if in.m.MediaType != layout.MediaTypeIndex || in.parsed.Subject != nil || len(in.parsed.Opaque) > 0 || len(in.m.Tags) == 0 {
		return false, nil
	}
	repo := in.m.Repository
	for _, tag := range in.m.Tags {
		subject, _ := layout.TagSubject(tag)
		if subject == "" || !layout.IsReferrersTag(tag) {
			return false, nil
		}
		if _, ok, err := manifest(tx, repo, subject); err != nil || !ok {
			return false, err
		}
		for _, d := range in.parsed.Manifests {
			rec, ok, err := manifest(tx, repo, d.Digest)
			if err != nil || !ok || rec.Subject != subject || !in.p.store.inert(tx, repo, d.Digest) {
				return false, err
			}
		}
	}
	return true, nil
}

// checkMoves keeps tags where they are that lead to something which is given out. One
// of cosign's may move to a manifest that has all the signatures of the old one, and
// more.
func (in *putting) checkMoves(tx *bbolt.Tx) error {
	repo := in.m.Repository
	for _, tag := range in.m.Tags {
		ref := layout.Reference{Repository: repo, Tag: tag}
		old, err := resolve(tx, ref)
		if errors.Is(err, layout.ErrNotFound) && !errors.Is(err, layout.ErrCorrupt) {
			continue
		}
		if err != nil {
			return err
		}
		if old.Digest == in.m.Digest || nameHidden(tx, ref) != nil || hidden(tx, repo, old.Digest) != nil {
			continue
		}
		if !layout.IsDerivedTag(tag) {
			return refuse(push.ErrDenied, hintMove, "tag %q leads to %s, which was admitted, and does not move", tag, old.Digest)
		}
		was, err := in.p.store.parse(old)
		if err != nil {
			return err
		}
		if !in.keeps(was) {
			return refuse(push.ErrDenied, hintMove, "tag %q leads to %s, and what is pushed has not all that this has", tag, old.Digest)
		}
	}
	return nil
}

// keeps says whether a manifest has every blob of an older one, but for its config, and
// every child.
func (in *putting) keeps(old *layout.Manifest) bool {
	has := func(all []layout.Descriptor, d layout.Descriptor) bool {
		return slices.ContainsFunc(all, func(other layout.Descriptor) bool { return other.Digest == d.Digest })
	}
	for _, l := range old.Layers {
		if !has(in.parsed.Layers, l) {
			return false
		}
	}
	for _, c := range old.Manifests {
		if !has(in.parsed.Manifests, c) {
			return false
		}
	}
	return true
}

// after completes what was recorded: pins that are needed no more go, and with a judge
// all of it goes into quarantine.
func (in *putting) after(tx *bbolt.Tx) error {
	repo := in.m.Repository
	unpin := in.parsed.Manifests
	if len(in.m.Tags) > 0 {
		unpin = append(slices.Clone(unpin), in.m.Descriptor)
	}
	pins := repoBucket(tx, repo, repoPins)
	for _, d := range unpin {
		ref := layout.Reference{Repository: repo, Digest: d.Digest}
		if string(pins.Get(key(d.Digest))) != string(pushedPin) {
			continue
		}
		if err := errors.Join(pins.Delete(key(d.Digest)), letGo(tx, ref)); err != nil {
			return err
		}
	}
	if in.p.o.Admit == nil {
		return nil
	}
	return in.hold(tx)
}

// hold puts what was pushed into quarantine. What was given out already stays so, under
// the names that it had.
func (in *putting) hold(tx *bbolt.Tx) error {
	repo := in.m.Repository
	if notAdmitted(tx, repo) { // from the time when there was no judge
		if err := unmark(tx, repo); err != nil {
			return err
		}
	}
	rec, _, err := manifest(tx, repo, in.m.Digest)
	if err != nil {
		return err
	}
	if rec.Pushed != 0 && hidden(tx, repo, in.m.Digest) == nil && !in.given {
		if err := quarantine(tx, repo, key(in.m.Digest), reasonUnjudged); err != nil {
			return err
		}
	}
	for _, n := range in.names() {
		if layout.IsDerivedTag(n.Reference.Tag) || in.same[n.Reference.Tag] {
			continue
		}
		if err := quarantine(tx, repo, holdKey(n.Reference), reasonUnjudged); err != nil {
			return err
		}
	}
	return nil
}

// held finds out what the judge made of it.
func (in *putting) held(ctx context.Context) error {
	refs := []layout.Reference{{Repository: in.m.Repository, Digest: in.m.Digest}}
	for _, tag := range in.m.Tags {
		refs = append(refs, layout.Reference{Repository: in.m.Repository, Tag: tag})
	}
	for _, ref := range refs {
		_, why, err := in.p.view.look(ctx, ref)
		if err != nil {
			return err
		}
		in.result.Held = cmp.Or(in.result.Held, why)
	}
	return nil
}
