package bundle

import (
	"cmp"
	"context"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// Serving is a registry that can be asked whether it has a blob.
type Serving interface {
	layout.Source
	Serves(ctx context.Context, repo string, d layout.Descriptor) (bool, error)
}

// Held walks images in a registry and asks it for every blob that their manifests
// list, in each repository that lists it. It returns those that the registry says it
// has, sorted, and how many it says it has not.
func Held(ctx context.Context, src Serving, refs []layout.Reference) (held []layout.Blob, absent int, err error) {
	anyMissing := func(string, digest.Digest, layout.Descriptor) bool { return true }
	g, err := layout.Walk(ctx, src, refs, layout.WalkOptions{MayMiss: anyMissing})
	if err != nil {
		return nil, 0, err
	}
	places := map[digest.Digest][]string{}
	var all []layout.Blob
	for _, p := range g.Places {
		for _, b := range g.Nodes[p.Digest].Blobs {
			if places[b.Digest] == nil {
				all = append(all, b)
			}
			if !slices.Contains(places[b.Digest], p.Repository) {
				places[b.Digest] = append(places[b.Digest], p.Repository)
			}
		}
	}
	there := make([]bool, len(all))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(layout.DefaultWalkJobs)
	for i, b := range all {
		eg.Go(func() (err error) {
			for _, repo := range places[b.Digest] {
				if there[i], err = src.Serves(ctx, repo, b.Descriptor()); err != nil || there[i] {
					return err
				}
			}
			return nil
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, 0, err
	}
	for i, b := range all {
		if there[i] {
			held = append(held, b)
		}
	}
	slices.SortFunc(held, func(a, b layout.Blob) int { return cmp.Compare(a.Digest, b.Digest) })
	return held, len(all) - len(held), nil
}
