package main

import (
	"context"
	"fmt"
	"time"

	"airgap/verify/signing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// signers are the parties of the demo. Their keys are made at its start and
// never leave the process.
type signers struct {
	publisher signing.Chain // signs with a certificate, as notation does
	approver  signing.Chain // another organisation, with a root of its own
	release   *releaseKey   // signs with a bare key, as cosign does
}

func newSigners() (*signers, error) {
	s := &signers{}
	var err error
	if s.publisher, err = signing.NewTestChain("publisher"); err != nil {
		return nil, err
	}
	if s.approver, err = signing.NewTestChain("approver"); err != nil {
		return nil, err
	}
	s.release, err = newReleaseKey()
	return s, err
}

// attachment is something attached to a manifest, and how to check it without
// airgap.
type attachment struct {
	what     string // "Notary signature (JWS) by the publisher"
	on       string // "the index"
	subject  ocispec.Descriptor
	artifact signing.Artifact
	// check verifies its first layer; nil for what is not signed itself.
	check func(ctx context.Context, subject, layer ocispec.Descriptor, data []byte) error
}

// attacher makes attachments one after the other and stops at the first error,
// so that the list of them can be read as a list.
type attacher struct {
	pub  *publisher
	list []attachment
	err  error
}

// add pushes an attachment and returns its manifest, to which more can be
// attached.
func (a *attacher) add(ctx context.Context, at attachment, made signing.Artifact, err error) ocispec.Descriptor {
	if a.err != nil {
		return ocispec.Descriptor{}
	}
	if err == nil {
		err = a.pub.artifact(ctx, made)
	}
	if err != nil {
		a.err = fmt.Errorf("%s on %s: %w", at.what, at.on, err)
	}
	at.artifact = made
	a.list = append(a.list, at)
	return made.Manifest
}

// attachEverything signs the image in every form there is: Notary Project
// signatures in both envelopes by two parties, cosign's signature as a bundle and
// under a tag, and, one level down, an SBOM that is signed itself and a build
// provenance.
func attachEverything(ctx context.Context, p *publisher, img *image, prog *program, s *signers) ([]attachment, error) {
	sbom, err := prog.sbom(time.Now())
	if err != nil {
		return nil, err
	}
	a := &attacher{pub: p}
	a.sign(ctx, img.index, "the index", s)
	cose, err := signing.Notary(img.index, s.approver, signing.NotaryOptions{Format: signing.NotaryCOSE})
	a.add(ctx, attachment{what: "Notary signature (COSE) by the approver", on: "the index", subject: img.index, check: checkNotary(s.approver)}, cose, err)
	bundle, err := signing.BundleSignature(img.index, s.release.key)
	a.add(ctx, attachment{what: "cosign signature (bundle) by the release key", on: "the index", subject: img.index, check: s.release.checkBundle(signing.PredicateCosignSign)}, bundle, err)

	child := "the " + prog.platform.Architecture + " image"
	slsa := signing.Attestation{PredicateType: signing.PredicateSLSAProvenance, Predicate: prog.provenance(), SubjectName: p.repo.String()}
	made, err := signing.BundleAttestation(img.main, slsa, s.release.key)
	a.add(ctx, attachment{what: "SLSA provenance (bundle) by the release key", on: child, subject: img.main, check: s.release.checkBundle(slsa.PredicateType)}, made, err)
	doc, err := signing.Referrer(img.main, signing.Document{MediaType: "application/spdx+json", Data: sbom})
	list := a.add(ctx, attachment{what: "SPDX SBOM", on: child, subject: img.main}, doc, err)
	if a.err == nil {
		a.sign(ctx, list, "the SBOM", s)
	}
	return a.list, a.err
}

// sign has the publisher sign subject with a certificate, and the release key in
// cosign's tag form.
func (a *attacher) sign(ctx context.Context, subject ocispec.Descriptor, on string, s *signers) {
	jws, err := signing.Notary(subject, s.publisher, signing.NotaryOptions{})
	a.add(ctx, attachment{what: "Notary signature (JWS) by the publisher", on: on, subject: subject, check: checkNotary(s.publisher)}, jws, err)
	tagged, err := signing.CosignSignature(subject, signing.Claim{Reference: a.pub.repo.String()}, s.release.key)
	a.add(ctx, attachment{what: "cosign signature (tag) by the release key", on: on, subject: subject, check: s.release.checkSimpleSigning}, tagged, err)
}
