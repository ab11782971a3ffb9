package signing

import (
	"crypto"
	"encoding/json"
	"strings"

	"airgap/verify/predicate"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Media types of sealed records; see [predicate.RecordMediaType].
const (
	MediaTypeRecord = predicate.RecordMediaType
	// MediaTypeBundle is that of a Sigstore bundle, as it is written here. Earlier
	// versions sealed records in those.
	MediaTypeBundle = mediaTypeBundle
)

// recordEnvelope is a DSSE envelope with the key's name in it, as a hint.
type recordEnvelope struct {
	Payload     []byte            `json:"payload"`
	PayloadType string            `json:"payloadType"`
	Signatures  []recordSignature `json:"signatures"`
}

type recordSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// SealRecord signs a statement about subject as a record: in a DSSE envelope, under a
// payload type that no other tool takes for a signature of the image. keyid is the
// key's fingerprint, and proves nothing. key is one that [CheckKey] accepts. The same
// input gives the same bytes but for a key held by a device.
func SealRecord(subject ocispec.Descriptor, att Attestation, key crypto.Signer) ([]byte, error) {
	payload, err := Statement(subject, att)
	if err != nil {
		return nil, err
	}
	sig, err := signMessage(key, dsse.PAE(predicate.RecordPayloadType, payload))
	if err != nil {
		return nil, err
	}
	name, err := Fingerprint(key)
	if err != nil {
		return nil, err
	}
	return marshal(recordEnvelope{Payload: payload, PayloadType: predicate.RecordPayloadType, Signatures: []recordSignature{{name, sig}}})
}

// AttachRecord attaches a sealed record to subject. predicateType is that of the
// statement in it. One that an earlier version sealed as a Sigstore bundle is attached
// in the same way, so that cosign does not find it.
func AttachRecord(subject ocispec.Descriptor, data []byte, predicateType string) (Artifact, error) {
	return pack(packing{
		artifactType: MediaTypeRecord,
		config:       emptyConfig(),
		layers:       []Blob{newBlob(MediaTypeRecord, data)},
		subject:      &subject,
		annotations:  map[string]string{annotationStatementType: predicateType},
	})
}

// annotationStatementType names the predicate type, as BuildKit does of its statements
// (moby/buildkit, docs/attestations/attestation-storage.md). It is not signed.
const annotationStatementType = "in-toto.io/predicate-type"

// SealedType is the media type under which a sealed record is kept in a bundle's head:
// that of a Sigstore bundle for one that an earlier version sealed.
func SealedType(data []byte) string {
	var head struct {
		MediaType string `json:"mediaType"`
	}
	if json.Unmarshal(data, &head) == nil && strings.HasPrefix(head.MediaType, "application/vnd.dev.sigstore.bundle") {
		return MediaTypeBundle
	}
	return MediaTypeRecord
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
