package signing_test

import (
	"fmt"
	"time"

	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Sign an image with a key, in the form that cosign 3 expects.
func ExampleBundleSignature() {
	image := ocispec.Descriptor{ // as a registry returns it
		MediaType: ocispec.MediaTypeImageManifest,
		Digest:    digest.FromString("the image's manifest"),
		Size:      20,
	}
	key := signing.InsecureKey("example") // GenerateKey, in earnest
	sig, err := signing.BundleSignature(image, key)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, blob := range sig.Blobs {
		fmt.Println("put blob", blob.Desc.MediaType)
	}
	fmt.Println("put manifest", sig.Manifest.ArtifactType)
	// Output:
	// put blob application/vnd.oci.empty.v1+json
	// put blob application/vnd.dev.sigstore.bundle.v0.3+json
	// put manifest application/vnd.dev.sigstore.bundle.v0.3+json
}

// Make a certificate for a demo and sign an image with it. The root goes into
// the verifier's trust store.
func ExampleNotary() {
	image := ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest,
		Digest:    digest.FromString("the image's manifest"),
		Size:      20,
	}
	chain, err := signing.NewTestChain("demo")
	if err != nil {
		fmt.Println(err)
		return
	}
	sig, err := signing.Notary(image, chain, signing.NotaryOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("put manifest", sig.Manifest.ArtifactType)
	fmt.Println("trust", chain.Root().Subject.CommonName)
	// Output:
	// put manifest application/vnd.cncf.notary.signature
	// trust demo root
}

// Somebody has verified an image, and signs what came of it.
func ExampleVerificationSummary() {
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("manifest"), Size: 8}
	s := signing.NewVerificationSummary(true)
	s.Verifier = signing.Verifier{ID: "https://corp.example/import"}
	s.TimeVerified = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	s.ResourceURI = signing.ImageURI("registry.corp/team/app:v1")
	s.Policy = signing.PolicyResource("policy.yaml", digest.FromString("policy"), "prod", "")
	att, err := s.Attestation("registry.example/team/app:v1")
	if err != nil {
		fmt.Println(err)
		return
	}
	a, err := signing.BundleAttestation(subject, att, signing.InsecureKey("example"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a.Manifest.ArtifactType)
	fmt.Println(att.PredicateType)
	// Output:
	// application/vnd.dev.sigstore.bundle.v0.3+json
	// https://slsa.dev/verification_summary/v1
}
