package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// bundleVerify verifies with sigstore-go, trusting key and nothing else.
func bundleVerify(t *testing.T, data []byte, d digest.Digest, key crypto.Signer) (*verify.VerificationResult, error) {
	t.Helper()
	var b sgbundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		return nil, err
	}
	trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(cosignVerifier(t, key), time.Time{}, time.Time{}), nil
	})
	v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	if err != nil {
		t.Fatal(err)
	}
	sum := mustHex(t, d)
	return v.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest(d.Algorithm().String(), sum), verify.WithKey()))
}

func TestBundleVerifies(t *testing.T) {
	t.Run("ECDSA", func(t *testing.T) { bundleVerifies(t, InsecureKey("a")) })
	t.Run("Ed25519", func(t *testing.T) { bundleVerifies(t, ed25519.NewKeyFromSeed(make([]byte, 32))) })
}

// Other keys are refused before anything is signed.
func TestCheckKey(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for what, key := range map[string]crypto.Signer{"none": nil, "P-384": p384} {
		if _, err := BundleAttestation(subjectOf("image"), Attestation{PredicateType: PredicateSPDX}, key); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func bundleVerifies(t *testing.T, key crypto.Signer) {
	subject := subjectOf("image")
	for _, att := range []Attestation{
		{PredicateType: PredicateCosignSign},
		{PredicateType: PredicateSLSAProvenance, Predicate: json.RawMessage(`{"runDetails":{"builder":{"id":"x"}}}`), SubjectName: "app"},
		{PredicateType: PredicateSPDX, Predicate: json.RawMessage(`{"spdxVersion":"SPDX-2.3"}`)},
	} {
		t.Run(att.PredicateType, func(t *testing.T) {
			a, err := BundleAttestation(subject, att, key)
			if err != nil {
				t.Fatal(err)
			}
			_, data := layer(t, a, 0)
			res, err := bundleVerify(t, data, subject.Digest, key)
			if err != nil {
				t.Fatal(err)
			}
			if got := res.Statement.GetPredicateType(); got != att.PredicateType {
				t.Errorf("signed predicate type is %q", got)
			}
			if _, err := bundleVerify(t, data, subjectOf("other").Digest, key); err == nil {
				t.Error("verified for another image")
			}
			if _, err := bundleVerify(t, data, subject.Digest, InsecureKey("b")); err == nil {
				t.Error("verified with another key")
			}
			if _, err := bundleVerify(t, tamper(t, data), subject.Digest, key); err == nil {
				t.Error("verified after a change")
			}
		})
	}
}

// tamper replaces the signed statement by one about the same image.
func tamper(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bundle
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	env, err := signStatement(subjectOf("image"), Attestation{PredicateType: "https://example.com/forged"}, InsecureKey("b"))
	if err != nil {
		t.Fatal(err)
	}
	b.Envelope.Payload = env.Payload
	out, err := marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBundleIsCanonical: what sigstore-go makes of our bundle is, white space
// aside, our bundle; it knows every field and misses none.
func TestBundleIsCanonical(t *testing.T) {
	key := InsecureKey("a")
	a, err := BundleSignature(subjectOf("image"), key)
	if err != nil {
		t.Fatal(err)
	}
	_, data := layer(t, a, 0)
	var b sgbundle.Bundle
	if err := b.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	again, err := b.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, again); err != nil {
		t.Fatal(err)
	}
	if compact.String() != string(data) {
		t.Errorf("sigstore-go writes\n%s\nwe write\n%s", compact.String(), data)
	}
	hint, err := KeyHint(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.GetVerificationMaterial().GetPublicKey().GetHint(); got != hint {
		t.Errorf("hint is %q, want %q", got, hint)
	}
}

// TestBundleSignatureIsCosigns: a plain signature is the statement that cosign 3
// makes, and its manifest says so.
func TestBundleSignatureIsCosigns(t *testing.T) {
	subject := subjectOf("image")
	a, err := BundleSignature(subject, InsecureKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	_, data := layer(t, a, 0)
	var b bundle
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatal(err)
	}
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + subject.Digest.Encoded() +
		`"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`
	if got := string(fromBase64(t, b.Envelope.Payload)); got != want {
		t.Errorf("statement is\n%s\nwant\n%s", got, want)
	}
	m := manifest(t, a)
	for k, want := range map[string]string{
		"dev.sigstore.bundle.content":       "dsse-envelope",
		"dev.sigstore.bundle.predicateType": "https://sigstore.dev/cosign/sign/v1",
	} {
		if got := m.Annotations[k]; got != want {
			t.Errorf("annotation %s is %q, want %q", k, got, want)
		}
	}
	if _, ok := m.Annotations[ocispec.AnnotationCreated]; ok {
		t.Error("a creation time makes the same signature differ")
	}
}
