package layout

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
)

// Startable says why an engine could start something from a manifest of g, found in repo
// of src; empty if nothing can be. See [Inspector.Startable].
func (g *Graph) Startable(ctx context.Context, src Source, i *Inspector, repo string, dgst digest.Digest) (string, error) {
	m, err := g.parse(ctx, src, dgst)
	if err != nil {
		return "", err
	}
	return i.Startable(m, opener(ctx, src, repo))
}

// IsAttestation says whether a manifest of g, found in repo of src, is a BuildKit
// attestation by its bytes. See [Inspector.IsAttestation].
func (g *Graph) IsAttestation(ctx context.Context, src Source, i *Inspector, repo string, dgst digest.Digest) (bool, error) {
	m, err := g.parse(ctx, src, dgst)
	if err != nil {
		return false, err
	}
	return i.IsAttestation(m, opener(ctx, src, repo))
}

func (g *Graph) parse(ctx context.Context, src Source, dgst digest.Digest) (*Manifest, error) {
	raw, err := g.ReadManifest(ctx, src, dgst)
	if err != nil {
		return nil, err
	}
	return ParseManifest(g.Nodes[dgst].Descriptor, raw)
}

func opener(ctx context.Context, src Source, repo string) func(Descriptor) (io.ReadCloser, error) {
	return func(d Descriptor) (io.ReadCloser, error) {
		return src.Open(ctx, repo, Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
	}
}
