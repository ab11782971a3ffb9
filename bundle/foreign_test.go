package bundle_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
)

const foreignType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

// windows is an image whose first layer is not in its registry, but at URLs.
func windows(urls ...string) (layer layout.Descriptor, content layouttest.Content) {
	b := layouttest.New(repo)
	layer = layouttest.New("x").Blob(foreignType, []byte("the base layer"))
	layer.URLs = urls
	b.Tag("v1", b.Image("windows", layer, b.Layer("application/vnd.oci.image.layer.v1.tar", "own")))
	return layer, b.Content()
}

func exportForeign(t *testing.T, content layouttest.Content, o bundle.ExportOptions) (*bundle.ExportResult, error) {
	t.Helper()
	o.Output = t.TempDir() + "/bundle.tar"
	return bundle.Export(t.Context(), []bundle.Selection{{Source: memory(t, content), References: content.Roots()}}, o)
}

// A foreign layer that the registry does not keep is fetched from the first URL that has
// it, without credentials, and held against its digest.
func TestForeignLayerIsFetched(t *testing.T) {
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("asked with %v", r.Header)
		}
		switch r.URL.Path {
		case "/base":
			_, _ = w.Write([]byte("the base layer"))
		case "/moved":
			http.Redirect(w, r, "/base", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/wrong":
			_, _ = w.Write([]byte("another layer!"))
		case "/long":
			_, _ = w.Write([]byte("the base layer and more"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	fetch := bundle.ForeignFetcher{Hosts: []string{"127.0.0.1"}}.Open
	for path, ok := range map[string]bool{"/base": true, "/moved": true, "/wrong": false, "/long": false, "/loop": false, "/gone": false} {
		layer, content := windows(srv.URL+"/gone", srv.URL+path)
		res, err := exportForeign(t, content, bundle.ExportOptions{FetchForeign: fetch})
		if (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if !ok {
			continue
		}
		if len(res.ForeignLayers) != 1 || res.ForeignLayers[0].URL != srv.URL+path {
			t.Errorf("%s: fetched %+v", path, res.ForeignLayers)
		}
		b := open(t, res.Bundle)
		rc, err := b.Source().Open(t.Context(), repo, layer)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(rc); err != nil || string(data) != "the base layer" {
			t.Errorf("%s: %q, %v", path, data, err)
		}
		rc.Close()
	}
	if asked.Load() == 0 {
		t.Error("nothing was asked for")
	}
}

// Without a fetcher, or a URL, the error says what the layer is and what can be done; so
// it does when no address may be asked.
func TestForeignLayerIsNamed(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a private address was asked") }))
	defer srv.Close()
	fetch := bundle.ForeignFetcher{}.Open
	for what, test := range map[string]struct {
		urls []string
		o    bundle.ExportOptions
		hint string
	}{
		"nothing fetches":     {[]string{srv.URL}, bundle.ExportOptions{}, "--foreign-layers fetch"},
		"no URL":              {nil, bundle.ExportOptions{FetchForeign: fetch}, "--skip-foreign-layers"},
		"a private address":   {[]string{srv.URL}, bundle.ExportOptions{FetchForeign: fetch}, "--foreign-layer-host"},
		"a metadata service":  {[]string{"http://169.254.169.254/x"}, bundle.ExportOptions{FetchForeign: bundle.ForeignFetcher{Hosts: []string{"169.254.169.254"}}.Open}, "--skip-foreign-layers"},
		"a file":              {[]string{"file:///etc/passwd"}, bundle.ExportOptions{FetchForeign: fetch}, "--skip-foreign-layers"},
		"a name and password": {[]string{"http://me:secret@127.0.0.1/x"}, bundle.ExportOptions{FetchForeign: fetch}, "--skip-foreign-layers"},
	} {
		_, content := windows(test.urls...)
		_, err := exportForeign(t, content, test.o)
		if err == nil || !strings.Contains(err.Error(), "foreign layer") || !strings.Contains(layout.Hint(err), test.hint) {
			t.Errorf("%s: %v (hint %q), want %q", what, err, layout.Hint(err), test.hint)
		}
	}
	_, content := windows(srv.URL)
	if res, err := exportForeign(t, content, bundle.ExportOptions{SkipForeign: true, FetchForeign: fetch}); err != nil || len(res.Contents.LeftOut) != 1 {
		t.Errorf("left out on request: %v", err)
	}
}

// A layer that is in the registry is not asked for anywhere else, and one of another
// type never is.
func TestOnlyForeignLayersAreFetched(t *testing.T) {
	b := layouttest.New(repo)
	here := b.Blob(foreignType, []byte("here"))
	here.URLs = []string{"http://example.com/x"}
	b.Tag("v1", b.Image("image", here))
	o := bundle.ExportOptions{FetchForeign: bundle.ForeignFetcher{}.Open}
	if res, err := exportForeign(t, b.Content(), o); err != nil || len(res.ForeignLayers) != 0 {
		t.Errorf("what the registry has: %v, fetched %+v", err, res)
	}
	plain := layouttest.New("x").Blob("application/vnd.oci.image.layer.v1.tar", []byte("absent"))
	plain.URLs = []string{"http://example.com/x"}
	b = layouttest.New(repo)
	b.Tag("v1", b.Image("image", plain))
	if _, err := exportForeign(t, b.Content(), o); !errors.Is(err, layout.ErrNotFound) || strings.Contains(err.Error(), "foreign") {
		t.Errorf("an ordinary layer: %v, want ErrNotFound", err)
	}
}
