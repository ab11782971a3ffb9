package sigstoretest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// Signing says who signs, when, and what is left out.
type Signing struct {
	// Key signs, or a fresh one that Identity got a certificate for from Issuer.
	Key              *ecdsa.PrivateKey
	Identity, Issuer string
	// At is when the certificate was issued and everything else happened; zero
	// for Moment. LoggedAt and StampedAt are when the log and the timestamp
	// authority say it was, if that is another time.
	At, LoggedAt, StampedAt time.Time
	// NoLog, NoTimestamp and NoSCT leave out a proof.
	NoLog, NoTimestamp, NoSCT bool
	// LogV2 uses the second version of the log, which tells no time. Cosign's
	// layers cannot have it.
	LogV2 bool
	// OldEntry uses the first kind of log entries for attestations,
	// intoto/0.0.1.
	OldEntry bool
}

func (o Signing) at() time.Time { return or(o.At, Moment) }

func or(t, otherwise time.Time) time.Time {
	if t.IsZero() {
		return otherwise
	}
	return t
}

// Layer is one layer of cosign's older forms.
type Layer struct {
	Data        []byte
	Annotations map[string]string
}

// Types of what is signed.
const (
	payloadType       = "application/vnd.in-toto+json"
	predicateSign     = "https://sigstore.dev/cosign/sign/v1"
	simpleSigningType = "cosign container image signature"
	bundleType        = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// Statement writes a statement about each of the subjects.
func Statement(predicateType string, predicate any, subjects ...digest.Digest) ([]byte, error) {
	var subs []any
	for _, d := range subjects {
		subs = append(subs, map[string]any{"name": "app", "digest": map[string]string{d.Algorithm().String(): d.Encoded()}})
	}
	return json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "subject": subs, "predicateType": predicateType, "predicate": predicate,
	})
}

// SignBundle signs subject as cosign 3 does.
func (s *Sigstore) SignBundle(subject digest.Digest, o Signing) ([]byte, error) {
	st, err := Statement(predicateSign, map[string]any{}, subject)
	if err != nil {
		return nil, err
	}
	return s.StatementBundle(st, o)
}

// StatementBundle signs a statement.
func (s *Sigstore) StatementBundle(statement []byte, o Signing) ([]byte, error) {
	b, err := s.bundle(content{statement: statement}, o)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(b)
}

// MessageBundle signs an artifact itself.
func (s *Sigstore) MessageBundle(artifact []byte, o Signing) ([]byte, error) {
	b, err := s.bundle(content{message: artifact}, o)
	if err != nil {
		return nil, err
	}
	return protojson.Marshal(b)
}

// SignLayer signs subject as cosign did before: a layer of the tag ".sig".
func (s *Sigstore) SignLayer(subject digest.Digest, reference string, o Signing) (Layer, error) {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": reference},
			"image":    map[string]any{"docker-manifest-digest": subject},
			"type":     simpleSigningType,
		},
		"optional": map[string]any{"env": "test"},
	})
	if err != nil {
		return Layer{}, err
	}
	return s.PayloadLayer(payload, o)
}

// PayloadLayer signs a payload as it is.
func (s *Sigstore) PayloadLayer(payload []byte, o Signing) (Layer, error) {
	b, err := s.bundle(content{message: payload}, o)
	if err != nil {
		return Layer{}, err
	}
	annotations, err := annotate(b)
	if err != nil {
		return Layer{}, err
	}
	annotations["dev.cosignproject.cosign/signature"] = base64.StdEncoding.EncodeToString(b.GetMessageSignature().GetSignature())
	return Layer{Data: payload, Annotations: annotations}, nil
}

// StatementLayer signs a statement as cosign did before: a layer of the tag ".att".
func (s *Sigstore) StatementLayer(statement []byte, o Signing) (Layer, error) {
	b, err := s.bundle(content{statement: statement}, o)
	if err != nil {
		return Layer{}, err
	}
	data, err := envelopeJSON(b.GetDsseEnvelope())
	if err != nil {
		return Layer{}, err
	}
	annotations, err := annotate(b)
	if err != nil {
		return Layer{}, err
	}
	annotations["dev.cosignproject.cosign/signature"] = ""
	return Layer{Data: data, Annotations: annotations}, nil
}

