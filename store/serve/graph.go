package serve

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Layout is where the content of a graph lies. A [layout.Reader] is one.
type Layout interface {
	Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error)
	At(dgst digest.Digest) (io.ReadSeekCloser, int64, error)
	File() string
}

// graph is content that was walked before.
type graph struct {
	g         *layout.Graph
	at        Layout
	tags      map[string]map[string]digest.Digest
	referrers map[string]map[digest.Digest][]digest.Digest
	blobs     map[string]map[digest.Digest]int64
}

// FromGraph serves what g holds, and nothing else, from where it lies. Each
// repository has the manifests that were found in it, and their blobs.
func FromGraph(g *layout.Graph, at Layout) Content {
	c := &graph{
		g: g, at: at, tags: map[string]map[string]digest.Digest{},
		referrers: map[string]map[digest.Digest][]digest.Digest{}, blobs: map[string]map[digest.Digest]int64{},
	}
	for _, n := range slices.Concat(g.Roots, g.Tags) {
		if n.Reference.Tag != "" {
			put(c.tags, n.Reference.Repository, n.Reference.Tag, n.Descriptor.Digest)
		}
	}
	for _, p := range g.Places {
		n := g.Nodes[p.Digest]
		if n.Subject != "" {
			put(c.referrers, p.Repository, n.Subject, append(c.referrers[p.Repository][n.Subject], p.Digest))
		}
		for _, b := range n.Blobs {
			put(c.blobs, p.Repository, b.Digest, b.Size)
		}
	}
	return c
}

func put[K comparable, V any](m map[string]map[K]V, repo string, key K, v V) {
	if m[repo] == nil {
		m[repo] = map[K]V{}
	}
	m[repo][key] = v
}

func (c *graph) missing(what string) error {
	return fmt.Errorf("%s: %s: %w", c.at.File(), what, layout.ErrNotFound)
}

func (c *graph) Resolve(_ context.Context, ref layout.Reference) (layout.Descriptor, error) {
	dgst := ref.Digest
	if dgst == "" {
		dgst = c.tags[ref.Repository][ref.Tag]
	}
	if _, ok := c.g.Place(ref.Repository, dgst); !ok {
		return layout.Descriptor{}, c.missing(ref.String())
	}
	return c.descriptor(dgst), nil
}

func (c *graph) descriptor(dgst digest.Digest) layout.Descriptor {
	d := c.g.Nodes[dgst].Descriptor
	return layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

func (c *graph) Manifest(ctx context.Context, repo string, d layout.Descriptor) ([]byte, error) {
	rc, err := c.at.Open(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	return layout.ReadAll(rc, d)
}

func (c *graph) Blob(_ context.Context, repo string, dgst digest.Digest) (io.ReadSeekCloser, error) {
	want, ok := c.blobs[repo][dgst]
	if !ok {
		return nil, c.missing(repo + "@" + dgst.String())
	}
	f, size, err := c.at.At(dgst)
	if err == nil && size != want {
		f.Close()
		err = fmt.Errorf("%s: %s: %d bytes, its descriptor says %d: %w", c.at.File(), dgst, size, want, layout.ErrCorrupt)
	}
	if err != nil {
		return nil, err // and no file in an interface
	}
	return f, nil
}

func (c *graph) Repositories(context.Context) ([]string, error) { return c.g.Repositories(), nil }

func (c *graph) Tags(_ context.Context, repo string) ([]string, error) {
	if !slices.Contains(c.g.Repositories(), repo) {
		return nil, c.missing(repo)
	}
	return slices.Sorted(maps.Keys(c.tags[repo])), nil
}

func (c *graph) Referrers(_ context.Context, repo string, subject digest.Digest) ([]layout.Descriptor, error) {
	var out []layout.Descriptor
	for _, dgst := range c.referrers[repo][subject] { // places are sorted
		out = append(out, c.descriptor(dgst))
	}
	return out, nil
}
