package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// fakeMemory remembers as a store does, beside whatever destination.
type fakeMemory struct {
	marks   map[string][]byte
	entries []custody.Entry
	raw     [][]byte

	pending []func() error
	logged  [][]byte
	// known are the checkpoints that the ledger continues.
	known map[string]bool
	// fail is asked before each step.
	fail func() error
}

func newMemory() *fakeMemory {
	return &fakeMemory{marks: map[string][]byte{}, known: map[string]bool{}, fail: func() error { return nil }}
}

var errMarkChanged = errors.New("a mark changed")

func (m *fakeMemory) Marked(name string) ([]byte, error) { return m.marks[name], m.fail() }

func (m *fakeMemory) Mark(name string, was, now []byte) error {
	m.pending = append(m.pending, func() error {
		if !bytes.Equal(m.marks[name], was) {
			return errMarkChanged
		}
		m.marks[name] = now
		return nil
	})
	return m.fail()
}

func (m *fakeMemory) Log(entry []byte) error {
	m.logged = append(m.logged, entry)
	return m.fail()
}

func (m *fakeMemory) Last() ([]byte, error) {
	if len(m.raw) == 0 {
		return nil, m.fail()
	}
	return m.raw[len(m.raw)-1], m.fail()
}

func (m *fakeMemory) Append(_ context.Context, entries ...[]byte) error {
	if err := m.fail(); err != nil {
		return err
	}
	for _, data := range entries {
		e, err := custody.ParseEntry(data)
		if err != nil {
			return err
		}
		m.raw, m.entries = append(m.raw, data), append(m.entries, e)
	}
	return nil
}

func (m *fakeMemory) Continues(checkpoint []byte) error {
	if !m.known[string(checkpoint)] {
		return fmt.Errorf("%w: not the ledger it was", bundle.ErrRollback)
	}
	return m.fail()
}

func (m *fakeMemory) Commit(ctx context.Context) error {
	if err := m.fail(); err != nil {
		return err
	}
	for _, do := range m.pending {
		if err := do(); err != nil {
			return err
		}
	}
	logged := m.logged
	m.forget()
	return m.Append(ctx, logged...)
}

// forget drops what was not committed, as the end of a process does.
func (m *fakeMemory) forget() { m.pending, m.logged = nil, nil }

// acts lists what the ledger says was done, each with the reference or the reason.
func (m *fakeMemory) acts(act custody.Act) (out []string) {
	for _, e := range m.entries {
		if e.Act == act {
			text := e.Reference
			if act == custody.Override || text == "" {
				text = e.Reason
			}
			out = append(out, text)
		}
	}
	return out
}

// isle is an isolated side: a registry, what is remembered, a policy and a clock.
type isle struct {
	t      *testing.T
	dst    *layout.Memory
	memory *fakeMemory
	judge  *verify.Judge
	now    time.Time
}

// newIsle lets in what key release signed, and believes of exports what key exporter
// says; more is put behind the policy.
func newIsle(t *testing.T, more string) *isle {
	j := keyJudge(t, more)
	j.Keys["exporter"] = signing.InsecureKey("exporter").Public()
	return &isle{t, layout.NewMemory(), newMemory(), j, importTime}
}

func (i *isle) try(path string, o bundle.ImportOptions) (*bundle.ImportResult, error) {
	i.t.Helper()
	if !o.InsecureSkipVerify {
		o.Judge = i.judge
	}
	o.Memory, o.Now = i.memory, func() time.Time { return i.now }
	i.memory.forget()
	return bundle.Import(i.t.Context(), open(i.t, path), i.dst, o)
}

func (i *isle) takes(path string, o bundle.ImportOptions) *bundle.ImportResult {
	i.t.Helper()
	res, err := i.try(path, o)
	if err != nil {
		i.t.Fatal(err)
	}
	return res
}

