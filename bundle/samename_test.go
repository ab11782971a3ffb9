package bundle_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// folderOf writes a layout as other tools do.
func folderOf(t *testing.T, b *layouttest.Builder, list ...layout.Descriptor) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, data []byte) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: layout.MediaTypeIndex, Manifests: list})
	if err != nil {
		t.Fatal(err)
	}
	put("index.json", index)
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	for _, items := range b.Content().Repositories {
		for _, item := range items {
			put(layout.BlobPath(item.Descriptor.Digest), item.Bytes)
		}
	}
	return dir
}

// Two images of one name can be looked at, and taken one at a time under that name; both
// at once are refused before anything is written, with how to choose.
func TestLayoutWithOneNameTwice(t *testing.T) {
	b := layouttest.New(repo)
	one, two := b.Image("one"), b.Image("two")
	name := map[string]string{layout.AnnotationRefName: "v1.0"}
	one.Annotations, two.Annotations = name, name
	dir := folderOf(t, b, one, two, b.Blob("application/xml", []byte("<x/>")))
	b2, err := bundle.Open(t.Context(), dir, bundle.OpenOptions{As: repo})
	if err != nil {
		t.Fatal(err)
	}
	defer b2.Close()
	in, err := bundle.Inspect(t.Context(), b2)
	if err != nil || len(in.Contents.Images) != 2 {
		t.Fatalf("%+v, %v", in, err)
	}
	if text := strings.Join(in.Caveats, "\n"); !strings.Contains(text, "passed over: 1 of the entries") {
		t.Errorf("caveats %q", text)
	}
	for _, ref := range b2.References() {
		sel := []bundle.Selection{{Source: b2.Source(), References: []layout.Reference{ref}}}
		res, err := bundle.Export(t.Context(), sel, bundle.ExportOptions{DryRun: true})
		if err != nil || len(res.Contents.Images) != 1 || !strings.HasPrefix(res.Contents.Images[0].Reference, repo+":v1.0@sha256:") {
			t.Errorf("%s alone: %v", ref, err)
		}
	}
	both := []bundle.Selection{{Source: b2.Source(), References: b2.References()}}
	if _, err := bundle.Export(t.Context(), both, bundle.ExportOptions{DryRun: true}); !errors.Is(err, layout.ErrUnsupported) || !strings.Contains(layout.Hint(err), "digest") {
		t.Errorf("both exported: %v (hint %q)", err, layout.Hint(err))
	}
	dst := layout.NewMemory()
	if _, err := bundle.Import(t.Context(), b2, dst, bundle.ImportOptions{InsecureSkipVerify: true}); !errors.Is(err, bundle.ErrUsage) || !strings.Contains(layout.Hint(err), "digest") {
		t.Errorf("both imported: %v (hint %q)", err, layout.Hint(err))
	}
	if _, err := dst.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1.0"}); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("something was imported: %v", err)
	}
}
