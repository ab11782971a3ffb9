//go:build unix

package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// proxy stands in front of a registry. It answers each request late, as a
// registry far away would, and counts. A connection costs nothing extra, which
// favours tools that open many.
type proxy struct {
	host  string
	delay time.Duration
	srv   *http.Server

	requests atomic.Int64
	blobs    atomic.Int64 // bytes of blobs that were answered
}

// idleConnections is how many connections to the registry are kept open.
const idleConnections = 512

func newProxy(upstream string, delay time.Duration) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{host: l.Addr().String(), delay: delay}
	to := &url.URL{Scheme: "http", Host: upstream}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // the registry's absolute URLs lead back here
		},
		Transport:      &http.Transport{MaxIdleConnsPerHost: idleConnections, MaxIdleConns: idleConnections, DisableCompression: true},
		ModifyResponse: p.count,
		ErrorLog:       log.New(discard{}, "", 0), // clients that hang up are no news
	}
	p.srv = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		p.requests.Add(1)
		if pause(req.Context(), p.delay) {
			forward.ServeHTTP(w, req)
		}
	})}
	go func() { _ = p.srv.Serve(l) }()
	return p, nil
}

// pause waits without using the processor. It reports false if the client left.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *proxy) count(resp *http.Response) error {
	if resp.Request.Method == http.MethodGet && resp.StatusCode/100 == 2 && strings.Contains(resp.Request.URL.Path, "/blobs/") {
		p.blobs.Add(max(resp.ContentLength, 0))
	}
	return nil
}

// watch makes j count what passes the proxy.
func (p *proxy) watch(j *job) *job {
	var requests, blobs int64
	before, after := j.before, j.after
	j.before = func(ctx context.Context) error {
		if before != nil {
			if err := before(ctx); err != nil {
				return err
			}
		}
		requests, blobs = p.requests.Load(), p.blobs.Load()
		return nil
	}
	j.after = func(s *sample) error {
		s.Requests, s.Blobs = p.requests.Load()-requests, p.blobs.Load()-blobs
		if after != nil {
			return after(s)
		}
		return nil
	}
	return j
}

func (p *proxy) stop() { _ = p.srv.Close() }

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