// refuses imports what must not come in, and looks whether anything changed but for
// one line of the ledger.
func (i *isle) refuses(path string, o bundle.ImportOptions, want error, saying string) {
	i.t.Helper()
	marks, lines, there := maps.Clone(i.memory.marks), len(i.memory.entries), i.everything()
	_, err := i.try(path, o)
	if !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), saying) {
		i.t.Errorf("Import = %v, want %v that says %q", err, want, saying)
	}
	if !maps.EqualFunc(marks, i.memory.marks, bytes.Equal) {
		i.t.Errorf("refused, and the marks are %q, were %q", i.memory.marks, marks)
	}
	if !maps.Equal(there, i.everything()) {
		i.t.Error("refused, and the destination changed")
	}
	if n := len(i.memory.entries); n != lines+1 || i.memory.entries[n-1].Act != custody.Refuse || !strings.Contains(i.memory.entries[n-1].Reason, saying) {
		i.t.Errorf("refused, and the ledger has %d lines more: %+v", n-lines, i.memory.entries[lines:])
	}
}

// everything lists the destination's names.
func (i *isle) everything() map[string]digest.Digest {
	i.t.Helper()
	out := map[string]digest.Digest{}
	for _, r := range []string{repo, "far.example/team/app"} {
		for _, tag := range []string{"v1", "v2", "a", "b", "c", "d", "e", "f", "new"} {
			if d, err := i.dst.Resolve(i.t.Context(), layout.Reference{Repository: r, Tag: tag}); err == nil {
				out[r+":"+tag] = d.Digest
			}
		}
	}
	return out
}

// shipped is a bundle: tag=label is an image of that label, signed by key release
// unless there is a '!' before it.
func shipped(t *testing.T, r *bundle.Recording, images ...string) (path string, head digest.Digest) {
	t.Helper()
	b := layouttest.New(repo)
	for _, image := range images {
		tag, label, _ := strings.Cut(image, "=")
		label, bad := strings.CutPrefix(label, "!")
		d := b.Image(label)
		if !bad {
			a := sign(t, repo, d, "release").Artifact
			for _, blob := range a.Blobs {
				b.Blob(blob.Desc.MediaType, blob.Data)
			}
			b.Blob(a.Manifest.MediaType, a.Raw)
		}
		b.Tag(tag, d)
	}
	path = export(t, b.Content(), bundle.ExportOptions{Recording: r})
	if r == nil {
		return path, ""
	}
	h, err := open(t, path).Head(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return path, h.Manifest
}

// onLine is how a bundle of the line prod is recorded.
func onLine(serial uint64, previous digest.Digest) *bundle.Recording {
	r := recording(signing.InsecureKey("exporter"))
	r.Line = &custody.Line{Name: "prod", Serial: serial, Previous: previous}
	return r
}

// An old bundle does not come in again, nor one that takes another's place in its
// line, nor one that continues another than the one that was here. A gap is told.
func TestLine(t *testing.T) {
	i := newIsle(t, "")
	one, first := shipped(t, onLine(1, ""), "a=a")
	two, second := shipped(t, onLine(2, first), "b=b")
	fork, forked := shipped(t, onLine(2, first), "c=c")
	i.takes(one, bundle.ImportOptions{})
	i.takes(one, bundle.ImportOptions{}) // the same once more
	i.takes(two, bundle.ImportOptions{})
	i.refuses(one, bundle.ImportOptions{}, bundle.ErrRollback, "serial 1 of line prod, and 2 was here before")
	i.refuses(fork, bundle.ImportOptions{}, bundle.ErrRollback, "so had another bundle")
	stray, _ := shipped(t, onLine(3, forked), "d=d")
	i.refuses(stray, bundle.ImportOptions{}, bundle.ErrRollback, "continues another bundle 2")

	five, _ := shipped(t, onLine(5, forked), "e=e") // whether 4 was that is for nobody to say
	if res := i.takes(five, bundle.ImportOptions{}); len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "from serial 2 to 5") {
		t.Errorf("a gap: %v", res.Notes)
	}
	three, _ := shipped(t, onLine(3, second), "f=f")
	i.refuses(three, bundle.ImportOptions{}, bundle.ErrRollback, "serial 3 of line prod, and 5 was here before")
	// Nobody gets around that by leaving something out, or by calling it another name.
	i.refuses(three, bundle.ImportOptions{Partial: true}, bundle.ErrRollback, "serial 3")
	i.refuses(three, bundle.ImportOptions{Mapping: bundle.Mapping{To: "far.example"}}, bundle.ErrRollback, "serial 3")
	i.refuses(three, bundle.ImportOptions{Overwrite: true, Reason: "no reason"}, bundle.ErrRollback, "serial 3")
}

