package sigstore

import (
	"bytes"
	"crypto"
	"encoding/json"
	"testing"

	"airgap/verify/predicate"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// subject is image as a descriptor.
var subject = ocispec.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: image, Size: 7}

func sealedRecord(t *testing.T, typ string, key crypto.Signer) []byte {
	return must[[]byte](t)(signing.SealRecord(subject, signing.Attestation{PredicateType: typ, Predicate: []byte(`{"a":"<b>"}`)}, key))
}

// TestRecords: a custody record is a statement by a key, about its image; never a
// signature, and nobody's that has no key.
func TestRecords(t *testing.T) {
	key, other := signing.InsecureKey("key"), signing.InsecureKey("other")
	const typ = "urn:airgap:custody:promote:v1"
	e := must[*Envelope](t)(ParseRecord(sealedRecord(t, typ, key)))
	_, pinned := newSigstore(t)
	for _, m := range []Material{{}, pinned} {
		s, err := e.Verify(image, m, Want{Key: key.Public(), NoLog: true})
		if err != nil || s.IsSignature || s.PredicateType != typ || string(s.Predicate) != `{"a":"<b>"}` || s.Signer != e.Claimed() || !s.Time.IsZero() {
			t.Errorf("%+v, %v; claimed %s", s, err, e.Claimed())
		}
	}
	for name, c := range map[string]struct {
		subject digest.Digest
		m       Material
		want    Want
		reason  Reason
	}{
		"another image": {elsewhere, Material{}, Want{Key: key.Public()}, WrongSubject},
		"another key":   {image, Material{}, Want{Key: other.Public()}, WrongKey},
		"an identity":   {image, pinned, wantID, WrongIdentity},
		"a log entry":   {image, pinned, Want{Key: key.Public(), RequireLog: true}, NoLogEntry},
		"a pinned log":  {image, pinned, Want{Key: key.Public()}, NoLogEntry},
		"nobody":        {image, Material{}, Want{}, Unsupported},
	} {
		if _, err := e.Verify(c.subject, c.m, c.want); reason(t, err) != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Even one of the type of a signature.
	e = must[*Envelope](t)(ParseRecord(sealedRecord(t, predicate.CosignSign, key)))
	s, err := e.Verify(image, Material{}, Want{Key: key.Public()})
	if isSignature, _, _ := e.Kind(); err != nil || s.IsSignature || isSignature {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestChangedRecords: a record that is changed is none, and not by the key it names.
func TestChangedRecords(t *testing.T) {
	key := signing.InsecureKey("key")
	good := sealedRecord(t, "urn:x", key)
	for i := range good {
		for _, bit := range []byte{1, 0x20} {
			bad := bytes.Clone(good)
			bad[i] ^= bit
			e, err := ParseRecord(bad)
			if err != nil {
				continue
			}
			s, err := e.Verify(image, Material{}, Want{Key: key.Public()})
			if err == nil && string(e.record.Payload) != string(must[*Envelope](t)(ParseRecord(good)).record.Payload) {
				t.Errorf("byte %d: %+v", i, s)
			}
		}
	}
}

// TestRecordInBundle: what was signed as a record cannot be made into what other tools
// take: neither under its own payload type nor under that of statements.
func TestRecordInBundle(t *testing.T) {
	key := signing.InsecureKey("key")
	var r record
	if err := json.Unmarshal(sealedRecord(t, predicate.CosignSign, key), &r); err != nil {
		t.Fatal(err)
	}
	for payloadType, want := range map[string]Reason{predicate.RecordPayloadType: Unsupported, "application/vnd.in-toto+json": WrongKey} {
		env := map[string]any{"payload": r.Payload, "payloadType": payloadType, "signatures": []any{map[string]any{"sig": r.Signatures[0].Sig}}}
		bundle := must[[]byte](t)(json.Marshal(map[string]any{
			"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": env,
			"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": ""}},
		}))
		e := must[*Envelope](t)(ParseBundle(bundle))
		if _, err := e.Verify(image, Material{}, Want{Key: key.Public()}); reason(t, err) != want {
			t.Errorf("bundle, %s: %v", payloadType, err)
		}
		e = must[*Envelope](t)(ParseDSSE(must[[]byte](t)(json.Marshal(env)), nil))
		if _, err := e.Verify(image, Material{}, Want{Key: key.Public()}); reason(t, err) != want {
			t.Errorf("layer, %s: %v", payloadType, err)
		}
	}
}
