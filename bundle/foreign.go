package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// foreignSource gives foreign layers that their registry does not keep from the URLs
// that their manifests name (image-spec, "Non-Distributable Layers"). The digest says
// that they are the right ones.
type foreignSource struct {
	layout.Source
	// fetch opens a URL; nil never does.
	fetch func(ctx context.Context, url string) (io.ReadCloser, error)

	mu      sync.Mutex
	urls    map[digest.Digest][]string
	fetched map[digest.Digest]string
}

// maxForeignURLs is how many URLs of one layer are remembered and tried.
const maxForeignURLs = 8

func newForeignSource(src layout.Source, fetch func(ctx context.Context, url string) (io.ReadCloser, error)) *foreignSource {
	return &foreignSource{Source: src, fetch: fetch, urls: map[digest.Digest][]string{}, fetched: map[digest.Digest]string{}}
}

// Open implements [layout.Source].
func (f *foreignSource) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	rc, err := f.Source.Open(ctx, repo, d)
	switch {
	case err == nil && layout.IsManifest(d.MediaType) && !layout.IsIndex(d.MediaType):
		return f.remember(rc, d)
	case layout.IsForeign(d.MediaType) && errors.Is(err, layout.ErrNotFound):
		return f.elsewhere(ctx, repo, d, err)
	}
	return rc, err
}

// remember keeps the URLs of the foreign layers that a manifest lists.
func (f *foreignSource) remember(rc io.ReadCloser, d layout.Descriptor) (io.ReadCloser, error) {
	raw, err := layout.ReadAll(rc, d)
	if err != nil {
		return nil, err
	}
	var m struct {
		Layers []layout.Descriptor `json:"layers"`
	}
	// What does not parse is refused by the walk.
	if bytes.Contains(raw, []byte(`"urls"`)) && json.Unmarshal(raw, &m) == nil {
		f.mu.Lock()
		for _, l := range m.Layers {
			if layout.IsForeign(l.MediaType) && len(l.URLs) > 0 && f.urls[l.Digest] == nil {
				f.urls[l.Digest] = l.URLs[:min(len(l.URLs), maxForeignURLs)]
			}
		}
		f.mu.Unlock()
	}
	return layout.Verify(layout.NopCloser(bytes.NewReader(raw)), d), nil
}

// elsewhere opens a layer that its registry does not have.
func (f *foreignSource) elsewhere(ctx context.Context, repo string, d layout.Descriptor, missing error) (io.ReadCloser, error) {
	f.mu.Lock()
	urls := slices.Clone(f.urls[d.Digest])
	f.mu.Unlock()
	if f.fetch == nil || len(urls) == 0 {
		return nil, f.fail(repo, d, fmt.Errorf("a foreign layer, which is kept outside registries: %w", missing),
			"--foreign-layers fetch takes it from the URLs in its manifest, if it has any; --skip-foreign-layers leaves it out, and the image cannot start without it")
	}
	var failed []error
	for _, u := range urls {
		rc, err := f.fetch(ctx, u)
		if err == nil {
			f.mu.Lock()
			f.fetched[d.Digest] = u
			f.mu.Unlock()
			return layout.Verify(rc, d), nil
		}
		failed = append(failed, fmt.Errorf("%.300q: %w", u, err))
	}
	hint := "--skip-foreign-layers leaves it out; the image cannot start without it"
	if err := errors.Join(failed...); errors.Is(err, ErrAddress) {
		hint = "--foreign-layer-host HOST allows a host with a private address; " + hint
	}
	return nil, f.fail(repo, d, fmt.Errorf("a foreign layer, which its registry does not keep, could not be had from its URLs: %w", errors.Join(failed...)), hint)
}

func (f *foreignSource) fail(repo string, d layout.Descriptor, err error, hint string) error {
	return &layout.Error{Side: layout.SideSource, Name: repo, Digest: d.Digest, Err: err, Hint: hint}
}

// list returns what was fetched from URLs.
func (f *foreignSource) list() []ForeignLayer {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []ForeignLayer
	for d, u := range f.fetched {
		out = append(out, ForeignLayer{d, u})
	}
	slices.SortFunc(out, func(a, b ForeignLayer) int { return bytes.Compare([]byte(a.Digest), []byte(b.Digest)) })
	return out
}

// ForeignLayer is a layer that was fetched from a URL that its manifest names.
type ForeignLayer struct {
	Digest digest.Digest `json:"digest"`
	URL    string        `json:"url"`
}

// Limits of fetching one foreign layer.
const (
	foreignRedirects = 5
	// foreignIdle is how long nothing may arrive.
	foreignIdle = time.Minute
	// foreignRate is how many bytes a second have to arrive, over all of the time
	// after the first minute: 1 KiB.
	foreignRate = 1 << 10
)

// ForeignFetcher fetches foreign layers over HTTP, with no credentials. An unsigned
// manifest says where from, so the addresses are held to what [ListFetcher] holds them
// to.
type ForeignFetcher struct {
	// Hosts may have private addresses, or this machine's, without a port.
	Hosts []string
}

// Open opens what is at rawURL. The caller checks it against its digest.
func (f ForeignFetcher) Open(ctx context.Context, rawURL string) (io.ReadCloser, error) {
	at := rawURL
	for range foreignRedirects + 1 {
		resp, closeIdle, err := f.get(ctx, at)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusOK {
			return &foreignBody{resp.Body, closeIdle, time.Now(), 0}, nil
		}
		next, lerr := resp.Location()
		resp.Body.Close()
		closeIdle()
		if resp.StatusCode/100 != 3 || lerr != nil {
			return nil, fmt.Errorf("it answers %d", resp.StatusCode)
		}
		at = next.String()
	}
	return nil, errors.New("too many redirects")
}

func (f ForeignFetcher) get(ctx context.Context, at string) (*http.Response, func(), error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := checkListURL(req.URL); err != nil {
		return nil, nil, err
	}
	transport, err := guard{f.Hosts, "layer", "--foreign-layer-host"}.transport(req)
	if err != nil {
		return nil, nil, err
	}
	transport.DisableCompression = true // the digest is that of the bytes as they are
	if dial := transport.DialContext; dial != nil {
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return idleConn{c}, nil
		}
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		transport.CloseIdleConnections()
		return nil, nil, err
	}
	return resp, transport.CloseIdleConnections, nil
}

// idleConn fails when nothing arrives for foreignIdle.
type idleConn struct{ net.Conn }

func (c idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(foreignIdle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// foreignBody is an answer that has to keep coming.
type foreignBody struct {
	io.ReadCloser
	closeIdle func()
	began     time.Time
	n         int64
}

func (b *foreignBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	if after := time.Since(b.began) - foreignIdle; err == nil && after > 0 && float64(b.n) < after.Seconds()*foreignRate {
		err = fmt.Errorf("%d bytes in %v, less than %d a second", b.n, time.Since(b.began).Round(time.Second), foreignRate)
	}
	return n, err
}

func (b *foreignBody) Close() error {
	err := b.ReadCloser.Close()
	b.closeIdle()
	return err
}
