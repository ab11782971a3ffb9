package signing

import (
	"crypto"
	"encoding/base64"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types and annotations of cosign's own forms, as its sources spell them
// (sigstore/cosign, pkg/types, pkg/oci/static, specs/SIGNATURE_SPEC.md).
const (
	mediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaTypeDSSE          = "application/vnd.dsse.envelope.v1+json"
	artifactTypeCosignSig  = "application/vnd.dev.cosign.artifact.sig.v1+json"

	annotationCosignSignature = "dev.cosignproject.cosign/signature"
	annotationPredicateType   = "predicateType"

	simpleSigningType = "cosign container image signature"
)

// A Claim is what a cosign signature says of an image besides its digest.
type Claim struct {
	// Reference is the repository the image is claimed to be in, for instance
	// "registry.example/team/app". It is required, signed, and does not change
	// when the image is copied elsewhere.
	Reference string
	// Annotations are signed with it, as `cosign sign -a` does. May be nil.
	Annotations map[string]string
}

// simpleSigning is the signed payload. The shape is older than cosign
// (containers/image, docs/containers-signature.5.md); critical.type is not.
type simpleSigning struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest digest.Digest `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]string `json:"optional"`
}

// CosignSignature signs subject in cosign's tag form: the manifest goes under
// the tag "sha256-<hex>.sig" and does not name its subject in any other way but
// in the signed payload. All keys sign that one payload, a layer each.
//
// The tag holds every signature on the image. Putting a second manifest there
// drops the first: to add a signature, sign with all the keys together.
func CosignSignature(subject ocispec.Descriptor, claim Claim, keys ...crypto.Signer) (Artifact, error) {
	layers, err := simpleSigningLayers(subject, claim, keys)
	if err != nil {
		return Artifact{}, err
	}
	return packTag(subject, ".sig", layers)
}

// CosignSignatureReferrer signs subject as cosign's experimental OCI 1.1 mode
// did: the layers of [CosignSignature] in a manifest that names its subject.
// The artifact type stands both in artifactType and in config.mediaType.
func CosignSignatureReferrer(subject ocispec.Descriptor, claim Claim, keys ...crypto.Signer) (Artifact, error) {
	layers, err := simpleSigningLayers(subject, claim, keys)
	if err != nil {
		return Artifact{}, err
	}
	config, err := imageConfig(artifactTypeCosignSig, layers)
	if err != nil {
		return Artifact{}, err
	}
	return pack(packing{
		artifactType: artifactTypeCosignSig,
		config:       config,
		layers:       layers,
		subject:      &subject,
	})
}

// CosignAttestation signs attestations about subject in cosign's tag form: a
// DSSE envelope a layer, all under the tag "sha256-<hex>.att". As with
// [CosignSignature], the tag holds all of them.
func CosignAttestation(subject ocispec.Descriptor, key crypto.Signer, attestations ...Attestation) (Artifact, error) {
	if len(attestations) == 0 {
		return Artifact{}, fmt.Errorf("%w: no attestation to sign", ErrContent)
	}
	var layers []Blob
	for _, att := range attestations {
		env, err := signStatement(subject, att, key)
		if err != nil {
			return Artifact{}, err
		}
		data, err := marshal(env)
		if err != nil {
			return Artifact{}, err
		}
		layer := newBlob(mediaTypeDSSE, data)
		layer.Desc.Annotations = map[string]string{
			// The signature is inside the envelope; cosign writes the key anyway.
			annotationCosignSignature: "",
			annotationPredicateType:   att.PredicateType,
		}
		layers = append(layers, layer)
	}
	return packTag(subject, ".att", layers)
}

// CosignSBOM attaches an SBOM in cosign's tag form, under "sha256-<hex>.sbom".
// It is not signed. The media types cosign writes are "text/spdx+json" and
// "application/vnd.cyclonedx+json".
func CosignSBOM(subject ocispec.Descriptor, mediaType string, data []byte) (Artifact, error) {
	if mediaType == "" {
		return Artifact{}, fmt.Errorf("%w: the SBOM has no media type; name one, such as text/spdx+json", ErrContent)
	}
	return packTag(subject, ".sbom", []Blob{newBlob(mediaType, data)})
}

// simpleSigningLayers signs one payload with each key.
func simpleSigningLayers(subject ocispec.Descriptor, claim Claim, keys []crypto.Signer) ([]Blob, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	if claim.Reference == "" {
		return nil, fmt.Errorf("%w: the claim names no repository; cosign cannot parse such a payload, so set Claim.Reference", ErrContent)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: none given", ErrKey)
	}
	var p simpleSigning
	p.Critical.Identity.DockerReference = claim.Reference
	p.Critical.Image.DockerManifestDigest = subject.Digest
	p.Critical.Type = simpleSigningType
	p.Optional = claim.Annotations
	payload, err := marshal(p)
	if err != nil {
		return nil, err
	}
	var layers []Blob
	for _, key := range keys {
		sig, err := signP256(key, payload)
		if err != nil {
			return nil, err
		}
		layer := newBlob(mediaTypeSimpleSigning, payload)
		layer.Desc.Annotations = map[string]string{
			annotationCosignSignature: base64.StdEncoding.EncodeToString(sig),
		}
		layers = append(layers, layer)
	}
	return layers, nil
}

// packTag makes the kind of image that cosign puts under a tag.
func packTag(subject ocispec.Descriptor, suffix string, layers []Blob) (Artifact, error) {
	if err := checkSubject(subject); err != nil {
		return Artifact{}, err
	}
	tag, err := cosignTag(subject.Digest, suffix)
	if err != nil {
		return Artifact{}, err
	}
	config, err := imageConfig(ocispec.MediaTypeImageConfig, layers)
	if err != nil {
		return Artifact{}, err
	}
	return pack(packing{config: config, layers: layers, tag: tag})
}

// imageConfig is the config of an image that runs nothing. It must list the
// layers: some tools refuse an image whose config and manifest disagree.
func imageConfig(mediaType string, layers []Blob) (Blob, error) {
	img := ocispec.Image{RootFS: ocispec.RootFS{Type: "layers"}}
	for _, l := range layers {
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, l.Desc.Digest)
	}
	data, err := marshal(img)
	if err != nil {
		return Blob{}, err
	}
	return newBlob(mediaType, data), nil
}
