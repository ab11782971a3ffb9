package layouttest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Document is the JSON of a manifest or an index, of any form.
type Document struct {
	SchemaVersion int                 `json:"schemaVersion,omitempty"`
	MediaType     string              `json:"mediaType,omitempty"`
	ArtifactType  string              `json:"artifactType,omitempty"`
	Config        *layout.Descriptor  `json:"config,omitempty"`
	Layers        []layout.Descriptor `json:"layers,omitempty"`
	Blobs         []layout.Descriptor `json:"blobs,omitempty"`
	Manifests     []layout.Descriptor `json:"manifests,omitempty"`
	Subject       *layout.Descriptor  `json:"subject,omitempty"`
	Annotations   map[string]string   `json:"annotations,omitempty"`
}

// Media types that only fixtures use.
const (
	layerType      = "application/vnd.oci.image.layer.v1.tar"
	notaryType     = "application/vnd.cncf.notary.signature"
	inTotoType     = "application/vnd.in-toto+json"
	dsseType       = "application/vnd.dsse.envelope.v1+json"
	simpleSignType = "application/vnd.dev.cosign.simplesigning.v1+json"
	spdxType       = "text/spdx+json"
)

// Builder makes the content of one repository. Each label gives other bytes; the
// same labels always give the same.
type Builder struct {
	// Algorithm of all digests; empty means sha256.
	Algorithm digest.Algorithm

	repo  string
	items []Item
	names []layout.Name
	have  map[digest.Digest]bool
}

// New starts a repository, named in full.
func New(repo string) *Builder {
	return &Builder{Algorithm: digest.SHA256, repo: repo, have: map[digest.Digest]bool{}}
}

// Content returns what was built so far.
func (b *Builder) Content() Content {
	return Content{
		Repositories: map[string][]Item{b.repo: slices.Clone(b.items)},
		Names:        slices.Clone(b.names),
	}
}

// Blob adds bytes under a media type.
func (b *Builder) Blob(mediaType string, data []byte) layout.Descriptor {
	d := layout.Descriptor{MediaType: mediaType, Digest: b.Algorithm.FromBytes(data), Size: int64(len(data))}
	if !b.have[d.Digest] {
		b.have[d.Digest] = true
		b.items = append(b.items, Item{Descriptor: d, Bytes: data})
	}
	return d
}

// Manifest adds a document under its own media type.
func (b *Builder) Manifest(doc Document) layout.Descriptor {
	data, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		panic(err)
	}
	return b.Blob(doc.MediaType, data)
}

// Tag names a manifest.
func (b *Builder) Tag(tag string, d layout.Descriptor) {
	b.name(layout.Reference{Repository: b.repo, Tag: tag}, d)
}

// Pin names a manifest by its digest alone.
func (b *Builder) Pin(d layout.Descriptor) {
	b.name(layout.Reference{Repository: b.repo, Digest: d.Digest}, d)
}

func (b *Builder) name(ref layout.Reference, d layout.Descriptor) {
	n := layout.Name{Reference: ref, Descriptor: plain(d)}
	if item, ok := b.Content().Find(b.repo, d.Digest); ok {
		n.Manifest = item.Bytes
	}
	b.names = append(b.names, n)
}

// Layer adds a layer: a tar of one small file.
func (b *Builder) Layer(mediaType, label string) layout.Descriptor {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	body := []byte("layer " + label + "\n")
	err := w.WriteHeader(&tar.Header{Name: "etc/label", Mode: 0o644, Size: int64(len(body)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err)
	}
	return b.Blob(mediaType, buf.Bytes())
}

// Image adds an OCI image with a config and the given layers, or two of its own.
func (b *Builder) Image(label string, layers ...layout.Descriptor) layout.Descriptor {
	if len(layers) == 0 {
		layers = []layout.Descriptor{b.Layer(layerType, label+" 1"), b.Layer(layerType, label+" 2")}
	}
	return b.image(layout.MediaTypeManifest, layout.MediaTypeImageConfig, label, layers)
}

// DockerImage adds an image of docker's schema 2.
func (b *Builder) DockerImage(label string) layout.Descriptor {
	layers := []layout.Descriptor{b.Layer(layout.MediaTypeDockerTar, label)}
	return b.image(layout.MediaTypeDockerManifest, layout.MediaTypeDockerConfig, label, layers)
}

func (b *Builder) image(manifestType, configType, label string, layers []layout.Descriptor) layout.Descriptor {
	c := b.config(configType, layers, map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Labels": map[string]string{"label": label}},
	})
	return b.Manifest(Document{SchemaVersion: 2, MediaType: manifestType, Config: &c, Layers: layers})
}

// Posing adds what cosign and BuildKit make: a manifest with the config of an image that
// says nothing of what to run, and layers that are none.
func (b *Builder) Posing(label string, layers ...layout.Descriptor) layout.Descriptor {
	c := b.config(layout.MediaTypeImageConfig, layers, map[string]any{
		"architecture": "unknown", "os": "unknown", "author": label, "config": map[string]any{},
	})
	return b.Manifest(Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &c, Layers: layers})
}

func (b *Builder) config(mediaType string, layers []layout.Descriptor, fields map[string]any) layout.Descriptor {
	var ids []digest.Digest
	for _, l := range layers {
		ids = append(ids, l.Digest) // the layers are not compressed
	}
	fields["rootfs"] = map[string]any{"type": "layers", "diff_ids": ids}
	config, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return b.Blob(mediaType, config)
}

// ForPlatform returns d as an index lists it.
func ForPlatform(d layout.Descriptor, os, arch string) layout.Descriptor {
	d.Platform = &layout.Platform{OS: os, Architecture: arch}
	return d
}

