package bundle_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// dangling is an image with a signature, and with a fallback index that also lists one
// that is gone.
func dangling(t *testing.T) (content layouttest.Content, gone layout.Descriptor) {
	t.Helper()
	elsewhere := layouttest.New(repo)
	gone = elsewhere.Notary(elsewhere.Image("image"), "gone")
	b := layouttest.New(repo)
	image := b.Image("image")
	b.Tag("v1", image)
	b.Fallback(image, b.Notary(image, "here"), gone)
	return b.Content(), gone
}

// A fallback index that lists what is gone fails the export, unless that very digest is
// allowed to be missing: then the record names it, and the bundle is proven with it.
func TestAllowMissingReferrer(t *testing.T) {
	content, gone := dangling(t)
	src, refs := memory(t, content), content.Roots()
	_, err := exportSel(t, src, refs, bundle.ExportOptions{Output: filepath.Join(t.TempDir(), "b.tar")})
	if !errors.Is(err, layout.ErrNotFound) || !strings.Contains(err.Error(), string(gone.Digest)) ||
		!strings.Contains(layout.Hint(err), "--allow-missing-referrer "+string(gone.Digest)) {
		t.Fatalf("%v, hint %q", err, layout.Hint(err))
	}
	other := []digest.Digest{digest.FromString("another")}
	if _, err := exportSel(t, src, refs, bundle.ExportOptions{DryRun: true, AllowMissing: other}); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("another digest is allowed: %v", err)
	}
	path := filepath.Join(t.TempDir(), "b.tar")
	res, err := exportSel(t, src, refs, bundle.ExportOptions{Output: path, AllowMissing: []digest.Digest{gone.Digest}})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, path)
	if _, err := b.Graph(t.Context()); err != nil {
		t.Fatal(err)
	}
	for what, list := range map[string][]bundle.RecordSetAside{"result": res.Contents.SetAside, "record": b.Record.SetAside} {
		if len(list) != 1 || list[0].Digest != gone.Digest || list[0].Reason != layout.ReasonMissingReferrer || list[0].By != layout.FormReferrersTag {
			t.Errorf("%s: %+v", what, list)
		}
	}
	if dst := importAll(t, path, bundle.ImportOptions{}); dst == nil {
		t.Error("not imported")
	}
	// Out of reach is not gone.
	denied := &refusing{src, gone.Digest}
	if _, err := exportSel(t, denied, refs, bundle.ExportOptions{DryRun: true, AllowMissing: []digest.Digest{gone.Digest}}); !errors.Is(err, errBroken) {
		t.Errorf("it cannot be read: %v", err)
	}
}

// refusing cannot open one manifest.
type refusing struct {
	layout.Source
	what digest.Digest
}

func (r *refusing) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if d.Digest == r.what {
		return nil, errBroken
	}
	return r.Source.Open(ctx, repo, d)
}

// doubting answers for the referrers API with a doubt.
type doubting struct{ layout.Source }

func (d doubting) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	all, err := d.Source.Attached(ctx, repo, subject)
	for i := range all {
		if all[i].Form == layout.FormReferrers {
			all[i] = layout.Inquiry{Form: layout.FormReferrers, Answer: layout.AnswerUnsupported, Note: "odd", Doubt: "odd"}
		}
	}
	return append(all, layout.Inquiry{Form: "another", Answer: layout.AnswerUnsupported, Note: "it says 404"}), err
}

// What a repository answered, if that was no true answer, is on the record, and stays
// there when the bundle is exported once more.
func TestDoubtOnRecord(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("image")
	b.Tag("v1", image)
	b.Fallback(image, b.Notary(image, "here"))
	first := filepath.Join(t.TempDir(), "first.tar")
	if _, err := exportSel(t, doubting{memory(t, b.Content())}, b.Content().Roots(), bundle.ExportOptions{Output: first}); err != nil {
		t.Fatal(err)
	}
	one := open(t, first)
	if _, err := one.Graph(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list := one.Record.SetAside; len(list) != 2 || list[0].Reason != "odd" || list[0].By != layout.FormReferrers {
		t.Errorf("%+v", list)
	}
	second := filepath.Join(t.TempDir(), "second.tar")
	if _, err := exportSel(t, one.Source(), one.References(), bundle.ExportOptions{Output: second}); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(second); err != nil || string(got) != string(want) {
		t.Errorf("the second bundle differs: %d and %d bytes, %v", len(got), len(want), err)
	}
}
