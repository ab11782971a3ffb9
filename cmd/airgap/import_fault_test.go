package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/bundle/enclave"
	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/ledger"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/trust"

	"github.com/opencontainers/go-digest"
)

const faultRepo = "reg.example/team/app"

// delivery is a bundle of the line prod, with one image under a tag of its own.
type delivery struct {
	path string
	tag  string
	head digest.Digest
}

// deliveries writes n bundles that follow each other on a line; each image has layers
// of its own, and the tag v1, v2 and so on.
func deliveries(t *testing.T, dir string, n, layers int) []delivery {
	t.Helper()
	var tags []string
	for i := range n {
		tags = append(tags, fmt.Sprint("v", i+1))
	}
	return deliver(t, dir, layers, tags...)
}

func deliver(t *testing.T, dir string, layers int, tags ...string) []delivery {
	t.Helper()
	var out []delivery
	previous := digest.Digest("")
	for i, tag := range tags {
		b := layouttest.New(faultRepo)
		var all []layout.Descriptor
		for l := range layers {
			all = append(all, b.Layer(layerType, fmt.Sprint(i, " ", l)))
		}
		img := b.Image(fmt.Sprint("image ", i), all...)
		a, err := signing.BundleSignature(img, signing.InsecureKey("release"))
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range a.Blobs {
			b.Blob(blob.Desc.MediaType, blob.Data)
		}
		b.Blob(a.Manifest.MediaType, a.Raw)
		d := delivery{path: filepath.Join(dir, fmt.Sprint(i, ".tar")), tag: tag}
		b.Tag(d.tag, img)
		mem := layout.NewMemory()
		if err := b.Content().Load(t.Context(), mem); err != nil {
			t.Fatal(err)
		}
		sel := bundle.Selection{Source: mem, References: b.Content().Roots()}
		recording := &bundle.Recording{Key: signing.InsecureKey("exporter"), Tool: custody.Tool{Name: "airgap"},
			Line: &custody.Line{Name: "prod", Serial: uint64(i + 1), Previous: previous}}
		if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: d.path, Recording: recording}); err != nil {
			t.Fatal(err)
		}
		opened := openDelivery(t, d)
		h, err := opened.Head(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		d.head, previous = h.Manifest, h.Manifest
		out = append(out, d)
	}
	return out
}

