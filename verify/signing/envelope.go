package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// ErrEnvelope says that something is no DSSE envelope, not in the one form that
// [SealEnvelope] writes, or of another payload type.
var ErrEnvelope = errors.New("not such an envelope")

// maxEnvelopeSignatures is how many signatures an envelope may have.
const maxEnvelopeSignatures = 16

// Envelope is a DSSE envelope (secure-systems-lab/dsse, envelope.md, v1): bytes of a
// stated type, and signatures over both. Nothing in it is to be believed before
// [Envelope.SignedBy] has said so.
type Envelope struct {
	PayloadType string
	Payload     []byte
	signatures  [][]byte
}

// envelopeJSON has the fields in the order in which the library writes them.
type envelopeJSON struct {
	Payload     []byte              `json:"payload"`
	PayloadType string              `json:"payloadType"`
	Signatures  []envelopeSignature `json:"signatures"`
}

type envelopeSignature struct {
	Sig []byte `json:"sig"`
}

// SealEnvelope puts a payload into an envelope, signed with key, which [CheckKey] has
// to accept. Without a key it has no signatures: a claim of whoever hands it over. The
// same input gives the same bytes. Its error matches ErrKey or ErrContent.
func SealEnvelope(payloadType string, payload []byte, key crypto.Signer) ([]byte, error) {
	if payloadType == "" || payload == nil {
		return nil, fmt.Errorf("%w: an envelope has a payload, and the payload a type", ErrContent)
	}
	e := envelopeJSON{Payload: payload, PayloadType: payloadType, Signatures: []envelopeSignature{}}
	if key != nil {
		sig, err := signMessage(key, dsse.PAE(payloadType, payload))
		if err != nil {
			return nil, err
		}
		e.Signatures = append(e.Signatures, envelopeSignature{sig})
	}
	return marshal(e)
}

// OpenEnvelope reads an envelope with a payload of that type, in exactly the form in
// which it is written. It checks no signature. Its error matches ErrEnvelope.
func OpenEnvelope(data []byte, payloadType string) (*Envelope, error) {
	var e envelopeJSON
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEnvelope, err)
	}
	if e.PayloadType != payloadType {
		return nil, fmt.Errorf("%w: the payload is of type %.100q, want %q", ErrEnvelope, e.PayloadType, payloadType)
	}
	if len(e.Signatures) > maxEnvelopeSignatures {
		return nil, fmt.Errorf("%w: %d signatures, at most %d are accepted", ErrEnvelope, len(e.Signatures), maxEnvelopeSignatures)
	}
	again, err := marshal(e)
	absent := e.Payload == nil || e.Signatures == nil || slices.ContainsFunc(e.Signatures, func(s envelopeSignature) bool { return s.Sig == nil })
	if err != nil || absent || !bytes.Equal(again, data) {
		return nil, fmt.Errorf("%w: it is not in the form in which it is written", ErrEnvelope)
	}
	out := &Envelope{PayloadType: e.PayloadType, Payload: e.Payload}
	for _, s := range e.Signatures {
		out.signatures = append(out.signatures, s.Sig)
	}
	return out, nil
}

// Signed says whether there is any signature, by whomever.
func (e *Envelope) Signed() bool { return len(e.signatures) > 0 }

// SignedBy says whether the holder of key has signed the payload and its type. Keys
// are ECDSA on curve P-256, or Ed25519; none of another kind has signed anything.
func (e *Envelope) SignedBy(key crypto.PublicKey) bool {
	message := dsse.PAE(e.PayloadType, e.Payload)
	for _, sig := range e.signatures {
		switch key := key.(type) {
		case ed25519.PublicKey:
			if len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, sig) {
				return true
			}
		case *ecdsa.PublicKey:
			sum := sha256.Sum256(message)
			if key != nil && key.Curve == elliptic.P256() && ecdsa.VerifyASN1(key, sum[:], sig) {
				return true
			}
		}
	}
	return false
}
