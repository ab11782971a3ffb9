package store

import (
	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// blobSize says whether a blob of repo is given out. One that was pushed to a
// repository with admitted content is not until something lists it that is.
func (v *View) blobSize(repo string, dgst digest.Digest) (size int64, given bool, err error) {
	err = v.see(repo, func(tx *bbolt.Tx, k *kept) error {
		b := repoBucket(tx, repo, repoBlobs)
		if b == nil || k.blobs[dgst] {
			return nil
		}
		stamp := b.Get(key(dgst))
		if stamp == nil {
			return nil
		}
		if len(stamp) > 0 && !v.pushers && !notAdmitted(tx, repo) {
			if listed, err := v.listed(tx, repo, k); err != nil || !listed[dgst] {
				return err
			}
		}
		size, given = blobSize(tx, dgst)
		return nil
	})
	return size, given, err
}

// listed finds the blobs that manifests of repo list which are given out.
func (v *View) listed(tx *bbolt.Tx, repo string, k *kept) (map[digest.Digest]bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k.listed != nil {
		return k.listed, nil
	}
	all := map[digest.Digest]bool{}
	err := v.store.eachBlob(tx, repo, func(dgst, blob digest.Digest) {
		if !k.manifests[dgst] {
			all[blob] = true
		}
	})
	if err != nil {
		return nil, err
	}
	k.listed = all
	return all, nil
}

// keptBlobs lists the blobs that manifests among kept list, and no other manifest
// of repo.
func (s *Store) keptBlobs(tx *bbolt.Tx, repo string, kept map[digest.Digest]bool) (map[digest.Digest]bool, error) {
	out, free := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	err := s.eachBlob(tx, repo, func(dgst, blob digest.Digest) {
		if kept[dgst] {
			out[blob] = true
		} else {
			free[blob] = true
		}
	})
	for dgst := range free {
		delete(out, dgst)
	}
	return out, err
}

// eachBlob calls fn with each manifest of repo and each blob that it lists.
func (s *Store) eachBlob(tx *bbolt.Tx, repo string, fn func(manifest, blob digest.Digest)) error {
	return eachManifest(tx.Bucket(reposBucket).Bucket([]byte(repo)), func(dgst digest.Digest) error {
		rec, _, err := manifest(tx, repo, dgst)
		if err != nil || layout.IsIndex(rec.MediaType) {
			return err
		}
		o, err := s.outline(rec.descriptor(dgst))
		if err != nil {
			return err
		}
		for _, b := range o.blobs {
			fn(dgst, b)
		}
		return nil
	})
}
