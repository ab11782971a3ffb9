package signing

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"airgap/verify/predicate"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Types of the in-toto attestation framework, v1
// (in-toto/attestation, spec/v1/statement.md and envelope.md).
const (
	statementType = "https://in-toto.io/Statement/v1"
	payloadInToto = "application/vnd.in-toto+json"
)

// Predicate types of well-known statements, for [Attestation.PredicateType].
const (
	// PredicateSLSAProvenance says how the image was built.
	PredicateSLSAProvenance = predicate.SLSAProvenance1
	// PredicateSPDX and PredicateCycloneDX say what is in it.
	PredicateSPDX      = predicate.SPDX
	PredicateCycloneDX = predicate.CycloneDX
	// PredicateCosignSign is what cosign 3 makes of a plain signature.
	PredicateCosignSign = predicate.CosignSign
)

// An Attestation is a statement about an image, before it is signed.
type Attestation struct {
	// PredicateType says what kind of statement it is. Required.
	PredicateType string
	// Predicate is the statement, a JSON object. Nil means an empty one.
	// White space between its tokens is dropped.
	Predicate json.RawMessage
	// SubjectName names the subject beside its digest; usually the repository.
	// May be empty. Verifiers go by the digest.
	SubjectName string
}

// statement is an in-toto statement. The field order is that of the spec and
// of the tools, so that what we write reads like what they write.
type statement struct {
	Type          string             `json:"_type"`
	Subject       []statementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     json.RawMessage    `json:"predicate"`
}

type statementSubject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"` // hex by algorithm
}

// Statement writes the statement that att makes about subject, unsigned. Its error
// matches ErrContent.
func Statement(subject ocispec.Descriptor, att Attestation) ([]byte, error) {
	if err := checkSubject(subject); err != nil {
		return nil, err
	}
	if att.PredicateType == "" {
		return nil, fmt.Errorf("%w: the attestation has no predicate type; name one, such as %s", ErrContent, PredicateSLSAProvenance)
	}
	predicate := att.Predicate
	if predicate == nil {
		predicate = json.RawMessage("{}")
	}
	if !json.Valid(predicate) || bytes.TrimLeft(predicate, " \t\r\n")[0] != '{' {
		return nil, fmt.Errorf("%w: the predicate of type %s is not a JSON object", ErrContent, att.PredicateType)
	}
	return marshal(statement{
		Type: statementType,
		Subject: []statementSubject{{
			Name:   att.SubjectName,
			Digest: map[string]string{subject.Digest.Algorithm().String(): subject.Digest.Encoded()},
		}},
		PredicateType: att.PredicateType,
		Predicate:     predicate,
	})
}

// signStatement puts the statement into a signed DSSE envelope. The key ID is
// left empty, as cosign leaves it: it is not signed and would only mislead.
func signStatement(subject ocispec.Descriptor, att Attestation, key crypto.Signer) (dsse.Envelope, error) {
	payload, err := Statement(subject, att)
	if err != nil {
		return dsse.Envelope{}, err
	}
	sig, err := signMessage(key, dsse.PAE(payloadInToto, payload))
	if err != nil {
		return dsse.Envelope{}, err
	}
	return dsse.Envelope{
		PayloadType: payloadInToto,
		Payload:     base64.StdEncoding.EncodeToString(payload),
		Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	}, nil
}
