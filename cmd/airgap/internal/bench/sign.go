//go:build unix

package main

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"time"

	"airgap/layout"
	"airgap/verify/signing"
)

// signers hold the keys of a set of images.
type signers struct {
	key   crypto.Signer
	chain signing.Chain
}

// signingTime is when everything was signed, so that the content is the same in
// every run.
var signingTime = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// newSigners makes keys that are the same in every run.
func newSigners() (*signers, error) {
	ca, err := signing.NewTestCA("benchmark root", signing.TestOptions{InsecureSeed: "benchmark"})
	if err != nil {
		return nil, err
	}
	chain, err := ca.Issue("benchmark", signing.TestOptions{InsecureSeed: "benchmark"})
	return &signers{signing.InsecureKey("benchmark"), chain}, err
}

// A form attaches one thing to an image. sbom is what formSBOM made, for the
// forms that come after it.
type form func(s *signers, image, sbom layout.Descriptor, document []byte) (signing.Artifact, error)

func formNotary(s *signers, image, _ layout.Descriptor, _ []byte) (signing.Artifact, error) {
	return signing.Notary(image, s.chain, signing.NotaryOptions{SigningTime: signingTime})
}

func formBundle(s *signers, image, _ layout.Descriptor, _ []byte) (signing.Artifact, error) {
	return signing.BundleSignature(image, s.key)
}

func formTag(s *signers, image, _ layout.Descriptor, _ []byte) (signing.Artifact, error) {
	return signing.CosignSignature(image, signing.Claim{Reference: "registry.example/benchmark"}, s.key)
}

func formAttestation(s *signers, image, _ layout.Descriptor, _ []byte) (signing.Artifact, error) {
	return signing.CosignAttestation(image, s.key, signing.Attestation{PredicateType: signing.PredicateSLSAProvenance})
}

func formSBOM(_ *signers, image, _ layout.Descriptor, document []byte) (signing.Artifact, error) {
	return signing.Referrer(image, signing.Document{MediaType: mediaTypeSBOM, Data: document})
}

func formSignedSBOM(s *signers, _, sbom layout.Descriptor, _ []byte) (signing.Artifact, error) {
	return signing.BundleSignature(sbom, s.key)
}

const mediaTypeSBOM = "application/spdx+json"

// The sets of forms that the workloads attach.
var (
	formsMain    = []form{formNotary, formBundle, formTag, formSBOM, formSignedSBOM}
	formsLatency = []form{formNotary, formBundle, formTag, formAttestation, formSBOM, formSignedSBOM}
	formsScale   = []form{formBundle, formTag, formSBOM, formSignedSBOM}
)

// attach publishes what each form makes.
func (p *publisher) attach(ctx context.Context, image layout.Descriptor, document []byte, forms []form) error {
	var sbom layout.Descriptor
	for _, f := range forms {
		a, err := f(p.signers, image, sbom, document)
		if err != nil {
			return err
		}
		if a.Manifest.ArtifactType == mediaTypeSBOM {
			sbom = a.Manifest
		}
		if err := p.artifact(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// newSBOM lists files in SPDX form.
func newSBOM(name string, files []string) ([]byte, error) {
	type file struct {
		ID   string `json:"SPDXID"`
		Name string `json:"fileName"`
	}
	doc := struct {
		Version string `json:"spdxVersion"`
		ID      string `json:"SPDXID"`
		Name    string `json:"name"`
		Files   []file `json:"files"`
	}{"SPDX-2.3", "SPDXRef-DOCUMENT", name, nil}
	for i, f := range files {
		doc.Files = append(doc.Files, file{fmt.Sprintf("SPDXRef-File-%d", i), f})
	}
	return json.MarshalIndent(doc, "", " ")
}
