package bundle

import (
	"context"
	"errors"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// leaveOut takes out of an import the images that need a digest algorithm that the
// destination does not have, as why says. Nothing has been committed by then. If no
// image is left, the error is why.
func (i *importing) leaveOut(ctx context.Context, why error) ([]LeftOutImage, error) {
	alg := refusedAlgorithm(why)
	var left []LeftOutImage
	var refs []layout.Reference
	for _, root := range i.g.Roots {
		if needs(i.g, root, alg) {
			left = append(left, LeftOutImage{root.Reference.String(), root.Descriptor.Digest.String(),
				"the destination takes no content by " + alg.String() + " digests"})
		} else {
			refs = append(refs, root.Reference)
		}
	}
	if len(refs) == 0 || len(left) == 0 {
		return nil, why
	}
	less, err := i.only(ctx, refs)
	if err != nil {
		return nil, err
	}
	i.g = less
	if err := i.leaveOutUnjudged(ctx); err != nil {
		return nil, err
	}
	i.to, err = i.whereTo(i.g, i.o.Mapping)
	return left, err
}

// refusedAlgorithm is that of the content that an error is about.
func refusedAlgorithm(err error) (alg digest.Algorithm) {
	for e := (*layout.Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Digest != "" {
			alg = e.Digest.Algorithm()
		}
	}
	return alg
}

// needs says whether anything that belongs to a root has a digest of an algorithm.
func needs(g *layout.Graph, root layout.Name, alg digest.Algorithm) bool {
	for d := range reach(g, root) {
		if d.Algorithm() == alg || slices.ContainsFunc(g.Nodes[d].Blobs, func(b layout.Blob) bool { return b.Digest.Algorithm() == alg }) {
			return true
		}
	}
	return false
}

// only walks some of the roots again.
func (b *Bundle) only(ctx context.Context, refs []layout.Reference) (*layout.Graph, error) {
	g, err := layout.Walk(ctx, b.source, refs, layout.WalkOptions{MayMiss: b.MayMiss, Jobs: localJobs, SkipForeign: b.skipsForeign()})
	if err != nil {
		return nil, b.damaged(err)
	}
	return g, nil
}
