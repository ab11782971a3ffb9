package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/layout/layouttest"
	"airgap/store/push"

	"github.com/opencontainers/go-digest"
)

// fileDamages are what disks and people do to a file.
var fileDamages = map[string]func(t *testing.T, path string){
	"flipped bit": func(t *testing.T, path string) {
		data, err := os.ReadFile(path)
		no(t, err)
		data[len(data)/2] ^= 1
		no(t, os.WriteFile(path, data, 0o644))
	},
	"zeros": func(t *testing.T, path string) {
		data, err := os.ReadFile(path)
		no(t, err)
		no(t, os.WriteFile(path, make([]byte, len(data)), 0o644))
	},
	"cut off": func(t *testing.T, path string) { no(t, os.Truncate(path, 1)) },
	"gone":    func(t *testing.T, path string) { no(t, os.Remove(path)) },
}

// allDigests lists blobs and manifests of content, once each.
func allDigests(content layouttest.Content) (out []layout.Descriptor) {
	for _, items := range content.Repositories {
		for _, item := range items {
			if !slices.ContainsFunc(out, func(d layout.Descriptor) bool { return d.Digest == item.Descriptor.Digest }) {
				out = append(out, item.Descriptor)
			}
		}
	}
	return out
}

// The same import once more replaces whatever is damaged, and reports it.
func TestImportRepairs(t *testing.T) {
	all := layouttest.Merge(layouttest.Everything(testRepo), layouttest.SHA512("quay.io/acme/sha512"))
	for name, damage := range fileDamages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			add(t, s, all)
			want := []digest.Digest{}
			for _, d := range allDigests(all) {
				if d.Size < 2 && name != "gone" {
					continue // there is nothing to change
				}
				damage(t, blobFile(dir, d))
				want = append(want, d.Digest)
			}
			session := begin(t, s)
			no(t, all.Load(t.Context(), session))
			slices.Sort(want)
			if got := session.Repaired(); !slices.Equal(got, want) {
				t.Errorf("repaired %d of %d: %v", len(got), len(want), got)
			}
			layouttest.CheckSource(t, s, all, layouttest.Traits{})
			again := begin(t, s)
			no(t, all.Load(t.Context(), again))
			if got := again.Repaired(); len(got) > 0 {
				t.Errorf("repaired again: %v", got)
			}
		})
	}
}

// A session that is given up leaves what is damaged as it is.
func TestRepairIsCommitted(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	no(t, err)
	defer s.Close()
	add(t, s, image("v1"))
	d := largest(image("v1")).Descriptor
	fileDamages["flipped bit"](t, blobFile(dir, d))
	session := begin(t, s)
	no(t, image("v1").Put(t.Context(), session))
	if session.Repaired() != nil {
		t.Error("reported before it is committed")
	}
	no(t, session.Close())
	r, err := s.Check(t.Context(), CheckOptions{Hashes: true})
	no(t, err)
	if len(r.Damaged) != 1 || r.Damaged[0].Digest != d.Digest || !slices.Equal(r.Damaged[0].Repositories, []string{testRepo}) {
		t.Errorf("damaged: %+v", r.Damaged)
	}
}

// What is damaged is neither there to be counted on nor to be mounted.
func TestDamageIsNotThere(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	no(t, err)
	defer s.Close()
	add(t, s, image("v1"))
	d := largest(image("v1")).Descriptor
	session := begin(t, s)
	for range 2 {
		for name, look := range map[string]func() (bool, error){
			"Has":   func() (bool, error) { return session.Has(t.Context(), testRepo, d) },
			"Holds": func() (bool, error) { return session.Holds(t.Context(), d) },
			"Mount": func() (bool, error) { return begin(t, s).Mount(t.Context(), "reg.example/other", d, "") },
			"from":  func() (bool, error) { return begin(t, s).Mount(t.Context(), "reg.example/other", d, testRepo) },
		} {
			file, err := os.ReadFile(blobFile(dir, d))
			no(t, err)
			whole := digest.FromBytes(file) == d.Digest
			if ok, err := look(); err != nil || ok != whole {
				t.Errorf("%s = %v, %v; the file is whole: %v", name, ok, err, whole)
			}
		}
		fileDamages["flipped bit"](t, blobFile(dir, d))
	}
}

