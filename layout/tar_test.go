package layout_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"
)

// load puts content into memory.
func load(t *testing.T, content layouttest.Content) *layout.Memory {
	t.Helper()
	mem := layout.NewMemory()
	if err := content.Load(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	return mem
}

// planOf lays out all of content, with every name.
func planOf(t *testing.T, content layouttest.Content) *layout.Plan {
	t.Helper()
	var refs []layout.Reference
	for _, n := range content.Names {
		refs = append(refs, n.Reference)
	}
	g, err := layout.Walk(t.Context(), load(t, content), refs, layout.WalkOptions{MayMiss: mayMiss})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := layout.NewPlan(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func openDir(t *testing.T, dir string) *disk.Dir {
	t.Helper()
	d, err := disk.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func openTar(t *testing.T, path string) *layout.Reader {
	t.Helper()
	f, err := disk.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layout.OpenTar(path, f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTarConformance(t *testing.T) {
	layouttest.TestSink(t, func(t *testing.T, content layouttest.Content) layouttest.Target {
		dir := t.TempDir()
		w, err := layout.NewTarWriter(openDir(t, dir), "b.tar", planOf(t, content))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close() })
		return layouttest.Target{
			Traits: layouttest.Traits{OneNamespace: true},
			Sink:   w,
			Source: func(t *testing.T) layout.Source { return openTar(t, filepath.Join(dir, "b.tar")) },
		}
	})
}

func TestFolderConformance(t *testing.T) {
	layouttest.TestSink(t, func(t *testing.T, _ layouttest.Content) layouttest.Target {
		dir := openDir(t, t.TempDir())
		w, err := layout.NewFolderWriter("folder", dir)
		if err != nil {
			t.Fatal(err)
		}
		return layouttest.Target{
			Traits: layouttest.Traits{OneNamespace: true},
			Sink:   w,
			Source: func(t *testing.T) layout.Source {
				r, err := layout.OpenFolder("folder", dir)
				if err != nil {
					t.Fatal(err)
				}
				return r
			},
		}
	})
}

// export walks the roots of content, as a user names them, and writes a bundle.
func export(t *testing.T, content layouttest.Content, dir, name string) (*layout.Graph, *layout.Plan) {
	t.Helper()
	src := load(t, content)
	g, err := layout.Walk(t.Context(), src, content.Roots(), layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := layout.NewPlan(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := layout.NewTarWriter(openDir(t, dir), name, plan)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := layout.Copy(t.Context(), w, src, g, layout.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	return g, plan
}

// The whole way: everything that was attached arrives, and nothing else does.
func TestWalkCarriesEverything(t *testing.T) {
	const repo = "reg.example/team/app"
	content := layouttest.Everything(repo)
	dir := t.TempDir()
	export(t, content, dir, "b.tar")
	r := openTar(t, filepath.Join(dir, "b.tar"))
	for _, item := range content.Repositories[repo] {
		if layout.IsIndex(item.Descriptor.MediaType) && isFallbackIndex(content, item) {
			continue // a registry's own bookkeeping: remade on the far side
		}
		rc, err := r.Open(t.Context(), repo, item.Descriptor)
		if err != nil {
			t.Errorf("%s %s did not arrive: %v", item.Descriptor.MediaType, item.Descriptor.Digest, err)
			continue
		}
		got, err := io.ReadAll(rc)
		rc.Close()
		if err != nil || !bytes.Equal(got, item.Bytes) {
			t.Errorf("%s arrived changed: %v", item.Descriptor.Digest, err)
		}
	}
}

func isFallbackIndex(content layouttest.Content, item layouttest.Item) bool {
	for _, n := range content.Names {
		if layout.IsReferrersTag(n.Reference.Tag) && n.Descriptor.Digest == item.Descriptor.Digest {
			return true
		}
	}
	return false
}

// The pipe gives the same bytes as the file, and every run the same again.
func TestTarIsDeterministic(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything("a.example/x"), layouttest.SHA512("b.example/y"))
	dir := t.TempDir()
	_, plan := export(t, content, dir, "one.tar")
	export(t, content, dir, "two.tar")
	one, err := os.ReadFile(filepath.Join(dir, "one.tar"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.ReadFile(filepath.Join(dir, "two.tar"))
	if err != nil {
		t.Fatal(err)
	}
	var pipe bytes.Buffer
	if err := layout.WriteTar(t.Context(), &pipe, load(t, content), plan, nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(one, two) || !bytes.Equal(one, pipe.Bytes()) {
		t.Errorf("not the same bytes: file %d, file again %d, pipe %d", len(one), len(two), pipe.Len())
	}
	if plan.Size != int64(len(one)) {
		t.Errorf("planned %d bytes, wrote %d", plan.Size, len(one))
	}
	listWithGo(t, one, plan)
}

// listWithGo reads the bundle as most tools of the field do.
func listWithGo(t *testing.T, data []byte, plan *layout.Plan) {
	t.Helper()
	tr := tar.NewReader(bytes.NewReader(data))
	for i := range plan.Entries {
		h, err := tr.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e := &plan.Entries[i]; h.Name != e.Name() || h.Size != e.Size || h.Typeflag != tar.TypeReg {
			t.Errorf("entry %d is %s of %d bytes, want %s of %d", i, h.Name, h.Size, e.Name(), e.Size)
		}
	}
	if _, err := tr.Next(); err != io.EOF {
		t.Errorf("after the last entry: %v", err)
	}
}

// A Put that went wrong halfway leaves no trace under the zeros of the right one.
func TestWrongPutUnderZeros(t *testing.T) {
	b := layouttest.New("reg.example/zeros")
	data := append([]byte("head"), make([]byte, 1<<20)...)
	blob := b.Blob("application/vnd.oci.image.layer.v1.tar", data)
	b.Tag("v1", b.Image("zeros", blob))
	content := b.Content()
	src := load(t, content)
	g, err := layout.Walk(t.Context(), src, content.Roots(), layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := layout.NewPlan(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	w, err := layout.NewTarWriter(openDir(t, dir), "b.tar", plan)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	wrong := bytes.Repeat([]byte("garbage!"), len(data)/8)
	if err := w.Put(t.Context(), "", blob, bytes.NewReader(wrong)); err == nil {
		t.Fatal("wrong content was taken")
	}
	if err := layout.Copy(t.Context(), w, src, g, layout.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	rc, err := openTar(t, filepath.Join(dir, "b.tar")).Open(t.Context(), "", blob)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the file does not hold what was put last: %v", err)
	}
}
