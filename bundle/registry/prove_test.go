package registry

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// TestProve: a blob is there if its ends can be read, or all of it where it is small
// or the registry ignores ranges.
func TestProve(t *testing.T) {
	for _, n := range []int{0, 1, 100, proveWhole, proveWhole + 1, 1 << 20} {
		data, d := blobOf(n)
		whole := func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(data) }
		for name, test := range map[string]struct {
			h        http.HandlerFunc // before the fake
			put      []byte           // what the fake has
			is, fail bool
		}{
			"there":          {nil, data, true, false},
			"not there":      {nil, nil, false, false},
			"no ranges":      {whole, nil, true, false},
			"cut off":        {nil, data[:n/2], n == 0, false},
			"longer":         {nil, append(bytes.Clone(data), 'x'), false, false},
			"denied":         {saying(403, ""), nil, false, true},
			"GET refused":    {saying(405, ""), nil, false, true},
			"broken":         {saying(500, ""), nil, false, true},
			"nonsense range": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(206); _, _ = w.Write(data) }, nil, false, n <= proveWhole},
			"hangs up":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil, false, true},
		} {
			f := &fake{repos: map[string]*fakeRepo{"team/app": {map[string][]byte{}, map[string]fakeManifest{}, map[string]string{}}}}
			if test.put != nil {
				f.repos["team/app"].blobs[string(d.Digest)] = test.put
			}
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if test.h != nil {
					test.h(w, r)
				}
				return test.h != nil
			}
			is, err := clientFor(t, f).Prove(t.Context(), repo, d)
			if is != test.is || (err != nil) != test.fail {
				t.Errorf("%d bytes, %s: %v, %v", n, name, is, err)
			}
		}
	}
}

// TestProveUnreachable: where blobs cannot be read at all, that is found out once.
func TestProveUnreachable(t *testing.T) {
	_, d := blobOf(100)
	var n atomic.Int64
	c := clientFor(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { n.Add(1); panic(http.ErrAbortHandler) }))
	for range 3 {
		if is, err := c.Prove(t.Context(), repo, d); is || err == nil {
			t.Errorf("Prove = %v, %v", is, err)
		}
	}
	if n.Load() > 12 {
		t.Errorf("asked %d times", n.Load())
	}
}

// liar answers every HEAD of a blob, and every mount, as if the blob was there.
func liar(f *fake, strict bool) {
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/blobs/"):
			w.WriteHeader(http.StatusOK)
			return true
		case r.URL.Query().Get("mount") != "":
			w.WriteHeader(http.StatusCreated)
			return true
		case strict && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/"):
			return f.lacksBlob(w, r)
		}
		return false
	}
}

// lacksBlob refuses a manifest whose first missing blob it names, as distribution does.
func (f *fake) lacksBlob(w http.ResponseWriter, r *http.Request) bool {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	m, err := layout.ParseManifest(layout.Descriptor{MediaType: r.Header.Get("Content-Type"), Digest: digest.FromBytes(body), Size: int64(len(body))}, body)
	if err != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	repo := f.repos[fakePath.FindStringSubmatch(r.URL.Path)[1]]
	for _, b := range m.Blobs() {
		if repo == nil || repo.blobs[string(b.Digest)] == nil {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"` + string(b.Digest) + `"}]}`))
			return true
		}
	}
	return false
}

// TestHeadLies: a registry that says it has blobs that it has lost ends up with them,
// whether it refuses their manifests or takes those all the same; and with Resend it
// is not even asked.
func TestHeadLies(t *testing.T) {
	const other = "reg.example/other/app"
	content := layouttest.Merge(layouttest.Everything(repo), layouttest.Everything(other))
	src := layout.NewMemory()
	if err := content.Load(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(t.Context(), src, content.Roots(), layout.WalkOptions{MayMiss: mayMissAll})
	if err != nil {
		t.Fatal(err)
	}
	for _, strict := range []bool{true, false} {
		for _, resend := range []bool{false, true} {
			f := &fake{sparse: true, referrers: true}
			liar(f, strict)
			var sent, skipped int64
			o := layout.CopyOptions{Resend: resend, Progress: func(e layout.Event) {
				switch e.Kind {
				case layout.EventDone, layout.EventResend:
					sent += e.N
					skipped -= e.N * int64(e.Count)
				case layout.EventSkip:
					skipped += e.N
				}
			}}
			if err := layout.Copy(t.Context(), clientFor(t, f), src, g, o); err != nil {
				t.Fatalf("strict %v, resend %v: %v", strict, resend, err)
			}
			log := strings.Join(f.requests(), "\n")
			if resend && (strings.Contains(log, "HEAD") || strings.Contains(log, "mount=")) {
				t.Error("Resend: it was asked what it has")
			}
			if skipped != 0 || sent == 0 {
				t.Errorf("strict %v, resend %v: %d bytes sent, %d said to be there", strict, resend, sent, skipped)
			}
			for _, p := range g.Places {
				for _, b := range g.Nodes[p.Digest].Blobs {
					if f.repos[strings.TrimPrefix(p.Repository, "reg.example/")].blobs[string(b.Digest)] == nil {
						t.Fatalf("strict %v, resend %v: %s is not in %s", strict, resend, b.Digest, p.Repository)
					}
				}
			}
		}
	}
}

// TestLackingForEver: a registry that goes on saying that it lacks what it was sent is
// an error, and not asked for ever.
func TestLackingForEver(t *testing.T) {
	b := layouttest.New(repo)
	b.Tag("v1", b.Image("image"))
	src := layout.NewMemory()
	if err := b.Content().Load(t.Context(), src); err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(t.Context(), src, b.Content().Roots(), layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			fail(w, 400, "MANIFEST_BLOB_UNKNOWN")
			return true
		}
		return false
	}
	err = layout.Copy(t.Context(), clientFor(t, f), src, g, layout.CopyOptions{})
	if err == nil || !strings.Contains(err.Error(), "MANIFEST_BLOB_UNKNOWN") || len(f.requests()) > 20 {
		t.Errorf("%v", err)
	}
}
