package serve_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
)

// request is one as it is on the wire.
func request(method, path, headers, body string) []byte {
	return []byte(method + " " + path + " HTTP/1.1\r\nHost: x\r\n" + headers + "\r\n" + body)
}

// Whatever clients send, none is answered with a failure of the server's own, nor with a
// panic; nothing is written outside the store; and what was admitted stays what it is.
func FuzzServe(f *testing.F) {
	b := layouttest.New(ghcr)
	img := b.Image("image")
	b.Tag("v1", img)
	d := digest.FromString("x")
	for _, seed := range [][2][]byte{
		{request("POST", "/v2/"+plain+"/blobs/uploads/", "", ""), request("PATCH", "/v2/"+plain+"/blobs/uploads/ID", "Content-Range: 0-0\r\nContent-Length: 1\r\n", "x")},
		{request("POST", "/v2/"+plain+"/blobs/uploads/?digest="+string(d), "Content-Length: 1\r\n", "x"), request("GET", "/v2/"+plain+"/blobs/"+string(d), "Range: bytes=0-\r\n", "")},
		{request("POST", "/v2/a/b/blobs/uploads/?mount="+string(d)+"&from="+ghcr, "", ""), request("PUT", "/v2/a/b/blobs/uploads/ID?digest="+string(d), "Transfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n")},
		{request("PUT", "/v2/"+ghcr+"/manifests/v1?tag=v2", "Content-Type: "+layout.MediaTypeIndex+"\r\nContent-Length: 35\r\n", `{"schemaVersion":2,"manifests":[]}`), request("DELETE", "/v2/"+plain+"/manifests/v1", "", "")},
		{request("GET", "/v2/_catalog?n=1&last=a", "", ""), request("GET", "/v2/"+ghcr+"/tags/list?n=0", "", "")},
		{request("GET", "/v2/"+ghcr+"/referrers/"+string(d)+"?artifactType=x", "", ""), request("OPTIONS", "/v2/", "", "")},
		{request("HEAD", "/v2/library/x/manifests/v1?ns=docker.io", "If-None-Match: *\r\n", ""), request("PUT", "/v2/x/manifests/"+string(d), "Expect: 100-continue\r\n", "")},
	} {
		f.Add(seed[0], seed[1])
	}
	parent := f.TempDir()
	dir := filepath.Join(parent, "store")
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	session, err := s.Begin(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	if err := b.Content().Load(f.Context(), session); err != nil {
		f.Fatal(err)
	}
	h := serve.New(s.View(), serve.Options{Pusher: s.Pusher(store.PushOptions{Sparse: true}), MaxUploads: 4})
	defer h.Close()
	f.Fuzz(func(t *testing.T, first, second []byte) {
		id := ""
		for _, raw := range [][]byte{first, second} {
			raw = bytes.Replace(raw, []byte("uploads/ID"), []byte("uploads/"+id), 1)
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
			if err != nil {
				continue
			}
			req.RemoteAddr = "192.0.2.1:1"
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, req)
			if rec.Code >= 500 {
				t.Fatalf("%q: %d %s", raw, rec.Code, rec.Body)
			}
			loc := rec.Header().Get("Location")
			if strings.ContainsAny(loc, "\r\n") {
				t.Fatalf("%q: goes on at %q", raw, loc)
			}
			id = rec.Header().Get("Docker-Upload-UUID")
		}
		if got, err := s.View().Resolve(t.Context(), layout.Reference{Repository: ghcr, Tag: "v1"}); err == nil && got.Digest != img.Digest {
			t.Fatalf("v1 is %s", got.Digest) // it can be deleted, and not moved
		}
		if entries, err := os.ReadDir(parent); err != nil || len(entries) != 1 {
			t.Fatalf("beside the store is %v (%v)", entries, err)
		}
		_ = h.Close()
	})
}
