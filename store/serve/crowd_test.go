package serve_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"airgap/store/serve"
)

func dial(t *testing.T, r *running) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func sendGet(t *testing.T, conn net.Conn, path string) {
	t.Helper()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		t.Error(err)
	}
}

func answered(t *testing.T, conn net.Conn) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
	}
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("%v, %v", res, err)
	}
}

// However many connections are silent, or have sent half of a request, whoever asks is
// answered.
func TestSilentConnections(t *testing.T) {
	for _, sends := range []string{"", "GET / HT"} {
		r := run(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), serve.RunOptions{MaxConnections: 4})
		var silent []net.Conn
		for range 50 {
			conn := dial(t, r)
			if _, err := io.WriteString(conn, sends); err != nil {
				t.Fatal(err)
			}
			silent = append(silent, conn)
		}
		for range 10 {
			conn := dial(t, r)
			sendGet(t, conn, "/")
			answered(t, conn)
		}
		if _, err := io.ReadAll(silent[0]); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the first one: %v, want it closed", err)
		}
		r.stop()
		if err := <-r.done; err != nil && !errors.Is(err, serve.ErrCut) {
			t.Error(err)
		}
	}
}

// While all connections have a request under way, further clients wait, and are answered.
func TestCrowdWaits(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	r := run(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			begun <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "ok")
	}), serve.RunOptions{MaxConnections: 3})
	var slow, waiting []net.Conn
	for range 3 {
		conn := dial(t, r)
		sendGet(t, conn, "/slow")
		<-begun
		slow = append(slow, conn)
	}
	for range 10 {
		conn := dial(t, r)
		sendGet(t, conn, "/")
		waiting = append(waiting, conn)
	}
	close(release)
	for _, conn := range append(slow, waiting...) {
		answered(t, conn)
	}
	r.stop()
	if err := <-r.done; err != nil && !errors.Is(err, serve.ErrCut) {
		t.Error(err)
	}
}

// A server that waits for room can be stopped.
func TestCrowdStops(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	r := run(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-release
	}), serve.RunOptions{MaxConnections: 1})
	sendGet(t, dial(t, r), "/")
	<-begun
	dial(t, r)
	r.stop()
	close(release)
	if err := <-r.done; err != nil && !errors.Is(err, serve.ErrCut) {
		t.Error(err)
	}
}
