package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/layout/layouttest"
	"airgap/store/push"
)

// cosigned is an image that shares a layer with all others, with a referrer and a
// signature under a tag of its own.
func cosigned(label string) layouttest.Content {
	b := layouttest.New(testRepo)
	img := b.Image(label, b.Layer("application/vnd.oci.image.layer.v1.tar", "shared"))
	b.Notary(b.Notary(img, "signature"), "signature on the signature")
	tag, _ := layout.FormCosignSig.Tag(img.Digest)
	b.Tag(tag, b.Image("cosign signature of "+label))
	b.Tag(label, img)
	return b.Content()
}

// unname takes the tag of cosigned(label) away.
func unname(t *testing.T, s *Store, label string) {
	t.Helper()
	session := begin(t, s)
	no(t, session.Remove(layout.Reference{Repository: testRepo, Tag: label}))
	no(t, session.Commit(t.Context(), nil))
}

func collect(t *testing.T, s *Store, o CollectOptions) Collected {
	t.Helper()
	c, err := s.Collect(t.Context(), o)
	no(t, err)
	return c
}

// What no name leads to goes, with all that is attached to it and every file; what a
// name leads to stays, and so does what both share.
func TestCollect(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	gone, kept := cosigned("gone"), cosigned("kept")
	add(t, s, kept)
	alone := files(t, dir, "blobs")
	add(t, s, gone)
	if c := collect(t, s, CollectOptions{}); c != (Collected{}) {
		t.Errorf("everything has a name, and it removed %+v", c)
	}
	unname(t, s, "gone")
	before := content(t, dir)
	dry := collect(t, s, CollectOptions{DryRun: true})
	if after := content(t, dir); len(after) != len(before) || dry.Manifests != 4 || dry.Tags != 1 {
		t.Errorf("a dry run: %+v; %d files, %d before", dry, len(after), len(before))
	}
	layouttest.CheckSource(t, s, kept, layouttest.Traits{})
	if c := collect(t, s, CollectOptions{}); c != dry || c.Blobs == 0 || c.Bytes == 0 {
		t.Errorf("removed %+v, the dry run said %+v", c, dry)
	}
	if after := files(t, dir, "blobs"); len(after) != len(alone) {
		t.Errorf("%d files, %d without it", len(after), len(alone))
	}
	layouttest.CheckSource(t, s, kept, layouttest.Traits{})
	if _, err := s.Resolve(t.Context(), layout.Reference{Repository: testRepo, Digest: gone.Names[0].Descriptor.Digest}); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("by its digest: %v", err)
	}
	if c := collect(t, s, CollectOptions{}); c != (Collected{}) {
		t.Errorf("the second time it removed %+v", c)
	}
	add(t, s, gone)
	layouttest.CheckSource(t, s, gone, layouttest.Traits{})
}

// A signature whose image is kept elsewhere (COSIGN_REPOSITORY) is there for its own
// sake.
func TestCollectSignaturesElsewhere(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	tag, _ := layout.FormCosignSig.Tag(image("elsewhere").Names[0].Descriptor.Digest)
	b.Tag(tag, b.Image("signature"))
	add(t, s, b.Content())
	if c := collect(t, s, CollectOptions{}); c != (Collected{}) {
		t.Errorf("removed %+v", c)
	}
	layouttest.CheckSource(t, s, b.Content(), layouttest.Traits{})
}

// While many files are removed others can publish, and what they put again stays.
func TestCollectPauses(t *testing.T) {
	dir := t.TempDir()
	folder, err := disk.Open(dir)
	no(t, err)
	t.Cleanup(func() { folder.Close() })
	b := layouttest.New(testRepo)
	var layers []layout.Descriptor
	for i := range 2 * pauseAfter {
		layers = append(layers, b.Blob("application/vnd.oci.image.layer.v1.tar", fmt.Append(nil, i)))
	}
	b.Tag("gone", b.Image("gone", layers...))
	var s *Store
	var others sync.WaitGroup
	removed, left := 0, 0
	var committed atomic.Bool
	s = open(t, dir, Options{FS: &removingFS{folder, func(name string) {
		if filepath.Base(filepath.Dir(name)) != "sha256" {
			return
		}
		if removed++; removed > 1 {
			if !committed.Load() {
				left = 2*pauseAfter - removed
			}
			return
		}
		session := begin(t, s)
		no(t, b.Content().Put(t.Context(), session)) // nothing is there, by the database
		others.Go(func() {
			no(t, session.Commit(t.Context(), b.Content().Names))
			committed.Store(true)
		})
		for !awaitsPublishing() {
			runtime.Gosched()
		}
	}}})
	add(t, s, b.Content())
	unname(t, s, "gone")
	collect(t, s, CollectOptions{})
	others.Wait()
	if left <= 0 {
		t.Error("nobody could publish until all was removed")
	}
	layouttest.CheckSource(t, s, b.Content(), layouttest.Traits{})
}

