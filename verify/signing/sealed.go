package signing

import (
	"crypto"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MediaTypeBundle is that of a Sigstore bundle, as it is written here.
const MediaTypeBundle = mediaTypeBundle

// SealedAttestation signs an attestation about subject as a Sigstore bundle, and
// leaves it to the caller to attach that; see [AttachSealed].
func SealedAttestation(subject ocispec.Descriptor, att Attestation, key crypto.Signer) ([]byte, error) {
	return newBundle(subject, att, key)
}

// AttachSealed attaches a Sigstore bundle to subject, in just the form that
// [BundleAttestation] gives it. predicateType is that of the statement in it.
func AttachSealed(subject ocispec.Descriptor, data []byte, predicateType string) (Artifact, error) {
	return pack(packing{
		artifactType: mediaTypeBundle,
		config:       emptyConfig(),
		layers:       []Blob{newBlob(mediaTypeBundle, data)},
		subject:      &subject,
		annotations: map[string]string{
			annotationBundleContent:       bundleContentDSSE,
			annotationBundlePredicateType: predicateType,
		},
	})
}

// A Collection is several documents in one artifact.
type Collection struct {
	ArtifactType string
	MediaType    string   // of each document
	Data         [][]byte // in order
}

// Collect attaches several documents to subject as one artifact, a layer for each.
func Collect(subject ocispec.Descriptor, c Collection) (Artifact, error) {
	p := packing{artifactType: c.ArtifactType, config: emptyConfig(), subject: &subject}
	for _, data := range c.Data {
		p.layers = append(p.layers, newBlob(c.MediaType, data))
	}
	return pack(p)
}
