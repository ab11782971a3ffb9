package registry

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
	"airgap/layout/layouttest"
)

func blobOf(n int) ([]byte, layout.Descriptor) {
	data := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
	return data, layout.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(data), Size: int64(n)}
}

// TestUploadRequests: two requests for a blob of any size, one after a Mount
// that left an upload open.
func TestUploadRequests(t *testing.T) {
	f := &fake{}
	c := clientFor(t, f)
	for _, n := range []int{0, 1, smallBlob, smallBlob + 1, 1 << 20} {
		data, d := blobOf(n)
		if err := c.Put(t.Context(), repo, d, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if log := f.requests(); len(log) != 2 || !strings.HasPrefix(log[0], "POST") || !strings.HasPrefix(log[1], "PUT") {
			t.Errorf("%d bytes took %q", n, log)
		}
		if done, err := c.Mount(t.Context(), "reg.example/other/app", d, repo); done || err != nil {
			t.Errorf("Mount = %v, %v", done, err)
		}
		if err := c.Put(t.Context(), "reg.example/other/app", d, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if log := f.requests(); len(log) != 2 || !strings.HasPrefix(log[0], "POST") || !strings.HasPrefix(log[1], "PUT") {
			t.Errorf("Mount and Put took %q", log)
		}
		if done, err := c.Mount(t.Context(), "other.example/app", d, repo); done || err != nil {
			t.Errorf("Mount from another registry = %v, %v", done, err)
		}
		if log := f.requests(); len(log) != 0 {
			t.Errorf("Mount from another registry took %q", log)
		}
	}
	f.mount = true
	_, d := blobOf(1)
	if done, err := c.Mount(t.Context(), "reg.example/third/app", d, repo); !done || err != nil {
		t.Errorf("Mount = %v, %v", done, err)
	}
}

// TestSmallAgain: a small blob and a manifest are sent again when the connection
// is lost; a large one fails as Temporary.
func TestSmallAgain(t *testing.T) {
	image := layouttest.New(repo)
	desc := image.Image("image")
	manifest := mustFind(image.Content(), desc.Digest)
	small, smallDesc := blobOf(100)
	large, largeDesc := blobOf(1 << 20)
	for _, test := range []struct {
		d    layout.Descriptor
		data []byte
		ok   bool
	}{{desc, manifest, true}, {smallDesc, small, true}, {largeDesc, large, false}} {
		f := &fake{}
		failed := 0
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && failed < 2 {
				failed++
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(503)
				return true
			}
			return false
		}
		err := clientFor(t, f).Put(t.Context(), repo, test.d, bytes.NewReader(test.data))
		if test.ok != (err == nil) {
			t.Errorf("%d bytes: %v", len(test.data), err)
		}
		var re *RequestError
		if !test.ok && (!errors.As(err, &re) || !re.Temporary()) {
			t.Errorf("%v is not Temporary", err)
		}
	}
}

// TestRejected: what the user can do when a registry does not take a manifest.
func TestRejected(t *testing.T) {
	sparse := layouttest.Sparse(repo)
	for name, h := range map[string]http.Handler{"fake": &fake{}, "ggcr": newGGCR(false)} {
		err := sparse.Load(t.Context(), clientFor(t, h))
		var le *layout.Error
		if !errors.As(err, &le) || le.Side != layout.SideDestination || !strings.Contains(layout.Hint(err), "without --platform") {
			t.Errorf("%s: %v, hint %q", name, err, layout.Hint(err))
		}
	}
	b := layouttest.New(repo)
	b.ORASArtifact(b.Image("image"), "legacy")
	f := &fake{}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Content-Type") != layout.MediaTypeORASManifest {
			return false
		}
		fail(w, 400, "MANIFEST_INVALID")
		return true
	}
	err := b.Content().Load(t.Context(), clientFor(t, f))
	if !errors.Is(err, ErrRegistry) || !strings.Contains(layout.Hint(err), layout.MediaTypeORASManifest) {
		t.Errorf("%v, hint %q", err, layout.Hint(err))
	}
}

