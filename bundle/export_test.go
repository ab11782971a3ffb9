package bundle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
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
)

// choosy is a source that counts what is opened, and can break after some blobs.
type choosy struct {
	layout.Source
	mu     sync.Mutex
	opened []digest.Digest
	whole  []digest.Digest // read to the end
	limit  int             // blobs that are served; 0 means all
}

var errBroken = errors.New("the line broke")

func (c *choosy) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !layout.IsManifest(d.MediaType) {
		if c.limit > 0 && len(c.opened) >= c.limit {
			return nil, errBroken
		}
		c.opened = append(c.opened, d.Digest)
	}
	rc, err := c.Source.Open(ctx, repo, d)
	return &noted{rc, c, d.Digest}, err
}

// noted tells its source when it was read to the end.
type noted struct {
	io.ReadCloser
	c *choosy
	d digest.Digest
}

func (n *noted) Read(p []byte) (int, error) {
	k, err := n.ReadCloser.Read(p)
	if err == io.EOF {
		n.c.mu.Lock()
		defer n.c.mu.Unlock()
		n.c.whole = append(n.c.whole, n.d)
	}
	return k, err
}

func exportSel(t *testing.T, src layout.Source, refs []layout.Reference, o bundle.ExportOptions) (*bundle.ExportResult, error) {
	t.Helper()
	return bundle.Export(t.Context(), []bundle.Selection{{Source: src, References: refs}}, o)
}

