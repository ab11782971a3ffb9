package signing

import (
	"crypto"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// mediaTypeBundle is both the layer's media type and the artifact type, and
// stands once more inside the bundle (sigstore/protobuf-specs,
// protos/sigstore_bundle.proto).
const mediaTypeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Annotations cosign 3 puts on the manifest (sigstore/cosign,
// pkg/oci/remote/write.go). They spare a fetch and are not signed: a verifier
// must look at the predicate type in the statement.
const (
	annotationBundleContent       = "dev.sigstore.bundle.content"
	annotationBundlePredicateType = "dev.sigstore.bundle.predicateType"
	bundleContentDSSE             = "dsse-envelope"
)

// bundle is a Sigstore bundle made with a key. It is written as plain JSON, and
// not by way of the protobuf library, whose JSON output varies in white space
// on purpose. The order of fields is the one the library has.
type bundle struct {
	MediaType            string `json:"mediaType"`
	VerificationMaterial struct {
		PublicKey struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
	} `json:"verificationMaterial"`
	Envelope bundleEnvelope `json:"dsseEnvelope"`
}

type bundleEnvelope struct {
	Payload     string            `json:"payload"`
	PayloadType string            `json:"payloadType"`
	Signatures  []bundleSignature `json:"signatures"`
}

type bundleSignature struct {
	Sig string `json:"sig"`
}

// BundleSignature signs subject as `cosign sign --key` of version 3 does: a
// Sigstore bundle, attached to subject, with a statement of type
// [PredicateCosignSign] that says nothing but the digest.
//
// The digest is all that is signed. An attestation by the same key names the
// same digest, so a verifier that wants a signature must look for that type.
func BundleSignature(subject ocispec.Descriptor, key crypto.Signer) (Artifact, error) {
	return BundleAttestation(subject, Attestation{PredicateType: PredicateCosignSign}, key)
}

// BundleAttestation signs an attestation about subject and attaches it as a
// Sigstore bundle, as `cosign attest --key` of version 3 does.
func BundleAttestation(subject ocispec.Descriptor, att Attestation, key crypto.Signer) (Artifact, error) {
	data, err := newBundle(subject, att, key)
	if err != nil {
		return Artifact{}, err
	}
	return pack(packing{
		artifactType: mediaTypeBundle,
		config:       emptyConfig(),
		layers:       []Blob{newBlob(mediaTypeBundle, data)},
		subject:      &subject,
		annotations: map[string]string{
			annotationBundleContent:       bundleContentDSSE,
			annotationBundlePredicateType: att.PredicateType,
		},
	})
}

// newBundle writes the bundle itself.
func newBundle(subject ocispec.Descriptor, att Attestation, key crypto.Signer) ([]byte, error) {
	env, err := signStatement(subject, att, key)
	if err != nil {
		return nil, err
	}
	hint, err := KeyHint(key)
	if err != nil {
		return nil, err
	}
	b := bundle{MediaType: mediaTypeBundle}
	b.VerificationMaterial.PublicKey.Hint = hint
	b.Envelope = bundleEnvelope{
		Payload:     env.Payload,
		PayloadType: env.PayloadType,
		Signatures:  []bundleSignature{{Sig: env.Signatures[0].Sig}},
	}
	return marshal(b)
}