// content is what is signed: one of both.
type content struct{ message, statement []byte }

// bytes are what the signature is over.
func (c content) bytes() []byte {
	if c.statement != nil {
		return dsse.PAE(payloadType, c.statement)
	}
	return c.message
}

// bundle signs, and has it logged and stamped.
func (s *Sigstore) bundle(c content, o Signing) (*protobundle.Bundle, error) {
	key := o.Key
	if key == nil {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		key = k
	}
	material, by, err := s.vouch(key, o)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(c.bytes())
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return nil, err
	}
	b := &protobundle.Bundle{MediaType: bundleType, VerificationMaterial: material}
	if c.statement != nil {
		b.Content = &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: c.statement, PayloadType: payloadType, Signatures: []*protodsse.Signature{{Sig: sig}},
		}}
	} else {
		b.Content = &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]}, Signature: sig,
		}}
	}
	if !o.NoLog {
		entry, err := s.log(b, by, sum[:], sig, o)
		if err != nil {
			return nil, err
		}
		material.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if !o.NoTimestamp {
		stamp, err := s.Timestamp(sig, or(o.StampedAt, o.at()))
		if err != nil {
			return nil, err
		}
		material.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamp}},
		}
	}
	return b, nil
}

// signedBy is the certificate, or the key, in DER form.
type signedBy struct {
	cert, key []byte
}

func (b signedBy) pem() []byte {
	if b.cert != nil {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b.cert})
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b.key})
}

// vouch says by whom it is signed.
func (s *Sigstore) vouch(key *ecdsa.PrivateKey, o Signing) (*protobundle.VerificationMaterial, signedBy, error) {
	if o.Key != nil {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, signedBy{}, err
		}
		sum := sha256.Sum256(der)
		return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{
			PublicKey: &protocommon.PublicKeyIdentifier{Hint: base64.StdEncoding.EncodeToString(sum[:])},
		}}, signedBy{key: der}, nil
	}
	cert, err := s.certify(o, key.Public())
	if err != nil {
		return nil, signedBy{}, err
	}
	return &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{
		Certificate: &protocommon.X509Certificate{RawBytes: cert.Raw},
	}}, signedBy{cert: cert.Raw}, nil
}

// envelopeJSON writes an envelope as cosign does.
func envelopeJSON(env *protodsse.Envelope) ([]byte, error) {
	return json.Marshal(dsse.Envelope{
		PayloadType: env.GetPayloadType(), Payload: base64.StdEncoding.EncodeToString(env.GetPayload()),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(env.GetSignatures()[0].GetSig())}},
	})
}

// annotate writes what is not the signature as cosign's annotations.
func annotate(b *protobundle.Bundle) (map[string]string, error) {
	out := map[string]string{}
	m := b.GetVerificationMaterial()
	if cert := m.GetCertificate().GetRawBytes(); cert != nil {
		out["dev.sigstore.cosign/certificate"] = string(signedBy{cert: cert}.pem())
		out["dev.sigstore.cosign/chain"] = ""
	}
	if stamps := m.GetTimestampVerificationData().GetRfc3161Timestamps(); len(stamps) > 0 {
		text, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": stamps[0].GetSignedTimestamp()})
		if err != nil {
			return nil, err
		}
		out["dev.sigstore.cosign/rfc3161timestamp"] = string(text)
	}
	if len(m.GetTlogEntries()) > 0 {
		text, err := annotateEntry(m.GetTlogEntries()[0])
		if err != nil {
			return nil, err
		}
		out["dev.sigstore.cosign/bundle"] = text
	}
	return out, nil
}

// annotateEntry writes a log entry as cosign does.
func annotateEntry(e *protorekor.TransparencyLogEntry) (string, error) {
	text, err := json.Marshal(map[string]any{
		"SignedEntryTimestamp": e.GetInclusionPromise().GetSignedEntryTimestamp(),
		"Payload": map[string]any{
			"body": e.GetCanonicalizedBody(), "integratedTime": e.GetIntegratedTime(),
			"logIndex": e.GetLogIndex(), "logID": hex.EncodeToString(e.GetLogId().GetKeyId()),
		},
	})
	return string(text), err
}
