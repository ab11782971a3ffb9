package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// lister lists a tar as "name size" lines, regular files only and nothing else.
type lister struct {
	name    string
	command []string
	is      string // what --version says
	parse   func(line string) (name string, size int64, err error)
}

const listWithPython = `import sys, tarfile
with tarfile.open(sys.argv[1], "r:") as t:
    for m in t:
        print("f" if m.isreg() and not m.issparse() and not m.pax_headers else "x", m.size, m.name)`

var listers = []lister{
	{"tar", []string{"tar", "--list", "--verbose", "--numeric-owner", "--quoting-style=escape", "--file"}, "GNU tar", columns(0, 2, 5)},
	{"bsdtar", []string{"bsdtar", "-t", "-v", "--numeric-owner", "-f"}, "bsdtar", columns(0, 4, 8)},
	{"python3", []string{"python3", "-c", listWithPython}, "Python", columns(0, 1, 2)},
}

// columns reads a line whose first column begins with the type of the file.
func columns(kind, size, name int) func(string) (string, int64, error) {
	return func(line string) (string, int64, error) {
		f := strings.Fields(line)
		if len(f) != name+1 || !strings.HasPrefix(f[kind], "-") && f[kind] != "f" {
			return "", 0, fmt.Errorf("not a regular file: %q", line)
		}
		n, err := strconv.ParseInt(f[size], 10, 64)
		return f[name], n, err
	}
}

func (l lister) present() bool {
	out, err := exec.Command(l.command[0], "--version").CombinedOutput()
	return err == nil && strings.Contains(string(out), l.is)
}

// checkListed lists a bundle with every reader that is here, and compares with
// the plan. None at all is a failure: then nothing was compared.
func checkListed(t *testing.T, path string, plan *layout.Plan) {
	t.Helper()
	compared := 0
	for _, l := range listers {
		if !l.present() {
			t.Logf("%s is not here (%s)", l.name, l.is)
			continue
		}
		compared++
		var stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), l.command[0], append(l.command[1:], path)...)
		cmd.Env, cmd.Stderr = append(os.Environ(), "LC_ALL=C", "TZ=UTC"), &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Errorf("%s: %v: %s", l.name, err, stderr.Bytes())
		}
		lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(lines) != len(plan.Entries) {
			t.Errorf("%s lists %d files, %d were planned", l.name, len(lines), len(plan.Entries))
			continue
		}
		for i, line := range lines {
			e := &plan.Entries[i]
			if name, size, err := l.parse(line); err != nil || name != e.Name() || size != e.Size {
				t.Errorf("%s lists %q (%v), planned was %s of %d bytes", l.name, line, err, e.Name(), e.Size)
			}
		}
	}
	if compared == 0 {
		t.Error("no other reader of tar archives is here")
	}
}

// What we write, other readers read as we mean it: everything, and names too
// long for a header.
func TestTarOtherReaders(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything("a.example/x"), layouttest.SHA512("b.example/y"))
	data, plan := bundled(t, content)
	path := filepath.Join(t.TempDir(), "b.tar")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	checkListed(t, path, plan)
}

// claimed is a source whose large blobs are only claimed to exist.
type claimed struct {
	*layout.Memory
	t     *testing.T
	small int64
}

func (c claimed) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if d.Size > c.small {
		c.t.Errorf("the content of %s was asked for", d.Digest)
	}
	return c.Memory.Open(ctx, repo, d)
}

