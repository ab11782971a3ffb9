package bundle

import (
	"context"
	"errors"
	"slices"

	"airgap/bundle/custody"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// absences finds which children of an index the destination does not serve once an import
// is done. A ledger lists them: that the bytes of a child are somewhere in a store says
// nothing of its repositories.
type absences struct {
	*importing
	brings map[place]bool // what the import brings to the destination, that an index can list
	known  map[place][]digest.Digest
}

func (i *importing) absences() *absences {
	a := &absences{i, map[place]bool{}, map[place][]digest.Digest{}}
	type listed struct {
		repo   string
		parent digest.Digest
		d      digest.Digest
	}
	omitted := map[listed]bool{}
	for _, o := range i.g.Omitted {
		omitted[listed{o.Repository, o.Parent, o.Descriptor.Digest}] = true
	}
	for _, p := range i.g.Places {
		to := i.to.repos[p.Repository]
		a.brings[place{to, p.Digest}] = true
		n := i.g.Nodes[p.Digest]
		if !layout.IsIndex(n.Descriptor.MediaType) {
			continue
		}
		for _, b := range n.Blobs { // listed under a type that is no manifest's
			if !omitted[listed{p.Repository, p.Digest, b.Digest}] {
				a.brings[place{to, b.Digest}] = true
			}
		}
	}
	return a
}

// of lists the absent children of the n-th root, at any depth; nil if that is no index.
// The list is sorted and has at most custody.MaxAbsent digests. All references of an index
// share it.
func (a *absences) of(ctx context.Context, n int) ([]digest.Digest, error) {
	root, repo := a.g.Roots[n].Descriptor, a.to.names[n].Reference.Repository
	if !layout.IsIndex(root.MediaType) {
		return nil, nil
	}
	at := place{repo, root.Digest}
	out, known := a.known[at]
	if !known {
		var err error
		if out, err = a.below(ctx, repo, root); err != nil {
			return nil, err
		}
		a.known[at] = out
	}
	return out, nil
}

// below lists the absent children of an index.
func (a *absences) below(ctx context.Context, repo string, root layout.Descriptor) ([]digest.Digest, error) {
	absent, seen := []digest.Digest{}, map[digest.Digest]bool{root.Digest: true}
	for todo := []layout.Descriptor{root}; len(todo) > 0; todo = todo[1:] {
		m, err := a.index(ctx, repo, todo[0])
		if err != nil {
			return nil, err
		}
		if m == nil {
			absent = append(absent, todo[0].Digest)
			continue
		}
		for _, d := range slices.Concat(m.Manifests, m.Opaque) {
			if seen[d.Digest] {
				continue
			}
			seen[d.Digest] = true
			served, err := a.served(ctx, repo, d)
			switch {
			case err != nil:
				return nil, err
			case !served:
				absent = append(absent, d.Digest)
			case layout.IsIndex(d.MediaType):
				todo = append(todo, d)
			}
		}
	}
	slices.Sort(absent)
	return slices.Clip(absent[:min(len(absent), custody.MaxAbsent)]), nil
}

// served reports whether the destination serves what an index lists.
func (a *absences) served(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	if a.brings[place{repo, d.Digest}] {
		return true, nil
	}
	k, ok := a.dst.(knowsIndexes)
	switch {
	case !ok:
		return false, nil
	case layout.IsManifest(d.MediaType):
		return k.Admitted(ctx, repo, d.Digest)
	}
	return a.dst.Has(ctx, repo, d)
}

// index reads an index that the import brings, or that the destination has. It returns nil
// if the destination cannot give it.
func (a *absences) index(ctx context.Context, repo string, d layout.Descriptor) (*layout.Manifest, error) {
	var data []byte
	var err error
	if n := a.g.Nodes[d.Digest]; n != nil {
		d = n.Descriptor
		data, err = a.g.ReadManifest(ctx, a.source, d.Digest)
	} else if dst, ok := a.dst.(opener); ok {
		data, err = readAttached(ctx, dst, repo, d)
	}
	if err != nil || data == nil {
		return nil, err
	}
	m, err := layout.ParseManifest(d, data)
	if errors.Is(err, layout.ErrCorrupt) || errors.Is(err, layout.ErrUnsupported) || errors.Is(err, layout.ErrLimit) {
		return nil, nil
	}
	return m, err
}
