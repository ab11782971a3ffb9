package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// What only saves work is dropped when a registry refuses it. It is never a failure,
// and never a success that is none.

// refusals are answers with which a registry may refuse an optimisation.
var refusals = []int{200, 202, 204, 302, 400, 401, 403, 404, 405, 409, 412, 416, 429, 500, 501, 502, 503, 504}

// TestMountRefused: whatever a registry answers to a mount but 201, the blob is sent.
// A refusal is not asked for twice.
func TestMountRefused(t *testing.T) {
	data, d := blobOf(100)
	for _, status := range refusals {
		f := &fake{}
		asked := 0
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Query().Get("mount") == "" {
				return false
			}
			asked++
			fail(w, status, "")
			return true
		}
		c := clientFor(t, f)
		for range 2 {
			if done, err := c.Mount(t.Context(), repo, d, "reg.example/other/app"); done || err != nil {
				t.Errorf("status %d: Mount = %v, %v", status, done, err)
			}
		}
		if err := c.Put(t.Context(), repo, d, bytes.NewReader(data)); err != nil {
			t.Errorf("status %d: %v", status, err)
		}
		if want := map[bool]int{true: 2, false: 1}[status == 404 || status == 202]; asked != want {
			t.Errorf("status %d: asked %d times, want %d", status, asked, want)
		}
	}
}

// TestMountTokenRefused: the token service denies a token for two repositories, or
// is down; for one it gives one.
func TestMountTokenRefused(t *testing.T) {
	data, d := blobOf(100)
	for _, status := range []int{400, 401, 403, 404, 429, 500, 503} {
		f := &fake{mount: true}
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == "/token" && strings.Contains(r.URL.RawQuery, "other"):
				fail(w, status, "DENIED")
			case r.URL.Path == "/token":
				fmt.Fprint(w, `{"token":"t"}`)
			case r.Header.Get("Authorization") == "":
				w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s"`)
				w.WriteHeader(http.StatusUnauthorized)
			default:
				return false
			}
			return true
		}
		c := clientFor(t, f)
		if done, err := c.Mount(t.Context(), repo, d, "reg.example/other/app"); done || err != nil {
			t.Errorf("token %d: Mount = %v, %v", status, done, err)
		}
		if err := c.Put(t.Context(), repo, d, bytes.NewReader(data)); err != nil {
			t.Errorf("token %d: %v", status, err)
		}
	}
}

// TestHeadRefused: a copy to a registry that refuses every HEAD, and every GET of a
// manifest, sends everything.
func TestHeadRefused(t *testing.T) {
	for _, status := range refusals[4:] {
		f := &fake{sparse: true, referrers: true}
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodHead && (r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/")) {
				return false
			}
			w.WriteHeader(status)
			return true
		}
		content := layouttest.Everything(repo)
		if err := content.Load(t.Context(), clientFor(t, f)); err != nil {
			t.Errorf("status %d: %v", status, err)
		}
		f.before = nil
		if _, err := layout.Walk(t.Context(), clientFor(t, f), content.Roots(), layout.WalkOptions{MayMiss: mayMissAll}); err != nil {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func mayMissAll(string, digest.Digest, layout.Descriptor) bool { return true }

// TestConditionRefused: a conditional write that is refused for its condition is made
// without.
func TestConditionRefused(t *testing.T) {
	for _, status := range []int{400, 405, 412, 417, 501} {
		content, image, sigs := signed("ours")
		f := &fake{etags: true, sparse: true}
		load(t, f, content)
		more, _, moreSigs := signed("more")
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("If-Match") == "" {
				return false
			}
			fail(w, status, "")
			return true
		}
		if err := more.Load(t.Context(), clientFor(t, f)); err != nil || !lists(listed(t, f, image), append(sigs, moreSigs...)...) {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// TestUploadEnds: what the end of an upload may be answered with. After 202 the blob
// has to be there.
func TestUploadEnds(t *testing.T) {
	for _, n := range []int{100, smallBlob + 1} {
		for status, want := range map[int]bool{200: true, 201: true, 202: true, 204: true, 203: false, 206: false, 301: false, 400: false, 404: false} {
			data, d := blobOf(n)
			f := &fake{}
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut {
					return false
				}
				body, _ := io.ReadAll(r.Body)
				f.mu.Lock()
				defer f.mu.Unlock()
				f.repos["team/app"].blobs[string(d.Digest)] = body
				w.WriteHeader(status)
				return true
			}
			if err := clientFor(t, f).Put(t.Context(), repo, d, bytes.NewReader(data)); (err == nil) != want {
				t.Errorf("%d bytes, status %d: %v", n, status, err)
			}
		}
	}
	data, d := blobOf(100)
	f := &fake{}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusAccepted)
		}
		return r.Method == http.MethodPut
	}
	if err := clientFor(t, f).Put(t.Context(), repo, d, bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), "not served") {
		t.Errorf("202, and the blob is not there: %v", err)
	}
}

