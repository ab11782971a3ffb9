//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// loadTimeout bounds one load, so that a server that hangs is an error.
const loadTimeout = 2 * time.Minute

// loadBuffer is how much of an answer is taken at once.
const loadBuffer = 256 << 10

// target is one thing to ask a registry for.
type target struct {
	path   string
	digest digest.Digest // of the answer; "" if it may differ from registry to registry
}

// load is requests to a registry, over connections that are kept: each sends one,
// reads the answer to its end and sends the next. It is as little of an HTTP client
// as will do, since client and server have the same processors.
type load struct {
	method      string
	targets     []target // asked for in turn
	push        *pushes  // instead
	connections int
	count       int   // of requests, all connections together
	most        int64 // bytes of each answer that are read before hanging up; 0 means all
}

// loaded is what a load came to.
type loaded struct {
	Wall     time.Duration
	Sync     time.Duration // until the disk had all of it, after Wall
	Requests int64
	Bytes    int64 // of bodies
}

// run asks the server at host.
func (l *load) run(ctx context.Context, host string) (loaded, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loadTimeout, errSlow)
	defer cancel()
	var next, bytes atomic.Int64
	g, inner := errgroup.WithContext(ctx)
	begun := time.Now()
	for range min(l.connections, l.count) {
		g.Go(func() error {
			c, err := dial(inner, host)
			if err != nil {
				return err
			}
			defer c.close()
			for i := next.Add(1); i <= int64(l.count); i = next.Add(1) {
				n, err := l.one(c, int(i-1))
				if bytes.Add(n); err != nil || l.most > 0 {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	out := loaded{Wall: time.Since(begun), Requests: min(next.Load(), int64(l.count)), Bytes: bytes.Load()}
	return out, errors.Join(err, context.Cause(ctx))
}

func (l *load) one(c *client, i int) (int64, error) {
	if l.push != nil {
		return l.push.one(c, i)
	}
	return c.ask(l.method, l.targets[i%len(l.targets)].path, io.Discard, l.most)
}

// prove sees that the server gives what it is asked for: fast answers that are
// wrong would be no result.
func (l *load) prove(ctx context.Context, host string) error {
	c, err := dial(ctx, host)
	if err != nil {
		return err
	}
	defer c.close()
	for _, t := range l.targets {
		hash, body := digest.SHA256.Digester(), io.Discard
		if t.digest != "" {
			body = hash.Hash()
		}
		if _, err := c.ask(http.MethodGet, t.path, body, 0); err != nil {
			return err
		}
		if t.digest != "" && hash.Digest() != t.digest {
			return fmt.Errorf("%s: the answer is not %s", t.path, t.digest)
		}
	}
	return nil
}

// client is a connection.
type client struct {
	net.Conn
	host string
	r    *bufio.Reader
	buf  []byte
	head bytes.Buffer
	stop func() bool
}

func dial(ctx context.Context, host string) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return &client{Conn: conn, host: host, r: bufio.NewReader(conn), buf: make([]byte, loadBuffer), stop: stop}, nil
}

func (c *client) close() {
	c.stop()
	c.Conn.Close()
}

// accepted is what clients take for a manifest.
var accepted = strings.Join([]string{layout.MediaTypeManifest, layout.MediaTypeIndex, layout.MediaTypeDockerManifest, layout.MediaTypeDockerList}, ", ")

// ask sends a request without a body, and writes the answer's to w: at most so many
// bytes, if most is not 0.
func (c *client) ask(method, path string, w io.Writer, most int64) (int64, error) {
	res, err := c.send(method, path, "Accept: "+accepted+"\r\n", nil, 0, http.StatusOK)
	if err != nil {
		return 0, err
	}
	var body io.Reader = res.Body
	if most > 0 {
		body = io.LimitReader(body, most)
	}
	n, err := c.copy(w, body)
	if err != nil {
		err = fmt.Errorf("%s %s: %w", method, path, err)
	}
	return n, err
}

// send sends a request, and returns the answer if its status is the one that is wanted.
// headers end with a line break each.
func (c *client) send(method, path, headers string, body io.Reader, size int64, want int) (*http.Response, error) {
	c.head.Reset()
	fmt.Fprintf(&c.head, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, path, c.host, headers)
	if method != http.MethodGet && method != http.MethodHead {
		fmt.Fprintf(&c.head, "Content-Length: %d\r\n", size)
	}
	c.head.WriteString("\r\n")
	if body != nil && size <= loadBuffer { // in one packet with the head
		if _, err := c.copy(&c.head, body); err != nil {
			return nil, err
		}
		body = nil
	}
	_, err := c.Write(c.head.Bytes())
	if err == nil && body != nil {
		_, err = c.copy(c.Conn, body)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	}
	return res, nil
}

// copy is not io.Copy, which would let either of them take or give small pieces.
func (c *client) copy(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, c.buf)
}
