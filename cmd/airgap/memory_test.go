package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/bundle/enclave"
	"airgap/layout"
	"airgap/layout/disk"
	"airgap/store"
	"airgap/store/ledger"

	"github.com/opencontainers/go-digest"
)

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// enterLines adds lines to a store's ledger.
func enterLines(t *testing.T, dir string, lines ...string) {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lines {
		if err := session.Log([]byte(l)); err != nil {
			t.Fatal(err)
		}
	}
	if err := session.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func checkpointOf(t *testing.T, dir string) []byte {
	t.Helper()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	msg, _, err := s.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// A checkpoint that comes back shows that a ledger is another one, that it was put back
// to an earlier state, and that it was written anew from there.
func TestCheckpointComesBack(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	enterLines(t, at("s"), "1", "2")
	monday := checkpointOf(t, at("s"))
	if err := os.CopyFS(at("restored"), os.DirFS(at("s"))); err != nil {
		t.Fatal(err)
	}
	enterLines(t, at("s"), "3", "4")
	friday := checkpointOf(t, at("s"))
	if err := os.CopyFS(at("forked"), os.DirFS(at("restored"))); err != nil {
		t.Fatal(err)
	}
	enterLines(t, at("forked"), "3", "another 4", "5")
	enterLines(t, at("other"), "1", "2", "3", "4")
	for _, c := range []struct {
		store string
		kept  []byte
		says  string // "" if the store continues it
	}{
		{"s", monday, ""}, {"s", friday, ""}, {"restored", monday, ""}, {"forked", monday, ""},
		{"restored", friday, "made at 4 entries, and now there are 2"},
		{"forked", friday, "the first 4 entries are not those"},
		{"other", monday, "it is of the ledger"}, {"other", friday, "it is of the ledger"},
		{"s", []byte("nonsense"), "not a checkpoint"}, {"s", bytes.Replace(monday, []byte("\n2\n"), []byte("\n1\n"), 1), "the first 1 entries are not those"},
	} {
		m := &storeMemory{store: openStore(t, at(c.store))}
		err := m.Continues(c.kept)
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, bundle.ErrRollback) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want it to say %q", c.store, err, c.says)
		}
		if err := m.store.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := new(storeMemory).Continues(monday); !errors.Is(err, bundle.ErrRollback) {
		t.Errorf("no store at all: %v", err)
	}
}

// meanwhile does something when the first piece comes in.
type meanwhile struct {
	*lateSink
	once sync.Once
	do   func()
}

func (m *meanwhile) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	m.once.Do(m.do)
	return m.lateSink.Put(ctx, repo, d, r)
}

// Two imports at once into one store, both of which would be next in their line: one is
// in, whole, and of the other there is nothing.
func TestTwoImportsAtOnce(t *testing.T) {
	judge, dir := faultJudge(t), t.TempDir()
	at := filepath.Join(dir, "s")
	all := deliveries(t, dir, 2, 1)
	if err := bring(t, at, all[0], judge, nil); err != nil {
		t.Fatal(err)
	}
	fork := deliver(t, t.TempDir(), 3, "x", "y")[1] // serial 2, and another head
	s := openStore(t, at)
	begin := func() (*lateSink, *storeMemory, func()) {
		sink, memory, done, err := (&writing{dir: at, store: s}).begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return sink.(*lateSink), memory, done
	}
	in := func(d delivery, sink layout.Sink, memory bundle.Memory) error {
		o := recorded(judge, memory)
		o.AllowRollback, o.Reason = true, "it continues another"
		_, err := bundle.Import(t.Context(), openDelivery(t, d), sink, o)
		return err
	}
	sink, memory, done := begin()
	defer done()
	slow := &meanwhile{lateSink: sink, do: func() {
		sink, memory, done := begin()
		defer done()
		if err := in(all[1], sink, memory); err != nil {
			t.Error(err)
		}
	}}
	before := ledgerOf(t, s)
	if err := in(fork, slow, memory); !errors.Is(err, store.ErrChanged) {
		t.Errorf("the slow one: %v", err)
	}
	after := ledgerOf(t, s)
	if len(after) != len(before)+1 || after[len(after)-1].Reference != faultRepo+":v2" {
		t.Errorf("the ledger has %+v", after[len(before):])
	}
	if _, err := s.Resolve(t.Context(), layout.Reference{Repository: faultRepo, Tag: "y"}); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("the slow one is there: %v", err)
	}
	done()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if came := agrees(t, at, all); came != 2 {
		t.Errorf("%d of 2 came", came)
	}
}