// awaitsPublishing says whether somebody waits to publish, and so comes next.
func awaitsPublishing() bool {
	stacks := make([]byte, 1<<20)
	for _, one := range strings.Split(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		state, calls, _ := strings.Cut(one, "\n")
		if strings.Contains(state, "[select") && strings.HasPrefix(calls, "airgap/store.(*publication).lock(") {
			return true
		}
	}
	return false
}

// The last name of a repository takes the repository with it.
func TestCollectRepository(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	add(t, s, cosigned("gone"))
	unname(t, s, "gone")
	collect(t, s, CollectOptions{})
	repos, err := s.Repositories(t.Context())
	if err != nil || len(repos) != 0 {
		t.Errorf("repositories: %q, %v", repos, err)
	}
}

// An import in another process has found that the store has something. It is not
// collected from under it; when the import has ended without a name, it is.
func TestCollectSparesWhatOthersCountOn(t *testing.T) {
	for _, commit := range []bool{true, false} {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		add(t, s, cosigned("v1"))
		unname(t, s, "v1")
		other := open(t, dir, Options{})
		session := begin(t, other)
		no(t, cosigned("v1").Put(t.Context(), session)) // finds everything there
		if c := collect(t, s, CollectOptions{}); c.Blobs != 0 || c.Spared == 0 {
			t.Errorf("removed %+v", c)
		}
		if commit {
			no(t, session.Commit(t.Context(), cosigned("v1").Names))
		}
		no(t, session.Close())
		c := collect(t, s, CollectOptions{})
		if commit {
			layouttest.CheckSource(t, s, cosigned("v1"), layouttest.Traits{})
		}
		if (c.Blobs == 0) != commit || c.Spared != 0 {
			t.Errorf("committed: %v; removed %+v", commit, c)
		}
	}
}

// A blob that a client has deleted is in the store until it is collected, and an import
// may count on that.
func TestCollectSparesWhatWasDeleted(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir, Options{}), open(t, dir, Options{})
	content := image("v1")
	p := s.Pusher(PushOptions{})
	for _, item := range content.Repositories[testRepo] {
		if layout.IsManifest(item.Descriptor.MediaType) {
			continue
		}
		no(t, pushBlob(t, p, "pushed/app", item.Bytes, item.Descriptor.Digest))
		no(t, p.Delete(t.Context(), push.Removal{Reference: layout.Reference{Repository: "pushed/app", Digest: item.Descriptor.Digest}, Blob: true}))
	}
	session := begin(t, other)
	no(t, content.Put(t.Context(), session))
	if c := collect(t, s, CollectOptions{}); c.Blobs != 0 || c.Spared == 0 {
		t.Errorf("removed %+v", c)
	}
	no(t, session.Commit(t.Context(), content.Names))
	layouttest.CheckSource(t, s, content, layouttest.Traits{})
}

// A session that looks for the first time, while a collection runs in this process, does
// not wait for what waits for it.
func TestCollectBesideTheFirstLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(t.TempDir(), Options{})
		no(t, err)
		defer s.Close()
		session := begin(t, s)
		no(t, s.publishing.lock(t.Context())) // as a collection does first
		var looks sync.WaitGroup
		looks.Go(func() {
			if _, err := session.Has(t.Context(), testRepo, image("v1").Names[0].Descriptor); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if s.looking.TryLock() { // as it does then
			s.looking.Unlock()
		} else {
			t.Error("it would wait for ever")
		}
		s.publishing.unlock()
		looks.Wait()
		no(t, session.Close())
	})
}

// tornFS tears the first claim that is written.
type tornFS struct {
	disk.FS
	torn bool
}

func (f *tornFS) Open(name string, flag int, perm fs.FileMode) (disk.File, error) {
	file, err := f.FS.Open(name, flag, perm)
	if err == nil && strings.HasSuffix(name, claimSuffix) && flag != os.O_RDONLY {
		return &tornFile{file, f}, nil
	}
	return file, err
}

type tornFile struct {
	disk.File
	fs *tornFS
}

func (f *tornFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fs.torn {
		return f.File.WriteAt(p, off)
	}
	f.fs.torn = true
	n, _ := f.File.WriteAt(p[:len(p)/2], off)
	return n, syscall.ENOSPC
}

