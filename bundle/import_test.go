package bundle_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func tryImport(t *testing.T, path string, dst layout.Sink, o bundle.ImportOptions) (*bundle.ImportResult, error) {
	t.Helper()
	o.InsecureSkipVerify = true
	return bundle.Import(t.Context(), open(t, path), dst, o)
}

// counted refuses to take anything, and says what was tried.
type counted struct {
	*layout.Memory
	mu   sync.Mutex
	puts int
}

func (c *counted) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	c.mu.Lock()
	c.puts++
	c.mu.Unlock()
	return c.Memory.Put(ctx, repo, d, r)
}

func TestNoPolicyRefuses(t *testing.T) {
	dst := &counted{Memory: layout.NewMemory()}
	_, err := bundle.Import(t.Context(), open(t, small(t)), dst, bundle.ImportOptions{})
	if !errors.Is(err, bundle.ErrNoPolicy) || dst.puts > 0 {
		t.Errorf("Import = %v, %d puts; want ErrNoPolicy, nothing written", err, dst.puts)
	}
}

// A tag of the destination that stands for something else is not moved, and
// nothing at all is written, unless that is asked for.
func TestMovedTagIsRefused(t *testing.T) {
	first, second := layouttest.New(repo), layouttest.New(repo)
	first.Tag("v1", first.Image("one"))
	second.Tag("v1", second.Image("two"))
	second.Tag("v2", second.Image("two"))
	dst := &counted{Memory: layout.NewMemory()}
	if _, err := tryImport(t, export(t, first.Content(), bundle.ExportOptions{}), dst, bundle.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	dst.puts = 0
	path := export(t, second.Content(), bundle.ExportOptions{})
	_, err := tryImport(t, path, dst, bundle.ImportOptions{})
	if !errors.Is(err, bundle.ErrMoves) || !strings.Contains(err.Error(), repo+":v1") || dst.puts > 0 {
		t.Errorf("Import = %v, %d puts; want ErrMoves naming v1, nothing written", err, dst.puts)
	}
	if _, err := dst.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v2"}); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("v2 was imported beside the refused v1: %v", err)
	}
	if _, err := tryImport(t, path, dst, bundle.ImportOptions{Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	arrived(t, second.Content(), dst)
}

// A cosign tag may gain signatures; it may not lose any.
func TestCosignTagMayGrow(t *testing.T) {
	one, two := signedBy(t, "a"), signedBy(t, "a", "b")
	dst := layout.NewMemory()
	for _, path := range []string{one, two} {
		if _, err := tryImport(t, path, dst, bundle.ImportOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// One with fewer leaves it as it is, so that what was added on this side
	// does not stand in the way of importing again.
	before := sigTags(t, dst)
	if _, err := tryImport(t, one, dst, bundle.ImportOptions{}); err != nil {
		t.Error(err)
	}
	if after := sigTags(t, dst); !maps.Equal(before, after) {
		t.Errorf("names were %v, are %v: a signature was dropped", before, after)
	}
	if _, err := tryImport(t, signedBy(t, "b", "c"), dst, bundle.ImportOptions{}); !errors.Is(err, bundle.ErrMoves) {
		t.Errorf("Import that would drop a signature = %v, want ErrMoves", err)
	}
}

// sigTags says what each cosign tag of the image leads to.
func sigTags(t *testing.T, dst *layout.Memory) map[string]digest.Digest {
	t.Helper()
	img, err := dst.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]digest.Digest{}
	tag, _ := layout.FormCosignSig.Tag(img.Digest)
	d, err := dst.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	out[tag] = d.Digest
	return out
}

// A tag that somebody sets while the import runs is not moved either.
func TestTagSetMeanwhileIsNotMoved(t *testing.T) {
	first, second := layouttest.New(repo), layouttest.New(repo)
	first.Tag("v1", first.Image("one"))
	second.Tag("v1", second.Image("two"))
	one := export(t, first.Content(), bundle.ExportOptions{})
	dst := &meddled{Memory: layout.NewMemory(), with: second.Content()}
	if _, err := tryImport(t, one, dst, bundle.ImportOptions{}); !errors.Is(err, bundle.ErrMoves) {
		t.Errorf("Import = %v, want ErrMoves", err)
	}
	arrived(t, second.Content(), dst.Memory)
}

// meddled gets other content while it is written to.
type meddled struct {
	*layout.Memory
	with layouttest.Content
	once sync.Once
}

func (m *meddled) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) (err error) {
	m.once.Do(func() { err = m.with.Load(ctx, m.Memory) })
	return errors.Join(err, m.Memory.Put(ctx, repo, d, r))
}

// signedBy exports an image whose .sig tag has one layer for each signer.
func signedBy(t *testing.T, signers ...string) string {
	t.Helper()
	b := layouttest.New(repo)
	img := b.Image("signed")
	b.Tag("v1", img)
	config := b.Blob(layout.MediaTypeImageConfig, []byte(`{}`))
	doc := layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config}
	for _, s := range signers {
		doc.Layers = append(doc.Layers, b.Blob("application/vnd.dev.cosign.simplesigning.v1+json", []byte(s)))
	}
	tag, _ := layout.FormCosignSig.Tag(img.Digest)
	b.Tag(tag, b.Manifest(doc))
	return export(t, b.Content(), bundle.ExportOptions{})
}

// Two repositories that the mapping brings together must not have one name for
// two images.
func TestCollisionIsRefused(t *testing.T) {
	a, b := layouttest.New("a.example/app"), layouttest.New("b.example/app")
	a.Tag("v1", a.Image("one"))
	b.Tag("v1", b.Image("two"))
	path := export(t, layouttest.Merge(a.Content(), b.Content()), bundle.ExportOptions{})
	dst := &counted{Memory: layout.NewMemory()}
	_, err := tryImport(t, path, dst, bundle.ImportOptions{Mapping: bundle.Mapping{To: "far.example"}})
	if err == nil || !strings.Contains(err.Error(), "far.example/app:v1") || layout.Hint(err) == "" || dst.puts > 0 {
		t.Errorf("Import = %v, %d puts; want the name that two images would get, nothing written", err, dst.puts)
	}
	rules := []bundle.Rule{{From: "b.example", To: "far.example/b"}}
	if _, err := tryImport(t, path, dst, bundle.ImportOptions{Mapping: bundle.Mapping{To: "far.example", Rules: rules}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"far.example/app", "far.example/b/app"} {
		if _, err := dst.Resolve(t.Context(), layout.Reference{Repository: name, Tag: "v1"}); err != nil {
			t.Error(err)
		}
	}
}

func TestMapping(t *testing.T) {
	m := bundle.Mapping{To: "host:5000/prefix", Rules: []bundle.Rule{
		{From: "ghcr.io/acme", To: "host:5000/acme"}, {From: "ghcr.io/acme/app", To: "other.example/one"}, {From: "quay.io", To: "q.example"},
		{From: "docker.io/library", To: "hub.example/official"}, {From: "registry.hub.docker.com", To: "hub.example/other"}, {From: "GCR.io:443/a", To: "g.example"},
	}}
	for in, want := range map[string]string{
		"reg.example/team/app": "host:5000/prefix/team/app",
		"ghcr.io/acme/tool":    "host:5000/acme/tool",
		"ghcr.io/acme/app":     "other.example/one",
		"ghcr.io/acme/app/sub": "other.example/one/sub",
		"ghcr.io/acmeevil/app": "host:5000/prefix/acmeevil/app",
		"quay.io/x":            "q.example/x",
		// A registry in another spelling; a rule for the one that is written comes first.
		"quay.io:443/x":                     "q.example/x",
		"gcr.io/a/b":                        "g.example/b",
		"docker.io/library/x":               "hub.example/official/x",
		"registry-1.docker.io/library/x":    "hub.example/official/x",
		"registry-1.docker.io:443/x":        "hub.example/official/x",
		"registry.hub.docker.com/team/x":    "hub.example/other/team/x",
		"registry.hub.docker.com/library/x": "hub.example/official/x",
	} {
		if got, err := m.Repository(in); got != want || err != nil {
			t.Errorf("%s → %s, %v; want %s", in, got, err, want)
		}
	}
	for _, bad := range []string{"host:5000/UPPER", "host:5000/../x", "-/x"} {
		if got, err := (bundle.Mapping{To: bad}).Repository("reg.example/app"); !errors.Is(err, bundle.ErrUsage) {
			t.Errorf("to %q: %q, %v; want ErrUsage", bad, got, err)
		}
	}
}

// A bundle that was unpacked into a folder is proven by its record all the same.
func TestUnpackedBundle(t *testing.T) {
	content := layouttest.Everything(repo)
	dir := unpack(t, export(t, content, bundle.ExportOptions{}))
	b := open(t, dir)
	if !b.Own() {
		t.Fatal("an unpacked bundle is taken for another tool's")
	}
	dst := layout.NewMemory()
	if _, err := tryImport(t, dir, dst, bundle.ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	arrived(t, content, dst)

	extra := filepath.Join(dir, "blobs/sha256", strings.Repeat("0", 64))
	if err := os.WriteFile(extra, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryImport(t, dir, layout.NewMemory(), bundle.ImportOptions{}); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("with a blob that does not belong: %v, want ErrCorrupt", err)
	}
}

func unpack(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for tr := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		body, err := io.ReadAll(tr)
		if err := errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, body, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// otherTool writes a layout folder as another tool would, without what is lost.
func otherTool(t *testing.T, c layouttest.Content, lost ...digest.Digest) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var index ocispec.Index
	index.SchemaVersion = 2
	for _, n := range c.Names {
		d := n.Descriptor
		d.Annotations = map[string]string{layout.AnnotationRefName: n.Reference.Name()}
		index.Manifests = append(index.Manifests, d)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	write("index.json", raw)
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	for _, item := range c.Repositories[repo] {
		if !slices.Contains(lost, item.Descriptor.Digest) {
			write(layout.BlobPath(item.Descriptor.Digest), item.Bytes)
		}
	}
	return dir
}

// An index of another tool's may lack platforms, which is told, but not all of
// them: there would be no image.
func TestHollowIndexIsRefused(t *testing.T) {
	b := layouttest.New(repo)
	amd, arm := b.Image("amd"), b.Image("arm")
	index := b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"))
	b.Tag("v1", index)
	dst := &counted{Memory: layout.NewMemory()}
	if _, err := tryImport(t, otherTool(t, b.Content(), arm.Digest), dst, bundle.ImportOptions{}); err != nil {
		t.Errorf("one platform of two: %v", err)
	}
	dst = &counted{Memory: layout.NewMemory()}
	_, err := tryImport(t, otherTool(t, b.Content(), amd.Digest, arm.Digest), dst, bundle.ImportOptions{})
	if !errors.Is(err, layout.ErrNotFound) || !strings.Contains(err.Error(), string(index.Digest)) || dst.puts > 0 {
		t.Errorf("no platform of two: %v, %d puts; want ErrNotFound that names the index, nothing written", err, dst.puts)
	}
}