// ledgerOf reads all lines.
func ledgerOf(t *testing.T, s *store.Store) (out []custody.Entry) {
	t.Helper()
	err := s.Ledger(func(_ string, l ledger.Log) error {
		return enclave.EachEntry(t.Context(), l, func(_ int64, e custody.Entry) { out = append(out, e) })
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Whatever of import's flags weaken something, alone or together: what came in over a
// rule has a line for each rule, what did not come in has no such line, and nothing comes
// in without a line of its own.
func TestEveryWeakeningIsOnRecord(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	writeKeys(t)
	for _, line := range []string{"trust init T", "trust add --trust T --key release release.pub", "trust add --trust T --key exporter exporter.pub"} {
		mustRun(t, 0, line)
	}
	// The tag has moved on, and so has the line.
	all := deliver(t, dir, 1, "v1", "v1")
	for _, d := range all {
		mustRun(t, 0, "import "+d.path+" --store base --policy policy.yaml --trust T --overwrite")
	}
	old := len(ledgerOf(t, openStore(t, "base")))
	const repoTag = faultRepo + ":v1"
	weak := []string{"--insecure-skip-verify", "--allow-rollback", "--overwrite", "--partial", "--map " + faultRepo + "=far.example/x"}
	came := 0
	for combination := range 1 << len(weak) {
		var flags []string
		for i, f := range weak {
			if combination&(1<<i) != 0 {
				flags = append(flags, f)
			}
		}
		has := func(f string) bool { return slices.Contains(flags, f) }
		mapped := has(weak[4])
		line := "import 0.tar --store s --reason because " + strings.Join(flags, " ")
		if !has("--insecure-skip-verify") {
			line += " --policy policy.yaml --trust T"
		}
		if err := os.CopyFS("s", os.DirFS("base")); err != nil {
			t.Fatal(err)
		}
		u := testUI()
		_, stderr, code := runLine(t, u, strings.Fields(line)...)
		s := openStore(t, "s")
		fresh := ledgerOf(t, s)[old:]
		if err := errors.Join(s.Close(), os.RemoveAll("s")); err != nil {
			t.Fatal(err)
		}
		var overrides, imports, refusals []string
		for _, e := range fresh {
			switch e.Act {
			case custody.Override:
				overrides = append(overrides, e.Reason)
			case custody.Import:
				imports = append(imports, e.Reference)
			case custody.Refuse:
				refusals = append(refusals, e.Reason)
			}
		}
		moved := has("--overwrite") && !mapped
		want := []string{"serial 1 of line prod", "before, and since then"}
		if has("--insecure-skip-verify") {
			want[0] = "--insecure-skip-verify" // then nobody's line is believed
		}
		if moved {
			want = append(want, "--overwrite: "+repoTag+" was")
		}
		switch {
		case code == 0:
			came++
			if len(imports) != 1 || len(refusals) > 0 || len(overrides) != len(want) {
				t.Errorf("%s: imported %q, refused %q, overridden %q; want %q", line, imports, refusals, overrides, want)
				continue
			}
			for i, w := range want {
				if !strings.Contains(overrides[i], w) || !strings.HasSuffix(overrides[i], "because: because") {
					t.Errorf("%s: overridden %q, want %q", line, overrides[i], w)
				}
			}
		default:
			because, exit := "serial 1 of line prod", exitRollback
			if has("--insecure-skip-verify") {
				because = "before, and since then"
			}
			if has("--allow-rollback") {
				because, exit = "tags would move", exitFailed
			}
			if code != exit || len(overrides)+len(imports) > 0 || len(refusals) != 1 || !strings.Contains(refusals[0], because) || moved && has("--allow-rollback") {
				t.Errorf("%s: exit code %d: %s; %+v", line, code, stderr, fresh)
			}
		}
	}
	if came != 12 { // 3 of overwrite and map, each with and without skip and partial
		t.Errorf("%d combinations let it in", came)
	}
}

// pushingFS has somebody push while a folder is written.
type pushingFS struct {
	disk.FS
	push func()
}

func (f *pushingFS) Mkdir(name string) error {
	f.push()
	return f.FS.Mkdir(name)
}

// A ledger that grows while it is exported is exported as it was.
func TestExportWhileTheLedgerGrows(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	lines := 0
	push := func() {
		lines++
		e, err := custody.Entry{At: time.Unix(int64(lines), 0).UTC(), Act: custody.Push, Reference: fmt.Sprintf("reg.example/app:v%d", lines), Digest: digest.FromString("x")}.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		enterLines(t, dir, string(e))
	}
	push()
	push()
	folder, err := disk.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if _, err := exportLog(t.Context(), &pushingFS{folder, push}, openStore(t, dir)); err != nil {
		t.Fatal(err)
	}
	o, err := enclave.ReadLedgerExport(out, enclave.LedgerKey(dir), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "ledger.txt"))
	if lines < 3 || len(o.Rebuild.Entries) != 2 || err != nil || strings.Contains(string(text), ":v3") {
		t.Errorf("%d lines, %d exported: %v\n%s", lines, len(o.Rebuild.Entries), err, text)
	}
}
