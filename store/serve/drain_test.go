package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/push"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
)

// uploader has uploads under way, and nobody who goes on with them.
type uploader struct{ open atomic.Int64 }

func (u *uploader) Uploads() int                                     { return int(u.open.Load()) }
func (u *uploader) ServeHTTP(w http.ResponseWriter, r *http.Request) {}

func send(t *testing.T, method, url, body string) (res *http.Response, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		req.Body = http.NoBody
	}
	res, err = http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(data)
}

// An upload that was begun before the server was told to stop is ended, in new
// requests. Meanwhile others see that it stops, can pull, and can begin nothing.
func TestStopFinishesUploads(t *testing.T) {
	b := layouttest.New(ghcr)
	b.Tag("v1", b.Image("image"))
	s, _ := newStore(t, b.Content())
	drain := new(serve.Drain)
	h := serve.New(s.View(), serve.Options{Pusher: s.Pusher(store.PushOptions{}), Drain: drain, Failed: func(err error) { t.Error(err) }})
	r := run(t, h, serve.RunOptions{Grace: time.Hour, Drain: drain})
	uploads := r.url + "/v2/quay.io/acme/new/blobs/uploads/"
	var at []string
	for range 2 {
		res, body := send(t, "POST", uploads, "")
		if res.StatusCode != 202 {
			t.Fatal(res.Status, body)
		}
		at = append(at, r.url+res.Header.Get("Location"))
	}
	if res, _ := send(t, "GET", r.url+"/readyz", ""); res.StatusCode != 200 {
		t.Errorf("/readyz before it is told to stop: %s", res.Status)
	}
	r.stop()
	for !drain.Draining() {
		if res, _ := send(t, "GET", r.url+"/livez", ""); res.StatusCode != 200 {
			t.Fatal(res.Status)
		}
	}
	for path, want := range map[string]int{"/readyz": 503, "/healthz": 200, "/livez": 200, "/v2/" + ghcr + "/manifests/v1": 200} {
		if res, body := send(t, "GET", r.url+path, ""); res.StatusCode != want {
			t.Errorf("%s: %s %s", path, res.Status, body)
		}
	}
	if res, _ := send(t, "POST", uploads, ""); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("an upload was begun: %s", res.Status)
	}
	http.DefaultClient.CloseIdleConnections() // the rest comes on new ones
	for i, url := range at {
		select {
		case err := <-r.done:
			t.Fatalf("it did not wait for uploads: %v", err)
		default:
		}
		layer := fmt.Sprint("layer ", i)
		if res, body := send(t, "PATCH", url, layer); res.StatusCode != 202 {
			t.Errorf("%s %s", res.Status, body)
		}
		if res, body := send(t, "PUT", url+"?digest="+digest.FromString(layer).String(), ""); res.StatusCode != 201 {
			t.Errorf("%s %s", res.Status, body)
		}
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
			u, drain := &uploader{}, new(serve.Drain)
			u.open.Store(1)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			begun := time.Now()
			time.AfterFunc(c.ends, func() { u.open.Store(0) })
			synctest.Wait()
			err := serve.Run(ctx, &silent{closed: make(chan struct{})}, u, serve.RunOptions{Grace: c.grace, Drain: drain})
			if took := time.Since(begun).Truncate(2 * time.Second); took != c.want || !errors.Is(err, c.err) || !drain.Draining() {
				t.Errorf("grace %s, the upload ends after %s: stopped after %s with %v", c.grace, c.ends, took, err)
			}
		})
	}
}

// lame takes nothing any more.
type lame struct{ push.Pusher }

func (lame) Ready() error { return errors.New("the disk failed") }

// A registry that can still give, and take nothing any more, is not ready.
func TestNotReady(t *testing.T) {
	s, _ := newStore(t, labelled("v1"))
	for want, p := range map[int]push.Pusher{200: s.Pusher(store.PushOptions{}), 500: lame{s.Pusher(store.PushOptions{})}} {
		srv := httptest.NewServer(serve.New(s.View(), serve.Options{Pusher: p}))
		defer srv.Close()
		for path, status := range map[string]int{"/readyz": want, "/healthz": 200, "/livez": 200, "/v2/" + ghcr + "/manifests/v1": 200} {
			if res, _ := ask(t, "GET", srv.URL+path); res.StatusCode != status {
				t.Errorf("%s: %s, want %d", path, res.Status, status)
			}
		}
	}
}