// What is against a bundle can be overridden, all of it or nothing; each thing is
// recorded once, with the reason; and the line does not go back.
func TestOverride(t *testing.T) {
	i := newIsle(t, "")
	one, first := shipped(t, onLine(1, ""), "v1=old")
	two, _ := shipped(t, onLine(2, first), "v1=new")
	i.takes(one, bundle.ImportOptions{})
	i.takes(two, bundle.ImportOptions{Overwrite: true, Reason: "the new one"})
	if got := i.memory.acts(custody.Override); len(got) != 1 || !strings.Contains(got[0], "--overwrite: "+repo+":v1 was sha256:") || !strings.HasSuffix(got[0], "the new one") {
		t.Errorf("overrides: %q", got)
	}
	if _, err := i.try(one, bundle.ImportOptions{AllowRollback: true}); !errors.Is(err, bundle.ErrUsage) {
		t.Errorf("without a reason: %v", err)
	}
	i.refuses(one, bundle.ImportOptions{Overwrite: true}, bundle.ErrRollback, "serial 1")
	res := i.takes(one, bundle.ImportOptions{Overwrite: true, AllowRollback: true, Reason: "new was withdrawn"})
	got := i.memory.acts(custody.Override)[1:]
	if len(got) != 3 || len(res.Overridden) != 3 {
		t.Fatalf("overrides: %q; told: %q", got, res.Overridden)
	}
	for n, want := range []string{"serial 1 of line prod", "before, and since then", "--overwrite"} {
		if !strings.Contains(got[n], want) || !strings.HasSuffix(got[n], "new was withdrawn") {
			t.Errorf("override %d is %q, want %q", n, got[n], want)
		}
	}
	i.refuses(one, bundle.ImportOptions{}, bundle.ErrRollback, "serial 1 of line prod, and 2 was here before")
}

// A bundle that expired does not come in, unless that is overridden.
func TestExpiredBundle(t *testing.T) {
	i := newIsle(t, "")
	r := recording(signing.InsecureKey("exporter"))
	r.Expires = importTime.Add(-time.Second)
	path, _ := shipped(t, r, "a=a")
	i.refuses(path, bundle.ImportOptions{}, bundle.ErrRollback, "the bundle expired at")
	i.takes(path, bundle.ImportOptions{AllowRollback: true, Reason: "the courier was late"})
	if got := i.memory.acts(custody.Override); len(got) != 1 || !strings.Contains(got[0], "expired") {
		t.Errorf("overrides: %q", got)
	}
	r.Expires = importTime
	path, _ = shipped(t, r, "b=b")
	i.takes(path, bundle.ImportOptions{})
}

// What no pinned key signed is not believed: it moves no marks, and cannot keep the
// bundles of those who may sign from coming in.
func TestStrangersLine(t *testing.T) {
	i := newIsle(t, "")
	one, first := shipped(t, onLine(1, ""), "a=a")
	i.takes(one, bundle.ImportOptions{})
	line := func() (out []string) {
		for name, v := range i.memory.marks {
			if strings.HasPrefix(name, "line ") {
				out = append(out, name+string(v))
			}
		}
		return out
	}
	before := line()
	r := onLine(99, first)
	r.Key = signing.InsecureKey("stranger")
	path, _ := shipped(t, r, "b=b")
	res := i.takes(path, bundle.ImportOptions{})
	if len(res.Notes) != 1 || !strings.Contains(res.Notes[0], "no key that is pinned") || !slices.Equal(line(), before) || len(before) != 1 {
		t.Errorf("notes %q; marks %q, were %q", res.Notes, line(), before)
	}
	if e := i.memory.entries[len(i.memory.entries)-1]; e.Line != nil {
		t.Errorf("the ledger believes in line %+v", e.Line)
	}
	two, _ := shipped(t, onLine(2, first), "c=c")
	i.takes(two, bundle.ImportOptions{})
	// Another key that is pinned has a line of its own, also under the same name.
	i.judge.Keys["second"] = signing.InsecureKey("second").Public()
	r = onLine(1, "")
	r.Key = signing.InsecureKey("second")
	other, _ := shipped(t, r, "d=d")
	i.takes(other, bundle.ImportOptions{})
	if got := line(); len(got) != 2 {
		t.Errorf("lines: %q", got)
	}
}