func openDelivery(t *testing.T, d delivery) *bundle.Bundle {
	t.Helper()
	b, err := bundle.Open(t.Context(), d.path, bundle.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

const faultPolicy = "version: airgap.policy/v1\nbundle: {keys: [exporter], line: prod}\nrules:\n- {name: all, match: ['**'], require: {cosign: {key: release}}}\n"

func faultJudge(t *testing.T) *verify.Judge {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(path, []byte(faultPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(path, "")
	if err != nil {
		t.Fatal(err)
	}
	return &verify.Judge{Policy: p, Trust: &trust.Trust{}, Keys: map[string]crypto.PublicKey{
		"release": signing.InsecureKey("release").Public(), "exporter": signing.InsecureKey("exporter").Public(),
	}}
}

// inOrder holds what many workers put until the end, and then puts it piece by piece, so
// that the operations on a store have the same numbers in each run.
type inOrder struct {
	*lateSink
	mu   sync.Mutex
	held []heldPiece
}

type heldPiece struct {
	repo string
	desc layout.Descriptor
	data []byte
}

func (s *inOrder) Has(_ context.Context, repo string, d layout.Descriptor) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.held, func(h heldPiece) bool { return h.repo == repo && h.desc.Digest == d.Digest }), nil
}

func (s *inOrder) Put(_ context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	data, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = append(s.held, heldPiece{repo, d, data})
	return err
}

func (s *inOrder) Mount(context.Context, string, layout.Descriptor, string) (bool, error) {
	return false, nil
}

func (s *inOrder) Commit(ctx context.Context, names []layout.Name) error {
	slices.SortFunc(s.held, func(a, b heldPiece) int { return cmp.Compare(a.desc.Digest, b.desc.Digest) })
	for _, h := range s.held {
		if err := s.lateSink.Put(ctx, h.repo, h.desc, bytes.NewReader(h.data)); err != nil {
			return err
		}
	}
	return s.lateSink.Commit(ctx, names)
}

// bring imports a delivery into the store in dir as airgap import does, through fs if
// that is not nil.
func bring(t *testing.T, dir string, d delivery, j *verify.Judge, fs disk.FS) error {
	t.Helper()
	s, err := store.Open(dir, store.Options{FS: fs})
	if err != nil {
		return err
	}
	w := &writing{dir: dir, store: s}
	defer w.close()
	sink, memory, done, err := w.begin(t.Context())
	if err != nil {
		return err
	}
	defer done()
	_, err = bundle.Import(t.Context(), openDelivery(t, d), &inOrder{lateSink: sink.(*lateSink)}, recorded(j, memory))
	return err
}

// recorded is how deliveries are imported. Ed25519 signs the same with the same bytes,
// so that records have the same digests in each run.
func recorded(j *verify.Judge, memory bundle.Memory) bundle.ImportOptions {
	now := func() time.Time { return time.Unix(1_800_000_000, 0) }
	j.Now = now
	return bundle.ImportOptions{
		Judge: j, Memory: memory, Now: now, Reception: &bundle.Reception{To: custody.InStore, Verifier: signing.Verifier{ID: "https://corp.example/desk"},
			Recording: bundle.Recording{Key: ed25519.NewKeyFromSeed(make([]byte, 32)), Tool: custody.Tool{Name: "airgap"}, Now: now}},
	}
}

// agrees looks whether what is visible, the ledger, the marks and the records of a store
// tell the same, and says how many of the deliveries have come.
func agrees(t *testing.T, dir string, all []delivery) (came int) {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r, err := s.Check(t.Context(), store.CheckOptions{Hashes: true}); errors.Join(err, r.Err()) != nil {
		t.Fatal(err, r.Err())
	}
	imported := map[string]int{}
	err = s.Ledger(func(_ string, l ledger.Log) error {
		return enclave.EachEntry(t.Context(), l, func(_ int64, e custody.Entry) {
			if e.Act == custody.Import {
				imported[e.Reference]++
			} else {
				t.Errorf("the ledger has %+v", e)
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range all {
		ref := layout.Reference{Repository: faultRepo, Tag: d.tag}
		img, err := s.Resolve(t.Context(), ref)
		visible := err == nil
		tag, err := s.Marked("tag " + ref.String())
		if err != nil {
			t.Fatal(err)
		}
		if visible != (imported[ref.String()] > 0) || visible != (tag != nil) {
			t.Errorf("%s is visible: %v; imported by the ledger: %d times; marked: %s", ref, visible, imported[ref.String()], tag)
		}
		if !visible {
			continue
		}
		if came++; came != i+1 {
			t.Errorf("%s came, and one before did not", ref)
		}
		found, err := s.Attached(t.Context(), faultRepo, img)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(found[0].Found); n != 4 { // signature; records of export, reception, verdict
			t.Errorf("%s has %d attachments: %+v", ref, n, found)
		}
	}
	line := fmt.Sprint("line prod ", fingerprintOf(t, "exporter"))
	mark, err := s.Marked(line)
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	if came > 0 {
		want = fmt.Sprintf(`{"serial":%d,"head":%q}`, came, all[came-1].head)
	}
	if string(mark) != want {
		t.Errorf("%s is %s, want %s", line, mark, want)
	}
	return came
}

func fingerprintOf(t *testing.T, seed string) string {
	t.Helper()
	f, err := fingerprint(signing.InsecureKey(seed))
	if err != nil {
		t.Fatal(err)
	}
	return "sha256:" + f
}

// inMemory is a folder in memory where there is such a thing.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "airgap-import-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Every fault at every operation of an import into a store that remembers, and a power
// cut after it or not: names, ledger, marks and records agree, all or nothing; and the
// same import once more succeeds, and makes nothing twice.
//
// With AIRGAP_CAMPAIGN set, each fault meets every kind of power cut.
func TestImportFaults(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 5
	}
	judge := faultJudge(t)
	for had, name := range []string{"new store", "second of a line"} {
		t.Run(name, func(t *testing.T) {
			dir := inMemory(t)
			all := deliveries(t, dir, had+1, 2)
			base := filepath.Join(dir, "base")
			if err := os.Mkdir(base, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, d := range all[:had] {
				if err := bring(t, base, d, judge, nil); err != nil {
					t.Fatal(err)
				}
			}
			f := &faults{t: t, base: base, all: all, judge: judge}
			clean, err := f.run(0, "", "")
			if err != nil {
				t.Fatal(err)
			}
			ops, runs := clean.Ops(), 0
			losses := append(disktest.Losses, "")
			for i := 0; i < len(ops); i += step {
				for m, mode := range disktest.Modes {
					if !mode.Applies(ops[i].Op) {
						continue
					}
					for k, loss := range losses {
						if os.Getenv("AIRGAP_CAMPAIGN") != "" || k == (i+m)%len(losses) {
							runs++
							if fs, err := f.run(i+1, mode, loss); !fs.Fired() || t.Failed() {
								t.Fatalf("%s at operation %d (%s), losing %q: fired %v; %v", mode, i+1, ops[i], loss, fs.Fired(), err)
							}
						}
					}
				}
			}
			if len(ops) < 30 || runs < 30 {
				t.Errorf("%d operations, %d runs: not much", len(ops), runs)
			}
			t.Logf("%d operations, %d runs", len(ops), runs)
		})
	}
}

// faults are runs of the last of several imports.
type faults struct {
	t     *testing.T
	base  string // the store before it
	all   []delivery
	judge *verify.Judge
}

// run imports with one fault, looks, and imports again.
func (f *faults) run(n int, mode disktest.Mode, loss disktest.Loss) (*disktest.FS, error) {
	t := f.t
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(f.base), "")
	if err == nil {
		err = os.CopyFS(dir, os.DirFS(f.base))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	fs, last := disktest.Wrap(folder), f.all[len(f.all)-1]
	fs.Inject(n, mode)
	failed := bring(t, dir, last, f.judge, fs)
	if loss != "" {
		if err := fs.PowerCut(loss); err != nil {
			t.Fatal(err)
		}
	}
	came := agrees(t, dir, f.all)
	if failed == nil && came != len(f.all) || came < len(f.all)-1 {
		t.Errorf("%d of %d are there; the last: %v", came, len(f.all), failed)
	}
	if err := bring(t, dir, last, f.judge, nil); err != nil {
		t.Errorf("once more: %v", err)
	}
	if came := agrees(t, dir, f.all); came != len(f.all) {
		t.Errorf("once more, %d of %d are there", came, len(f.all))
	}
	return fs, failed
}

// The program itself is killed at any moment of imports that follow each other. What
// it leaves agrees; the same once more ends it.
func TestImportKilled(t *testing.T) {
	kills := 12
	if testing.Short() {
		kills = 4
	}
	dir := inMemory(t)
	all := deliveries(t, dir, kills, 30)
	t.Chdir(dir)
	writeKeys(t)
	for _, line := range []string{"trust init T", "trust add --trust T --key release release.pub", "trust add --trust T --key exporter exporter.pub"} {
		mustRun(t, 0, line)
	}
	if err := os.Mkdir("s", 0o755); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(3, 4))
	before := 0
	for i, d := range all {
		// Some number of files that it has written, or given their names, is a
		// moment as good as any.
		watch, n := "s/ingest", 1+rng.IntN(40)
		if i%2 == 1 {
			watch = "s/blobs/sha256"
			entries, err := os.ReadDir(watch)
			if err != nil {
				t.Fatal(err)
			}
			n += len(entries)
		}
		args := []string{"import", d.path, "--store", "s", "--policy", "policy.yaml", "--trust", "T", "--record-key", "desk.key", "-q"}
		cmd, stderr := start(t, nil, args...)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		waitForFiles(watch, n, ended)
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		if code := cmd.ProcessState.ExitCode(); code != -1 && code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		came := agrees(t, "s", all)
		if came < i || came > i+1 || cmd.ProcessState.ExitCode() == 0 && came != i+1 {
			t.Fatalf("%d came, of %d; exit code %d", came, i+1, cmd.ProcessState.ExitCode())
		}
		if came == i {
			before++
		}
		if out, err := exec.Command("airgap", args...).CombinedOutput(); err != nil {
			t.Fatalf("once more: %v: %s", err, out)
		}
		if came := agrees(t, "s", all); came != i+1 {
			t.Fatalf("once more, %d of %d came", came, i+1)
		}
	}
	if before == 0 {
		t.Error("every import was done before it was killed, which shows nothing")
	}
	t.Logf("%d kills, %d before the commit", kills, before)
}

// waitForFiles looks until there are n files in a folder, or until ended is closed.
func waitForFiles(dir string, n int, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		default:
		}
		if entries, err := os.ReadDir(dir); err == nil && len(entries) >= n {
			return
		}
		runtime.Gosched()
	}
}

// writeKeys writes what an import of deliveries needs into the present folder.
func writeKeys(t *testing.T) {
	t.Helper()
	write := func(name string, data []byte, err error) {
		if err == nil {
			err = os.WriteFile(name, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, seed := range []string{"release", "exporter"} {
		data, err := signing.PublicKeyPEM(signing.InsecureKey(seed))
		write(seed+".pub", data, err)
	}
	data, err := signing.PrivateKeyPEM(signing.InsecureKey("desk"))
	write("desk.key", data, err)
	write("policy.yaml", []byte(faultPolicy), nil)
}
