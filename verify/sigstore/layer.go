package sigstore

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
)

// Annotations of a layer in cosign's older forms (sigstore/cosign,
// specs/SIGNATURE_SPEC.md). The chain of certificates is read only for those who
// ask: what is between a certificate and a root is in the pinned root.
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationBundle      = "dev.sigstore.cosign/bundle"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// ParseSimpleSigning reads a layer of cosign's older signatures: the payload and
// the layer's annotations, in which the signature is. Its error is a [*Failure].
func ParseSimpleSigning(payload []byte, annotations map[string]string) (e *Envelope, err error) {
	defer recovered(&err)
	if len(payload) > MaxPayloadBytes {
		return nil, tooLarge("payload", len(payload), MaxPayloadBytes)
	}
	simple, err := parsePayload(payload)
	if err != nil {
		return nil, err
	}
	material, err := materialOf(annotations)
	if err != nil {
		return nil, err
	}
	sig, err := decode(annotations, annotationSignature)
	if err != nil {
		return nil, err
	}
	if len(sig) == 0 {
		return nil, failf(Malformed, "the layer has no signature in its annotations")
	}
	sum := sha256.Sum256(payload)
	b, err := newBundle(&protobundle.Bundle{
		VerificationMaterial: material,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     sig,
		}},
	})
	if err != nil {
		return nil, err
	}
	return &Envelope{signed: []*sgbundle.Bundle{b}, simple: simple, artifact: payload, chain: annotations[annotationChain]}, nil
}

// ParseDSSE reads a layer of cosign's older attestations: a DSSE envelope and the
// layer's annotations. Its error is a [*Failure].
func ParseDSSE(envelope []byte, annotations map[string]string) (e *Envelope, err error) {
	defer recovered(&err)
	if len(envelope) > MaxEnvelopeBytes {
		return nil, tooLarge("envelope", len(envelope), MaxEnvelopeBytes)
	}
	env, err := parseEnvelope(envelope)
	if err != nil {
		return nil, err
	}
	e = &Envelope{logged: envelope, chain: annotations[annotationChain]}
	if err := e.read(env.PayloadType, env.Payload); err != nil {
		return nil, err
	}
	for _, sig := range env.Signatures {
		material, err := materialOf(annotations)
		if err != nil {
			return nil, err
		}
		alone := &protodsse.Envelope{Payload: env.Payload, PayloadType: env.PayloadType, Signatures: []*protodsse.Signature{sig}}
		b, err := newBundle(&protobundle.Bundle{
			VerificationMaterial: material,
			Content:              &protobundle.Bundle_DsseEnvelope{DsseEnvelope: alone},
		})
		if err != nil {
			return nil, err
		}
		e.signed = append(e.signed, b)
	}
	return e, nil
}

// parseEnvelope reads a DSSE envelope (secure-systems-lab/dsse, envelope.md).
func parseEnvelope(raw []byte) (*protodsse.Envelope, error) {
	if err := checkUnique(raw); err != nil {
		return nil, failf(Malformed, "envelope: %w", err)
	}
	if _, err := object(raw, "payload", "payloadType", "signatures"); err != nil {
		return nil, failf(Malformed, "envelope: %w", err)
	}
	var env struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			Sig []byte `json:"sig"`
		} `json:"signatures"`
	}
	if err := json.Unmarshal(raw, &env); err != nil {
		return nil, failf(Malformed, "envelope: %w", err)
	}
	if n := len(env.Signatures); n == 0 || n > MaxSignatures {
		return nil, failf(Malformed, "envelope with %d signatures, between 1 and %d are accepted", n, MaxSignatures)
	}
	out := &protodsse.Envelope{Payload: env.Payload, PayloadType: env.PayloadType}
	for _, sig := range env.Signatures {
		out.Signatures = append(out.Signatures, &protodsse.Signature{Sig: sig.Sig})
	}
	return out, nil
}

// newBundle completes a bundle of the oldest version: the only one that does
// without a proof that a log entry is in the log, of which cosign's annotations
// have but the log's promise.
func newBundle(b *protobundle.Bundle) (*sgbundle.Bundle, error) {
	if err := checkSizes(b.GetVerificationMaterial()); err != nil {
		return nil, err
	}
	b.MediaType = bundleTypes + "+json;version=0.1"
	out, err := sgbundle.NewBundle(b)
	if err != nil {
		return nil, failf(Malformed, "%w", err)
	}
	if _, err := out.VerificationContent(); err != nil {
		return nil, failf(Malformed, "certificate: %w", err)
	}
	return out, nil
}

// materialOf translates what the annotations say of key, log and time.
func materialOf(annotations map[string]string) (*protobundle.VerificationMaterial, error) {
	for name, value := range annotations {
		if len(value) > MaxAnnotationBytes {
			return nil, tooLarge(fmt.Sprintf("annotation %.100q", name), len(value), MaxAnnotationBytes)
		}
	}
	m := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}},
	}
	if text := annotations[annotationCertificate]; text != "" {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, failf(Malformed, "annotation %s is no certificate in PEM form", annotationCertificate)
		}
		// The leaf alone: what is above it must be pinned.
		m.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}},
		}}
	}
	entry, err := entryOf(annotations[annotationBundle])
	if err != nil {
		return nil, err
	}
	if entry != nil {
		m.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	stamp, err := timestampOf(annotations[annotationTimestamp])
	if err != nil {
		return nil, err
	}
	if stamp != nil {
		m.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp}},
		}
	}
	return m, nil
}

// entryOf translates cosign's "bundle": a log entry and the log's signed promise
// to include it. Nil for none.
func entryOf(text string) (*protorekor.TransparencyLogEntry, error) {
	if text == "" || text == "null" {
		return nil, nil
	}
	if err := checkUnique([]byte(text)); err != nil {
		return nil, failf(Malformed, "annotation %s: %w", annotationBundle, err)
	}
	var b struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		return nil, failf(Malformed, "annotation %s: %w", annotationBundle, err)
	}
	id, err := hex.DecodeString(b.Payload.LogID)
	if err != nil {
		return nil, failf(Malformed, "annotation %s: log: %w", annotationBundle, err)
	}
	var kind struct {
		Kind    string `json:"kind"`
		Version string `json:"apiVersion"`
	}
	if err := json.Unmarshal(b.Payload.Body, &kind); err != nil {
		return nil, failf(Malformed, "annotation %s: entry: %w", annotationBundle, err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          b.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.Version},
		IntegratedTime:    b.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: b.SignedEntryTimestamp},
		CanonicalizedBody: b.Payload.Body,
	}, nil
}

// timestampOf translates cosign's timestamp. Nil for none.
func timestampOf(text string) ([]byte, error) {
	if text == "" || text == "null" {
		return nil, nil
	}
	if err := checkUnique([]byte(text)); err != nil {
		return nil, failf(Malformed, "annotation %s: %w", annotationTimestamp, err)
	}
	var t struct{ SignedRFC3161Timestamp []byte }
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return nil, failf(Malformed, "annotation %s: %w", annotationTimestamp, err)
	}
	return t.SignedRFC3161Timestamp, nil
}

func decode(annotations map[string]string, name string) ([]byte, error) {
	out, err := base64.StdEncoding.DecodeString(annotations[name])
	if err != nil {
		return nil, failf(Malformed, "annotation %s: %w", name, err)
	}
	return out, nil
}