// What a client is told to be there can be pulled: it pushes what is damaged.
func TestPushRepairs(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	content := image("v1")
	add(t, s, content)
	var repaired []digest.Digest
	p := s.Pusher(PushOptions{Repaired: func(d digest.Digest) { repaired = append(repaired, d) }})
	blob := largest(content)
	const other = "reg.example/other"
	everywhere := func(string) bool { return true }
	no(t, p.Mount(t.Context(), other, blob.Descriptor.Digest, testRepo, everywhere))
	fileDamages["flipped bit"](t, blobFile(dir, blob.Descriptor))
	for _, from := range []string{testRepo, ""} {
		if err := p.Mount(t.Context(), "reg.example/third", blob.Descriptor.Digest, from, everywhere); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("Mount from %q = %v, want ErrNotFound", from, err)
		}
	}
	if ok, err := p.Intact(t.Context(), blob.Descriptor.Digest); ok || err != nil {
		t.Errorf("Intact = %v, %v", ok, err)
	}
	if _, err := s.View().Blob(t.Context(), testRepo, blob.Descriptor.Digest); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("Blob of known damage = %v, want ErrCorrupt", err)
	}
	img := manifestOver(blob.Descriptor)
	_, err := putManifest(t, p, other, img, "v1")
	denied(t, err, push.ErrBlobUnknown, "damaged")

	no(t, pushBlob(t, p, other, blob.Bytes, blob.Descriptor.Digest))
	if !slices.Equal(repaired, []digest.Digest{blob.Descriptor.Digest}) {
		t.Errorf("repaired %v", repaired)
	}
	_, err = putManifest(t, p, other, img, "v1")
	no(t, err)
	for _, repo := range []string{testRepo, other} {
		f, err := s.View().Blob(t.Context(), repo, blob.Descriptor.Digest)
		no(t, err)
		data, err := io.ReadAll(f)
		if no(t, errors.Join(err, f.Close())); !bytes.Equal(data, blob.Bytes) {
			t.Errorf("%s gives other bytes than were pushed", repo)
		}
	}
	fileDamages["zeros"](t, blobFile(dir, img.Descriptor))
	index := indexOver(img.Descriptor)
	_, err = putManifest(t, p, other, index, "index")
	denied(t, err, push.ErrBlobUnknown, "damaged")
	_, err = putManifest(t, p, other, img, "v1")
	no(t, err)
	_, err = putManifest(t, p, other, index, "index")
	no(t, err)
	sound(t, s)
}

// manifestOver is an image with one blob as its config and its layer.
func manifestOver(d layout.Descriptor) layouttest.Item {
	b := []byte(`{"schemaVersion":2,"mediaType":"` + layout.MediaTypeManifest + `","config":` + descriptorJSON("application/vnd.oci.image.config.v1+json", d) +
		`,"layers":[` + descriptorJSON("application/vnd.oci.image.layer.v1.tar", d) + `]}`)
	return layouttest.Item{Descriptor: layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromBytes(b), Size: int64(len(b))}, Bytes: b}
}

func indexOver(d layout.Descriptor) layouttest.Item {
	b := []byte(`{"schemaVersion":2,"mediaType":"` + layout.MediaTypeIndex + `","manifests":[` + descriptorJSON(d.MediaType, d) + `]}`)
	return layouttest.Item{Descriptor: layout.Descriptor{MediaType: layout.MediaTypeIndex, Digest: digest.FromBytes(b), Size: int64(len(b))}, Bytes: b}
}

