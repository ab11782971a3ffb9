package bundle_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
)

const repo = "reg.example/team/app"

// memory holds content as a registry would.
func memory(t testing.TB, content layouttest.Content) *layout.Memory {
	t.Helper()
	mem := layout.NewMemory()
	if err := content.Load(context.Background(), mem); err != nil {
		t.Fatal(err)
	}
	return mem
}

// export writes a bundle of content's roots and returns its path.
func export(t testing.TB, content layouttest.Content, o bundle.ExportOptions) string {
	t.Helper()
	if o.Output == "" {
		o.Output = filepath.Join(t.TempDir(), "bundle.tar")
	}
	sel := bundle.Selection{Source: memory(t, content), References: content.Roots()}
	if _, err := bundle.Export(context.Background(), []bundle.Selection{sel}, o); err != nil {
		t.Fatal(err)
	}
	return o.Output
}

func open(t testing.TB, path string) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(context.Background(), path, bundle.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// judged proves a bundle and has all of it judged.
func judged(t testing.TB, b *bundle.Bundle, j *verify.Judge) (*verify.Report, error) {
	t.Helper()
	g, err := b.Graph(context.Background())
	if err != nil {
		return nil, err
	}
	return b.Judge(context.Background(), j, g)
}

// importAll imports into memory without asking a policy.
func importAll(t testing.TB, path string, o bundle.ImportOptions) *layout.Memory {
	t.Helper()
	dst := layout.NewMemory()
	o.InsecureSkipVerify = true
	if _, err := bundle.Import(context.Background(), open(t, path), dst, o); err != nil {
		t.Fatal(err)
	}
	return dst
}

// arrived checks that dst has, in each repository, exactly what content had: the
// same bytes, the same names, the same attachments of each manifest.
func arrived(t *testing.T, content layouttest.Content, dst layout.Source) {
	t.Helper()
	layouttest.CheckSource(t, dst, withoutFallback(content), layouttest.Traits{})
}

// withoutFallback drops fallback tags and their indexes: a registry's own
// bookkeeping, which is remade where it is needed.
func withoutFallback(c layouttest.Content) layouttest.Content {
	out := layouttest.Content{Repositories: map[string][]layouttest.Item{}}
	drop := map[string]bool{}
	for _, n := range c.Names {
		if layout.IsReferrersTag(n.Reference.Tag) {
			drop[string(n.Descriptor.Digest)] = true
			continue
		}
		out.Names = append(out.Names, n)
	}
	for repo, items := range c.Repositories {
		out.Repositories[repo] = slices.DeleteFunc(slices.Clone(items), func(i layouttest.Item) bool {
			return drop[string(i.Descriptor.Digest)]
		})
	}
	return out
}

// The main job: out of one registry, into a bundle, into another registry.
func TestEverythingArrives(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything(repo), layouttest.Everything("other.example/copy"), layouttest.SHA512("third.example/s"))
	path := export(t, content, bundle.ExportOptions{})
	arrived(t, content, importAll(t, path, bundle.ImportOptions{}))
}

// What one repository has attached to an image does not spill into another that
// has the same image.
func TestRepositoriesStayApart(t *testing.T) {
	a, b := layouttest.New("a.example/app"), layouttest.New("b.example/app")
	img := a.Image("shared")
	a.Tag("v1", img)
	a.Notary(img, "only in a")
	a.Cosign(layout.FormCosignSig, img, "only in a")
	b.Tag("v1", b.Image("shared"))
	content := layouttest.Merge(a.Content(), b.Content())
	arrived(t, content, importAll(t, export(t, content, bundle.ExportOptions{}), bundle.ImportOptions{}))
}

// A bundle of a bundle is the same graph again.
func TestExportFromBundle(t *testing.T) {
	content := layouttest.Everything(repo)
	first := open(t, export(t, content, bundle.ExportOptions{}))
	out := filepath.Join(t.TempDir(), "second.tar")
	sel := bundle.Selection{Source: first.Source(), References: first.References(), MayMiss: first.MayMiss}
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: out}); err != nil {
		t.Fatal(err)
	}
	one, err := os.ReadFile(first.Path)
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) {
		t.Errorf("a bundle exported from a bundle differs: %d and %d bytes", len(one), len(two))
	}
}
