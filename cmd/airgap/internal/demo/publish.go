package main

import (
	"context"
	"encoding/json"
	"fmt"

	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// item is a manifest or a blob that was pushed.
type item struct {
	desc     ocispec.Descriptor
	data     []byte
	manifest bool
}

// publisher pushes content into a repository and keeps a list of it, to compare
// with later.
type publisher struct {
	repo  repository
	items []item                   // each digest once, in the order of pushing
	tags  map[string]digest.Digest // every tag, cosign's included
	have  map[digest.Digest]bool
}

func newPublisher(repo repository) *publisher {
	return &publisher{repo: repo, tags: map[string]digest.Digest{}, have: map[digest.Digest]bool{}}
}

// blob pushes a blob and returns its descriptor.
func (p *publisher) blob(ctx context.Context, mediaType string, data []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if p.have[d.Digest] {
		return d, nil
	}
	if err := p.repo.putBlob(ctx, data); err != nil {
		return d, err
	}
	p.add(item{desc: d, data: data})
	return d, nil
}

// manifest pushes a manifest or an index, under tag if there is one.
func (p *publisher) manifest(ctx context.Context, mediaType, tag string, doc any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return p.rawManifest(ctx, mediaType, tag, data)
}

func (p *publisher) rawManifest(ctx context.Context, mediaType, tag string, data []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	ref := d.Digest.String()
	if tag != "" {
		ref = tag
		p.tags[tag] = d.Digest
	}
	if err := p.repo.putManifest(ctx, ref, mediaType, data); err != nil {
		return d, err
	}
	p.add(item{desc: d, data: data, manifest: true})
	return d, nil
}

// artifact pushes a signature, an attestation or a document.
func (p *publisher) artifact(ctx context.Context, a signing.Artifact) error {
	for _, b := range a.Blobs {
		if _, err := p.blob(ctx, b.Desc.MediaType, b.Data); err != nil {
			return fmt.Errorf("pushing an attachment: %w", err)
		}
	}
	_, err := p.rawManifest(ctx, a.Manifest.MediaType, a.Tag, a.Raw)
	return err
}

func (p *publisher) add(i item) {
	if !p.have[i.desc.Digest] {
		p.have[i.desc.Digest] = true
		p.items = append(p.items, i)
	}
}
