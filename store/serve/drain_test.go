package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"airgap/layout/layouttest"
	"airgap/store/serve"
)

// uploader takes uploads of several requests, as a registry does: POST begins one,
// PATCH goes on with it, PUT ends it. Everything else is for h.
type uploader struct {
	h     http.Handler
	drain *serve.Drain
	open  atomic.Int64
}

func (u *uploader) Uploads() int { return int(u.open.Load()) }

func (u *uploader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		if u.drain.Draining() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		u.open.Add(1)
	case http.MethodPatch:
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	case http.MethodPut:
		u.open.Add(-1)
	default:
		u.h.ServeHTTP(w, r)
	}
}

func send(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(data)
}

// An upload that was begun before the server was told to stop is ended, in new
// requests. Meanwhile others see that it stops, can pull, and can begin nothing.
func TestStopFinishesUploads(t *testing.T) {
	b := layouttest.New(ghcr)
	b.Tag("v1", b.Image("image"))
	s, _ := newStore(t, b.Content())
	drain := new(serve.Drain)
	u := &uploader{h: serve.New(s.View(), serve.Options{Drain: drain}), drain: drain}
	r := run(t, u, serve.RunOptions{Grace: time.Hour, Drain: drain})
	for range 2 {
		send(t, "POST", r.url, "")
	}
	if status, _ := send(t, "GET", r.url+"/readyz", ""); status != 200 {
		t.Errorf("/readyz: %d before it is told to stop", status)
	}
	r.stop()
	for !drain.Draining() {
		if status, _ := send(t, "GET", r.url+"/livez", ""); status != 200 {
			t.Fatal(status)
		}
	}
	for path, want := range map[string]int{"/readyz": 503, "/healthz": 200, "/livez": 200, "/v2/" + ghcr + "/manifests/v1": 200} {
		if status, body := send(t, "GET", r.url+path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := send(t, "POST", r.url, ""); status != 503 {
		t.Errorf("an upload was begun: %d", status)
	}
	http.DefaultClient.CloseIdleConnections() // the rest comes on new ones
	for range 2 {
		select {
		case err := <-r.done:
			t.Fatalf("it did not wait for uploads: %v", err)
		default:
		}
		if status, answer := send(t, "PATCH", r.url, "layer"); status != 200 || answer != "5" {
			t.Errorf("%d %s", status, answer)
		}
		send(t, "PUT", r.url, "")
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	if _, err := http.Get(r.url); err == nil {
		t.Error("it still takes requests")
	}
	if n := ours(t); n > 0 {
		t.Errorf("%d goroutines are left", n)
	}
}

// silent is a listener to which nobody comes.
type silent struct {
	once   sync.Once
	closed chan struct{}
}

func (s *silent) Accept() (net.Conn, error) { <-s.closed; return nil, net.ErrClosed }
func (s *silent) Close() error              { s.once.Do(func() { close(s.closed) }); return nil }
func (s *silent) Addr() net.Addr            { return &net.TCPAddr{} }

// An upload that nobody goes on with ends by itself, or is cut off when the grace is
// over; then the server has stopped, and not before.
func TestStopWithUploadsLeftAlone(t *testing.T) {
	for _, c := range []struct {
		grace, ends, want time.Duration
		err               error
	}{
		{time.Hour, 90 * time.Second, 90 * time.Second, nil},
		{time.Minute, 90 * time.Second, time.Minute, serve.ErrCut},
		{time.Hour, 0, 0, nil},
		{0, time.Hour, 0, serve.ErrCut},
	} {
		synctest.Test(t, func(t *testing.T) {
			u := &uploader{drain: new(serve.Drain)}
			u.open.Store(1)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			begun := time.Now()
			time.AfterFunc(c.ends, func() { u.open.Store(0) })
			synctest.Wait()
			err := serve.Run(ctx, &silent{closed: make(chan struct{})}, u, serve.RunOptions{Grace: c.grace, Drain: u.drain})
			if took := time.Since(begun).Truncate(2 * time.Second); took != c.want || !errors.Is(err, c.err) {
				t.Errorf("grace %s, the upload ends after %s: stopped after %s with %v", c.grace, c.ends, took, err)
			}
		})
	}
}