// Who demands a signed export gets nothing without: not with the records taken out, not
// signed by another, not of another line.
func TestDemandedExport(t *testing.T) {
	i := newIsle(t, "bundle: {keys: [exporter], line: prod}\n")
	one, first := shipped(t, onLine(1, ""), "a=a")
	i.takes(one, bundle.ImportOptions{})
	stripped, _ := shipped(t, nil, "b=b")
	i.refuses(stripped, bundle.ImportOptions{}, bundle.ErrRefused, "its export is not signed")
	i.refuses(stripped, bundle.ImportOptions{Partial: true}, bundle.ErrRefused, "its export is not signed")
	r := onLine(2, first)
	r.Key = signing.InsecureKey("stranger")
	path, _ := shipped(t, r, "b=b")
	i.refuses(path, bundle.ImportOptions{}, bundle.ErrRefused, "no key that is pinned")
	r.Key = signing.InsecureKey("release") // pinned, for something else
	path, _ = shipped(t, r, "b=b")
	i.refuses(path, bundle.ImportOptions{}, bundle.ErrRefused, "signed by the key release")
	r = onLine(1, "")
	r.Line.Name = "test"
	path, _ = shipped(t, r, "b=b")
	i.refuses(path, bundle.ImportOptions{}, bundle.ErrRefused, "does not belong to the line prod")
	path, _ = shipped(t, recording(signing.InsecureKey("exporter")), "b=b")
	i.refuses(path, bundle.ImportOptions{}, bundle.ErrRefused, "does not belong to the line prod")
	// To override a rollback is not to override the policy.
	i.refuses(stripped, bundle.ImportOptions{AllowRollback: true, Reason: "x"}, bundle.ErrRefused, "its export is not signed")
}

// One image that a tag stood for long ago does not come in under that tag, in however
// new a bundle; nor half of one, nor to another name.
func TestOldImageInNewBundle(t *testing.T) {
	i := newIsle(t, "")
	one, first := shipped(t, onLine(1, ""), "v1=old", "v2=x")
	two, second := shipped(t, onLine(2, first), "v1=new", "v2=x")
	i.takes(one, bundle.ImportOptions{})
	i.takes(two, bundle.ImportOptions{Overwrite: true})
	const saying = "before, and since then"
	slipped, _ := shipped(t, onLine(3, second), "v1=old", "v2=x")
	i.refuses(slipped, bundle.ImportOptions{Overwrite: true}, bundle.ErrRollback, saying)
	i.refuses(slipped, bundle.ImportOptions{Overwrite: true, Partial: true}, bundle.ErrRollback, saying)
	i.refuses(slipped, bundle.ImportOptions{Mapping: bundle.Mapping{To: "far.example"}}, bundle.ErrRollback, saying)
	i.refuses(slipped, bundle.ImportOptions{Mapping: bundle.Mapping{Rules: []bundle.Rule{{From: repo, To: "far.example/team/app"}}}}, bundle.ErrRollback, saying)
	i.refuses(slipped, bundle.ImportOptions{InsecureSkipVerify: true}, bundle.ErrRollback, saying)
	partly, _ := shipped(t, onLine(3, second), "v1=old", "v2=!unsigned")
	i.refuses(partly, bundle.ImportOptions{Partial: true}, bundle.ErrRollback, saying)
	unsigned, _ := shipped(t, nil, "v1=old")
	i.refuses(unsigned, bundle.ImportOptions{Overwrite: true}, bundle.ErrRollback, saying)
	// The same image under a tag that it never had is nothing old.
	fresh, _ := shipped(t, onLine(3, second), "new=old")
	i.takes(fresh, bundle.ImportOptions{})
}

