package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	programPath = "airgap" // in the image, below the root
	readmePath  = "usr/share/doc/airgap/README"
	readmeText  = "This image holds the airgap program that carried it.\n"
)

// image is the multi-platform image of the demo.
type image struct {
	index ocispec.Descriptor
	main  ocispec.Descriptor // the child with the program
	other ocispec.Descriptor // a child for another platform, without it
}

// layer is a compressed layer and the digest of the tar inside it.
type layer struct {
	data   []byte
	diffID digest.Digest
}

// newLayer makes a layer of one file. The bytes depend on nothing but the
// arguments.
func newLayer(name string, mode int64, content []byte) (layer, error) {
	var plain, packed bytes.Buffer
	t := tar.NewWriter(&plain)
	err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Format: tar.FormatUSTAR})
	if err != nil {
		return layer{}, err
	}
	if _, err := t.Write(content); err != nil {
		return layer{}, err
	}
	if err := t.Close(); err != nil {
		return layer{}, err
	}
	diffID := digest.FromBytes(plain.Bytes())
	z, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		return layer{}, err
	}
	if _, err := z.Write(plain.Bytes()); err != nil {
		return layer{}, err
	}
	if err := z.Close(); err != nil {
		return layer{}, err
	}
	return layer{packed.Bytes(), diffID}, nil
}

// pushImage builds the image and pushes it under tag. Its shape is what
// `docker buildx build --platform … --provenance=true` makes: an index of one
// image for each platform and, listed beside them, an attestation manifest.
func pushImage(ctx context.Context, p *publisher, prog *program, tag string) (*image, error) {
	bin, err := newLayer(programPath, 0o755, prog.data)
	if err != nil {
		return nil, err
	}
	doc, err := newLayer(readmePath, 0o644, []byte(readmeText))
	if err != nil {
		return nil, err
	}
	img := &image{}
	run := ocispec.ImageConfig{Entrypoint: []string{"/" + programPath}}
	if img.main, err = pushChild(ctx, p, prog.platform, run, doc, bin); err != nil {
		return nil, err
	}
	other := ocispec.Platform{OS: "linux", Architecture: "arm64"}
	if prog.platform.Architecture == other.Architecture {
		other.Architecture = "amd64"
	}
	if img.other, err = pushChild(ctx, p, other, ocispec.ImageConfig{}, doc); err != nil {
		return nil, err
	}
	buildKit, err := pushBuildKit(ctx, p, img.main, prog)
	if err != nil {
		return nil, err
	}
	img.index, err = p.manifest(ctx, ocispec.MediaTypeImageIndex, tag, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{img.main, img.other, buildKit},
	})
	return img, err
}

// pushChild pushes the image for one platform and returns its descriptor as the
// index lists it.
func pushChild(ctx context.Context, p *publisher, platform ocispec.Platform, run ocispec.ImageConfig, layers ...layer) (ocispec.Descriptor, error) {
	config := ocispec.Image{Platform: platform, Config: run, RootFS: ocispec.RootFS{Type: "layers"}}
	var list []ocispec.Descriptor
	for _, l := range layers {
		d, err := p.blob(ctx, ocispec.MediaTypeImageLayerGzip, l.data)
		if err != nil {
			return d, err
		}
		list = append(list, d)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.diffID)
	}
	d, err := pushImageManifest(ctx, p, config, list)
	d.Platform = &platform
	return d, err
}

// pushBuildKit pushes an attestation manifest as BuildKit writes it: an image
// that runs nowhere, whose layer is an unsigned statement about another child.
func pushBuildKit(ctx context.Context, p *publisher, child ocispec.Descriptor, prog *program) (ocispec.Descriptor, error) {
	statement, err := json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v0.1",
		"subject":       []any{map[string]any{"name": "airgap", "digest": map[string]string{"sha256": child.Digest.Encoded()}}},
		"predicateType": "https://slsa.dev/provenance/v1",
		"predicate":     prog.provenance(),
	})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	l, err := p.blob(ctx, "application/vnd.in-toto+json", statement)
	if err != nil {
		return l, err
	}
	l.Annotations = map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"}
	nowhere := ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	d, err := pushImageManifest(ctx, p, ocispec.Image{
		Platform: nowhere,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}},
	}, []ocispec.Descriptor{l})
	d.Platform = &nowhere
	d.Annotations = map[string]string{
		"vnd.docker.reference.type":   "attestation-manifest",
		"vnd.docker.reference.digest": child.Digest.String(),
	}
	return d, err
}

func pushImageManifest(ctx context.Context, p *publisher, config ocispec.Image, layers []ocispec.Descriptor) (ocispec.Descriptor, error) {
	data, err := json.Marshal(config)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	c, err := p.blob(ctx, ocispec.MediaTypeImageConfig, data)
	if err != nil {
		return c, fmt.Errorf("pushing an image's config: %w", err)
	}
	return p.manifest(ctx, ocispec.MediaTypeImageManifest, "", ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    c,
		Layers:    layers,
	})
}
