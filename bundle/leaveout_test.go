package bundle_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/registry"
	"airgap/layout"
	"airgap/layout/layouttest"
)

// withoutSHA512 is a registry that answers status to everything about a sha512 digest.
func withoutSHA512(t *testing.T, status int) *registry.Client {
	t.Helper()
	s := newServer(t, true)
	h := s.Config.Handler
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "sha512:") || strings.Contains(r.URL.RawQuery, "sha512%3A") {
			http.Error(w, `{"errors":[{"code":"DIGEST_INVALID"}]}`, status)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	c, err := registry.New(registry.Options{PlainHTTP: true, Wait: func(int, time.Duration) time.Duration { return 0 },
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, front.Listener.Addr().String())
		}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A registry that has no sha512 fails the import of a bundle in which one image needs
// it; with Partial that image is left out and named, and the others come in whole.
func TestPartialAlgorithm(t *testing.T) {
	plain := layouttest.Everything(repo)
	content := layouttest.Merge(plain, layouttest.SHA512("third.example/s"))
	path := export(t, content, bundle.ExportOptions{})
	for _, status := range []int{400, 404, 500} {
		dst := withoutSHA512(t, status)
		_, err := bundle.Import(t.Context(), open(t, path), dst, bundle.ImportOptions{InsecureSkipVerify: true})
		if !errors.Is(err, layout.ErrAlgorithm) || !errors.Is(err, registry.ErrRegistry) || !strings.Contains(layout.Hint(err), "--partial") {
			t.Fatalf("status %d: %v, hint %q", status, err, layout.Hint(err))
		}
		res, err := bundle.Import(t.Context(), open(t, path), dst, bundle.ImportOptions{InsecureSkipVerify: true, Partial: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range res.LeftOut {
			if !strings.HasPrefix(l.Source, "third.example/s") || !strings.Contains(l.Reason, "sha512") {
				t.Errorf("left out: %+v", l)
			}
		}
		if len(res.LeftOut) == 0 || len(res.Names) != len(plain.Roots()) {
			t.Errorf("status %d: %d left out, %d imported", status, len(res.LeftOut), len(res.Names))
		}
		for _, n := range plain.Roots() {
			if _, err := dst.Resolve(t.Context(), n); err != nil {
				t.Errorf("%s: %v", n, err)
			}
		}
	}
	// If no image is left, nothing is imported.
	only := export(t, layouttest.SHA512("third.example/s"), bundle.ExportOptions{})
	_, err := bundle.Import(t.Context(), open(t, only), withoutSHA512(t, 400), bundle.ImportOptions{InsecureSkipVerify: true, Partial: true})
	if !errors.Is(err, layout.ErrAlgorithm) {
		t.Errorf("nothing is left: %v", err)
	}
}