// The bytes of an old image under a digest of another algorithm are still those of an
// old image: alone, in an index, and where what is remembered had the other digest.
func TestOldImageByAnotherDigest(t *testing.T) {
	named := func(alg digest.Algorithm, label string, inIndex bool) string {
		b := layouttest.New(repo)
		img := b.Image(label)
		item, _ := b.Content().Find(repo, img.Digest)
		b.Algorithm = alg
		d := b.Blob(img.MediaType, item.Bytes)
		if inIndex {
			d = b.Index(layouttest.ForPlatform(d, "linux", "amd64"))
		}
		b.Tag("v1", d)
		return export(t, b.Content(), bundle.ExportOptions{})
	}
	for what, algs := range map[string][2]digest.Algorithm{
		"sha256, then sha512": {digest.SHA256, digest.SHA512}, "sha512, then sha256": {digest.SHA512, digest.SHA256}, "sha512 twice": {digest.SHA512, digest.SHA512},
	} {
		t.Run(what, func(t *testing.T) {
			i, o := newIsle(t, ""), bundle.ImportOptions{InsecureSkipVerify: true, Overwrite: true}
			i.takes(named(algs[0], "old", false), o)
			i.takes(named(algs[1], "old", false), o) // the same bytes
			i.takes(named(digest.SHA256, "new", false), o)
			i.refuses(named(algs[1], "old", false), o, bundle.ErrRollback, "before, and since then")
			i.refuses(named(algs[1], "old", true), o, bundle.ErrRollback, "before, and since then")
			i.takes(named(digest.SHA512, "new", true), o)
			if mark := i.memory.marks["tag "+repo+":v1"]; bytes.Contains(mark, []byte("sha512:")) {
				t.Errorf("mark: %s", mark)
			}
		})
	}
}

// What earlier versions remembered of a digest of another algorithm counts.
func TestMarkOfAnotherDigest(t *testing.T) {
	raw := []byte("{}")
	old, other := digest.SHA512.FromBytes(raw), digest.SHA256.FromString("other")
	m := newMemory()
	n := layout.Name{Reference: layout.Reference{Repository: repo, Tag: "v1"}, Descriptor: layout.Descriptor{Digest: old}}
	m.marks["tag "+repo+":v1"] = fmt.Appendf(nil, `{"digest":%q,"was":[%q]}`, other, old)
	err := bundle.NameLeads(m, n, []digest.Digest{old}, func(digest.Digest) ([]byte, error) { return raw, nil })
	if !errors.Is(err, bundle.ErrRollback) {
		t.Errorf("by its sha512: %v", err)
	}
	if err := bundle.NameLeads(m, n, []digest.Digest{old}, func(digest.Digest) ([]byte, error) { return nil, errBroken }); !errors.Is(err, errBroken) {
		t.Errorf("a manifest that cannot be read: %v", err)
	}
}

// What a tag was is remembered as soon as it came in, and only then.
func TestMarksOfWhatCameIn(t *testing.T) {
	i := newIsle(t, "")
	path, _ := shipped(t, nil, "v1=good", "v2=!bad")
	i.refuses(path, bundle.ImportOptions{}, bundle.ErrRefused, "v2")
	i.takes(path, bundle.ImportOptions{Partial: true})
	if len(i.memory.marks) != 1 || i.memory.marks["tag "+repo+":v1"] == nil {
		t.Errorf("marks: %q", i.memory.marks)
	}
	if got := i.memory.acts(custody.Import); !slices.Equal(got, []string{repo + ":v1"}) {
		t.Errorf("imported: %q", got)
	}
	if got := i.memory.acts(custody.Refuse); len(got) != 2 || got[1] != repo+":v2" {
		t.Errorf("refused: %q", got)
	}
}

// A tag is remembered by all it was, up to a limit that a store has room for.
func TestTagHistory(t *testing.T) {
	i := newIsle(t, "")
	b := layouttest.New(repo)
	b.Algorithm = digest.SHA512
	b.Tag("v1", b.Image("one"))
	path := export(t, b.Content(), bundle.ExportOptions{})
	// As if the tag had moved on three thousand times before.
	name := "tag " + repo + ":v1"
	var was []string
	for n := range 3000 {
		was = append(was, `"`+string(digest.SHA512.FromString(fmt.Sprint(n)))+`"`)
	}
	i.memory.marks[name] = fmt.Appendf(nil, `{"digest":%q,"was":[%s]}`, digest.SHA512.FromString("now"), strings.Join(was, ","))
	i.takes(path, bundle.ImportOptions{InsecureSkipVerify: true, Overwrite: true})
	const room = 1 << 20 // of a mark in a store
	if n := len(i.memory.marks[name]); n > room {
		t.Errorf("a mark of %d bytes", n)
	}
	old := digest.SHA512.FromString("2999")
	if !bytes.Contains(i.memory.marks[name], []byte(old)) {
		t.Error("what it stood for lately is forgotten")
	}
}

