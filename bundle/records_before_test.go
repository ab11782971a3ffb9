package bundle_test

import (
	"compress/gzip"
	"crypto"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"
	"airgap/verify/signing"
	"airgap/verify/verifytest"

	"github.com/opencontainers/go-digest"
)

// recordsBefore is a bundle that a version made which sealed records as Sigstore
// bundles: an image that was received and let in against a rule, promoted, and refused
// by reverify, by the key promoter; exported by the key exporter.
func recordsBefore(t *testing.T) string {
	t.Helper()
	f, err := os.Open("testdata/records-before.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "before.tar")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What earlier versions recorded is read, believed and required as ever; and what an
// import attaches of it is in a form that no other tool takes for a signature.
func TestRecordsOfEarlierVersions(t *testing.T) {
	const app = "registry.example/team/app"
	exporter, promoter := signing.InsecureKey("exporter"), signing.InsecureKey("promoter")
	keys := []custody.Key{{Name: "exporter", Public: exporter.Public()}, {Name: "promoter", Public: promoter.Public()}}
	path := recordsBefore(t)
	h, err := open(t, path).Head(t.Context(), keys)
	if err != nil || h.Bundle.Standing != custody.Verified || h.Bundle.Key != "exporter" || h.Bundle.Record.Line.Name != "prod" {
		t.Fatalf("%+v, %v", h, err)
	}
	judge := func(require string) *verify.Judge {
		return &verify.Judge{Policy: verifytest.Policy(t, require), Trust: verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"promoter": promoter}})}
	}
	dst := layout.NewMemory()
	promoted := judge("attestation: {predicateType: \"urn:airgap:custody:promote:v1\", signedBy: {key: promoter}, conditions: [\"predicate.to.name == 'prod'\"]}")
	if _, err := bundle.Import(t.Context(), open(t, path), dst, bundle.ImportOptions{Judge: promoted, Keys: keys}); err != nil {
		t.Fatal(err)
	}
	refused := judge("attestation: {predicateType: \"https://slsa.dev/verification_summary/v1\", signedBy: {key: promoter}}")
	if _, err := bundle.Import(t.Context(), open(t, path), layout.NewMemory(), bundle.ImportOptions{Judge: refused}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a verdict that says FAILED lets it in: %v", err)
	}
	ref := layout.Reference{Repository: app, Tag: "v1"}
	g, err := layout.Walk(t.Context(), dst, []layout.Reference{ref}, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	image := g.Roots[0].Descriptor.Digest
	found, err := custody.Of(t.Context(), dst, g, app, image, keys)
	if err != nil {
		t.Fatal(err)
	}
	acts := map[custody.Act]digest.Digest{}
	for _, f := range found {
		if f.Standing == custody.Verified {
			acts[f.Act] = f.Manifest
		}
	}
	for _, act := range []custody.Act{custody.Export, custody.Receive, custody.Override, custody.Promote, custody.Import} {
		if acts[act] == "" {
			t.Errorf("no verified record of %s", act)
		}
	}
	if typ := g.Nodes[acts[custody.Export]].Descriptor.ArtifactType; typ != signing.MediaTypeRecord {
		t.Errorf("the export is recorded in a %s", typ)
	}
	if typ := g.Nodes[acts[custody.Promote]].Descriptor.ArtifactType; typ != signing.MediaTypeBundle {
		t.Errorf("what came along was changed to a %s", typ)
	}
	if !slices.ContainsFunc(found, func(f custody.Found) bool {
		return f.Summary != nil && f.Summary.VerificationResult == signing.SummaryFailed
	}) {
		t.Error("the verdict that refused it is lost")
	}
}
