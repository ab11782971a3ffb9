package signing

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"testing"

	attestationv1 "github.com/in-toto/attestation/go/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	sigdsse "github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/payload"
	"google.golang.org/protobuf/encoding/protojson"
	"oras.land/oras-go/v2/content"
)

// push puts blobs into store once.
func push(ctx context.Context, store content.Storage, blobs ...Blob) error {
	for _, b := range blobs {
		if ok, err := store.Exists(ctx, b.Desc); ok || err != nil {
			if err != nil {
				return err
			}
			continue
		}
		if err := store.Push(ctx, b.Desc, bytes.NewReader(b.Data)); err != nil {
			return err
		}
	}
	return nil
}

// cosignVerifier reads the key the way cosign does: from its PEM file.
func cosignVerifier(t *testing.T, key crypto.Signer) signature.Verifier {
	t.Helper()
	pem, err := PublicKeyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	v, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCosignSignatureVerifies(t *testing.T) {
	subject := subjectOf("image")
	keys := []crypto.Signer{InsecureKey("a"), InsecureKey("b")}
	claim := Claim{Reference: "registry.example/app", Annotations: map[string]string{"env": "test"}}
	for name, sign := range map[string]func(ocispec.Descriptor, Claim, ...crypto.Signer) (Artifact, error){
		"tag": CosignSignature, "referrer": CosignSignatureReferrer,
	} {
		t.Run(name, func(t *testing.T) {
			a, err := sign(subject, claim, keys...)
			if err != nil {
				t.Fatal(err)
			}
			for i, key := range keys {
				desc, data := layer(t, a, i)
				sig := fromBase64(t, desc.Annotations["dev.cosignproject.cosign/signature"])
				check := func(k crypto.Signer, payload []byte) error {
					return cosignVerifier(t, k).VerifySignature(bytes.NewReader(sig), bytes.NewReader(payload))
				}
				if err := check(key, data); err != nil {
					t.Errorf("signature %d: %v", i, err)
				}
				if check(keys[1-i], data) == nil {
					t.Errorf("signature %d verifies with the other key", i)
				}
				if check(key, bytes.Replace(data, []byte("test"), []byte("prod"), 1)) == nil {
					t.Errorf("signature %d verifies over another payload", i)
				}
				checkSimpleSigning(t, data, subject, claim)
			}
		})
	}
}

// checkSimpleSigning reads the payload with sigstore's parser.
func checkSimpleSigning(t *testing.T, data []byte, subject ocispec.Descriptor, claim Claim) {
	t.Helper()
	var p payload.Cosign
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	if p.Image.DigestStr() != subject.Digest.String() || p.ClaimedIdentity != claim.Reference || p.Annotations["env"] != "test" {
		t.Errorf("payload says %+v", p)
	}
	again, err := json.Marshal(p)
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("sigstore would write it otherwise (%v):\n%s\n%s", err, again, data)
	}
}

func TestCosignAttestationVerifies(t *testing.T) {
	subject, key := subjectOf("image"), InsecureKey("a")
	want := []Attestation{
		{PredicateType: PredicateSLSAProvenance, Predicate: json.RawMessage(`{"runDetails":{}}`), SubjectName: "registry.example/app"},
		{PredicateType: PredicateSPDX},
	}
	a, err := CosignAttestation(subject, key, want...)
	if err != nil {
		t.Fatal(err)
	}
	for i, att := range want {
		desc, data := layer(t, a, i)
		if desc.Annotations["predicateType"] != att.PredicateType {
			t.Errorf("layer %d is annotated %v", i, desc.Annotations)
		}
		wrap := func(k crypto.Signer) error {
			return sigdsse.WrapVerifier(cosignVerifier(t, k)).VerifySignature(bytes.NewReader(data), nil)
		}
		if err := wrap(key); err != nil {
			t.Errorf("layer %d: %v", i, err)
		}
		if wrap(InsecureKey("b")) == nil {
			t.Errorf("layer %d verifies with another key", i)
		}
		var env dsse.Envelope
		if err := json.Unmarshal(data, &env); err != nil {
			t.Fatal(err)
		}
		body, err := env.DecodeB64Payload()
		if err != nil {
			t.Fatal(err)
		}
		checkStatement(t, body, subject, att)
	}
}

// checkStatement reads the statement with in-toto's parser and its own rules.
func checkStatement(t *testing.T, data []byte, subject ocispec.Descriptor, att Attestation) {
	t.Helper()
	var st attestationv1.Statement
	if err := protojson.Unmarshal(data, &st); err != nil {
		t.Fatal(err)
	}
	if err := st.Validate(); err != nil {
		t.Errorf("%v\n%s", err, data)
	}
	s := st.GetSubject()[0]
	if s.GetDigest()["sha256"] != subject.Digest.Encoded() || s.GetName() != att.SubjectName || st.GetPredicateType() != att.PredicateType {
		t.Errorf("statement says %s", data)
	}
}

func fromBase64(t *testing.T, s string) []byte {
	t.Helper()
	out, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func mustHex(t *testing.T, d digest.Digest) []byte {
	t.Helper()
	out, err := hex.DecodeString(d.Encoded())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestKeyPEM(t *testing.T) {
	key, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	pem, err := PrivateKeyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	back, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !key.Equal(back) {
		t.Error("the key changed on its way through PEM")
	}
	chain := seededChain(t, "signer")
	certs, err := cryptoutils.UnmarshalCertificatesFromPEM(CertificatesPEM(chain.Certs...))
	if err != nil || len(certs) != 2 || !certs[1].Equal(chain.Root()) {
		t.Errorf("certificates did not come back from PEM: %v", err)
	}
}
