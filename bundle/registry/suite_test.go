package registry

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// TestSuite runs the suite for sources and sinks over registries of all sorts.
func TestSuite(t *testing.T) {
	for name, make := range map[string]func() http.Handler{
		"with everything":   func() http.Handler { return &fake{referrers: true, mount: true, sparse: true, etags: true} },
		"short pages":       func() http.Handler { return &fake{referrers: true, sparse: true, pageSize: 1} },
		"without referrers": func() http.Handler { return &fake{sparse: true} },
		"ggcr":              func() http.Handler { return newGGCR(false) },
		"ggcr referrers":    func() http.Handler { return newGGCR(true) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			layouttest.TestSink(t, func(t *testing.T, content layouttest.Content) layouttest.Target {
				h := make()
				_, ok := h.(*fake)
				if !ok && content.Uses(digest.SHA512) {
					t.Skip("knows only sha256")
				}
				if !ok && t.Name()[len(t.Name())-6:] == "_index" {
					t.Skip("takes no sparse index; see TestRejected")
				}
				c := clientFor(t, h)
				return layouttest.Target{
					Traits: layouttest.Traits{Partial: true, OwnFallback: true},
					Sink:   c,
					Source: func(t *testing.T) layout.Source { return clientFor(t, h) },
				}
			})
		})
	}
}

// newGGCR is go-containerregistry's registry, quiet and with repositories apart.
func newGGCR(referrers bool) http.Handler {
	return ggcr.New(ggcr.Logger(quiet()),
		ggcr.WithReferrersSupport(referrers), ggcr.WithBlobHandler(&perRepo{repos: map[string]ggcr.BlobHandler{}}))
}

// perRepo gives each repository blobs of its own.
type perRepo struct {
	mu    sync.Mutex
	repos map[string]ggcr.BlobHandler
}

func (p *perRepo) of(repo string) ggcr.BlobHandler {
	repo = strings.TrimSuffix(repo, "/blobs") // as it calls itself in uploads
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.repos[repo] == nil {
		p.repos[repo] = ggcr.NewInMemoryBlobHandler()
	}
	return p.repos[repo]
}

func (p *perRepo) Get(ctx context.Context, repo string, h v1.Hash) (io.ReadCloser, error) {
	return p.of(repo).Get(ctx, repo, h)
}

func (p *perRepo) Stat(ctx context.Context, repo string, h v1.Hash) (int64, error) {
	return p.of(repo).(ggcr.BlobStatHandler).Stat(ctx, repo, h)
}

func (p *perRepo) Put(ctx context.Context, repo string, h v1.Hash, rc io.ReadCloser) error {
	return p.of(repo).(ggcr.BlobPutHandler).Put(ctx, repo, h, rc)
}
