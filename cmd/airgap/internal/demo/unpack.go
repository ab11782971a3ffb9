package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pullProgram does what a container engine does: it resolves the tag, picks the
// child for the platform and takes the program out of its layers.
func pullProgram(ctx context.Context, repo repository, tag string, platform ocispec.Platform) ([]byte, error) {
	var index ocispec.Index
	if err := repo.parse(ctx, tag, &index); err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		if d.Platform == nil || d.Platform.OS != platform.OS || d.Platform.Architecture != platform.Architecture {
			continue
		}
		var m ocispec.Manifest
		if err := repo.parse(ctx, d.Digest.String(), &m); err != nil {
			return nil, err
		}
		for _, l := range m.Layers {
			data, err := repo.blob(ctx, l.Digest)
			if err != nil {
				return nil, err
			}
			if file, err := fileInLayer(data, programPath); file != nil || err != nil {
				return file, err
			}
		}
	}
	return nil, fmt.Errorf("%s:%s has no /%s for %s/%s", repo, tag, programPath, platform.OS, platform.Architecture)
}

// parse fetches a manifest and reads it into v.
func (r repository) parse(ctx context.Context, ref string, v any) error {
	data, _, err := r.manifest(ctx, ref)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// fileInLayer returns the content of a file, or nil if the layer has none of
// that name.
func fileInLayer(layer []byte, name string) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(layer))
	if err != nil {
		return nil, err
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Name == name {
			return io.ReadAll(io.LimitReader(t, maxContent))
		}
	}
}
