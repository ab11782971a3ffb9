package layout_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"
)

// unpack writes an archive's members as files.
func unpack(t testing.TB, members ...member) string {
	t.Helper()
	dir := t.TempDir()
	for _, m := range members {
		path := filepath.Join(dir, m.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, m.data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openFolder(t testing.TB, dir string) (*layout.Reader, error) {
	t.Helper()
	d, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return layout.OpenFolder(dir, d)
}

func readFolder(t testing.TB, dir string) error {
	t.Helper()
	r, err := openFolder(t, dir)
	if err != nil {
		return err
	}
	return readReader(t, r)
}

func folderWriter(t testing.TB, dir string) *layout.FolderWriter {
	t.Helper()
	d, err := disk.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	w, err := layout.NewFolderWriter(dir, d)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// leftovers lists temporary files.
func leftovers(t testing.TB, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && (strings.HasSuffix(path, ".tmp") || strings.Contains(path, layout.PartialSuffix)) {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A process that was killed left temporary files under the number that this one
// has, as happens in containers.
func TestFolderWriterOldTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "blobs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, "blobs", fmt.Sprintf(".airgap-%d-%d.tmp", os.Getpid(), i)), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content := layouttest.Everything("reg.example/app")
	if err := content.Load(t.Context(), folderWriter(t, dir)); err != nil {
		t.Fatal(err)
	}
	r, err := openFolder(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	layouttest.CheckSource(t, r, content, layouttest.Traits{OneNamespace: true})
}

// What an interrupted run put is not put again, and is listed all the same: tools
// that do not look into blobs find what is attached only in index.json.
func TestFolderWriterResumes(t *testing.T) {
	dir := t.TempDir()
	content := layouttest.Everything("reg.example/app")
	if err := content.Put(t.Context(), folderWriter(t, dir)); err != nil {
		t.Fatal(err)
	}
	w := folderWriter(t, dir)
	items := content.Repositories["reg.example/app"]
	for _, item := range items {
		if has, err := w.Has(t.Context(), "", item.Descriptor); !has || err != nil {
			t.Errorf("Has(%s) = %v, %v", item.Descriptor.Digest, has, err)
		}
	}
	if err := w.Commit(t.Context(), content.Names); err != nil {
		t.Fatal(err)
	}
	r, err := openFolder(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range items {
		if !layout.IsManifest(item.Descriptor.MediaType) {
			continue
		}
		m, err := layout.ParseManifest(item.Descriptor, item.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		listed := slices.ContainsFunc(r.Index(), func(d layout.Descriptor) bool { return d.Digest == item.Descriptor.Digest })
		if m.Subject != nil && !listed {
			t.Errorf("%s is attached to something and not in index.json", item.Descriptor.Digest)
		}
	}
}

// Files that do not hash to their names are not taken for content.
func TestFolderWriterMendsDamage(t *testing.T) {
	dir := t.TempDir()
	content := layouttest.Everything("reg.example/app")
	if err := content.Load(t.Context(), folderWriter(t, dir)); err != nil {
		t.Fatal(err)
	}
	items := content.Repositories["reg.example/app"]
	for i, item := range items {
		data := bytes.Clone(item.Bytes)
		switch {
		case i%3 == 0 || len(data) == 0:
			data = append(data, 'x')
		case i%3 == 1:
			data = data[:len(data)-1]
		default:
			data[0] ^= 1
		}
		if err := os.WriteFile(filepath.Join(dir, layout.BlobPath(item.Descriptor.Digest)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w := folderWriter(t, dir)
	for _, item := range items {
		if has, err := w.Has(t.Context(), "", item.Descriptor); has || err != nil {
			t.Errorf("Has(%s) = %v, %v for a damaged file", item.Descriptor.Digest, has, err)
		}
	}
	if err := w.Commit(t.Context(), content.Names); err == nil {
		t.Error("damaged manifests got names")
	}
	if err := content.Put(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	r, err := openFolder(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	layouttest.CheckSource(t, r, content, layouttest.Traits{OneNamespace: true})
}

// Many writers at once, in one folder: each name that was committed without an
// error is there at the end.
func TestFolderWritersAtOnce(t *testing.T) {
	dir := t.TempDir()
	const writers = 8
	shared := layouttest.Everything("reg.example/shared")
	var wg sync.WaitGroup
	for i := range writers {
		w := folderWriter(t, dir)
		wg.Go(func() {
			b := layouttest.New(fmt.Sprintf("reg.example/app%d", i))
			image := b.Image(fmt.Sprint(i))
			b.Notary(image, fmt.Sprint(i))
			b.Tag("v1", image)
			content := layouttest.Merge(shared, b.Content())
			if err := content.Put(t.Context(), w); err != nil {
				t.Error(err)
			}
			for {
				err := w.Commit(t.Context(), content.Names)
				if err == nil {
					return
				}
				if !errors.Is(err, disk.ErrBusy) || layout.Hint(err) == "" {
					t.Errorf("Commit = %v, hint %q, want ErrBusy and what to do", err, layout.Hint(err))
					return
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	r, err := openFolder(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range writers {
		ref := layout.Reference{Repository: fmt.Sprintf("reg.example/app%d", i), Tag: "v1"}
		if _, err := r.Resolve(t.Context(), ref); err != nil {
			t.Errorf("%s was committed and is lost: %v", ref, err)
		}
	}
	layouttest.CheckSource(t, r, shared, layouttest.Traits{OneNamespace: true})
	if left := leftovers(t, dir); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

// Names of other tools stay, a name that moves is replaced, and what has no
// repository gives way to what has.
func TestFolderWriterNames(t *testing.T) {
	b := layouttest.New("reg.example/app")
	one, two, three := b.Image("one"), b.Image("two"), b.Image("three")
	full := layout.Descriptor{MediaType: one.MediaType, Digest: one.Digest, Size: one.Size, Annotations: map[string]string{
		layout.AnnotationContainerdName: "reg.example/app:v1", layout.AnnotationRefName: "v1",
	}}
	bare := layout.Descriptor{MediaType: two.MediaType, Digest: two.Digest, Size: two.Size, Annotations: map[string]string{
		layout.AnnotationRefName: "v2", "org.example.note": "kept",
	}}
	dir := unpack(t, append([]member{{name: "oci-layout", data: []byte(layoutJSON)}, {name: "index.json", data: indexJSON(t, full, bare)}}, blobs(b.Content())...)...)
	ref := func(tag string) layout.Reference { return layout.Reference{Repository: "reg.example/app", Tag: tag} }
	w := folderWriter(t, dir)
	err := w.Commit(t.Context(), []layout.Name{{Reference: ref("v1"), Descriptor: three}, {Reference: ref("v2"), Descriptor: three}, {Reference: ref("v2"), Descriptor: three}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := openFolder(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"v1", "v2"} {
		if d, err := r.Resolve(t.Context(), ref(tag)); err != nil || d.Digest != three.Digest {
			t.Errorf("%s stands for %s, %v", tag, d.Digest, err)
		}
	}
	if d, err := r.Resolve(t.Context(), layout.Reference{Repository: "reg.example/other", Tag: "v2"}); err != nil || d.Digest != two.Digest {
		t.Errorf("v2 without a repository stands for %s, %v", d.Digest, err)
	}
	if n := len(r.Index()); n != 3 || r.Index()[0].Annotations["org.example.note"] != "kept" {
		t.Errorf("index.json has %d entries: %v", n, r.Index())
	}
	for what, names := range map[string][]layout.Name{
		"one name, two manifests": {{Reference: ref("x"), Descriptor: one}, {Reference: ref("x"), Descriptor: two}},
		"no name":                 {{Reference: layout.Reference{Repository: "reg.example/app"}, Descriptor: one}},
		"another's digest":        {{Reference: layout.Reference{Repository: "reg.example/app", Tag: "x", Digest: two.Digest}, Descriptor: one}},
		"never put":               {{Reference: ref("x"), Descriptor: layouttest.New("x").Image("never")}},
	} {
		if err := w.Commit(t.Context(), names); err == nil {
			t.Errorf("%s: committed", what)
		}
	}
	if again, err := openFolder(t, dir); err != nil || len(again.Index()) != 3 {
		t.Errorf("what was refused changed the folder: %v", err)
	}
}