// TestStoredOther: a registry that says it stored something else is not believed.
func TestStoredOther(t *testing.T) {
	data, d := blobOf(10)
	other := string(digest.FromString("other"))
	image := layouttest.New(repo)
	desc := image.Image("image")
	f := &fake{}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		w.Header().Set(digestHeader, other)
		w.WriteHeader(201)
		return true
	}
	c := clientFor(t, f)
	if err := c.Put(t.Context(), repo, d, bytes.NewReader(data)); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("blob: %v", err)
	}
	if err := c.Put(t.Context(), repo, desc, bytes.NewReader(mustFind(image.Content(), desc.Digest))); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("manifest: %v", err)
	}
}

// TestHas: only a plain yes keeps content from being sent.
func TestHas(t *testing.T) {
	_, blob := blobOf(10)
	for status, want := range map[int]bool{
		200: true, 404: false, 401: false, 403: false, 405: false, 500: false, 400: false, 302: false, 204: false,
	} {
		h := func(w http.ResponseWriter, r *http.Request) {
			if status == 200 {
				w.Header().Set("Content-Length", "10")
			}
			w.WriteHeader(status)
		}
		has, err := clientFor(t, http.HandlerFunc(h)).Has(t.Context(), repo, blob)
		if has != want || err != nil {
			t.Errorf("blob, status %d: %v, %v", status, has, err)
		}
	}
	hangsUp := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if has, err := clientFor(t, hangsUp).Has(t.Context(), repo, blob); has || !errors.Is(err, ErrRegistry) {
		t.Errorf("blob, no answer: %v, %v", has, err)
	}
	image := layouttest.New(repo)
	desc := image.Image("image")
	data := mustFind(image.Content(), desc.Digest)
	for name, test := range map[string]struct {
		h    http.HandlerFunc
		has  bool
		want error
	}{
		"there":     {giving(desc.MediaType, data, nil), true, nil},
		"not there": {saying(404, ""), false, nil},
		"denied":    {saying(403, ""), false, nil},
		"damaged":   {giving(desc.MediaType, append(bytes.Clone(data), ' '), nil), false, nil},
		"no answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false, ErrRegistry},
	} {
		has, err := clientFor(t, test.h).Has(t.Context(), repo, desc)
		if has != test.has || !errors.Is(err, test.want) {
			t.Errorf("manifest %s: %v, %v", name, has, err)
		}
	}
}

// TestTagsOnlyWhatIsThere: Commit checks what it is given.
func TestCommitRefuses(t *testing.T) {
	f := &fake{}
	image := layouttest.New(repo)
	desc := image.Image("image")
	load(t, f, image.Content())
	ref := layout.Reference{Repository: repo, Tag: "v1"}
	for name, n := range map[string]layout.Name{
		"other bytes": {Reference: ref, Descriptor: desc, Manifest: []byte("{}")},
		"a blob":      {Reference: ref, Descriptor: blobDesc},
		"absent":      {Reference: ref, Descriptor: imageDesc, Manifest: imageBytes},
	} {
		if err := clientFor(t, f).Commit(t.Context(), []layout.Name{n}); err == nil {
			t.Errorf("%s: succeeds", name)
		}
	}
	c := clientFor(t, f)
	if err := c.Commit(t.Context(), []layout.Name{{Reference: ref, Descriptor: desc}}); err != nil {
		t.Errorf("without bytes: %v", err)
	}
	if d, err := c.Resolve(t.Context(), ref); err != nil || d.Digest != desc.Digest {
		t.Errorf("%v, %v", d, err)
	}
}

// TestSide: a client knows which end of a transfer it is.
func TestSide(t *testing.T) {
	c := clientFor(t, saying(500, ""), func(o *Options) { o.Side = layout.SideDestination; o.Retries = -1 })
	_, err := c.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"})
	if err == nil || !strings.HasPrefix(err.Error(), "destination "+repo+":v1: GET http://reg.example/v2/team/app/manifests/v1: 500") {
		t.Errorf("%v", err)
	}
}