// An export that broke after any number of blobs leaves no bundle, and the next
// run fetches what is missing, nothing else, and ends with the same bytes.
func TestExportResumes(t *testing.T) {
	content := layouttest.Everything(repo)
	want, err := os.ReadFile(export(t, content, bundle.ExportOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	mem := memory(t, content)
	for limit := 1; ; limit += 3 {
		out := filepath.Join(t.TempDir(), "bundle.tar")
		first := &choosy{Source: mem, limit: limit}
		_, err := exportSel(t, first, content.Roots(), bundle.ExportOptions{Output: out, Jobs: 1})
		if err == nil {
			if limit < 10 {
				t.Errorf("only %d blobs in all", limit)
			}
			return
		}
		if !errors.Is(err, errBroken) {
			t.Fatalf("after %d blobs: %v", limit, err)
		}
		if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a bundle with its final name after %d blobs: %v", limit, err)
		}
		second := &choosy{Source: mem}
		if _, err := exportSel(t, second, content.Roots(), bundle.ExportOptions{Output: out}); err != nil {
			t.Fatal(err)
		}
		for _, d := range second.opened {
			if slices.Contains(first.whole, d) {
				t.Errorf("%s was fetched again", d)
			}
		}
		got, err := os.ReadFile(out)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("resumed after %d blobs: other bytes than in one go, %v", limit, err)
		}
		left, _ := filepath.Glob(out + ".*")
		if len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// A second export of the same set moves nothing; one with an image more, only
// that.
func TestExportReusesBundle(t *testing.T) {
	b := layouttest.New(repo)
	b.Tag("v1", b.Image("one"))
	before := b.Content()
	out := export(t, before, bundle.ExportOptions{})
	stat, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	again := &choosy{Source: memory(t, before)}
	res, err := exportSel(t, again, before.Roots(), bundle.ExportOptions{Output: out})
	if err != nil || len(again.opened) > 0 || res.Fetched > 0 {
		t.Errorf("nothing changed, and %d blobs (%d bytes) were fetched: %v", len(again.opened), res.Fetched, err)
	}
	// And writes nothing: the file is the one that was there.
	if info, err := os.Stat(out); err != nil || !os.SameFile(info, stat) || !info.ModTime().Equal(stat.ModTime()) {
		t.Errorf("the bundle was written anew: %v", err)
	}
	// Unless one bit of a layer is no longer what it was.
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	bad := slices.Clone(data)
	bad[len(bad)-4096] ^= 1
	if err := os.WriteFile(out, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	mended := &choosy{Source: memory(t, before)}
	if _, err := exportSel(t, mended, before.Roots(), bundle.ExportOptions{Output: out}); err != nil || len(mended.opened) != 1 {
		t.Errorf("one blob is damaged, and %d were fetched: %v", len(mended.opened), err)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, data) {
		t.Errorf("it was not mended: %v", err)
	}
	two := b.Image("two")
	b.Tag("v2", two)
	after := b.Content()
	more := &choosy{Source: memory(t, after)}
	if _, err := exportSel(t, more, after.Roots(), bundle.ExportOptions{Output: out}); err != nil {
		t.Fatal(err)
	}
	if len(more.opened) == 0 || len(more.opened) > 3 {
		t.Errorf("%d blobs were fetched for one new image", len(more.opened))
	}
	arrived(t, after, importAll(t, out, bundle.ImportOptions{}))
}

// What --dry-run promises is what is written, and it writes nothing.
func TestDryRunIsExact(t *testing.T) {
	content := layouttest.Everything(repo)
	src := &choosy{Source: memory(t, content)}
	dry, err := exportSel(t, src, content.Roots(), bundle.ExportOptions{DryRun: true})
	if err != nil || len(src.opened) > 0 {
		t.Fatalf("%d blobs were fetched, %v", len(src.opened), err)
	}
	data, err := os.ReadFile(export(t, content, bundle.ExportOptions{}))
	if err != nil || dry.Size != int64(len(data)) {
		t.Errorf("promised %d bytes, wrote %d, %v", dry.Size, len(data), err)
	}
	for _, f := range dry.Files {
		if dgst, ok := strings.CutPrefix(f.Name, "blobs/sha256/"); ok {
			if got := digest.FromBytes(data[f.Offset : f.Offset+f.Size]); got.Encoded() != dgst {
				t.Errorf("%s is not at byte %d", f.Name, f.Offset)
			}
		}
	}
}

// One platform: the index keeps its bytes, the chosen child comes with all that
// belongs to it, BuildKit's attestation included, and what is missing is told.
// The sparse bundle is proven and imported like any other.
func TestPlatform(t *testing.T) {
	b := layouttest.New(repo)
	amd, arm := b.Image("amd64"), b.Image("arm64")
	kitAMD, kitARM := b.BuildKit(amd), b.BuildKit(arm)
	index := b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"), kitAMD, kitARM)
	b.Tag("v1", index)
	onIndex, onARM, onAMD := b.Notary(index, "index"), b.Notary(arm, "arm"), b.Notary(amd, "amd")
	content := b.Content()
	path := export(t, content, bundle.ExportOptions{Platforms: []layout.Platform{{OS: "linux", Architecture: "arm64"}}})
	report, err := bundle.Inspect(t.Context(), open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	var left []digest.Digest
	for _, o := range report.Contents.LeftOut {
		left = append(left, o.Digest)
	}
	slices.Sort(left)
	want := []digest.Digest{amd.Digest, kitAMD.Digest}
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left out %v, want the amd64 image and its attestation %v", left, want)
	}
	dst := importAll(t, path, bundle.ImportOptions{})
	for d, there := range map[digest.Digest]bool{
		index.Digest: true, arm.Digest: true, kitARM.Digest: true, onIndex.Digest: true, onARM.Digest: true,
		amd.Digest: false, kitAMD.Digest: false, onAMD.Digest: false,
	} {
		item, _ := content.Find(repo, d)
		rc, err := dst.Open(t.Context(), repo, item.Descriptor)
		if (err == nil) != there {
			t.Errorf("%s: %v, want it there: %v", d, err, there)
		}
		if err == nil {
			got, err := io.ReadAll(rc)
			if err != nil || !bytes.Equal(got, item.Bytes) {
				t.Errorf("%s changed: %v", d, err)
			}
			rc.Close()
		}
	}
	// A bundle that is sparse already can be exported from.
	first := open(t, path)
	again := filepath.Join(t.TempDir(), "again.tar")
	sel := bundle.Selection{Source: first.Source(), References: first.References(), MayMiss: first.MayMiss}
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: again}); err != nil {
		t.Error(err)
	}
	_, err = exportSel(t, memory(t, content), content.Roots(), bundle.ExportOptions{
		Output: again, Platforms: []layout.Platform{{OS: "plan9", Architecture: "arm64"}},
	})
	if err == nil || !strings.Contains(layout.Hint(err), "linux/amd64") {
		t.Errorf("a platform that is not there: %v, hint %q; want what there is", err, layout.Hint(err))
	}
}

// What an index lists that is no manifest, and only one of two repositories has, is
// carried for that one, and goes to no other.
func TestOpaqueInOneRepository(t *testing.T) {
	const lacks = "a.example/app"
	b, other := layouttest.New(repo), layouttest.New(lacks)
	xml := b.Blob("application/xml", []byte("<x/>"))
	index := b.Index(b.Image("image"), xml)
	b.Tag("v1", index)
	other.Index(other.Image("image"), xml)
	other.Tag("v1", index)
	content := layouttest.Merge(b.Content(), other.Content())
	sel := bundle.Selection{
		Source: memory(t, content), References: content.Roots(),
		MayMiss: func(string, digest.Digest, layout.Descriptor) bool { return true },
	}
	path, again := filepath.Join(t.TempDir(), "bundle.tar"), filepath.Join(t.TempDir(), "again.tar")
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: path}); err != nil {
		t.Fatal(err)
	}
	first := open(t, path)
	sel = bundle.Selection{Source: first.Source(), References: first.References(), MayMiss: first.MayMiss}
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: again}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, again} {
		dst := importAll(t, path, bundle.ImportOptions{})
		for r, want := range map[string]bool{repo: true, lacks: false} {
			if has, err := dst.Has(t.Context(), r, xml); err != nil || has != want {
				t.Errorf("%s in %s: %v, %v", filepath.Base(path), r, has, err)
			}
		}
	}
}