// By a clock that is behind the ledger nothing comes in: not at a second try, which the
// first has entered, and not by going back in small steps.
func TestClockBehind(t *testing.T) {
	i := newIsle(t, "")
	one, _ := shipped(t, nil, "a=a")
	two, _ := shipped(t, nil, "b=b")
	i.takes(one, bundle.ImportOptions{})
	i.now = importTime.Add(-time.Hour)
	for range 3 {
		i.refuses(two, bundle.ImportOptions{}, bundle.ErrUndecided, "this machine's clock says")
	}
	i.now = importTime.Add(-9 * time.Minute) // as clocks are
	i.takes(two, bundle.ImportOptions{})
	i.now = importTime.Add(-18 * time.Minute)
	i.refuses(one, bundle.ImportOptions{}, bundle.ErrUndecided, "clock")
	for n, e := range i.memory.entries[1:] {
		if e.At.Before(i.memory.entries[n].At) {
			t.Errorf("entry %d is of %s, the one before of %s", n+1, e.At, i.memory.entries[n].At)
		}
	}
	// If it was the ledger's clock that was ahead, somebody has to say so.
	i.takes(one, bundle.ImportOptions{AllowRollback: true, Reason: "it was set to 2099"})
	if got := i.memory.acts(custody.Override); len(got) != 1 || !strings.Contains(got[0], "this machine's clock says") || !strings.HasSuffix(got[0], "2099") {
		t.Errorf("overrides: %q", got)
	}
	i.now = importTime
	i.takes(one, bundle.ImportOptions{})
}

// A bundle whose maker knew another ledger than the one that is here does not come in.
func TestCheckpointIsContinued(t *testing.T) {
	i := newIsle(t, "")
	r := recording(signing.InsecureKey("exporter"))
	r.Checkpoint = "the state of monday\n"
	path, _ := shipped(t, r, "a=a")
	i.refuses(path, bundle.ImportOptions{}, bundle.ErrRollback, "not the ledger it was")
	i.memory.known[r.Checkpoint] = true
	i.takes(path, bundle.ImportOptions{})
	// A stranger's word counts for nothing, either way.
	r.Key, r.Checkpoint = signing.InsecureKey("stranger"), "nonsense\n"
	path, _ = shipped(t, r, "b=b")
	i.takes(path, bundle.ImportOptions{})
}

// That a bundle was damaged on its way is on record, too.
func TestDamageIsOnRecord(t *testing.T) {
	i := newIsle(t, "")
	path, _ := shipped(t, onLine(1, ""), "a=a")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("layer a 1"))
	if at < 0 {
		t.Fatal("no layer of that image is in it")
	}
	data[at] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	i.refuses(path, bundle.ImportOptions{}, layout.ErrCorrupt, "")
}

// Two that come in at once: one of them does not, and can be told why when it comes
// again. Nothing of it is half there.
func TestMarkChangedMeanwhile(t *testing.T) {
	i := newIsle(t, "")
	one, first := shipped(t, onLine(1, ""), "a=a")
	i.takes(one, bundle.ImportOptions{})
	two, _ := shipped(t, onLine(2, first), "b=b")
	fork, _ := shipped(t, onLine(2, first), "c=c")
	late := &during{Memory: i.dst}
	late.do = func() {
		theirs := newMemory()
		theirs.marks, theirs.entries, theirs.raw = i.memory.marks, i.memory.entries, i.memory.raw
		_, err := bundle.Import(t.Context(), open(t, two), i.dst, bundle.ImportOptions{Judge: i.judge, Memory: theirs, Now: func() time.Time { return i.now }})
		if err != nil {
			t.Error(err)
		}
		i.memory.entries, i.memory.raw = theirs.entries, theirs.raw
	}
	i.memory.forget()
	_, err := bundle.Import(t.Context(), open(t, fork), late, bundle.ImportOptions{Judge: i.judge, Memory: i.memory, Now: func() time.Time { return i.now }})
	if !errors.Is(err, errMarkChanged) {
		t.Errorf("Import = %v", err)
	}
	if got := i.everything(); got[repo+":b"] == "" || got[repo+":c"] != "" {
		t.Errorf("there is %v", got)
	}
	if got := i.memory.acts(custody.Import); !slices.Equal(got, []string{repo + ":a", repo + ":b"}) {
		t.Errorf("imported: %q", got)
	}
	i.refuses(fork, bundle.ImportOptions{}, bundle.ErrRollback, "so had another bundle")
}

