package serve_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store/serve"
)

// nowhere is a client that takes everything.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkStore is for profiles of small answers, without the network.
func BenchmarkStore(b *testing.B) {
	content := layouttest.Everything(ghcr)
	s, _ := newStore(b, content)
	h := serve.New(s.View(), serve.Options{})
	base, name := "/v2/"+ghcr, content.Names[0]
	for _, item := range content.Repositories[ghcr] {
		if !layout.IsManifest(item.Descriptor.MediaType) {
			b.Run("blob", func(b *testing.B) { benchmark(b, h, "GET", base+"/blobs/"+item.Descriptor.Digest.String()) })
			break
		}
	}
	b.Run("tag", func(b *testing.B) { benchmark(b, h, "GET", base+"/manifests/"+name.Reference.Tag) })
	b.Run("digest", func(b *testing.B) { benchmark(b, h, "GET", base+"/manifests/"+name.Descriptor.Digest.String()) })
	b.Run("head", func(b *testing.B) { benchmark(b, h, "HEAD", base+"/manifests/"+name.Reference.Tag) })
	b.Run("referrers", func(b *testing.B) { benchmark(b, h, "GET", base+"/referrers/"+name.Descriptor.Digest.String()) })
}

func benchmark(b *testing.B, h http.Handler, method, path string) {
	r := httptest.NewRequest(method, path, nil)
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusOK {
		b.Fatalf("%s: %d", path, w.Code)
	}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(nowhere{http.Header{}}, r)
	}
}
