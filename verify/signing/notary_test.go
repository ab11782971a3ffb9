package signing

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	corecrl "github.com/notaryproject/notation-core-go/revocation/crl"
	"github.com/notaryproject/notation-core-go/revocation/purpose"
	corex509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content/memory"
)

// memStore trusts the same certificates whatever it is asked for.
type memStore []*x509.Certificate

func (s memStore) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return s, nil
}

// carriedCRLs has revocation lists by address and fetches none.
type carriedCRLs map[string]*x509.RevocationList

func (c carriedCRLs) Fetch(_ context.Context, url string) (*corecrl.Bundle, error) {
	if crl, ok := c[url]; ok {
		return &corecrl.Bundle{BaseCRL: crl}, nil
	}
	return nil, fmt.Errorf("no revocation list for %s was carried", url)
}

// noNetwork fails the test that dials.
type noNetwork struct{ t *testing.T }

func (n noNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	n.t.Errorf("verification dialled %s", r.URL)
	return nil, errors.New("no network")
}

const notaryRef = "registry.example/app"

// notaryVerify verifies the artifact's one layer with notation's own verifier
// under a strict policy that trusts only root and, if given, only identity.
func notaryVerify(t *testing.T, a Artifact, subject ocispec.Descriptor, root *x509.Certificate, identity string, crls carriedCRLs) (*notation.VerificationOutcome, error) {
	t.Helper()
	if identity == "" {
		identity = "*"
	}
	policy := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name:                  "strict",
		RegistryScopes:        []string{notaryRef},
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: "strict"},
		TrustStores:           []string{"ca:test"},
		TrustedIdentities:     []string{identity},
	}}}
	opts := verifier.VerifierOptions{}
	for p, v := range map[purpose.Purpose]*revocation.Validator{
		purpose.CodeSigning:  &opts.RevocationCodeSigningValidator,
		purpose.Timestamping: &opts.RevocationTimestampingValidator,
	} {
		var err error
		*v, err = revocation.NewWithOptions(revocation.Options{
			OCSPHTTPClient:   &http.Client{Transport: noNetwork{t}},
			CRLFetcher:       crls,
			CertChainPurpose: p,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	v, err := verifier.NewWithOptions(policy, memStore{root}, nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	desc, data := layer(t, a, 0)
	return v.Verify(t.Context(), subject, data, notation.VerifierVerifyOptions{
		ArtifactReference:  notaryRef + "@" + subject.Digest.String(),
		SignatureMediaType: desc.MediaType,
		UserMetadata:       map[string]string{"ticket": "42"},
	})
}

func newKeyOn(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// chains are the kinds of key and chain that Notary takes.
func chains(t *testing.T) map[string]Chain {
	t.Helper()
	out := make(map[string]Chain)
	add := func(name string, c Chain, err error) {
		if err != nil {
			t.Fatal(err)
		}
		out[name] = c
	}
	c, err := NewTestChain("signer")
	add("ECDSA", c, err)
	ca, err := NewTestCA("root", TestOptions{RSA: true})
	if err != nil {
		t.Fatal(err)
	}
	c, err = ca.Issue("signer", TestOptions{RSA: true})
	add("RSA", c, err)
	middle, err := ca.IssueCA("middle", TestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c, err = middle.Issue("signer", TestOptions{})
	add("three certificates", c, err)
	c, err = new(TestCA).Issue("signer", TestOptions{})
	add("self-signed", c, err)
	return out
}

func TestNotaryVerifies(t *testing.T) {
	stranger := seededChain(t, "stranger")
	subject, other := subjectOf("image"), subjectOf("other")
	for name, chain := range chains(t) {
		if err := corex509.ValidateCodeSigningCertChain(chain.Certs, &testTime); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for format, media := range map[NotaryFormat]string{NotaryJWS: "application/jose+json", NotaryCOSE: "application/cose"} {
			t.Run(name+" "+media, func(t *testing.T) {
				a, err := Notary(subject, chain, NotaryOptions{Format: format, Metadata: map[string]string{"ticket": "42"}})
				if err != nil {
					t.Fatal(err)
				}
				outcome, err := notaryVerify(t, a, subject, chain.Root(), "x509.subject: C=XX, ST=Test, O=airgap test, CN=signer", nil)
				if err != nil {
					t.Fatal(err)
				}
				if got := outcome.EnvelopeContent.Payload.ContentType; got != "application/vnd.cncf.notary.payload.v1+json" {
					t.Errorf("payload type is %q", got)
				}
				if _, err := notaryVerify(t, a, other, chain.Root(), "", nil); err == nil {
					t.Error("verified for another image")
				}
				if _, err := notaryVerify(t, a, subject, stranger.Root(), "", nil); err == nil {
					t.Error("verified under a root that has nothing to do with it")
				}
				if _, err := notaryVerify(t, a, subject, chain.Root(), "x509.subject: C=XX, ST=Test, O=airgap test, CN=else", nil); err == nil {
					t.Error("verified for another identity")
				}
			})
		}
	}
}

// TestNotaryCurves: the width of an ECDSA signature in an envelope depends on
// the curve; P-521 is the one that is not a whole number of bytes.
func TestNotaryCurves(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P384(), elliptic.P521()} {
		key := newKeyOn(t, curve)
		template, err := testTemplate("signer", key, false, TestOptions{})
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		for _, format := range []NotaryFormat{NotaryJWS, NotaryCOSE} {
			a, err := Notary(subjectOf("image"), Chain{Key: key, Certs: []*x509.Certificate{cert}},
				NotaryOptions{Format: format, Metadata: map[string]string{"ticket": "42"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := notaryVerify(t, a, subjectOf("image"), cert, "", nil); err != nil {
				t.Errorf("%s: %v", curve.Params().Name, err)
			}
		}
	}
}

func TestNotaryTimes(t *testing.T) {
	subject, now := subjectOf("image"), time.Now()
	opts := TestOptions{InsecureSeed: "times", NotAfter: now.AddDate(0, 0, -1)}
	ca, err := NewTestCA("times root", TestOptions{InsecureSeed: "times"})
	if err != nil {
		t.Fatal(err)
	}
	expired, err := ca.Issue("expired", opts)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Notary(subject, expired, NotaryOptions{}); err == nil {
		t.Error("signed with an expired certificate")
	}
	// Without a timestamp from elsewhere the signing time is hearsay.
	sign := func(chain Chain, o NotaryOptions) Artifact {
		o.Metadata = map[string]string{"ticket": "42"}
		a, err := Notary(subject, chain, o)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := sign(expired, NotaryOptions{SigningTime: now.AddDate(0, 0, -2)})
	if _, err := notaryVerify(t, a, subject, ca.Certs[0], "", nil); err == nil {
		t.Error("verified although the certificate has expired")
	}
	valid := seededChain(t, "signer")
	a = sign(valid, NotaryOptions{SigningTime: now.AddDate(0, 0, -2), Expiry: now.AddDate(0, 0, -1)})
	if _, err := notaryVerify(t, a, subject, valid.Root(), "", nil); err == nil {
		t.Error("verified although the signature has expired")
	}
	a = sign(valid, NotaryOptions{Expiry: now.AddDate(0, 0, 1)})
	if _, err := notaryVerify(t, a, subject, valid.Root(), "", nil); err != nil {
		t.Error(err)
	}
}

// TestNotaryRevocation shows what a TestCA is good for: its certificates can
// point to revocation information, and it can revoke.
func TestNotaryRevocation(t *testing.T) {
	const url = "http://crl.example/ca.crl"
	subject := subjectOf("image")
	ca, err := NewTestCA("root", TestOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(opts TestOptions) (Artifact, Chain) {
		chain, err := ca.Issue("signer", opts)
		if err != nil {
			t.Fatal(err)
		}
		a, err := Notary(subject, chain, NotaryOptions{Metadata: map[string]string{"ticket": "42"}})
		if err != nil {
			t.Fatal(err)
		}
		return a, chain
	}
	a, chain := sign(TestOptions{CRL: url})
	list := func(revoked ...x509.RevocationListEntry) carriedCRLs {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
			Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
			RevokedCertificateEntries: revoked,
		}, ca.Certs[0], ca.Key)
		if err != nil {
			t.Fatal(err)
		}
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		return carriedCRLs{url: crl}
	}
	revoked := x509.RevocationListEntry{SerialNumber: chain.Certs[0].SerialNumber, RevocationTime: time.Now().Add(-time.Minute)}
	if _, err := notaryVerify(t, a, subject, chain.Root(), "", list()); err != nil {
		t.Errorf("with a clean list: %v", err)
	}
	if _, err := notaryVerify(t, a, subject, chain.Root(), "", list(revoked)); err == nil {
		t.Error("verified although revoked")
	}
	if _, err := notaryVerify(t, a, subject, chain.Root(), "", nil); err == nil {
		t.Error("verified without the list the certificate points to")
	}
}

func TestNotaryManifest(t *testing.T) {
	chain := seededChain(t, "signer")
	a, err := Notary(subjectOf("image"), chain, NotaryOptions{SigningTime: testTime})
	if err != nil {
		t.Fatal(err)
	}
	m := manifest(t, a)
	var prints []string
	if err := json.Unmarshal([]byte(m.Annotations["io.cncf.notary.x509chain.thumbprint#S256"]), &prints); err != nil || len(prints) != len(chain.Certs) || len(prints[0]) != 64 {
		t.Errorf("thumbprints are %q (%v)", prints, err)
	}
	if got := m.Annotations[ocispec.AnnotationCreated]; got != "2026-01-02T03:04:05Z" {
		t.Errorf("created is %q", got)
	}
}

// TestNotationFindsInLayout records why TypeInConfig exists: outside a registry
// notation 1.3 looks at config.mediaType only. When this test fails because it
// found two, say so in the documentation of the option.
func TestNotationFindsInLayout(t *testing.T) {
	chain, store := seededChain(t, "signer"), memory.New()
	image := newBlob(ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2}`))
	want := ocispec.Descriptor{}
	for _, inConfig := range []bool{false, true} {
		a, err := Notary(image.Desc, chain, NotaryOptions{SigningTime: testTime, TypeInConfig: inConfig})
		if err != nil {
			t.Fatal(err)
		}
		if err := push(t.Context(), store, append(a.Blobs, Blob{a.Manifest, a.Raw})...); err != nil {
			t.Fatal(err)
		}
		want = a.Manifest
	}
	err := registry.NewRepository(store).ListSignatures(t.Context(), image.Desc, func(found []ocispec.Descriptor) error {
		if len(found) != 1 || found[0].Digest != want.Digest {
			t.Errorf("notation found %d: %v", len(found), found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
