package serve_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/push"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// reads counts the manifests that are read.
type reads struct {
	serve.Content
	n atomic.Int64
}

func (r *reads) Manifest(ctx context.Context, repo string, d layout.Descriptor) ([]byte, error) {
	r.n.Add(1)
	return r.Content.Manifest(ctx, repo, d)
}

func referrersOf(t *testing.T, base string, subject digest.Digest) []layout.Descriptor {
	t.Helper()
	res, body := ask(t, "GET", base+"/v2/"+ghcr+"/referrers/"+subject.String())
	var index ocispec.Index
	if err := json.Unmarshal(body, &index); err != nil || res.StatusCode != 200 {
		t.Fatalf("%s: %v", res.Status, err)
	}
	return index.Manifests
}

// A list of referrers that was made once is made again without reading them; of what
// went into quarantine meanwhile, or was attached, it tells all the same.
func TestReferrersAreReadOnce(t *testing.T) {
	b := layouttest.New(ghcr)
	img := b.Image("app")
	first := b.Referrer(img, "application/vnd.example.first", "one")
	b.Tag("v1", img)
	s, _ := newStore(t, b.Content())
	c := &reads{Content: s.View()}
	srv := httptest.NewServer(serve.New(c, serve.Options{Failed: func(err error) { t.Error(err) }}))
	defer srv.Close()
	once := referrersOf(t, srv.URL, img.Digest)
	before := c.n.Load()
	again := referrersOf(t, srv.URL, img.Digest)
	if len(once) != 1 || len(again) != 1 || again[0].ArtifactType != "application/vnd.example.first" || again[0].Digest != first.Digest {
		t.Fatalf("first %v, then %v", once, again)
	}
	if before != 1 || c.n.Load() != 1 {
		t.Errorf("%d manifests were read for one list, %d for two", before, c.n.Load())
	}

	second := b.Referrer(img, "application/vnd.example.second", "two")
	load(t, s, b.Content())
	if all := referrersOf(t, srv.URL, img.Digest); len(all) != 2 || c.n.Load() != 2 {
		t.Errorf("after %s was attached: %v, %d manifests read", second.Digest, all, c.n.Load())
	}
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	if err := session.Quarantine(ghcr, first.Digest, "not admitted"); err != nil {
		t.Fatal(err)
	}
	if err := session.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if left := referrersOf(t, srv.URL, img.Digest); len(left) != 1 || left[0].Digest != second.Digest {
		t.Errorf("%s is in quarantine, and in the list: %v", first.Digest, left)
	}
}

// What another process took away is not remembered into a list.
func TestReferrersOfOtherProcesses(t *testing.T) {
	b := layouttest.New(ghcr)
	img := b.Image("app")
	gone := b.Referrer(img, "application/vnd.example.first", "one")
	b.Tag("v1", img)
	_, dir := newStore(t, b.Content())
	srv := httptest.NewServer(serve.New(another(t, dir, store.Options{ReadOnly: true}).View(), serve.Options{Failed: func(err error) { t.Error(err) }}))
	defer srv.Close()
	if all := referrersOf(t, srv.URL, img.Digest); len(all) != 1 {
		t.Fatalf("%v", all)
	}
	other := another(t, dir, store.Options{})
	p := other.Pusher(store.PushOptions{})
	if err := p.Delete(t.Context(), push.Removal{By: "somebody", Reference: layout.Reference{Repository: ghcr, Digest: gone.Digest}}); err != nil {
		t.Fatal(err)
	}
	if all := referrersOf(t, srv.URL, img.Digest); len(all) != 0 {
		t.Errorf("%s was deleted, and is in the list: %v", gone.Digest, all)
	}
}
