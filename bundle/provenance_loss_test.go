package bundle_test

import (
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// A record that a pinned key signed cannot be taken away unmissed: not by a claim that
// names it, nor where a signed record names that claim alone.
func TestTraceMissesWhatAClaimStoodBefore(t *testing.T) {
	keys := pinnedKeys(release)
	for what, c := range map[string]struct {
		names  func(heads []digest.Digest, claim digest.Digest) []digest.Digest
		broken bool
	}{
		"the next record names the heads":       {func(heads []digest.Digest, _ digest.Digest) []digest.Digest { return heads }, true},
		"the next record names the claim alone": {func(_ []digest.Digest, claim digest.Digest) []digest.Digest { return []digest.Digest{claim} }, true},
		"no verified record leads to the claim": {func([]digest.Digest, digest.Digest) []digest.Digest { return nil }, false},
	} {
		p := newTraced(t)
		d := p.image(repo, "app")
		first := p.hop(d, custody.Override, time.Hour, release)
		claim := p.hop(d, custody.Receive, 2*time.Hour, nil, first)
		g, err := layout.Walk(t.Context(), p.Memory, []layout.Reference{{Repository: repo, Tag: "v1"}}, layout.WalkOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all, err := custody.Of(t.Context(), p.Memory, g, repo, d.Digest, keys)
		if err != nil {
			t.Fatal(err)
		}
		// All but the first arrives.
		far := newTraced(t)
		far.image(repo, "app")
		if far.hop(d, custody.Receive, 2*time.Hour, nil, first) != claim {
			t.Fatal("another claim")
		}
		far.hop(d, custody.Promote, 3*time.Hour, release, c.names(custody.Heads(all), claim)...)
		if got := far.trace(bundle.ProvenanceOptions{Keys: keys}); got.Broken != c.broken || len(got.Gaps) == 0 {
			t.Errorf("%s: broken %v, gaps %+v", what, got.Broken, got.Gaps)
		}
	}
}

// A document that hangs by its tag and that nobody signed is a claim, and no more.
func TestTraceUnsignedDocumentByTag(t *testing.T) {
	p := newTraced(t)
	sbom, err := signing.CosignSBOM(p.image(repo, "app"), "text/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
	p.attach(repo, sbom, err)
	if d := p.trace(bundle.ProvenanceOptions{Keys: pinnedKeys(release)}).Documents; len(d) != 1 || d[0].Standing != custody.Claimed {
		t.Errorf("%+v", d)
	}
}

// What an import attached says how far it can be relied on here: that something is
// signed does not mean that anybody knows by whom.
func TestImportSaysWhoseRecordsItAttached(t *testing.T) {
	b := layouttest.New(repo)
	b.Tag("v1", b.Image("x"))
	refs := []layout.Reference{{Repository: repo, Tag: "v1"}}
	out := t.TempDir() + "/bundle.tar"
	if _, err := bundle.Export(t.Context(), []bundle.Selection{{Source: memory(t, b.Content()), References: refs}}, bundle.ExportOptions{Output: out, Recording: recording(stranger)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pinned          []custody.Key
		by              *bundle.Recording
		export, receive custody.Standing
	}{
		{pinnedKeys(release), recording(desk), custody.Unknown, custody.Verified},
		{pinnedKeys(stranger), recording(nil), custody.Verified, custody.Claimed},
	} {
		res, err := bundle.Import(t.Context(), open(t, out), layout.NewMemory(), bundle.ImportOptions{InsecureSkipVerify: true, Keys: c.pinned, Reception: &bundle.Reception{Recording: *c.by, To: custody.InStore}})
		if err != nil {
			t.Fatal(err)
		}
		got := map[custody.Act]custody.Standing{}
		for _, r := range res.Records {
			got[r.Act] = r.Standing
			if r.Signed != (r.Standing != custody.Claimed) {
				t.Errorf("%+v", r)
			}
		}
		if got[custody.Export] != c.export || got[custody.Receive] != c.receive {
			t.Errorf("%v, want an export that is %s and a reception that is %s", got, c.export, c.receive)
		}
	}
}
