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

// dockerArchive reads what docker save (before version 25), podman save, crane pull,
// Jib, Bazel and kaniko write: images without manifests. manifest.json says which file
// is what; the names are the writer's. A manifest is made for each image, of
// the config as it stands and of the layers under the digests that the config
// gives them, so that every byte is still checked. Its digest is not that of any
// registry, and no signature speaks of it.
//
// A layer that is compressed goes by the digest that is its name, if there is one in
// it: that it unpacks to what the config says is not checked. One without is hashed and
// unpacked, to nowhere, when the archive is opened.
type dockerArchive struct {
	*archive
	made map[digest.Digest][]byte
	at   map[digest.Digest]span
	used map[string]bool // names that manifest.json names
	// hashed are layers that were read, for images that share them.
	hashed map[hashedLayer]Descriptor
}

type hashedLayer struct {
	at     span
	diffID digest.Digest
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
		return nil, nil, fmt.Errorf("%w: neither index.json nor manifest.json is in it", ErrNotBundle)
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
	da := &dockerArchive{archive: a, made: map[digest.Digest][]byte{}, at: map[digest.Digest]span{}, used: map[string]bool{}, hashed: map[hashedLayer]Descriptor{}}
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
	cd, diffIDs, err := da.config(img.Config)
	if err != nil {
		return Descriptor{}, err
	}
	if len(diffIDs) != len(img.Layers) {
		return Descriptor{}, fmt.Errorf("config %s names %d layers, %s lists %d: %w", cd.Digest, len(diffIDs), dockerFile, len(img.Layers), ErrCorrupt)
	}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: MediaTypeManifest, Config: cd, Layers: []Descriptor{}}
	for i, name := range img.Layers {
		l, err := da.layer(name, diffIDs[i])
		if err != nil {
			return Descriptor{}, fmt.Errorf("layer %.150q: %w", name, err)
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

// config reads an image's config, and the digests that it gives the layers unpacked.
func (da *dockerArchive) config(name string) (Descriptor, []digest.Digest, error) {
	fail := func(err error) (Descriptor, []digest.Digest, error) {
		return Descriptor{}, nil, fmt.Errorf("config %.100q: %w", name, err)
	}
	at, target, err := da.find(name)
	if err == nil && at.size > MaxManifestBytes {
		err = fmt.Errorf("%d bytes, at most %d are accepted: %w", at.size, MaxManifestBytes, ErrLimit)
	}
	if err != nil {
		return fail(err)
	}
	raw, err := io.ReadAll(da.section(at))
	if err != nil {
		return fail(err)
	}
	d := Descriptor{MediaType: MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	if named := digestInName(target); named != "" && named != d.Digest {
		return fail(fmt.Errorf("it has digest %s: %w", d.Digest, ErrCorrupt))
	}
	var c ocispec.Image
	if err := unmarshalOnce(raw, &c); err != nil {
		return fail(err)
	}
	da.used[name], da.used[target] = true, true
	da.at[d.Digest] = at
	return d, c.RootFS.DiffIDs, nil
}

func (da *dockerArchive) section(s span) *io.SectionReader {
	return io.NewSectionReader(da.r, s.off, s.size)
}

// layer describes a layer: a plain tar by the digest the config gives it, a compressed
// one by its own.
func (da *dockerArchive) layer(name string, diffID digest.Digest) (Descriptor, error) {
	at, target, err := da.find(name)
	if err != nil {
		return Descriptor{}, err
	}
	d := Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: diffID, Size: at.size}
	if err := CheckDescriptor(d); err != nil {
		return Descriptor{}, err
	}
	head := make([]byte, min(at.size, SniffSize))
	if _, err := io.ReadFull(da.section(at), head); err != nil {
		return Descriptor{}, err
	}
	if f := SniffCompression(head); f != CompressionNone {
		if d, err = da.compressed(target, at, diffID, f); err != nil {
			return Descriptor{}, err
		}
	}
	da.used[name], da.used[target] = true, true
	da.at[d.Digest] = at
	return d, nil
}

// compressed describes a layer that is compressed.
func (da *dockerArchive) compressed(name string, at span, diffID digest.Digest, f Compression) (Descriptor, error) {
	types := map[Compression]string{CompressionGzip: ocispec.MediaTypeImageLayerGzip, CompressionZstd: ocispec.MediaTypeImageLayerZstd}
	d := Descriptor{MediaType: types[f], Digest: digestInName(name), Size: at.size}
	if d.MediaType == "" {
		return d, fmt.Errorf("compressed with %s, for which images have no media type: %w", f, ErrUnsupported)
	}
	if d.Digest != "" && d.Digest != diffID {
		return d, nil // it is checked whenever the layer is read
	}
	key := hashedLayer{at, diffID}
	if made, ok := da.hashed[key]; ok {
		return made, nil
	}
	whole, unpacked := digest.Canonical.Digester(), diffID.Algorithm().Digester()
	packed := io.TeeReader(da.section(at), whole.Hash())
	r, err := Expand(packed, f)
	if err != nil {
		return d, err
	}
	defer r.Close()
	if _, err := copyBuffer(unpacked.Hash(), r); err != nil {
		return d, err
	}
	if _, err := copyBuffer(io.Discard, packed); err != nil {
		return d, err
	}
	if d.Digest = whole.Digest(); unpacked.Digest() != diffID {
		return d, fmt.Errorf("it unpacks to %s, the config says %s: %w", unpacked.Digest(), diffID, ErrCorrupt)
	}
	da.hashed[key] = d
	return d, nil
}

// digestInName returns the digest that a file's name is made of, or "": as in HEX.json,
// sha256:HEX, HEX.tar.gz and blobs/sha256/HEX.tar.gz.
func digestInName(name string) digest.Digest {
	hex, _, _ := strings.Cut(strings.TrimPrefix(path.Base(name), "sha256:"), ".")
	d, err := ParseDigest("sha256:" + hex)
	if err != nil {
		return ""
	}
	return d
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