func (f *tornFile) Write(p []byte) (int, error) {
	if f.fs.torn {
		return f.File.Write(p)
	}
	f.fs.torn = true
	n, _ := f.File.Write(p[:len(p)/2])
	return n, syscall.ENOSPC
}

// A claim for which there was no room keeps no collection from reading those made later.
func TestCollectAfterTornClaim(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	add(t, s, cosigned("v1"))
	unname(t, s, "v1")
	folder, err := disk.Open(dir)
	no(t, err)
	t.Cleanup(func() { folder.Close() })
	other := open(t, dir, Options{FS: &tornFS{FS: folder}})
	session := begin(t, other)
	if err := cosigned("v1").Put(t.Context(), session); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Put = %v, want ENOSPC", err)
	}
	no(t, cosigned("v1").Put(t.Context(), session))
	if c := collect(t, s, CollectOptions{}); c.Blobs != 0 || c.Spared == 0 {
		t.Errorf("removed %+v", c)
	}
	no(t, session.Commit(t.Context(), cosigned("v1").Names))
	layouttest.CheckSource(t, s, cosigned("v1"), layouttest.Traits{})
}

// A session that looks after a collection is told that it is gone, and puts it.
func TestCollectBeforeTheLook(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir, Options{}), open(t, dir, Options{})
	add(t, s, cosigned("v1"))
	unname(t, s, "v1")
	session := begin(t, other)
	collect(t, s, CollectOptions{})
	no(t, cosigned("v1").Load(t.Context(), session))
	layouttest.CheckSource(t, s, cosigned("v1"), layouttest.Traits{})
}

// What cannot be read may lead to anything.
func TestCollectDamaged(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	no(t, err)
	defer s.Close()
	add(t, s, cosigned("kept"))
	add(t, s, cosigned("gone"))
	unname(t, s, "gone")
	d := cosigned("kept").Names[len(cosigned("kept").Names)-1].Descriptor
	write(t, blobFile(dir, d), make([]byte, d.Size))
	before := content(t, dir)
	if _, err := s.Collect(t.Context(), CollectOptions{}); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("Collect = %v, want ErrCorrupt", err)
	}
	if after := content(t, dir); len(after) != len(before) {
		t.Errorf("%d files, %d before", len(after), len(before))
	}
}

// TestCollectFaults puts every fault at every operation of a collection. What has a name
// stays whole, and the next one finishes the work.
func TestCollectFaults(t *testing.T) {
	base := filepath.Join(memoryDir(t), "base")
	s := open(t, base, Options{})
	add(t, s, cosigned("kept"))
	add(t, s, cosigned("gone"))
	unname(t, s, "gone")
	write(t, filepath.Join(base, "blobs", "sha256", "left by a crash"), []byte("x"))
	run := func(dir string, n int, mode disktest.Mode) (*disktest.FS, error) {
		folder, err := disk.Open(dir)
		no(t, err)
		defer folder.Close()
		fsys := disktest.Wrap(folder)
		fsys.Inject(n, mode)
		s, err := Open(dir, Options{FS: fsys})
		if err != nil {
			return fsys, err
		}
		defer s.Close()
		_, err = s.Collect(t.Context(), CollectOptions{})
		return fsys, err
	}
	clean, err := run(clone(t, base), 0, "")
	no(t, err)
	ops, runs := clean.Ops(), 0
	for i, op := range ops {
		for j, mode := range disktest.Modes {
			if !mode.Applies(op.Op) {
				continue
			}
			runs++
			dir := clone(t, base)
			fsys, _ := run(dir, i+1, mode)
			if !fsys.Fired() {
				t.Errorf("operation %d (%s): %s did not happen", i+1, op, mode)
			}
			if loss := disktest.Losses[(i+j)%len(disktest.Losses)]; runs%2 == 0 {
				no(t, fsys.PowerCut(loss))
			}
			s, err := Open(dir, Options{})
			no(t, err)
			sound(t, s)
			layouttest.CheckSource(t, s, cosigned("kept"), layouttest.Traits{})
			collect(t, s, CollectOptions{})
			if r := sound(t, s); r.Orphans > 0 || r.Blobs != len(files(t, dir, "blobs")) {
				t.Errorf("%+v, and %d files", r, len(files(t, dir, "blobs")))
			}
			if c := collect(t, s, CollectOptions{DryRun: true}); c != (Collected{}) {
				t.Errorf("left: %+v", c)
			}
			no(t, s.Close())
			if t.Failed() {
				t.Fatalf("after %s at operation %d (%s)", mode, i+1, op)
			}
			no(t, os.RemoveAll(dir))
		}
	}
	if runs == 0 {
		t.Fatal("nothing was tried")
	}
	t.Logf("%d operations, %d runs", len(ops), runs)
}
