package bundle_test

import (
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"
	"airgap/verify/verifytest"
)

// A document that hangs on an image by its tag alone is not vouched for there by a
// signature on itself: it may be another image's.
func TestTraceMovedDocument(t *testing.T) {
	p := newTraced(t)
	a := p.image(repo, "app")
	other := layouttest.New(repo).Image("other")
	sbom, err := signing.CosignSBOM(other, "text/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3","name":"of another image"}`))
	sbom.Tag, _ = layout.FormCosignSBOM.Tag(a.Digest)
	m := p.attach(repo, sbom, err)
	signature, err := signing.BundleSignature(layout.Descriptor{MediaType: sbom.Manifest.MediaType, Digest: m, Size: sbom.Manifest.Size}, release)
	p.attach(repo, signature, err)
	told := p.trace(bundle.ProvenanceOptions{Keys: pinnedKeys(release)})
	if len(told.Documents) != 1 || told.Documents[0].Standing != custody.Unknown || told.Documents[0].Reason == "" {
		t.Errorf("%+v", told.Documents)
	}
}

// Who counts for one image, by its rule, does not count for another that has another.
func TestTraceIdentityOfAnotherRule(t *testing.T) {
	const dev, prod, issuer = "https://git.example/dev.yml", "https://git.example/prod.yml", "https://issuer.example"
	s, err := sigstoretest.New()
	if err != nil {
		t.Fatal(err)
	}
	root, err := s.RootJSON()
	if err != nil {
		t.Fatal(err)
	}
	tr := verifytest.Trust(t, verifytest.Pins{Roots: map[string][]byte{"": root}})
	rules, err := policy.Parse("policy.yaml", []byte(`version: airgap.policy/v1
rules:
- {name: dev, match: ["reg.example/dev/*"], require: {cosign: {identity: "`+dev+`", issuer: "`+issuer+`"}}}
- {name: prod, match: ["reg.example/team/*"], require: {cosign: {identity: "`+prod+`", issuer: "`+issuer+`"}}}
`), "")
	if err != nil {
		t.Fatal(err)
	}
	p := newTraced(t)
	repos := []string{"reg.example/dev/app", repo}
	var refs []layout.Reference
	for _, in := range repos {
		image := p.image(in, in)
		l, err := s.SignLayer(image.Digest, in, sigstoretest.Signing{Identity: dev, Issuer: issuer, At: time.Now().Add(-time.Minute).Truncate(time.Second)})
		if err != nil {
			t.Fatal(err)
		}
		p.attach(in, verifytest.FromLayers(t, image, "sig", verifytest.Layer{MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Data: l.Data, Annotations: l.Annotations}), nil)
		refs = append(refs, layout.Reference{Repository: in, Tag: "v1"})
	}
	all, err := bundle.Trace(t.Context(), bundle.Selection{Source: p.Memory, References: refs}, bundle.ProvenanceOptions{Trust: tr, Judge: &verify.Judge{Policy: rules, Trust: tr}})
	if err != nil {
		t.Fatal(err)
	}
	for _, told := range all {
		standing := told.Signatures[0].Standing
		if refused := told.Today.State == verify.Refused; refused != (standing != custody.Verified) {
			t.Errorf("%s is %s, its signature [%s]", told.Reference, told.Today.State, standing)
		}
	}
	if len(all) != 2 {
		t.Errorf("%d images", len(all))
	}
}

// A reception names what came along, not only what the bundle's maker signed of it.
func TestReceptionContinuesWhatCameAlong(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("x")
	b.Tag("v1", image)
	mem := memory(t, b.Content())
	record := custody.Record{At: exportTime, Clock: custody.ClockHost, Tool: custody.Tool{Name: "airgap"}, Reference: repo + ":v1", Reason: "x"}
	override, err := record.Artifact(custody.Override, image, repo+":v1", release)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Attach(t.Context(), mem, []bundle.Addition{{Repository: repo, Subject: image.Digest, Artifact: override}}); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir() + "/bundle.tar"
	sel := bundle.Selection{Source: mem, References: []layout.Reference{{Repository: repo, Tag: "v1"}}}
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: out, Recording: recording(signing.InsecureKey("stranger"))}); err != nil {
		t.Fatal(err)
	}
	dst := layout.NewMemory()
	desk := recording(signing.InsecureKey("desk"))
	res, err := bundle.Import(t.Context(), open(t, out), dst, bundle.ImportOptions{InsecureSkipVerify: true, Keys: pinnedKeys(release), Reception: &bundle.Reception{Recording: *desk, To: custody.InStore}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(t.Context(), dst, sel.References, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := custody.Of(t.Context(), dst, g, repo, image.Digest, pinnedKeys(desk.Key))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.Act == custody.Receive && len(f.Previous()) != 2 {
			t.Errorf("it names %v; %+v", f.Previous(), res.Records)
		}
	}
	if len(all) != 4 { // override, export, receive, override by skipping
		t.Errorf("%d records", len(all))
	}
}
