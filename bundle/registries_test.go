package bundle_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/registry"
	"airgap/layout"
	"airgap/layout/layouttest"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
)

// server is a registry in this process that can be told to hide content.
type server struct {
	*httptest.Server
	mu     sync.Mutex
	hide   string // requests whose path ends like this are answered with status
	status int
}

func (s *server) set(hide string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hide, s.status = hide, status
}

// hidden says how to answer a request, or 0.
func (s *server) hidden(r *http.Request) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hide != "" && strings.HasSuffix(r.URL.Path, s.hide) && r.Method == http.MethodGet {
		return s.status
	}
	return 0
}

func newServer(t *testing.T, referrers bool) *server {
	s := &server{}
	h := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(referrers))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status := s.hidden(r); status != 0 {
			http.Error(w, "hidden", status)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// client reaches the server under every host name.
func (s *server) client(t *testing.T) *registry.Client {
	t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}}
	t.Cleanup(tr.CloseIdleConnections)
	c, err := registry.New(registry.Options{
		PlainHTTP: true, Transport: tr, Wait: func(int, time.Duration) time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// everything fills a registry with every form of attachment at once.
func everything(t *testing.T, s *server) layouttest.Content {
	t.Helper()
	content := layouttest.Everything(repo)
	if err := content.Load(t.Context(), s.client(t)); err != nil {
		t.Fatal(err)
	}
	return content
}

func exportFrom(t *testing.T, s *server, content layouttest.Content, out string) error {
	t.Helper()
	sel := bundle.Selection{Source: s.client(t), References: content.Roots()}
	_, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: out})
	return err
}

// From a registry with or without the referrers API, into one with or without.
func TestBetweenRegistries(t *testing.T) {
	for _, from := range []bool{true, false} {
		for _, to := range []bool{true, false} {
			src, dst := newServer(t, from), newServer(t, to)
			content := everything(t, src)
			out := filepath.Join(t.TempDir(), "bundle.tar")
			if err := exportFrom(t, src, content, out); err != nil {
				t.Fatal(err)
			}
			_, err := bundle.Import(t.Context(), open(t, out), dst.client(t), bundle.ImportOptions{
				InsecureSkipVerify: true, Mapping: bundle.Mapping{To: "far.example/mirror"},
			})
			if err != nil {
				t.Fatalf("referrers API %v → %v: %v", from, to, err)
			}
			// Its blobs are in one pool, so repositories are not told apart.
			want := withoutFallback(renamed(content, repo, "far.example/mirror/team/app"))
			layouttest.CheckSource(t, dst.client(t), want, layouttest.Traits{OneNamespace: true})
		}
	}
}

// renamed is content under another repository's name.
func renamed(c layouttest.Content, from, to string) layouttest.Content {
	out := layouttest.Content{Repositories: map[string][]layouttest.Item{to: c.Repositories[from]}}
	for _, n := range c.Names {
		n.Reference.Repository = to
		out.Names = append(out.Names, n)
	}
	return out
}

// Each attachment made unfetchable in turn, its manifest or a blob of it, makes
// the export fail, and the error names it.
func TestUnfetchableAttachmentFailsExport(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		s := newServer(t, referrers)
		content := everything(t, s)
		out := filepath.Join(t.TempDir(), "bundle.tar")
		if err := exportFrom(t, s, content, out); err != nil {
			t.Fatal(err)
		}
		g, err := layout.Walk(t.Context(), s.client(t), content.Roots(), layout.WalkOptions{})
		if err != nil {
			t.Fatal(err)
		}
		tried := 0
		for dgst := range g.Attachments() {
			hidden := []layout.Descriptor{g.Nodes[dgst].Descriptor}
			for _, b := range g.Nodes[dgst].Blobs {
				hidden = append(hidden, b.Descriptor())
			}
			for _, d := range hidden {
				if d.Digest == digest.FromString("{}") {
					continue // two bytes that everybody knows: never fetched
				}
				tried++
				unfetchable(t, s, content, d)
			}
		}
		if tried < 40 {
			t.Errorf("only %d attachments and blobs of them were tried", tried)
		}
	}
}

func unfetchable(t *testing.T, s *server, content layouttest.Content, d layout.Descriptor) {
	t.Helper()
	hide, status := "/"+string(d.Digest), http.StatusNotFound
	if tag := cosignTagOf(content, d); tag != "" {
		// It is fetched by its tag. That a registry answers 404 to a tag
		// means that there is none; a fault is never taken for that.
		hide, status = "/"+tag, http.StatusForbidden
	}
	s.set(hide, status)
	defer s.set("", 0)
	dir := t.TempDir()
	out := filepath.Join(dir, "bundle.tar")
	err := exportFrom(t, s, content, out)
	if err == nil {
		t.Errorf("%s cannot be fetched, and the export went through", d.Digest)
		return
	}
	if !strings.Contains(err.Error(), strings.TrimPrefix(hide, "/")) {
		t.Errorf("the error does not name %s: %v", hide, err)
	}
	if found, _ := filepath.Glob(out); found != nil {
		t.Errorf("a bundle was left that lacks %s", d.Digest)
	}
}

func cosignTagOf(content layouttest.Content, d layout.Descriptor) string {
	for _, n := range content.Names {
		if _, _, ok := layout.ParseCosignTag(n.Reference.Tag); ok && n.Descriptor.Digest == d.Digest {
			return n.Reference.Tag
		}
	}
	return ""
}
