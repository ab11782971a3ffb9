package store

import (
	"os"
	"path/filepath"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// pushRun is a client's push with one fault.
type pushRun struct {
	dir   string
	fs    *disktest.FS
	acked map[digest.Digest]bool
	lines int // of the ledger, of what was acknowledged
}

// pushThrough pushes content into the store in dir, through a folder with a fault, up to
// the first thing that fails.
func pushThrough(t *testing.T, dir string, content layouttest.Content, n int, mode disktest.Mode) pushRun {
	t.Helper()
	folder, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { folder.Close() })
	run := pushRun{dir: dir, fs: disktest.Wrap(folder), acked: map[digest.Digest]bool{}}
	run.fs.Inject(n, mode)
	s, err := Open(dir, Options{FS: run.fs})
	if err != nil {
		return run
	}
	defer s.Close()
	p := s.Pusher(PushOptions{Entry: func(PushEvent) ([]byte, error) { return []byte("push"), nil }})
	for _, item := range content.Repositories[testRepo] {
		if err := pushItem(t, p, content, item); err != nil {
			return run
		}
		run.acked[item.Descriptor.Digest] = true
		if layout.IsManifest(item.Descriptor.MediaType) {
			run.lines++
		}
	}
	return run
}

// pushItem pushes a blob in two parts, or a manifest.
func pushItem(t *testing.T, p *Pusher, content layouttest.Content, item layouttest.Item) error {
	t.Helper()
	if layout.IsManifest(item.Descriptor.MediaType) {
		_, err := pushManifest(t, p, content, testRepo, item.Descriptor)
		return err
	}
	u, err := p.Upload(t.Context(), testRepo, digest.SHA256)
	if err != nil {
		return err
	}
	for _, part := range [][]byte{item.Bytes[:len(item.Bytes)/2], item.Bytes[len(item.Bytes)/2:]} {
		if _, err := u.Write(part); err != nil {
			_ = u.Close() // as a registry does; the disk may fail at that, too
			return err
		}
	}
	return u.Commit(t.Context(), item.Descriptor.Digest)
}

// Every fault at every operation of a push, with and without a loss of power: what was
// acknowledged is there, nothing is there in part, and pushing again ends well.
func TestPushFaults(t *testing.T) {
	step, losses := 1, append(disktest.Losses, noLoss)
	if testing.Short() {
		step = 5
	}
	base := filepath.Join(memoryDir(t), "base")
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	content := image("new")
	clean := pushThrough(t, clone(t, base), content, 0, "")
	ops := clean.fs.Ops()
	if len(clean.acked) != len(content.Repositories[testRepo]) || len(ops) == 0 {
		t.Fatalf("without a fault: %d acknowledged, %d operations", len(clean.acked), len(ops))
	}
	runs := 0
	for i := 0; i < len(ops); i += step {
		for j, mode := range disktest.Modes {
			if !mode.Applies(ops[i].Op) {
				continue
			}
			loss := losses[(i+j)%len(losses)]
			run := pushThrough(t, clone(t, base), content, i+1, mode)
			if !run.fs.Fired() {
				t.Errorf("operation %d (%s): %s did not happen", i+1, ops[i], mode)
			}
			if loss != noLoss {
				if err := run.fs.PowerCut(loss); err != nil {
					t.Fatal(err)
				}
			}
			if run.survives(t, content); t.Failed() {
				t.Fatalf("after %s at operation %d (%s), losing %q; acknowledged: %d", mode, i+1, ops[i], loss, len(run.acked))
			}
			runs++
		}
	}
	t.Logf("%d operations, %d runs", len(ops), runs)
}

// survives checks what is left, and that it can be pushed again.
func (run pushRun) survives(t *testing.T, content layouttest.Content) {
	t.Helper()
	s, err := Open(run.dir, Options{})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	sound(t, s)
	v, next := s.View(), true
	for _, item := range content.Repositories[testRepo] {
		see := sees
		if !layout.IsManifest(item.Descriptor.MediaType) {
			see = seesBlob
		}
		there := see(t, v, testRepo, item.Descriptor.Digest)
		switch {
		case run.acked[item.Descriptor.Digest] && !there:
			t.Errorf("%s was acknowledged, and is not there", item.Descriptor.Digest)
		case !run.acked[item.Descriptor.Digest] && there && !next:
			t.Errorf("%s is there, and was not pushed yet", item.Descriptor.Digest)
		}
		next = next && run.acked[item.Descriptor.Digest] // the first that failed may be there
	}
	if n := len(entries(t, s)); n < run.lines || n > run.lines+1 {
		t.Errorf("%d lines in the ledger, %d manifests were acknowledged", n, run.lines)
	}
	if got := leftovers(t, run.dir); len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
	pushAll(t, s.Pusher(PushOptions{}), content)
	layouttest.CheckSource(t, s, content, layouttest.Traits{})
	if r := sound(t, s); r.Orphans > 0 {
		t.Errorf("%d files that the database does not list", r.Orphans)
	}
	if err := os.RemoveAll(run.dir); err != nil {
		t.Error(err)
	}
}