// TestRepairFaults puts every fault at every operation of an import that repairs. What was
// sound stays so, what was acknowledged is repaired, and the same once more repairs all.
func TestRepairFaults(t *testing.T) {
	base := filepath.Join(memoryDir(t), "base")
	s := open(t, base, Options{})
	add(t, s, image("new"))
	no(t, s.Close())
	bad := largest(image("new")).Descriptor
	fileDamages["flipped bit"](t, blobFile(base, bad))
	clean := importThrough(t, clone(t, base), image("new"), 0, "")
	ops := clean.fs.Ops()
	for i, op := range ops {
		for j, mode := range disktest.Modes {
			if !mode.Applies(op.Op) || testing.Short() && (i+j)%5 > 0 {
				continue
			}
			run := importThrough(t, clone(t, base), image("new"), i+1, mode)
			no(t, run.fs.PowerCut(disktest.Losses[(i+j)%len(disktest.Losses)]))
			s, err := Open(run.dir, Options{})
			no(t, err)
			r, err := s.Check(t.Context(), CheckOptions{Hashes: true})
			no(t, err)
			for _, d := range r.Damaged {
				if d.Digest != bad.Digest || run.acked {
					t.Errorf("damaged: %s; acknowledged: %v", d.Digest, run.acked)
				}
			}
			add(t, s, image("new"))
			sound(t, s)
			if no(t, s.Close()); t.Failed() {
				t.Fatalf("after %s at operation %d (%s)", mode, i+1, op)
			}
			no(t, os.RemoveAll(run.dir))
		}
	}
}

// Repair replaces what the store lists, from anywhere, and adds nothing.
func TestRepair(t *testing.T) {
	dir, otherDir := t.TempDir(), t.TempDir()
	s, other := open(t, dir, Options{}), open(t, otherDir, Options{})
	content := image("v1")
	add(t, s, content)
	add(t, other, content)
	for _, d := range allDigests(content) {
		fileDamages["flipped bit"](t, blobFile(dir, d))
	}
	r, err := s.Check(t.Context(), CheckOptions{Hashes: true})
	no(t, err)
	session := begin(t, s)
	for _, d := range r.Damaged {
		rc, err := other.Content(t.Context(), d.Descriptor)
		no(t, err)
		no(t, errors.Join(session.Repair(t.Context(), d.Descriptor, rc), rc.Close()))
	}
	stranger := image("other")
	item := largest(stranger)
	if err := session.Repair(t.Context(), item.Descriptor, bytes.NewReader(item.Bytes)); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("Repair of what is not listed = %v", err)
	}
	bad := r.Damaged[0].Descriptor
	if err := begin(t, s).Repair(t.Context(), bad, bytes.NewReader(make([]byte, bad.Size))); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("Repair with other bytes = %v", err)
	}
	no(t, session.Commit(t.Context(), nil))
	if len(session.Repaired()) != len(allDigests(content)) {
		t.Errorf("repaired %d", len(session.Repaired()))
	}
	layouttest.CheckSource(t, s, content, layouttest.Traits{})
}

func descriptorJSON(mediaType string, d layout.Descriptor) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, d.Digest, d.Size)
}

// A file that another session has repaired meanwhile is replaced only by one that lasts.
func TestRepairedTwice(t *testing.T) {
	dir := memoryDir(t)
	content := image("v1")
	first := open(t, dir, Options{})
	add(t, first, content)
	no(t, first.Close())
	bad := largest(content)
	fileDamages["flipped bit"](t, blobFile(dir, bad.Descriptor))
	folder, err := disk.Open(dir)
	no(t, err)
	defer folder.Close()
	fsys := disktest.Wrap(folder)
	slow, err := Open(dir, Options{FS: fsys})
	no(t, err)
	defer slow.Close()
	s, err := Open(dir, Options{})
	no(t, err)
	defer s.Close()
	session := begin(t, slow)
	no(t, session.Put(t.Context(), testRepo, bad.Descriptor, bytes.NewReader(bad.Bytes)))
	no(t, content.Load(t.Context(), begin(t, s))) // acknowledged
	no(t, session.moveAll(t.Context()))
	no(t, fsys.PowerCut(disktest.LoseData))
	if data, err := os.ReadFile(blobFile(dir, bad.Descriptor)); err != nil || !bytes.Equal(data, bad.Bytes) {
		t.Errorf("what was repaired is lost (%v)", err)
	}
}
