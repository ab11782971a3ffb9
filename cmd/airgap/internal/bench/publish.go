//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"

	"airgap/layout"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// publisher puts images and what is attached to them into one repository of a
// sink, and keeps the names for the commit.
type publisher struct {
	sink    layout.Sink
	repo    string // with the registry's host
	signers *signers
	counts  *counts
	names   []layout.Name
}

// counts adds up what was published, by digest.
type counts struct {
	mu        sync.Mutex
	seen      map[digest.Digest]bool
	Bytes     int64 // of blobs and manifests, each once
	Blobs     int
	Manifests int
}

func (c *counts) add(d layout.Descriptor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[digest.Digest]bool{}
	}
	if c.seen[d.Digest] {
		return
	}
	c.seen[d.Digest] = true
	c.Bytes += d.Size
	if layout.IsManifest(d.MediaType) {
		c.Manifests++
	} else {
		c.Blobs++
	}
}

func (p *publisher) put(ctx context.Context, d layout.Descriptor, r io.Reader) error {
	p.counts.add(d)
	return p.sink.Put(ctx, p.repo, d, r)
}

func (p *publisher) bytes(ctx context.Context, mediaType string, data []byte) (layout.Descriptor, error) {
	d := layout.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return d, p.put(ctx, d, bytes.NewReader(data))
}

func (p *publisher) file(ctx context.Context, d layout.Descriptor, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return p.put(ctx, d, f)
}

// artifact publishes what package signing made.
func (p *publisher) artifact(ctx context.Context, a signing.Artifact) error {
	for _, b := range a.Blobs {
		if err := p.put(ctx, b.Desc, bytes.NewReader(b.Data)); err != nil {
			return err
		}
	}
	d := layout.Descriptor{MediaType: a.Manifest.MediaType, Digest: a.Manifest.Digest, Size: a.Manifest.Size}
	if err := p.put(ctx, d, bytes.NewReader(a.Raw)); err != nil {
		return err
	}
	if a.Tag != "" {
		p.name(a.Tag, d, a.Raw)
	}
	return nil
}

func (p *publisher) name(tag string, d layout.Descriptor, raw []byte) {
	p.names = append(p.names, layout.Name{Reference: layout.Reference{Repository: p.repo, Tag: tag}, Descriptor: d, Manifest: raw})
}

// image publishes an image of layers that were published already.
func (p *publisher) image(ctx context.Context, tag string, layers []*layer) (layout.Descriptor, error) {
	config := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}
	_, path, _ := strings.Cut(p.repo, "/")
	config.Config.Labels = map[string]string{"name": path + ":" + tag} // no two configs are the same
	config.RootFS.Type = "layers"
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: layout.MediaTypeManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
		m.Layers = append(m.Layers, l.desc)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return layout.Descriptor{}, err
	}
	if m.Config, err = p.bytes(ctx, layout.MediaTypeImageConfig, raw); err != nil {
		return layout.Descriptor{}, err
	}
	if raw, err = json.Marshal(m); err != nil {
		return layout.Descriptor{}, err
	}
	d, err := p.bytes(ctx, layout.MediaTypeManifest, raw)
	p.name(tag, d, raw)
	return d, err
}
