package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
)

// fake is a registry to be misused: repositories apart, both digest algorithms,
// mounts, and whatever behaviour a test puts before it.
type fake struct {
	referrers bool // has the referrers API
	mount     bool // mounts
	sparse    bool // takes indexes without their children
	etags     bool // gives ETags and heeds If-Match
	pageSize  int  // entries on a page of referrers; 0 for all

	// before may answer a request itself, by returning true.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex
	repos map[string]*fakeRepo
	log   []string       // method and URL of each request
	sent  map[string]int // manifests given away, by digest
	n     int
}

type fakeRepo struct {
	blobs     map[string][]byte
	manifests map[string]fakeManifest // by digest
	tags      map[string]string
}

type fakeManifest struct {
	mediaType string
	data      []byte
}

var fakePath = regexp.MustCompile(`^/v2/(.+)/(blobs/uploads|blobs|manifests|referrers)/([^/]*)$`)

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.String())
	before := f.before
	f.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	m := fakePath.FindStringSubmatch(r.URL.Path)
	if m == nil {
		fail(w, http.StatusNotFound, "UNSUPPORTED")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	write := r.Method == http.MethodPost || r.Method == http.MethodPut
	repo := f.repos[m[1]]
	if repo == nil && !write {
		fail(w, http.StatusNotFound, "NAME_UNKNOWN")
		return
	} else if repo == nil {
		repo = &fakeRepo{map[string][]byte{}, map[string]fakeManifest{}, map[string]string{}}
		if f.repos == nil {
			f.repos = map[string]*fakeRepo{}
		}
		f.repos[m[1]] = repo
	}
	switch m[2] {
	case "blobs/uploads":
		f.upload(w, r, m[1], repo, body)
	case "blobs":
		f.blob(w, r, repo, m[3])
	case "manifests":
		f.manifest(w, r, repo, m[3], body)
	case "referrers":
		f.listReferrers(w, r, repo, m[3])
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"as the test has it"}]}`, code)
}

func (f *fake) upload(w http.ResponseWriter, r *http.Request, name string, repo *fakeRepo, body []byte) {
	q := r.URL.Query()
	if r.Method == http.MethodPost {
		if from := f.repos[q.Get("from")]; f.mount && from != nil {
			if data, ok := from.blobs[q.Get("mount")]; ok {
				repo.blobs[q.Get("mount")] = data
				w.WriteHeader(http.StatusCreated)
				return
			}
		}
		f.n++
		w.Header().Set("Location", fmt.Sprintf("/v2/%s/blobs/uploads/%d?_state=secretstate", name, f.n))
		w.WriteHeader(http.StatusAccepted)
		return
	}
	d := digest.Digest(q.Get("digest"))
	if d.Validate() != nil || d.Algorithm().FromBytes(body) != d {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID")
		return
	}
	repo.blobs[string(d)] = body
	w.Header().Set(digestHeader, string(d))
	w.WriteHeader(http.StatusCreated)
}

func (f *fake) blob(w http.ResponseWriter, r *http.Request, repo *fakeRepo, dgst string) {
	data, ok := repo.blobs[dgst]
	if !ok {
		fail(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	w.Header().Set(digestHeader, dgst)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (f *fake) manifest(w http.ResponseWriter, r *http.Request, repo *fakeRepo, part string, body []byte) {
	dgst := part
	if !strings.Contains(part, ":") {
		dgst = repo.tags[part]
	}
	old, ok := repo.manifests[dgst]
	if f.etags && ok {
		w.Header().Set("ETag", `"`+dgst+`"`)
	}
	if r.Method == http.MethodPut {
		if want := r.Header.Get("If-Match"); f.etags && want != "" && want != `"`+dgst+`"` {
			fail(w, http.StatusPreconditionFailed, "CHANGED")
			return
		}
		f.putManifest(w, r, repo, part, body)
		return
	}
	if !ok {
		fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", old.mediaType)
	w.Header().Set(digestHeader, dgst)
	w.Header().Set("Content-Length", fmt.Sprint(len(old.data)))
	if r.Method == http.MethodGet {
		if f.sent == nil {
			f.sent = map[string]int{}
		}
		f.sent[dgst]++
		_, _ = w.Write(old.data)
	}
}

func (f *fake) putManifest(w http.ResponseWriter, r *http.Request, repo *fakeRepo, part string, body []byte) {
	m := fakeManifest{r.Header.Get("Content-Type"), body}
	d := digest.FromBytes(body)
	if strings.Contains(part, ":") {
		if want := digest.Digest(part); want.Validate() != nil || want.Algorithm().FromBytes(body) != want {
			fail(w, http.StatusBadRequest, "DIGEST_INVALID")
			return
		} else {
			d = want
		}
	} else {
		// A tag of something known by another algorithm keeps that name.
		for have, old := range repo.manifests {
			if bytes.Equal(old.data, body) {
				d = digest.Digest(have)
			}
		}
	}
	var doc struct{ Manifests []layout.Descriptor }
	_ = json.Unmarshal(body, &doc)
	for _, child := range doc.Manifests {
		if _, ok := repo.manifests[string(child.Digest)]; !ok && !f.sparse {
			fail(w, http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN")
			return
		}
	}
	repo.manifests[string(d)] = m
	if !strings.Contains(part, ":") {
		repo.tags[part] = string(d)
	}
	w.Header().Set(digestHeader, string(d))
	w.WriteHeader(http.StatusCreated)
}

func (f *fake) listReferrers(w http.ResponseWriter, r *http.Request, repo *fakeRepo, subject string) {
	if !f.referrers {
		fail(w, http.StatusNotFound, "UNSUPPORTED")
		return
	}
	found := []layout.Descriptor{}
	for dgst, m := range repo.manifests {
		var doc struct{ Subject *layout.Descriptor }
		_ = json.Unmarshal(m.data, &doc)
		if doc.Subject != nil && string(doc.Subject.Digest) == subject {
			found = append(found, layout.Descriptor{MediaType: m.mediaType, Digest: digest.Digest(dgst), Size: int64(len(m.data))})
		}
	}
	slices.SortFunc(found, func(a, b layout.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	if last := r.URL.Query().Get("last"); last != "" {
		found = slices.DeleteFunc(found, func(d layout.Descriptor) bool { return string(d.Digest) <= last })
	}
	if f.pageSize > 0 && len(found) > f.pageSize {
		found = found[:f.pageSize]
		w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%s>; rel="next"`, r.URL.Path, f.pageSize, found[f.pageSize-1].Digest))
	}
	w.Header().Set("Content-Type", layout.MediaTypeIndex)
	_, _ = w.Write(indexOf(found...))
}

func indexOf(entries ...layout.Descriptor) []byte {
	data, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": layout.MediaTypeIndex, "manifests": entries,
	})
	if err != nil {
		panic(err)
	}
	return data
}

// requests returns the log so far, and empties it.
func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := f.log
	f.log, f.sent = nil, nil
	return log
}

// noWait is for Options.Wait: nothing sleeps.
func noWait(int, time.Duration) time.Duration { return 0 }

// dialer returns a transport for which every host is at h.
func dialer(t *testing.T, h http.Handler) *http.Transport {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	tr := &http.Transport{
		DisableCompression:  true,
		MaxIdleConnsPerHost: 64,
		DialContext:         dialTo(srv.Listener.Addr().String()),
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// dialTo leads every host to addr.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
}

// clientFor returns a client for which every registry is h, over plain http.
func clientFor(t *testing.T, h http.Handler, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{PlainHTTP: true, Wait: noWait, Transport: dialer(t, h), lockDir: t.TempDir(), RegistryConfig: noCredentials(t)}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// noCredentials keeps a test from the credentials of whoever runs it.
func noCredentials(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