// TestUploadQuery: the query of a Location comes back byte for byte.
func TestUploadQuery(t *testing.T) {
	for _, query := range []string{"", "st;ate=1&z=a%20b&sig=Ab%2Fc&flag", "b=2&a=1", "a=1&a=0", "x=%zz", "digest=no", "a=+b&&c"} {
		f := &fake{}
		var got []string
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			switch r.Method {
			case http.MethodPost:
				w.Header().Set("Location", "/v2/team/app/blobs/uploads/1?"+query)
				w.WriteHeader(http.StatusAccepted)
			case http.MethodPut:
				got = append(got, r.URL.RawQuery)
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusCreated)
			}
			return true
		}
		data, d := blobOf(100)
		if err := clientFor(t, f).Put(t.Context(), repo, d, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		want := query + "&digest=sha256%3A" + d.Digest.Encoded()
		if want = strings.TrimPrefix(want, "&"); len(got) != 1 || got[0] != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
}

// TestImmutableTag: a tag that stands for the same is not written; one that cannot be
// changed is an error that says so, whatever the status.
func TestImmutableTag(t *testing.T) {
	b := layouttest.New(repo)
	one, two := b.Image("one"), b.Image("two")
	b.Tag("v1", one)
	for _, status := range []int{400, 403, 405, 409, 412} {
		f := &fake{}
		load(t, f, b.Content())
		puts := 0
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.HasSuffix(r.URL.Path, "/manifests/v1") {
				return false
			}
			puts++
			fail(w, status, "TAG_INVALID")
			return true
		}
		name := layout.Name{Reference: layout.Reference{Repository: repo, Tag: "v1"}, Descriptor: one}
		if err := clientFor(t, f).Commit(t.Context(), []layout.Name{name}); err != nil || puts > 0 {
			t.Errorf("status %d, nothing to change: %v, written %d times", status, err, puts)
		}
		name.Descriptor = two
		err := clientFor(t, f).Commit(t.Context(), []layout.Name{name})
		if err == nil || !errors.Is(err, ErrRegistry) || !strings.Contains(err.Error(), string(one.Digest)) ||
			!strings.Contains(err.Error(), string(two.Digest)) || !strings.Contains(layout.Hint(err), "immutable") {
			t.Errorf("status %d: %v, hint %q", status, err, layout.Hint(err))
		}
	}
}

// TestImmutableFallback: so does a fallback index that cannot be changed.
func TestImmutableFallback(t *testing.T) {
	for _, status := range []int{400, 409, 412} {
		content, _, _ := signed("ours")
		f := &fake{}
		load(t, f, content)
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/sha256-") {
				return false
			}
			fail(w, status, "")
			return true
		}
		if err := content.Load(t.Context(), clientFor(t, f)); err != nil {
			t.Errorf("status %d, nothing to change: %v", status, err)
		}
		more, _, _ := signed("more")
		if err := more.Load(t.Context(), clientFor(t, f)); err == nil || !strings.Contains(layout.Hint(err), "immutable") {
			t.Errorf("status %d: %v, hint %q", status, err, layout.Hint(err))
		}
	}
}
