package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// inventory is what the files of a store are.
type inventory struct {
	sizes     map[digest.Digest]int64
	manifests map[digest.Digest]*foundManifest
	attached  map[digest.Digest][]digest.Digest // by subject
	tagged    map[digest.Digest][]digest.Digest // the same, by a tag made from its digest
	tags      []layout.Name                     // those that reach has used
}

type foundManifest struct {
	layout.Descriptor
	*layout.Manifest
}

// scan hashes every file, and reads those that are manifests.
func (r *rebuilding) scan(ctx context.Context) error {
	r.found = inventory{
		sizes: map[digest.Digest]int64{}, manifests: map[digest.Digest]*foundManifest{},
		attached: map[digest.Digest][]digest.Digest{}, tagged: map[digest.Digest][]digest.Digest{},
	}
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		entries, err := readDir(r.store.fs, "blobs/"+alg.String())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := errors.Join(ctx.Err(), r.scanFile(ctx, alg, e.Name())); err != nil {
				return err
			}
		}
	}
	r.found.relate(r.store)
	return nil
}

func (r *rebuilding) scanFile(ctx context.Context, alg digest.Algorithm, name string) error {
	dgst, err := layout.ParseDigest(string(alg) + ":" + name)
	if err != nil {
		r.Damaged = append(r.Damaged, name)
		return nil
	}
	size, err := r.store.fileSize(dgst)
	if err != nil {
		return err
	}
	err = r.store.checkBlob(ctx, blobEntry{dgst, size}, CheckOptions{Hashes: true})
	switch {
	case errors.Is(err, layout.ErrCorrupt):
		r.Damaged = append(r.Damaged, name)
		return nil
	case err != nil:
		return err
	}
	r.found.sizes[dgst] = size
	if r.o.OnBlob != nil {
		r.o.OnBlob(size)
	}
	if size <= layout.MaxManifestBytes {
		return r.scanManifest(dgst, size)
	}
	return nil
}

func (r *rebuilding) scanManifest(dgst digest.Digest, size int64) error {
	f, err := r.store.fs.Open(layout.BlobPath(dgst), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(f, size))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	d := layout.Descriptor{Digest: dgst, Size: size, MediaType: layout.GuessManifest(data)}
	if d.MediaType == "" {
		return nil
	}
	if m, err := layout.ParseManifest(d, data); err == nil {
		r.found.manifests[dgst] = &foundManifest{d, m}
	}
	return nil
}

// contained lists all that a manifest contains, at any depth.
func (f *inventory) contained(root digest.Digest) []digest.Digest {
	var out []digest.Digest
	seen := map[digest.Digest]bool{root: true}
	for todo := []digest.Digest{root}; len(todo) > 0; todo = todo[1:] {
		m := f.manifests[todo[0]]
		if m == nil {
			continue
		}
		for _, c := range slices.Concat(m.Manifests, m.Opaque) {
			if !seen[c.Digest] {
				seen[c.Digest] = true
				out, todo = append(out, c.Digest), append(todo, c.Digest)
			}
		}
	}
	return out
}
