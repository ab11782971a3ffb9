package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// signed returns an image with one signature of its own kind by each signer.
func signed(signers ...string) (layouttest.Content, layout.Descriptor, []layout.Descriptor) {
	b := layouttest.New(repo)
	image := b.Image("image")
	var sigs []layout.Descriptor
	for _, s := range signers {
		sigs = append(sigs, b.Notary(image, s))
	}
	return b.Content(), image, sigs
}

// listed returns the entries of the fallback index, as found there.
func listed(t *testing.T, f *fake, subject layout.Descriptor) []layout.Descriptor {
	t.Helper()
	tag, _ := layout.FormReferrersTag.Tag(subject.Digest)
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.repos["team/app"]
	if r == nil || r.tags[tag] == "" {
		return nil
	}
	var doc struct{ Manifests []layout.Descriptor }
	if err := json.Unmarshal(r.manifests[r.tags[tag]].data, &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Manifests
}

func lists(entries []layout.Descriptor, want ...layout.Descriptor) bool {
	return len(without(want, entries)) == 0
}

// TestFallbackEntry: the entry is as the specification has it.
func TestFallbackEntry(t *testing.T) {
	f := &fake{}
	content, image, sigs := signed("one")
	load(t, f, content)
	entries := listed(t, f, image)
	if len(entries) != 1 || entries[0].Digest != sigs[0].Digest || entries[0].MediaType != sigs[0].MediaType ||
		entries[0].Size != sigs[0].Size || entries[0].ArtifactType != "application/vnd.cncf.notary.signature" {
		t.Fatalf("%+v", entries)
	}
	item, _ := content.Find(repo, sigs[0].Digest)
	m, err := layout.ParseManifest(item.Descriptor, item.Bytes)
	if err != nil || fmt.Sprint(m.Annotations) != fmt.Sprint(entries[0].Annotations) {
		t.Errorf("annotations %v, of the manifest %v, %v", entries[0].Annotations, m, err)
	}
}

// TestForeignEntries: what others attached stays, to the byte.
func TestForeignEntries(t *testing.T) {
	f := &fake{sparse: true}
	content, image, sigs := signed("one")
	foreign := `{"mediaType":"application/vnd.example.new+json","digest":"` + string(digest.FromString("f")) + `","size":7,"annotations":{"a":"b"},"future":[1, 2]}`
	old := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s,%s],"annotations":{"kept":"yes"}}`, layout.MediaTypeIndex, foreign, foreign)
	tag, _ := layout.FormReferrersTag.Tag(image.Digest)
	was := string(digest.FromString(old))
	f.repos = map[string]*fakeRepo{"team/app": {
		blobs: map[string][]byte{}, tags: map[string]string{tag: was},
		manifests: map[string]fakeManifest{was: {layout.MediaTypeIndex, []byte(old)}},
	}}
	load(t, f, content)
	data := f.repos["team/app"].manifests[f.repos["team/app"].tags[tag]].data
	if !bytes.Contains(data, []byte(strings.ReplaceAll(foreign, ", ", ","))) || bytes.Count(data, []byte("application/vnd.example.new")) != 1 ||
		!bytes.Contains(data, []byte(`"annotations":{"kept":"yes"}`)) || !lists(listed(t, f, image), sigs...) {
		t.Errorf("%s", data)
	}
	n := len(f.repos["team/app"].manifests)
	load(t, f, content)
	if len(f.repos["team/app"].manifests) != n {
		t.Error("written again though nothing was new")
	}
}

// TestTwoImporters: two clients that attach to the same subject at the same time
// both end up listed, round after round, with ETags and without.
func TestTwoImporters(t *testing.T) {
	for round := range 60 {
		f := &fake{etags: round%2 == 0}
		dir := t.TempDir()
		var wg sync.WaitGroup
		var all []layout.Descriptor
		var image layout.Descriptor
		for i := range 3 {
			content, subject, sigs := signed(fmt.Sprint("signer ", i), fmt.Sprint("other ", i))
			image, all = subject, append(all, sigs...)
			c := clientFor(t, f, func(o *Options) { o.lockDir = dir })
			wg.Go(func() {
				if err := content.Load(t.Context(), c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if entries := listed(t, f, image); !lists(entries, all...) || len(entries) != len(all) {
			t.Fatalf("round %d: %d of %d listed", round, len(entries), len(all))
		}
	}
}

// TestTwoProcesses does the same with real processes.
func TestTwoProcesses(t *testing.T) {
	f := &fake{}
	srv := httptest.NewServer(f)
	defer srv.Close()
	dir := t.TempDir()
	var wg sync.WaitGroup
	var want []layout.Descriptor
	var image layout.Descriptor
	for i := range 4 {
		_, subject, sigs := signed(childSigners(fmt.Sprint(i))...)
		image, want = subject, append(want, sigs...)
		cmd := exec.Command(os.Args[0], "-test.run=^TestImporterProcess$")
		cmd.Env = append(os.Environ(), "AIRGAP_TEST_REGISTRY="+srv.Listener.Addr().String(), "AIRGAP_TEST_LOCKS="+dir, fmt.Sprint("AIRGAP_TEST_NAME=", i))
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if entries := listed(t, f, image); !lists(entries, want...) {
		t.Errorf("%d of %d listed", len(entries), len(want))
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("lock files %v, %v", files, err)
	}
}

func childSigners(name string) []string {
	var out []string
	for i := range 10 {
		out = append(out, fmt.Sprintf("signer %s.%d", name, i))
	}
	return out
}

// TestImporterProcess is one of the processes of TestTwoProcesses: it attaches
// one signature after the other.
func TestImporterProcess(t *testing.T) {
	addr := os.Getenv("AIRGAP_TEST_REGISTRY")
	if addr == "" {
		t.Skip("runs as a child")
	}
	tr := &http.Transport{DialContext: dialTo(addr)}
	c, err := New(Options{PlainHTTP: true, Wait: noWait, Transport: tr, RegistryConfig: noCredentials(t), lockDir: os.Getenv("AIRGAP_TEST_LOCKS")})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range childSigners(os.Getenv("AIRGAP_TEST_NAME")) {
		content, _, _ := signed(s)
		if err := content.Load(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRepair: a writer that no lock keeps away, as on another host, undoes our
// entry after it was written; it is noticed and put back, before any name.
func TestRepair(t *testing.T) {
	content, image, sigs := signed("ours")
	tag, _ := layout.FormReferrersTag.Tag(image.Digest)
	for _, times := range []int32{1, 3} {
		f := &fake{sparse: true}
		theirs := layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("theirs"), Size: 6}
		var undone atomic.Int32
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+tag) && lists(listed(t, f, image), sigs...) && undone.Add(1) <= times {
				data := indexOf(theirs)
				f.mu.Lock()
				defer f.mu.Unlock()
				d := string(digest.FromBytes(data))
				f.repos["team/app"].manifests[d] = fakeManifest{layout.MediaTypeIndex, data}
				f.repos["team/app"].tags[tag] = d
			}
			return false
		}
		if err := content.Load(t.Context(), clientFor(t, f)); err != nil {
			t.Error(err)
		}
		if entries := listed(t, f, image); !lists(entries, append(sigs, theirs)...) || undone.Load() < times {
			t.Errorf("%d times: %v, undone %d times", times, entries, undone.Load())
		}
	}
}

// TestNeverListed: a registry that takes the index and does not give it back is
// an error, and no name is written.
func TestNeverListed(t *testing.T) {
	content, image, _ := signed("ours")
	tag, _ := layout.FormReferrersTag.Tag(image.Digest)
	for name, answer := range map[string]http.HandlerFunc{
		"gone":              saying(404, "MANIFEST_UNKNOWN"),
		"GitLab":            giving(image.MediaType, mustFind(content, image.Digest), nil),
		"somebody's image":  giving(layout.MediaTypeManifest, imageBytes, nil),
		"refused":           saying(403, "DENIED"),
		"somebody's damage": giving(layout.MediaTypeIndex, []byte(`{"schemaVersion":2}`), nil),
	} {
		f := &fake{}
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+tag) {
				answer(w, r)
				return true
			}
			return false
		}
		c := clientFor(t, f)
		names := []layout.Name{{Reference: layout.Reference{Repository: repo, Tag: "v1"}, Descriptor: image}}
		err := content.Put(t.Context(), c)
		if err == nil {
			err = c.Commit(t.Context(), names)
		}
		var le *layout.Error
		if !errors.Is(err, ErrRegistry) || !errors.As(err, &le) || le.Side != layout.SideDestination || !strings.Contains(le.Name, tag) {
			t.Errorf("%s: %v", name, err)
		}
		for _, l := range f.requests() {
			if strings.HasPrefix(l, "PUT") && strings.HasSuffix(l, "/v1") {
				t.Errorf("%s: the name was written", name)
			}
		}
	}
}

func mustFind(c layouttest.Content, d digest.Digest) []byte {
	item, ok := c.Find(repo, d)
	if !ok {
		panic(d)
	}
	return item.Bytes
}

// TestConflict: a conditional write that is refused is tried again with what is
// there then; a registry whose ETags are of no use gets it without.
func TestConflict(t *testing.T) {
	content, image, sigs := signed("ours")
	for name, serve := range map[string]func(n int32, w http.ResponseWriter, r *http.Request) bool{
		"twice": func(n int32, w http.ResponseWriter, r *http.Request) bool { return n <= 2 },
		"always with a condition": func(_ int32, w http.ResponseWriter, r *http.Request) bool {
			return r.Header.Get("If-Match") != ""
		},
	} {
		f := &fake{etags: true, sparse: true}
		load(t, f, content)
		more, _, moreSigs := signed("more")
		var n atomic.Int32
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") && serve(n.Add(1), w, r) {
				fail(w, http.StatusPreconditionFailed, "")
				return true
			}
			return false
		}
		if err := more.Load(t.Context(), clientFor(t, f)); err != nil || !lists(listed(t, f, image), append(sigs, moreSigs...)...) {
			t.Errorf("%s: %v, %v", name, err, listed(t, f, image))
		}
	}
}

// TestInterrupted: manifests that an earlier run put, and then was stopped, are
// attached by the next, which only finds that they are there.
func TestInterrupted(t *testing.T) {
	f := &fake{}
	content, image, sigs := signed("ours")
	if err := content.Put(t.Context(), clientFor(t, f)); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, f, image); got != nil {
		t.Fatalf("listed before Commit: %v", got)
	}
	c := clientFor(t, f)
	for _, item := range content.Repositories[repo] {
		if has, err := c.Has(t.Context(), repo, item.Descriptor); !has || err != nil {
			t.Errorf("Has = %v, %v", has, err)
		}
	}
	if err := c.Commit(t.Context(), content.Names); err != nil || !lists(listed(t, f, image), sigs...) {
		t.Errorf("%v, %v", err, listed(t, f, image))
	}
}

// TestLongTag: the referrers tag of a sha512 subject has half of the digest, and
// what is attached is found under it.
func TestLongTag(t *testing.T) {
	content := layouttest.SHA512(repo)
	f := &fake{}
	if err := content.Load(t.Context(), clientFor(t, f)); err != nil {
		t.Fatal(err)
	}
	layouttest.CheckSource(t, clientFor(t, f), content, layouttest.Traits{OwnFallback: true})
	for _, n := range content.Names {
		tag, ok := layout.FormReferrersTag.Tag(n.Descriptor.Digest)
		if want := "sha512-" + n.Descriptor.Digest.Encoded()[:64]; !ok || tag != want {
			t.Errorf("referrers tag %q, want %q", tag, want)
		}
	}
}

// TestOverlooked: what a registry with the API does not list goes to the
// fallback index.
func TestOverlooked(t *testing.T) {
	f := &fake{referrers: true}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/referrers/") {
			index(0)(w, r)
			return true
		}
		return false
	}
	content, image, sigs := signed("ours")
	if err := content.Load(t.Context(), clientFor(t, f)); err != nil || !lists(listed(t, f, image), sigs...) {
		t.Errorf("%v, %v", err, listed(t, f, image))
	}
}

// TestCarriedFallbackTag: a fallback tag that travelled as a name does not undo
// what is attached at the destination.
func TestCarriedFallbackTag(t *testing.T) {
	f := &fake{}
	theirs, image, theirSigs := signed("theirs")
	load(t, f, theirs)
	b := layouttest.New(repo)
	b.Fallback(b.Image("image"), b.Notary(image, "ours"))
	ours := b.Content()
	load(t, f, ours)
	if entries := listed(t, f, image); !lists(entries, theirSigs...) || len(entries) != 2 {
		t.Errorf("%v", entries)
	}
}

// TestOrder: indexes of referrers before cosign's tags before all others.
func TestOrder(t *testing.T) {
	f := &fake{sparse: true}
	content := layouttest.Everything(repo)
	if err := content.Load(t.Context(), clientFor(t, f, func(o *Options) { o.Jobs = 2 })); err != nil {
		t.Fatal(err)
	}
	var stages []int
	for _, l := range f.requests() {
		_, tag, ok := strings.Cut(l, "/manifests/")
		if !strings.HasPrefix(l, "PUT") || !ok || strings.Contains(tag, ":") {
			continue
		}
		stage := 2
		if _, _, cosign := layout.ParseCosignTag(tag); cosign {
			stage = 1
		} else if layout.IsReferrersTag(tag) {
			stage = 0
		}
		stages = append(stages, stage)
	}
	if !slices.IsSorted(stages) || !slices.Contains(stages, 0) || !slices.Contains(stages, 1) || !slices.Contains(stages, 2) {
		t.Errorf("%v", stages)
	}
}