// Index adds an OCI index.
func (b *Builder) Index(children ...layout.Descriptor) layout.Descriptor {
	return b.Manifest(Document{SchemaVersion: 2, MediaType: layout.MediaTypeIndex, Manifests: children})
}

// DockerList adds a manifest list of docker's schema 2.
func (b *Builder) DockerList(children ...layout.Descriptor) layout.Descriptor {
	return b.Manifest(Document{SchemaVersion: 2, MediaType: layout.MediaTypeDockerList, Manifests: children})
}

// BuildKit adds an attestation manifest about child and returns it as an index
// lists it.
func (b *Builder) BuildKit(child layout.Descriptor) layout.Descriptor {
	return b.Attestation(child, `{"_type":"https://in-toto.io/Statement/v0.1","about":"`+string(child.Digest)+`"}`)
}

// Attestation adds an attestation manifest about child that holds a statement, as
// BuildKit does, and returns it as an index lists it.
func (b *Builder) Attestation(child layout.Descriptor, statement string) layout.Descriptor {
	layer := b.Blob(inTotoType, []byte(statement))
	layer.Annotations = map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
	d := b.Posing("attestation of "+string(child.Digest), layer)
	d.Platform = &layout.Platform{OS: "unknown", Architecture: "unknown"}
	d.Annotations = map[string]string{
		layout.AnnotationBuildKitType:    layout.BuildKitAttestation,
		layout.AnnotationBuildKitSubject: string(child.Digest),
	}
	return d
}

// Referrer attaches an artifact to subject by its subject field.
func (b *Builder) Referrer(subject layout.Descriptor, artifactType, label string) layout.Descriptor {
	config := b.Blob(layout.MediaTypeEmpty, []byte("{}"))
	doc := b.attach(subject, artifactType, label)
	doc.MediaType, doc.ArtifactType, doc.Config = layout.MediaTypeManifest, artifactType, &config
	return b.Manifest(doc)
}

// Notary attaches what looks like a Notary Project signature: the config's media
// type says what it is.
func (b *Builder) Notary(subject layout.Descriptor, label string) layout.Descriptor {
	config := b.Blob(notaryType, []byte("{}"))
	doc := b.attach(subject, "application/jose+json", label)
	doc.MediaType, doc.Config = layout.MediaTypeManifest, &config
	return b.Manifest(doc)
}

// ReferrerIndex attaches an index.
func (b *Builder) ReferrerIndex(subject layout.Descriptor, children ...layout.Descriptor) layout.Descriptor {
	s := plain(subject)
	return b.Manifest(Document{
		SchemaVersion: 2, MediaType: layout.MediaTypeIndex, ArtifactType: "application/vnd.example.collection",
		Manifests: children, Subject: &s,
	})
}

// OCIArtifact attaches an artifact manifest of OCI 1.1's release candidates.
func (b *Builder) OCIArtifact(subject layout.Descriptor, label string) layout.Descriptor {
	return b.artifact(layout.MediaTypeArtifactManifest, subject, label)
}

// ORASArtifact attaches an artifact manifest of ORAS.
func (b *Builder) ORASArtifact(subject layout.Descriptor, label string) layout.Descriptor {
	return b.artifact(layout.MediaTypeORASManifest, subject, label)
}

func (b *Builder) artifact(mediaType string, subject layout.Descriptor, label string) layout.Descriptor {
	doc := b.attach(subject, "application/vnd.example.legacy", label)
	doc.SchemaVersion, doc.MediaType, doc.ArtifactType = 0, mediaType, "application/vnd.example.legacy"
	doc.Blobs, doc.Layers = doc.Layers, nil
	return b.Manifest(doc)
}

func (b *Builder) attach(subject layout.Descriptor, blobType, label string) Document {
	s := plain(subject)
	layer := b.Blob(blobType, fmt.Appendf(nil, `{"about":%q,"label":%q}`, subject.Digest, label))
	return Document{
		SchemaVersion: 2, Layers: []layout.Descriptor{layer}, Subject: &s,
		Annotations: map[string]string{"org.opencontainers.image.title": label},
	}
}

// Cosign attaches by one of cosign's tags.
func (b *Builder) Cosign(form layout.Form, subject layout.Descriptor, label string) layout.Descriptor {
	mediaType := map[layout.Form]string{
		layout.FormCosignSig: simpleSignType, layout.FormCosignAtt: dsseType, layout.FormCosignSBOM: spdxType,
	}[form]
	tag, ok := form.Tag(subject.Digest)
	if !ok || mediaType == "" {
		panic("layouttest: no cosign tag for " + string(form) + " " + string(subject.Digest))
	}
	layer := b.Blob(mediaType, fmt.Appendf(nil, `{"critical":{"image":{"docker-manifest-digest":%q},"type":%q}}`, subject.Digest, label))
	layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": "bm90IGEgc2lnbmF0dXJl"}
	d := b.Posing(tag+" "+label, layer)
	b.Tag(tag, d)
	return d
}

// Fallback lists referrers under subject's referrers tag.
func (b *Builder) Fallback(subject layout.Descriptor, referrers ...layout.Descriptor) layout.Descriptor {
	tag, ok := layout.FormReferrersTag.Tag(subject.Digest)
	if !ok {
		panic("layouttest: no referrers tag for " + string(subject.Digest))
	}
	d := b.Index(referrers...)
	b.Tag(tag, d)
	return d
}

// plain strips what only a listing adds.
func plain(d layout.Descriptor) layout.Descriptor {
	return layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}
