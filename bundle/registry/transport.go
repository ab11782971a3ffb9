package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	dialTimeout = 30 * time.Second
	tlsTimeout  = 30 * time.Second
	// headerTimeout is how long a registry may take to begin its answer
	// once it has the whole request. Storing a large blob in an object
	// store before answering takes some of them minutes.
	headerTimeout = 5 * time.Minute
	// stallTimeout is how long minProgress bytes of a body may take, in either
	// direction: 4 kB a second for each connection. Time in which this side is
	// not ready for them does not count.
	stallTimeout = 2 * time.Minute
	minProgress  = 512 << 10
	// idlePerHost connections are kept, so that 64 workers that read and
	// write at one registry do not open new ones all the time.
	idlePerHost = 128
	// maxRedirects bounds the hops of one request.
	maxRedirects = 10
)

// NewTransport returns what a Client uses for o when it is given no Transport,
// so that it can be wrapped. It speaks HTTP/1.1: with many large blobs, several
// connections are faster than the streams of one.
func NewTransport(o Options) (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   tlsTimeout,
		ResponseHeaderTimeout: headerTimeout,
		MaxIdleConns:          4 * idlePerHost,
		MaxIdleConnsPerHost:   idlePerHost,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true, // bytes are hashed as they are
		ReadBufferSize:        64 << 10,
		WriteBufferSize:       64 << 10,
		Protocols:             new(http.Protocols),
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.InsecureSkipVerify},
	}
	t.Protocols.SetHTTP1(true)
	if o.CAFile != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate authorities: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authorities: %s holds no PEM certificate", o.CAFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if o.ClientCert != "" || o.ClientKey != "" {
		cert, err := tls.LoadX509KeyPair(o.ClientCert, o.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

// guard refuses plain http to anywhere but loopback. It sits below redirects
// and token requests, so that neither a Location nor a realm can talk a client
// that was told https into anything less.
type guard struct {
	next  http.RoundTripper
	plain bool
}

var errPlain = errors.New("refused: plain http to a host that is not this machine")

func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	u := req.URL
	if u.Scheme != "https" && (u.Scheme != "http" || !g.plain && !isLoopback(u.Host)) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fmt.Errorf("%s://%s: %w", u.Scheme, u.Host, errPlain)
	}
	resp, err := g.roundTrip(req)
	if err == nil && resp.StatusCode == http.StatusUnauthorized {
		keepAnswerable(resp.Header)
	}
	return resp, err
}

// roundTrip watches the pace of answers that ask does not see: those of token
// services.
func (g *guard) roundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Path, "/v2/") {
		return g.next.RoundTrip(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	resp, err := g.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Request = req
	resp.Body = &causeBody{newWatched(resp.Body, cancel), ctx}
	return resp, nil
}

// causeBody fails with the cause of its context.
type causeBody struct {
	*watched
	ctx context.Context
}

func (b *causeBody) Read(p []byte) (int, error) {
	n, err := b.watched.Read(p)
	if err != nil && err != io.EOF && b.ctx.Err() != nil {
		err = context.Cause(b.ctx)
	}
	return n, err
}

// errRedirect is why a redirect was not followed.
var errRedirect = errors.New("redirect refused")

// checkRedirect bounds redirects, keeps content that is being written from
// being sent elsewhere, and keeps a signed URL out of the Referer of the next
// hop. That Authorization stays behind is the auth client's work.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("%w: more than %d in a row", errRedirect, maxRedirects)
	}
	if first := via[0]; !sameOrigin(first.URL, req.URL) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			return fmt.Errorf("%w: %s would go to %s", errRedirect, req.Method, req.URL.Host)
		}
		if first.URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("%w: from https to %s", errRedirect, req.URL.Scheme)
		}
		req.Header.Del("Authorization")
	}
	req.Header.Del("Referer")
	return nil
}

// sameOrigin compares scheme, host and port, the default port being implied.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && originHost(a) == originHost(b)
}

func originHost(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
