package signing

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Errors to match with errors.Is.
var (
	// ErrSubject says that the subject is not a descriptor one can attach to.
	ErrSubject = errors.New("unusable subject")
	// ErrKey says that a key or certificate chain does not fit the form.
	ErrKey = errors.New("unusable key")
	// ErrContent says that what is to be signed or attached is malformed.
	ErrContent = errors.New("unusable content")
)

// maxTag is the longest tag a registry takes (OCI distribution spec 1.1,
// "Pulling manifests": [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}).
const maxTag = 128

// An Artifact is a manifest and the blobs it names, ready to be put into a
// repository.
type Artifact struct {
	// Manifest describes Raw: media type, digest, size, and, for a manifest
	// with a subject, the artifact type the referrers API would give it.
	Manifest ocispec.Descriptor
	// Raw is the manifest's bytes.
	Raw []byte
	// Blobs are the config and the layers, each digest once, config first.
	// Two layers may share one: two signatures on one payload do.
	Blobs []Blob
	// Tag is the tag to put the manifest under: a cosign tag, or empty for a
	// manifest with a subject, which needs none.
	Tag string
}

// A Blob is some bytes and the descriptor of them.
type Blob struct {
	Desc ocispec.Descriptor
	Data []byte
}

// A Document is something to attach to an image as it is.
type Document struct {
	// ArtifactType says what the document is. Empty means MediaType.
	ArtifactType string
	// MediaType says how Data is encoded, e.g. application/spdx+json,
	// application/vnd.cyclonedx+json or application/sarif+json.
	MediaType string
	// Data is the document.
	Data []byte
	// Annotations go on the manifest. May be nil.
	Annotations map[string]string
}

// Referrer attaches a document to subject: a manifest with an empty config and
// one layer (OCI image spec 1.1, "Guidelines for Artifact Usage"). It is not
// signed; a signature may in turn take the result's Manifest as its subject.
func Referrer(subject ocispec.Descriptor, doc Document) (Artifact, error) {
	if doc.MediaType == "" {
		return Artifact{}, fmt.Errorf("%w: the document has no media type; name one, such as application/spdx+json", ErrContent)
	}
	if doc.ArtifactType == "" {
		doc.ArtifactType = doc.MediaType
	}
	return pack(packing{
		artifactType: doc.ArtifactType,
		config:       emptyConfig(),
		layers:       []Blob{newBlob(doc.MediaType, doc.Data)},
		subject:      &subject,
		annotations:  doc.Annotations,
	})
}

// packing is what a manifest is made of.
type packing struct {
	artifactType string
	config       Blob
	layers       []Blob
	subject      *ocispec.Descriptor // nil for the tag forms
	annotations  map[string]string
	tag          string
}

// pack writes the manifest and gathers its blobs.
func pack(p packing) (Artifact, error) {
	m := ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: p.artifactType,
		Config:       p.config.Desc,
		Annotations:  p.annotations,
	}
	if p.subject != nil {
		if err := checkSubject(*p.subject); err != nil {
			return Artifact{}, err
		}
		bare := bareDescriptor(*p.subject)
		m.Subject = &bare
	}
	for _, l := range p.layers {
		m.Layers = append(m.Layers, l.Desc)
	}
	raw, err := marshal(m)
	if err != nil {
		return Artifact{}, err
	}
	a := Artifact{Manifest: newBlob(m.MediaType, raw).Desc, Raw: raw, Blobs: onceEach(p.config, p.layers), Tag: p.tag}
	if m.Subject != nil {
		// The referrers API lists the config's media type where a manifest
		// has no artifactType (OCI distribution spec 1.1, "Listing Referrers").
		a.Manifest.ArtifactType = cmp.Or(m.ArtifactType, m.Config.MediaType)
	}
	return a, nil
}

// onceEach drops blobs that are there already, and annotations, which belong to
// a layer and not to the bytes it shares with another.
func onceEach(config Blob, layers []Blob) []Blob {
	var out []Blob
	seen := make(map[digest.Digest]bool)
	for _, b := range append([]Blob{config}, layers...) {
		if !seen[b.Desc.Digest] {
			seen[b.Desc.Digest] = true
			b.Desc.Annotations = nil
			out = append(out, b)
		}
	}
	return out
}

// checkSubject refuses a descriptor that nothing could be found by.
func checkSubject(d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil {
		return fmt.Errorf("%w: digest %q: %w; resolve the reference to a digest first", ErrSubject, d.Digest, err)
	}
	if d.MediaType == "" || d.Size <= 0 {
		return fmt.Errorf("%w: %s has media type %q and size %d; take the descriptor the registry returns for the manifest",
			ErrSubject, d.Digest, d.MediaType, d.Size)
	}
	return nil
}

// bareDescriptor keeps what identifies content. Annotations, platform and URLs
// are the referring index's business and must not get under a signature.
func bareDescriptor(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// cosignTag names the tag under which cosign looks for what belongs to d.
func cosignTag(d digest.Digest, suffix string) (string, error) {
	tag := strings.Replace(d.String(), ":", "-", 1) + suffix
	if len(tag) > maxTag {
		return "", fmt.Errorf("%w: tag %s is longer than the %d characters a registry takes; use a form with a subject instead of a tag",
			ErrSubject, tag, maxTag)
	}
	return tag, nil
}

// newBlob describes data.
func newBlob(mediaType string, data []byte) Blob {
	return Blob{
		Desc: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))},
		Data: data,
	}
}

// emptyConfig is the config of a manifest that is not an image.
func emptyConfig() Blob {
	return newBlob(ocispec.MediaTypeEmptyJSON, []byte("{}"))
}

// marshal writes JSON without escaping <, > and &, which would alter the look
// of a predicate for the sake of web pages that it will never be put into.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContent, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
