package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"airgap/verify/signing"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// The checks here are those of notation and of cosign, made with their own
// libraries. airgap has no part in them.

// oneRoot is a notation trust store with one certificate in it.
type oneRoot struct{ cert *x509.Certificate }

func (r oneRoot) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return []*x509.Certificate{r.cert}, nil
}

// checkNotary returns a check that trusts the signer of chain and nobody else.
func checkNotary(chain signing.Chain) func(context.Context, ocispec.Descriptor, ocispec.Descriptor, []byte) error {
	return func(ctx context.Context, subject, layer ocispec.Descriptor, data []byte) error {
		name := chain.Certs[0].Subject.CommonName
		policy := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
			Name:                  "demo",
			RegistryScopes:        []string{"*"},
			SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: "strict"},
			TrustStores:           []string{"ca:demo"},
			TrustedIdentities:     []string{"x509.subject: C=XX, ST=Test, O=airgap test, CN=" + name},
		}}}
		v, err := verifier.NewWithOptions(policy, oneRoot{chain.Root()}, nil, verifier.VerifierOptions{})
		if err != nil {
			return err
		}
		_, err = v.Verify(ctx, bare(subject), data, notation.VerifierVerifyOptions{
			// A policy is picked by repository; this one is for all of them.
			ArtifactReference:  "registry.example/app@" + subject.Digest.String(),
			SignatureMediaType: layer.MediaType,
		})
		return err
	}
}

// bare keeps what identifies content, which is all that a signature covers.
func bare(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// releaseKey is a key of the kind `cosign generate-key-pair` makes.
type releaseKey struct {
	key      *ecdsa.PrivateKey
	verifier signature.Verifier // has the public half only
}

func newReleaseKey() (*releaseKey, error) {
	key, err := signing.GenerateKey()
	if err != nil {
		return nil, err
	}
	v, err := signature.LoadVerifier(key.Public(), crypto.SHA256)
	return &releaseKey{key, v}, err
}

// checkBundle returns a check of a Sigstore bundle with a statement of one type.
func (k *releaseKey) checkBundle(predicateType string) func(context.Context, ocispec.Descriptor, ocispec.Descriptor, []byte) error {
	return func(_ context.Context, subject, _ ocispec.Descriptor, data []byte) error {
		var b sgbundle.Bundle
		if err := b.UnmarshalJSON(data); err != nil {
			return err
		}
		trusted := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
			return root.NewExpiringKey(k.verifier, time.Time{}, time.Time{}), nil
		})
		// A key without a transparency log has nobody who saw it sign.
		v, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
		if err != nil {
			return err
		}
		sum, err := hex.DecodeString(subject.Digest.Encoded())
		if err != nil {
			return err
		}
		res, err := v.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest(subject.Digest.Algorithm().String(), sum), verify.WithKey()))
		if err == nil && res.Statement.GetPredicateType() != predicateType {
			err = fmt.Errorf("the statement is of type %q, not %q", res.Statement.GetPredicateType(), predicateType)
		}
		return err
	}
}

// checkSimpleSigning checks the layer of a cosign tag: the payload names the
// subject and the annotation holds a signature over the payload.
func (k *releaseKey) checkSimpleSigning(_ context.Context, subject, layer ocispec.Descriptor, data []byte) error {
	sig, err := base64.StdEncoding.DecodeString(layer.Annotations["dev.cosignproject.cosign/signature"])
	if err != nil {
		return err
	}
	if err := k.verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(data)); err != nil {
		return err
	}
	var p payload.Cosign
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	if p.Image.DigestStr() != subject.Digest.String() {
		return fmt.Errorf("it signs %s, not %s", p.Image.DigestStr(), subject.Digest)
	}
	return nil
}

// verifySignatures fetches every signature from repo and checks it against the
// subject it has to be about. It returns how many there were.
func verifySignatures(ctx context.Context, repo repository, list []attachment) (int, error) {
	n := 0
	for _, a := range list {
		if a.check == nil {
			continue
		}
		if err := verifyOne(ctx, repo, a); err != nil {
			return n, fmt.Errorf("%s on %s, as fetched from %s: %w", a.what, a.on, repo, err)
		}
		n++
	}
	if n == 0 {
		return 0, errors.New("there was no signature to verify")
	}
	return n, nil
}

func verifyOne(ctx context.Context, repo repository, a attachment) error {
	raw, _, err := repo.manifest(ctx, a.artifact.Manifest.Digest.String())
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return err
	}
	if len(m.Layers) != 1 {
		return fmt.Errorf("it has %d layers, not one", len(m.Layers))
	}
	data, err := repo.blob(ctx, m.Layers[0].Digest)
	if err != nil {
		return err
	}
	return a.check(ctx, a.subject, m.Layers[0], data)
}
