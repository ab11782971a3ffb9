package bundle_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
)

const signatures = "reg.example/team/signatures"

// twoPlaces are an image in one repository, and what is attached to it in another.
func twoPlaces(attach func(own, other *layouttest.Builder, image layout.Descriptor)) (image layout.Descriptor, content layouttest.Content) {
	own, other := layouttest.New(repo), layouttest.New(signatures)
	image = own.Image("image")
	own.Tag("v1", image)
	attach(own, other, image)
	return image, layouttest.Merge(own.Content(), other.Content())
}

func exportElsewhere(t *testing.T, content layouttest.Content, repos ...string) (string, *bundle.ExportResult, error) {
	t.Helper()
	path := t.TempDir() + "/bundle.tar"
	src := bundle.NewElsewhere(memory(t, content), repos)
	sel := bundle.Selection{Source: src, References: []layout.Reference{{Repository: repo, Tag: "v1"}}, AttachedFrom: src.Repositories()}
	res, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: path})
	return path, res, err
}

// What is attached in another repository is carried as if it had been in the image's
// own, whatever its form, and so is what is attached to it there; the record says where
// it was looked for.
func TestAttachedElsewhere(t *testing.T) {
	var want []layout.Descriptor
	image, content := twoPlaces(func(own, other *layouttest.Builder, image layout.Descriptor) {
		here := own.Notary(image, "here")
		sig, att := other.Cosign(layout.FormCosignSig, image, "sig"), other.Cosign(layout.FormCosignAtt, image, "att")
		sbom := other.Referrer(image, "application/spdx+json", "SBOM")
		want = []layout.Descriptor{here, sig, att, sbom, other.Notary(sbom, "on the SBOM"), other.Notary(sig, "on the signature")}
	})
	path, res, err := exportElsewhere(t, content, signatures, repo, signatures)
	if err != nil {
		t.Fatal(err)
	}
	if res.Contents.Manifests != 1+len(want) {
		t.Errorf("%d manifests, want %d", res.Contents.Manifests, 1+len(want))
	}
	b := open(t, path)
	if !slices.Equal(b.Record.AttachedFrom, []string{signatures, repo}) && !slices.Equal(b.Record.AttachedFrom, []string{repo, signatures}) {
		t.Errorf("the record says %q", b.Record.AttachedFrom)
	}
	dst := importAll(t, path, bundle.ImportOptions{})
	tag, _ := layout.FormCosignSig.Tag(image.Digest)
	if d, err := dst.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: tag}); err != nil || d.Digest != want[1].Digest {
		t.Errorf("the tag by which cosign finds it: %v, %v", d.Digest, err)
	}
	g, err := layout.Walk(t.Context(), dst, []layout.Reference{{Repository: repo, Tag: "v1"}}, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range want {
		if g.Nodes[d.Digest] == nil {
			t.Errorf("what is attached is lost: %d", i)
		}
	}
	if got := g.Repositories(); !slices.Equal(got, []string{repo}) {
		t.Errorf("repositories %q", got)
	}
}

// Two manifests for one of cosign's tags cannot both be carried: the export fails, and
// names both places. The same one in both is no conflict.
func TestAttachedElsewhereConflict(t *testing.T) {
	_, content := twoPlaces(func(own, other *layouttest.Builder, image layout.Descriptor) {
		own.Cosign(layout.FormCosignSig, image, "one")
		other.Cosign(layout.FormCosignSig, image, "another")
	})
	if _, _, err := exportElsewhere(t, content, signatures); !errors.Is(err, layout.ErrUnsupported) || !strings.Contains(err.Error(), signatures) || !strings.Contains(layout.Hint(err), "--attached-from") {
		t.Errorf("two: %v (hint %q)", err, layout.Hint(err))
	}
	_, content = twoPlaces(func(own, other *layouttest.Builder, image layout.Descriptor) {
		own.Cosign(layout.FormCosignSig, image, "one")
		other.Cosign(layout.FormCosignSig, image, "one")
	})
	if _, res, err := exportElsewhere(t, content, signatures); err != nil || res.Contents.Manifests != 2 {
		t.Errorf("the same: %v", err)
	}
}

// Content of the image is not taken from elsewhere: only what is attached, and what that
// needs.
func TestAttachedElsewhereIsNoMirror(t *testing.T) {
	own, other := layouttest.New(repo), layouttest.New(signatures)
	image := own.Image("image")
	own.Tag("v1", image)
	content := layouttest.Merge(own.Content(), other.Content())
	src := bundle.NewElsewhere(memory(t, content), []string{signatures})
	if _, err := src.Attached(t.Context(), repo, image); err != nil || src.Found() != 0 {
		t.Errorf("found %d, %v", src.Found(), err)
	}
	if _, err := src.Open(t.Context(), repo, layouttest.New("x").Blob("x", []byte("elsewhere"))); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("content that is nowhere: %v", err)
	}
}