// hugePlan lays out an image with layers of these sizes, of which none exists but
// the last, which is real and comes last in the file.
func hugePlan(t *testing.T, sizes ...int64) (*layout.Plan, layout.Source, layout.Descriptor) {
	t.Helper()
	b := layouttest.New("reg.example/huge")
	var layers []layout.Descriptor
	for i, size := range sizes {
		sum := "0" + digest.FromString(fmt.Sprint(i)).Encoded()[1:]
		layers = append(layers, layout.Descriptor{MediaType: layerType, Digest: digest.Digest("sha256:" + sum), Size: size})
	}
	last := layout.Descriptor{}
	for i := 0; last.Digest == "" || last.Digest < "sha256:1"; i++ {
		last = describe(fmt.Appendf(nil, "last %d", i))
		if last.Digest >= "sha256:1" {
			last = b.Blob(layerType, fmt.Appendf(nil, "last %d", i))
		}
	}
	b.Tag("v1", b.Image("huge", append(layers, last)...))
	mem := load(t, b.Content())
	src := claimed{mem, t, 1 << 20}
	g, err := layout.Walk(t.Context(), src, b.Content().Roots(), layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := layout.NewPlan(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plan, src, last
}

// Blobs beyond 8 GiB: the frame is written, the content left as holes. Every
// reader, ours first, finds each file where the plan has it, and a small blob that
// lies behind 30 GiB reads back right.
func TestTarBeyond8GiB(t *testing.T) {
	const gib = 1 << 30
	sizes := []int64{20 * gib, 8*gib + 1, 8 * gib, 8*gib - 1, 511, 512, 513, 0, 1}
	plan, src, last := hugePlan(t, sizes...)
	dir := t.TempDir()
	w, err := layout.NewTarWriter(openDir(t, dir), "huge.tar", plan)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := src.Open(t.Context(), "reg.example/huge", last)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Put(t.Context(), "", last, rc); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), nil); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("Commit without 44 GiB = %v, want ErrNotFound", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "huge.tar"+layout.PartialSuffix)
	checkListed(t, path, plan)

	r := openTar(t, path)
	if err := r.Matches(plan); err != nil {
		t.Error(err)
	}
	e, ok := plan.Lookup(last.Digest)
	if !ok || e.Offset < 40*gib {
		t.Fatalf("the last blob is at %d", e.Offset)
	}
	rc, err = r.Open(t.Context(), "", last)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if _, err := io.ReadAll(rc); err != nil {
		t.Errorf("behind 44 GiB: %v", err)
	}
	f, err := disk.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range plan.Entries {
		e := &plan.Entries[i]
		want := layout.AppendHeader(nil, e.Name(), e.Size)
		got := make([]byte, len(want))
		if _, err := f.ReadAt(got, e.Offset); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: its header is not at %d", e.Name(), e.Offset)
		}
	}
}

// Sizes at the limits do not overflow a plan.
func TestPlanLimits(t *testing.T) {
	most := slicesOf(layout.MaxBlobBytes, 1000)
	plan, _, _ := hugePlan(t, most...)
	if plan.Size < 1000*layout.MaxBlobBytes {
		t.Errorf("a plan of 1000 × 16 TiB has %d bytes", plan.Size)
	}
	for i := range plan.Entries {
		e := &plan.Entries[i]
		if e.Offset%512 != 0 || e.DataOffset() < e.Offset || e.End() <= e.Offset || i > 0 && e.Offset != plan.Entries[i-1].End() {
			t.Fatalf("entry %d is at %d…%d", i, e.Offset, e.End())
		}
	}
	if last := plan.Entries[len(plan.Entries)-1]; plan.Size != last.End()+1024 {
		t.Errorf("the file ends at %d, its last entry at %d", plan.Size, last.End())
	}
}

func slicesOf(size int64, n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = size
	}
	return out
}

// A sum of sizes beyond any file is an error before anything is written.
func TestPlanTooLarge(t *testing.T) {
	g := &layout.Graph{Nodes: map[digest.Digest]*layout.Node{}}
	for i := range 14 {
		n := &layout.Node{Descriptor: layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString(fmt.Sprint(i)), Size: 2}}
		for j := range 20_000 {
			sum := fmt.Sprintf("sha256:%064x", i<<32+j)
			n.Blobs = append(n.Blobs, layout.Blob{Digest: digest.Digest(sum), Size: layout.MaxBlobBytes})
		}
		g.Nodes[n.Descriptor.Digest] = n
	}
	if p, err := layout.NewPlan(g, nil); !errors.Is(err, layout.ErrLimit) {
		t.Errorf("a plan of 280,000 × 16 TiB: %v, %v, want ErrLimit", p, err)
	}
}

// Metadata comes before layers, and the head of the file is enough to read all
// of it.
func TestPlanOrder(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything("a.example/x"), layouttest.SHA512("b.example/y"))
	data, plan := bundled(t, content)
	layers := false
	var head int64
	for i := range plan.Entries {
		e := &plan.Entries[i]
		if layers && !e.Layer {
			t.Errorf("%s stands behind a layer", e.Name())
		}
		if !e.Layer {
			head = e.End()
		}
		layers = layers || e.Layer
		if e.Layer && layout.IsManifest(e.MediaType) {
			t.Errorf("the manifest %s counts as a layer", e.Digest)
		}
	}
	if !layers {
		t.Error("no layers in it")
	}
	// Cut off at the first layer: all that is attached can be walked.
	cut := append(bytes.Clone(data[:head]), make([]byte, 1024)...)
	r, err := openBytes(cut)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := openBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := walkReader(t, r)
	if err != nil {
		t.Fatal(err)
	}
	want, err := walkReader(t, whole)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Nodes) != len(want.Nodes) || len(got.Nodes) < 20 {
		t.Errorf("the head has %d manifests, the bundle %d", len(got.Nodes), len(want.Nodes))
	}
	for d := range want.Attachments() {
		for _, b := range want.Nodes[d].Blobs {
			if _, err := r.Open(t.Context(), "", b.Descriptor()); err != nil {
				t.Errorf("what belongs to attachment %s is not in the head: %v", d, err)
			}
		}
	}
}
