package verifytest

import (
	"encoding/json"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layer is a signature as it is attached: one layer of a manifest.
type Layer struct {
	MediaType   string
	Data        []byte
	Annotations map[string]string
}

// FromLayers attaches layers to a subject: under cosign's tag with a suffix ("sig",
// "att"), or with no suffix as a referrer. What is in them is not looked at.
func FromLayers(t testing.TB, subject layout.Descriptor, suffix string, layers ...Layer) signing.Artifact {
	t.Helper()
	blob := func(l Layer) signing.Blob {
		d := ocispec.Descriptor{MediaType: l.MediaType, Digest: digest.FromBytes(l.Data), Size: int64(len(l.Data))}
		return signing.Blob{Desc: d, Data: l.Data}
	}
	config := blob(Layer{MediaType: ocispec.MediaTypeEmptyJSON, Data: []byte("{}")})
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config.Desc}
	a := signing.Artifact{Blobs: []signing.Blob{config}}
	for _, l := range layers {
		b := blob(l)
		a.Blobs = append(a.Blobs, b)
		b.Desc.Annotations = l.Annotations
		m.Layers = append(m.Layers, b.Desc)
	}
	if suffix != "" {
		a.Tag = strings.Replace(subject.Digest.String(), ":", "-", 1) + "." + suffix
	} else {
		m.Subject = &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
		m.ArtifactType = layers[0].MediaType
	}
	a.Raw = got(json.Marshal(m))(t)
	a.Manifest = ocispec.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(a.Raw), Size: int64(len(a.Raw)), ArtifactType: m.ArtifactType}
	return a
}

// LayersOf takes an artifact apart.
func LayersOf(t testing.TB, a signing.Artifact) []Layer {
	t.Helper()
	var m ocispec.Manifest
	if err := json.Unmarshal(a.Raw, &m); err != nil {
		t.Fatal(err)
	}
	data := map[digest.Digest][]byte{}
	for _, b := range a.Blobs {
		data[b.Desc.Digest] = b.Data
	}
	var out []Layer
	for _, l := range m.Layers {
		out = append(out, Layer{l.MediaType, data[l.Digest], l.Annotations})
	}
	return out
}

// Moved attaches what is about another image to this one.
func Moved(t testing.TB, a signing.Artifact, to layout.Descriptor) signing.Artifact {
	t.Helper()
	_, suffix, _ := strings.Cut(a.Tag, ".")
	return FromLayers(t, to, suffix, LayersOf(t, a)...)
}
