package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// dockerArchive reads what docker save (before version 25), podman save and
// crane pull write: images without manifests. A manifest is made for each, of
// the config as it stands and of the layers under the digests that the config
// gives them, so that every byte is still checked. Its digest is not that of any
// registry, and no signature speaks of it.
//
// A gzip'd layer (crane writes those) goes by the digest that is its name: that
// it unpacks to what the config says is not checked, for nothing is unpacked.
type dockerArchive struct {
	*archive
	made map[digest.Digest][]byte
	at   map[digest.Digest]span
}

const (
	maxDockerManifest = 16 << 20
	maxDockerImages   = 10_000
	maxDockerNames    = 100_000
)

// convertDocker adds the manifests made, as an index.json.
func convertDocker(a *archive) (*dockerArchive, []byte, error) {
	raw, err := a.file(dockerFile, maxDockerManifest)
	if err != nil {
		return nil, nil, err
	}
	if raw == nil {
		return nil, nil, fmt.Errorf("neither index.json nor manifest.json is in it: %w", ErrUnsupported)
	}
	var images []dockerImage
	if err := unmarshalOnce(raw, &images); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dockerFile, err)
	}
	switch {
	case len(images) == 0:
		return nil, nil, fmt.Errorf("%s lists no image: %w", dockerFile, ErrUnsupported)
	case len(images) > maxDockerImages:
		return nil, nil, fmt.Errorf("%s lists %d images, at most %d are accepted: %w", dockerFile, len(images), maxDockerImages, ErrLimit)
	}
	da := &dockerArchive{archive: a, made: map[digest.Digest][]byte{}, at: map[digest.Digest]span{}}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: MediaTypeIndex}
	for _, img := range images {
		d, err := da.convert(img)
		if err != nil {
			return nil, nil, err
		}
		for _, tag := range img.RepoTags {
			d.Annotations = map[string]string{AnnotationRefName: tag}
			index.Manifests = append(index.Manifests, d)
		}
		if len(img.RepoTags) == 0 {
			index.Manifests = append(index.Manifests, d)
		}
		if len(index.Manifests) > maxDockerNames {
			return nil, nil, fmt.Errorf("%s lists more than %d names: %w", dockerFile, maxDockerNames, ErrLimit)
		}
	}
	out, err := json.Marshal(index)
	return da, out, err
}

// unmarshalOnce reads JSON that has no key twice.
func unmarshalOnce(raw []byte, v any) error {
	if err := checkKeys(raw, false); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%v: %w", err, ErrCorrupt)
	}
	return nil
}

// convert makes one manifest.
func (da *dockerArchive) convert(img dockerImage) (Descriptor, error) {
	config, err := da.archive.file(img.Config, MaxManifestBytes)
	if err == nil && config == nil {
		err = fmt.Errorf("config %.100q is not in the archive: %w", img.Config, ErrCorrupt)
	}
	if err != nil {
		return Descriptor{}, err
	}
	id := strings.TrimSuffix(strings.TrimPrefix(path.Base(img.Config), "sha256:"), ".json")
	cd := Descriptor{MediaType: MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	if cd.Digest.Encoded() != id {
		return Descriptor{}, fmt.Errorf("config %.100q has digest %s: %w", img.Config, cd.Digest, ErrCorrupt)
	}
	var c ocispec.Image
	if err := unmarshalOnce(config, &c); err != nil {
		return Descriptor{}, fmt.Errorf("config %s: %w", id, err)
	}
	if len(c.RootFS.DiffIDs) != len(img.Layers) {
		return Descriptor{}, fmt.Errorf("config %s names %d layers, %s lists %d: %w", id, len(c.RootFS.DiffIDs), dockerFile, len(img.Layers), ErrCorrupt)
	}
	da.at[cd.Digest] = da.plain[img.Config]
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: MediaTypeManifest, Config: cd, Layers: []Descriptor{}}
	for i, name := range img.Layers {
		l, err := da.layer(name, c.RootFS.DiffIDs[i])
		if err != nil {
			return Descriptor{}, err
		}
		m.Layers = append(m.Layers, l)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return Descriptor{}, err
	}
	d := Descriptor{MediaType: MediaTypeManifest, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	da.made[d.Digest] = raw
	return d, nil
}

// layer finds a layer: a plain tar by the digest the config gives it, a gzip'd
// one by the digest that is its name.
func (da *dockerArchive) layer(name string, diffID digest.Digest) (Descriptor, error) {
	s, target, ok := da.resolveLink(name)
	if !ok {
		return Descriptor{}, fmt.Errorf("layer %.150q is not in the archive: %w", name, ErrCorrupt)
	}
	d := Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: s.size}
	if hex, gz := strings.CutSuffix(target, ".tar.gz"); gz {
		d.MediaType, d.Digest = ocispec.MediaTypeImageLayerGzip, digest.Digest("sha256:"+hex)
	}
	if err := CheckDescriptor(d); err != nil {
		return Descriptor{}, err
	}
	da.at[d.Digest] = s
	return d, nil
}

func (da *dockerArchive) blob(d digest.Digest) (io.ReadCloser, int64, error) {
	if raw, ok := da.made[d]; ok {
		return section{io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw)))}, int64(len(raw)), nil
	}
	if s, ok := da.at[d]; ok {
		return section{io.NewSectionReader(da.r, s.off, s.size)}, s.size, nil
	}
	return da.archive.blob(d)
}

func (da *dockerArchive) blobs(fn func(digest.Digest, int64) error) error {
	for _, d := range slices.Sorted(maps.Keys(da.made)) {
		if err := fn(d, int64(len(da.made[d]))); err != nil {
			return err
		}
	}
	for _, d := range slices.Sorted(maps.Keys(da.at)) {
		if err := fn(d, da.at[d].size); err != nil {
			return err
		}
	}
	return nil
}
