package store

import (
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// admit releases a name that was admitted just now, and what it consists of: whoever
// pulls it must not miss any. Of an index those are the children that came with it; one
// that only the store has was not judged with it. What is attached to them comes too if
// nothing can be started from it; an image or an index that says of itself that it
// belongs to one that passed is judged by itself, or not at all.
func (s *Session) admit(tx *bbolt.Tx, n layout.Name) error {
	repo := n.Reference.Repository
	b := repoBucket(tx, repo, repoQuarantined)
	if b == nil {
		return nil
	}
	if err := letGo(tx, n.Reference); err != nil {
		return err
	}
	if layout.IsDerivedTag(n.Reference.Tag) && !s.store.inert(tx, repo, n.Descriptor.Digest) {
		return nil // it is attached
	}
	seen := map[digest.Digest]bool{n.Descriptor.Digest: true}
	for todo := []digest.Digest{n.Descriptor.Digest}; len(todo) > 0; todo = todo[1:] {
		if err := b.Delete(key(todo[0])); err != nil {
			return err
		}
		comes, err := s.comesWith(tx, repo, todo[0])
		if err != nil {
			return err
		}
		for _, d := range comes {
			if !seen[d] {
				seen[d] = true
				todo = append(todo, d)
			}
		}
	}
	return nil
}

// comesWith lists what is admitted together with a manifest of repo. The locks are held.
func (s *Session) comesWith(tx *bbolt.Tx, repo string, dgst digest.Digest) ([]digest.Digest, error) {
	children, err := s.store.children(tx, repo, dgst)
	if err != nil {
		return nil, err
	}
	attached, err := attachedTo(tx, repo, dgst)
	if err != nil {
		return nil, err
	}
	children = slices.DeleteFunc(children, func(d digest.Digest) bool { return !s.brought[spot{repo, d}] })
	attached = slices.DeleteFunc(attached, func(d digest.Digest) bool { return !s.store.inert(tx, repo, d) })
	return append(children, attached...), nil
}

// below lists what a manifest of repo leads to there: the children that an index
// lists, and what is attached.
func (s *Store) below(tx *bbolt.Tx, repo string, dgst digest.Digest) ([]digest.Digest, error) {
	if _, ok, err := manifest(tx, repo, dgst); err != nil || !ok { // an index may be sparse
		return nil, err
	}
	children, err := s.children(tx, repo, dgst)
	if err != nil {
		return nil, err
	}
	attached, err := attachedTo(tx, repo, dgst)
	return append(children, attached...), err
}

// children lists what an index of repo lists, there or not.
func (s *Store) children(tx *bbolt.Tx, repo string, dgst digest.Digest) ([]digest.Digest, error) {
	rec, ok, err := manifest(tx, repo, dgst)
	if err != nil || !ok || !layout.IsIndex(rec.MediaType) {
		return nil, err
	}
	o, err := s.outline(rec.descriptor(dgst))
	if err != nil {
		return nil, err
	}
	return slices.Clone(o.children), nil
}

// attachedForms are those by which a tag leads to what is attached.
var attachedForms = append([]layout.Form{layout.FormReferrersTag}, layout.CosignForms...)

// attachedTo lists what is attached to a manifest of repo, by its subject or by a tag.
func attachedTo(tx *bbolt.Tx, repo string, dgst digest.Digest) ([]digest.Digest, error) {
	var out []digest.Digest
	found, err := referrers(tx, repo, dgst)
	for _, d := range found {
		out = append(out, d.Digest)
	}
	for _, form := range attachedForms {
		tag, ok := form.Tag(dgst)
		if !ok {
			continue
		}
		if d, err := resolve(tx, layout.Reference{Repository: repo, Tag: tag}); err == nil {
			out = append(out, d.Digest)
		}
	}
	return out, err
}
