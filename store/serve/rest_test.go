package serve_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"airgap/store"
	"airgap/store/push"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
)

// failing takes uploads until something is written.
type failing struct {
	push.Pusher
	err error
}

func (f failing) Upload(context.Context, string, digest.Algorithm) (push.Upload, error) {
	return failingUpload{err: f.err}, nil
}

type failingUpload struct {
	push.Upload
	err error
}

func (u failingUpload) Size() int64               { return 0 }
func (u failingUpload) Write([]byte) (int, error) { return 0, fmt.Errorf("write: %w", u.err) }
func (u failingUpload) Close() error              { return nil }

// A client that sends all of a body before it reads is told what went wrong, and not cut off.
func TestAnswerBeforeTheBodyEnds(t *testing.T) {
	for _, c := range []struct {
		err     error
		maxBlob int64
		status  int
		says    string
	}{
		{err: syscall.ENOSPC, status: 507, says: "disk is full"},
		{err: syscall.EDQUOT, status: 507, says: "disk is full"},
		{err: syscall.EMFILE, status: 503, says: "too many files"},
		{err: syscall.EIO, status: 500, says: "could not do this"},
		{maxBlob: 1000, status: 413, says: "at most 1000 bytes"},
	} {
		for _, chunked := range []bool{true, false} {
			w := newWritable(t, store.PushOptions{}, func(o *serve.Options) {
				o.Failed, o.MaxBlob = func(error) {}, c.maxBlob
				if c.err != nil {
					o.Pusher = failing{o.Pusher, c.err}
				}
			})
			conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			const size = 32 << 20 // more than sockets hold
			head := fmt.Sprintf("Content-Length: %d\r\n", size)
			var body io.Reader = io.LimitReader(zeros{}, size)
			if chunked {
				head, body = "Transfer-Encoding: chunked\r\n", io.MultiReader(strings.NewReader(fmt.Sprintf("%x\r\n", size)), body, strings.NewReader("\r\n0\r\n\r\n"))
			}
			_, err = fmt.Fprintf(conn, "POST /v2/%s/blobs/uploads/?digest=sha256:%064x HTTP/1.1\r\nHost: x\r\n%s\r\n", ghcr, 0, head)
			if err == nil {
				_, err = io.Copy(conn, body)
			}
			if err != nil {
				t.Errorf("%d: sending: %v", c.status, err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("%d: %v", c.status, err)
			}
			text, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != c.status || !strings.Contains(string(text), c.says) || !res.Close {
				t.Errorf("%s %s (%v), want %d %s", res.Status, text, err, c.status, c.says)
			}
			conn.Close()
		}
	}
}

// A client that waits to be told to send is answered, and sends nothing.
func TestAnswerWithoutTheBody(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, func(o *serve.Options) { o.MaxBlob = 1000 })
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v2/%s/blobs/uploads/?digest=sha256:%064x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", ghcr, 0, 1<<30)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("%v, %v", res, err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection: %v, want it closed", err)
	}
}
