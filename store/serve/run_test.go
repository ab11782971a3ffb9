package serve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store/serve"
)

// running is a server that was started, and how it ended.
type running struct {
	url  string
	stop context.CancelFunc
	done chan error
}

func run(t *testing.T, h http.Handler, o serve.RunOptions) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	r := &running{"http://" + l.Addr().String(), cancel, make(chan error, 1)}
	go func() { r.done <- serve.Run(ctx, l, h, o) }()
	return r
}

// ours says how many goroutines stay in this package's code. One that has done its
// work may still be on its way out.
func ours(t *testing.T) (n int) {
	t.Helper()
	for range 1000 {
		var buf bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&buf, 2); err != nil {
			t.Fatal(err)
		}
		if n = strings.Count(buf.String(), "airgap/store/serve."); n == 0 {
			break
		}
		runtime.Gosched()
	}
	return n
}

// A download that is under way when the server is told to stop ends well, and then
// the server does.
func TestStopLetsDownloadsEnd(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	r := run(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first, ")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-release
		_, _ = io.WriteString(w, "last")
	}), serve.RunOptions{Grace: time.Hour})
	res, err := http.Get(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-begun
	r.stop()
	close(release)
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "first, last" {
		t.Errorf("%q (%v)", body, err)
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

// One that does not end in time is cut off, and nothing of it goes on.
func TestStopCutsOff(t *testing.T) {
	begun := make(chan struct{})
	var ended atomic.Bool
	r := run(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-r.Context().Done()
		for range 1000 { // it is slow to notice
			runtime.Gosched()
		}
		ended.Store(true)
		panic(http.ErrAbortHandler)
	}), serve.RunOptions{})
	res, err := http.Get(r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	<-begun
	r.stop()
	if err := <-r.done; !errors.Is(err, serve.ErrCut) || !ended.Load() {
		t.Errorf("%v; its handler has ended: %v", err, ended.Load())
	}
	if _, err := io.ReadAll(res.Body); err == nil {
		t.Error("what was cut off passed for whole")
	}
	if n := ours(t); n > 0 {
		t.Errorf("%d goroutines are left", n)
	}
}

func TestRunFailsWithItsListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := serve.Run(t.Context(), l, http.NotFoundHandler(), serve.RunOptions{}); err == nil || errors.Is(err, serve.ErrCut) {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	b := layouttest.New(ghcr)
	b.Tag("v1", b.Image("image"))
	s, _ := newStore(t, b.Content())
	model := httptest.NewTLSServer(nil) // has a certificate, and a client that trusts it
	defer model.Close()
	r := run(t, serve.New(s.View(), serve.Options{}), serve.RunOptions{TLS: &tls.Config{Certificates: model.TLS.Certificates, MinVersion: tls.VersionTLS12}})
	res, err := model.Client().Get(strings.Replace(r.url, "http://", "https://", 1) + "/v2/" + ghcr + "/manifests/v1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || !bytes.Equal(body, b.Content().Names[0].Manifest) {
		t.Errorf("%s (%v)", res.Status, err)
	}
	model.CloseClientConnections()
	r.stop()
	if err := <-r.done; err != nil && !errors.Is(err, serve.ErrCut) {
		t.Error(err)
	}
}

// Many clients get everything, all of it right, whatever is hashed on the way.
func TestManyPulls(t *testing.T) {
	const clients = 64
	content := layouttest.Merge(layouttest.Everything(ghcr), layouttest.Large(hub, 1<<20))
	for _, verify := range []serve.Verify{serve.VerifySize, serve.VerifyOnce} {
		s, _ := newStore(t, content)
		r := run(t, serve.New(s.View(), serve.Options{Verify: verify, Failed: func(err error) { t.Error(err) }}), serve.RunOptions{Grace: time.Hour})
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for repo, items := range content.Repositories {
					for _, item := range items {
						if err := pull(client, r.url, repo, item); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		all.Wait()
		client.CloseIdleConnections()
		r.stop()
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		if n := ours(t); n > 0 {
			t.Errorf("%d goroutines are left", n)
		}
	}
}

func pull(client *http.Client, base, repo string, item layouttest.Item) error {
	kind := "blobs"
	if layout.IsManifest(item.Descriptor.MediaType) {
		kind = "manifests"
	}
	res, err := client.Get(base + "/v2/" + repo + "/" + kind + "/" + item.Descriptor.Digest.String())
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && (res.StatusCode != 200 || !bytes.Equal(body, item.Bytes)) {
		err = fmt.Errorf("%s: %s, %d bytes", item.Descriptor.Digest, res.Status, len(body))
	}
	return err
}
