package registry

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// gets counts the GETs of manifests.
func gets(f *fake) int {
	n := 0
	for _, l := range f.requests() {
		if strings.HasPrefix(l, "GET ") && strings.Contains(l, "/manifests/") {
			n++
		}
	}
	return n
}

// TestProbesAreHeads: no GET asks for a tag that is not there, so each manifest costs
// one GET. Where HEAD finds nothing at all, or is refused, GET asks.
func TestProbesAreHeads(t *testing.T) {
	for _, status := range []int{0, 404, 405, 403, 500} {
		f := &fake{sparse: true}
		content := layouttest.Everything(repo)
		load(t, f, content)
		if status != 0 {
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodHead {
					w.WriteHeader(status)
				}
				return r.Method == http.MethodHead
			}
		}
		g, err := layout.Walk(t.Context(), clientFor(t, f), content.Roots(), layout.WalkOptions{MayMiss: mayMissAll})
		if err != nil {
			t.Fatal(err)
		}
		n, found := gets(f), 0
		for _, p := range g.Places {
			if len(p.Attached) > 0 {
				found++ // its fallback index
			}
		}
		if most := len(g.Nodes) + found + len(g.Names()) + len(g.Omitted); status == 0 && n > most {
			t.Errorf("%d GETs of manifests, want at most %d", n, most)
		} else if status != 0 && n < 4*len(g.Nodes) {
			t.Errorf("HEAD answers %d: %d GETs for %d manifests: probes are missing", status, n, len(g.Nodes))
		}
		ref, _ := walked(t, content)
		if len(g.Nodes) != len(ref.Nodes) {
			t.Errorf("HEAD answers %d: %d manifests, want %d", status, len(g.Nodes), len(ref.Nodes))
		}
	}
}

// walked is the graph of content out of memory.
func walked(t *testing.T, content layouttest.Content) (*layout.Graph, layout.Source) {
	t.Helper()
	mem := layout.NewMemory()
	if err := content.Load(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(t.Context(), mem, content.Roots(), layout.WalkOptions{MayMiss: mayMissAll})
	if err != nil {
		t.Fatal(err)
	}
	return g, mem
}

// TestKept: a second run gets no manifest again, as long as HEAD says that all is as
// it was; and what is kept is never more than a saving.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	f := &fake{sparse: true, referrers: true}
	content := layouttest.Everything(repo)
	load(t, f, content)
	keep := func(o *Options) { o.KeepDir = dir }
	walk := func() (*layout.Graph, int, error) {
		t.Helper()
		f.requests()
		g, err := layout.Walk(t.Context(), clientFor(t, f, keep), content.Roots(), layout.WalkOptions{MayMiss: mayMissAll})
		return g, gets(f), err
	}
	first, n, err := walk()
	if err != nil || n == 0 {
		t.Fatalf("%d GETs, %v", n, err)
	}
	absent := len(first.Omitted) // asked for each time
	second, n, err := walk()
	if err != nil || n > absent || !reflect.DeepEqual(first, second) {
		t.Errorf("the second run: %d GETs, want %d, %v", n, absent, err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for what, harm := range map[string]func([]byte) []byte{
		"replaced":       func([]byte) []byte { return []byte("{\"digest\":\"sha256:0\"}\nx") },
		"cut":            func(b []byte) []byte { return b[:len(b)-1] },
		"a changed byte": func(b []byte) []byte { b[len(b)-2] ^= 1; return b },
		"longer":         func(b []byte) []byte { return append(b, ' ') },
	} {
		for _, path := range files {
			data, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, harm(data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if g, n, err := walk(); err != nil || n == 0 || !reflect.DeepEqual(first, g) {
			t.Errorf("what was kept is %s: %d GETs, %v", what, n, err)
		}
	}
	for _, status := range []int{400, 401, 403, 405, 500, 501} {
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(status)
			}
			return r.Method == http.MethodHead
		}
		if g, n, err := walk(); err != nil || n == 0 || !reflect.DeepEqual(first, g) {
			t.Errorf("HEAD answers %d: %d GETs, %v", status, n, err)
		}
	}
}

// TestKeptChanges: a tag that moved, and a manifest that is gone, are noticed.
func TestKeptChanges(t *testing.T) {
	dir := t.TempDir()
	b := layouttest.New(repo)
	one, two := b.Image("one"), b.Image("two")
	b.Tag("v1", one)
	f := &fake{}
	load(t, f, b.Content())
	ref := layout.Reference{Repository: repo, Tag: "v1"}
	keep := func(o *Options) { o.KeepDir = dir }
	for _, want := range []layout.Descriptor{one, one, two, two, one} {
		f.repos["team/app"].tags["v1"] = string(want.Digest)
		if d, err := clientFor(t, f, keep).Resolve(t.Context(), ref); err != nil || d.Digest != want.Digest {
			t.Errorf("v1 = %v, %v, want %v", d.Digest, err, want.Digest)
		}
	}
	delete(f.repos["team/app"].manifests, string(one.Digest))
	if _, err := clientFor(t, f, keep).Open(t.Context(), repo, one); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("it is gone: %v", err)
	}
	if _, err := clientFor(t, f, keep).Open(t.Context(), "reg.example/other/app", two); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("another repository: %v", err)
	}
}

// TestKeptQuota: an export that needs more GETs than a quota has goes on in the next
// window from where it was.
func TestKeptQuota(t *testing.T) {
	f := &fake{sparse: true, referrers: true}
	content := layouttest.Everything(repo)
	load(t, f, content)
	dir, left := t.TempDir(), 0
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if left--; left < 0 {
			fail(w, http.StatusTooManyRequests, "TOOMANYREQUESTS")
		}
		return left < 0
	}
	for window := range 100 {
		f.mu.Lock()
		left = 5
		f.mu.Unlock()
		_, err := layout.Walk(t.Context(), clientFor(t, f, func(o *Options) { o.KeepDir = dir }), content.Roots(), layout.WalkOptions{MayMiss: mayMissAll})
		if err == nil {
			if window == 0 {
				t.Error("the quota is too large for this test")
			}
			return
		}
	}
	t.Error("it never ended")
}

// TestKeptPrune: what is too old goes.
func TestKeptPrune(t *testing.T) {
	dir := t.TempDir()
	k := newKeeper(dir, time.Now())
	k.put(repo, "v1", fetched{desc: imageDesc, data: imageBytes})
	if _, ok := k.get(repo, "v1"); !ok {
		t.Fatal("not kept")
	}
	if k = newKeeper(dir, time.Now().Add(keptFor-time.Hour)); k == nil {
		t.Fatal("no folder")
	}
	if _, ok := k.get(repo, "v1"); !ok {
		t.Error("gone too early")
	}
	newKeeper(dir, time.Now().Add(keptFor+time.Hour))
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%d files left, %v", len(left), err)
	}
	if newKeeper(filepath.Join(dir, "file\x00"), time.Now()) != nil {
		t.Error("a folder that cannot be")
	}
}