// during does something when content first comes in.
type during struct {
	*layout.Memory
	once sync.Once
	do   func()
}

func (d *during) Put(ctx context.Context, repo string, desc layout.Descriptor, r io.Reader) error {
	d.once.Do(d.do)
	return d.Memory.Put(ctx, repo, desc, r)
}

// breaking fails at one of the steps that an import takes in its destination and in
// its memory.
type breaking struct {
	*layout.Memory
	mu    sync.Mutex
	n, at int
}

var errBrokenOff = errors.New("broken off")

func (b *breaking) step() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n++; b.at > 0 && b.n >= b.at {
		return errBrokenOff
	}
	return nil
}

func (b *breaking) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	return errors.Join(b.step(), b.Memory.Put(ctx, repo, d, r)) // error, but done
}

func (b *breaking) Has(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	if err := b.step(); err != nil {
		return false, err
	}
	return b.Memory.Has(ctx, repo, d)
}

// Commit publishes one name after the other, as a registry does.
func (b *breaking) Commit(ctx context.Context, names []layout.Name) error {
	for _, n := range names {
		if err := b.step(); err != nil {
			return err
		}
		if err := b.Memory.Commit(ctx, []layout.Name{n}); err != nil {
			return err
		}
	}
	return b.step()
}

// Into a registry: wherever it breaks off, no name is visible that the ledger does not
// have; and the same once more brings everything, and no record twice.
func TestNamesAreInTheLedgerFirst(t *testing.T) {
	path, _ := shipped(t, onLine(1, ""), "a=a", "b=b")
	want := newIsle(t, "")
	reception := &bundle.Reception{Recording: *recording(signing.InsecureKey("desk")), To: custody.InRegistry,
		Verifier: signing.Verifier{ID: "https://corp.example/desk"}}
	o := bundle.ImportOptions{Reception: reception, Jobs: 1}
	want.takes(path, o)
	breaks := 0
	for at := 1; ; at++ {
		i := newIsle(t, "")
		b := &breaking{Memory: i.dst, at: at}
		i.memory.fail = b.step
		broken := func() error {
			o := o
			o.Judge, o.Memory, o.Now = i.judge, i.memory, func() time.Time { return i.now }
			_, err := bundle.Import(t.Context(), open(t, path), b, o)
			return err
		}()
		if broken == nil {
			break
		}
		breaks++
		if !errors.Is(broken, errBrokenOff) {
			t.Fatalf("step %d: %v", at, broken)
		}
		imported := i.memory.acts(custody.Import)
		for name := range i.everything() {
			if !slices.Contains(imported, name) {
				t.Errorf("step %d: %s is visible, and the ledger has %q", at, name, imported)
			}
		}
		i.memory.fail = func() error { return nil }
		i.takes(path, o)
		if !maps.Equal(i.everything(), want.everything()) || !maps.EqualFunc(i.memory.marks, want.memory.marks, bytes.Equal) {
			t.Errorf("step %d: once more, there is %v, marks %q", at, i.everything(), i.memory.marks)
		}
		for _, tag := range []string{"a", "b"} {
			if got, all := recordsOf(t, i.dst, tag), recordsOf(t, want.dst, tag); got != all {
				t.Errorf("step %d: %s has %d records, want %d", at, tag, got, all)
			}
		}
	}
	if breaks < 20 {
		t.Errorf("it broke off at %d steps only", breaks)
	}
}

// recordsOf counts what is attached to an image.
func recordsOf(t *testing.T, src layout.Source, tag string) int {
	t.Helper()
	d, err := src.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	return len(attached(t, src, repo, d))
}

// A demand that nobody could meet, or that means nothing, is no policy.
func TestPolicyOfBundles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.yaml")
	text := "version: airgap.policy/v1\nbundle: {keys: []}\nrules:\n- {name: all, match: ['**'], require: {cosign: {key: release}}}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(path, ""); err == nil {
		t.Error("a policy that demands a signer and names none is accepted")
	}
}