// Several sources at once, one repository in two of them.
func TestExportFromSeveralSources(t *testing.T) {
	a, b := layouttest.New(repo), layouttest.New(repo)
	img := a.Image("shared")
	a.Tag("v1", img)
	signedInA := a.Notary(img, "in a")
	b.Image("shared")
	b.Tag("v2", img)
	signedInB := b.Notary(img, "in b")
	other := layouttest.Everything("other.example/app")
	out := filepath.Join(t.TempDir(), "bundle.tar")
	_, err := bundle.Export(t.Context(), []bundle.Selection{
		{Source: memory(t, a.Content()), References: a.Content().Roots()},
		{Source: memory(t, b.Content()), References: b.Content().Roots()},
		{Source: memory(t, other), References: other.Roots()},
	}, bundle.ExportOptions{Output: out})
	if err != nil {
		t.Fatal(err)
	}
	dst := importAll(t, out, bundle.ImportOptions{})
	found, err := dst.Attached(t.Context(), repo, img)
	if err != nil {
		t.Fatal(err)
	}
	var got []digest.Digest
	for _, inq := range found {
		for _, d := range inq.Found {
			got = append(got, d.Digest)
		}
	}
	for _, want := range []layout.Descriptor{signedInA, signedInB} {
		if !slices.Contains(got, want.Digest) {
			t.Errorf("%s is not attached: %v", want.Digest, got)
		}
	}
	layouttest.CheckSource(t, dst, withoutFallback(other), layouttest.Traits{})
}

func TestDiff(t *testing.T) {
	graph := func(build func(b *layouttest.Builder)) *layout.Graph {
		b := layouttest.New(repo)
		build(b)
		g, err := open(t, export(t, b.Content(), bundle.ExportOptions{})).Graph(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	before := graph(func(b *layouttest.Builder) {
		kept := b.Image("kept")
		b.Tag("kept", kept)
		b.Notary(kept, "lost")
		b.Tag("moved", b.Image("old"))
		b.Tag("gone", b.Image("gone"))
	})
	after := graph(func(b *layouttest.Builder) {
		kept := b.Image("kept")
		b.Tag("kept", kept)
		b.Notary(b.Referrer(kept, "application/spdx+json", "SBOM"), "on the SBOM")
		b.Tag("moved", b.Image("new"))
		b.Tag("new", b.Image("fresh"))
	})
	d := bundle.Diff(before, after)
	if d.Same || len(d.Added) != 1 || d.Added[0].Reference != repo+":new" || len(d.Removed) != 1 || d.Removed[0].Reference != repo+":gone" ||
		len(d.Moved) != 1 || d.Moved[0].Reference != repo+":moved" || len(d.Gained) != 2 || len(d.Lost) != 1 || d.Lost[0].Kind != "Notary signature" {
		t.Errorf("Diff = %+v", d)
	}
	if same := bundle.Diff(before, before); !same.Same {
		t.Errorf("Diff with itself = %+v", same)
	}
}

// A platform that a sparse bundle lacks is a difference, though no digest moved.
func TestDiffSeesLostPlatform(t *testing.T) {
	b := layouttest.New(repo)
	amd, arm := b.Image("amd64"), b.Image("arm64")
	b.Tag("v1", b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64")))
	graph := func(o bundle.ExportOptions) *layout.Graph {
		g, err := open(t, export(t, b.Content(), o)).Graph(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	whole := graph(bundle.ExportOptions{})
	sparse := graph(bundle.ExportOptions{Platforms: []layout.Platform{{OS: "linux", Architecture: "amd64"}}})
	d := bundle.Diff(whole, sparse)
	if d.Same || len(d.Lost) != 1 || d.Lost[0].Digest != arm.Digest || d.Lost[0].Platform != "linux/arm64" {
		t.Errorf("Diff = %+v, want linux/arm64 lost", d)
	}
}

// An index says of its own children what they are, and nothing of others': not
// on which platform they run, nor that they are attestations.
func TestIndexSpeaksForItselfOnly(t *testing.T) {
	b := layouttest.New(repo)
	amd, arm := b.Image("amd64"), b.Image("arm64")
	honest := b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"))
	b.Tag("honest", honest)
	claim := amd
	claim.Annotations = map[string]string{layout.AnnotationBuildKitType: layout.BuildKitAttestation, layout.AnnotationBuildKitSubject: string(arm.Digest)}
	b.Tag("liar", b.Index(layouttest.ForPlatform(arm, "linux", "amd64"), claim))
	data, err := os.ReadFile(export(t, b.Content(), bundle.ExportOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	want := loads(t, data)[repo+":honest"]
	item, _ := b.Content().Find(repo, amd.Digest)
	m, err := layout.ParseManifest(amd, item.Bytes)
	if err != nil || want != layout.BlobPath(m.Config.Digest) {
		t.Errorf("docker would load %s as %s:honest, want the amd64 image's %s (%v)", want, repo, layout.BlobPath(m.Config.Digest), err)
	}
}

// loads reads manifest.json: the config of each tag.
func loads(t *testing.T, data []byte) map[string]string {
	t.Helper()
	at := bytes.Index(data, []byte(`[{"Config":`))
	var images []struct {
		Config   string
		RepoTags []string
	}
	if at < 0 || json.NewDecoder(bytes.NewReader(data[at:])).Decode(&images) != nil {
		t.Fatal("no manifest.json in the bundle")
	}
	out := map[string]string{}
	for _, i := range images {
		for _, tag := range i.RepoTags {
			out[tag] = i.Config
		}
	}
	return out
}

// One name for two images in two sources is refused, whatever the order; a source
// that may be sparse does not excuse one that may not.
func TestSourcesThatDisagree(t *testing.T) {
	a, b := layouttest.New(repo), layouttest.New(repo)
	a.Tag("v1", a.Image("monday"))
	b.Tag("v1", b.Image("tuesday"))
	selA := bundle.Selection{Source: memory(t, a.Content()), References: a.Content().Roots()}
	selB := bundle.Selection{Source: memory(t, b.Content()), References: b.Content().Roots()}
	out := filepath.Join(t.TempDir(), "bundle.tar")
	for _, parts := range [][]bundle.Selection{{selA, selB}, {selB, selA}} {
		if _, err := bundle.Export(t.Context(), parts, bundle.ExportOptions{Output: out}); err == nil || !strings.Contains(err.Error(), repo+":v1") {
			t.Errorf("Export = %v, want an error that names the tag", err)
		}
	}
	sparse := layouttest.Sparse("lossy.example/app")
	lossy := bundle.Selection{Source: memory(t, sparse), References: sparse.Roots()}
	lenient := selA
	lenient.MayMiss = func(string, digest.Digest, layout.Descriptor) bool { return true }
	if _, err := bundle.Export(t.Context(), []bundle.Selection{lossy, lenient}, bundle.ExportOptions{Output: out}); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("Export = %v, want ErrNotFound for the child that is missing", err)
	}
}
