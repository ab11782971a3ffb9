package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"airgap/layout"
)

// proveWhole is up to what size a blob is read and hashed to prove that it is
// there; of a larger one the first and the last byte are read.
const proveWhole = 64 << 10

// Prove implements layout.Prover. 404 and 416, and content that is not d, mean that
// repo does not serve d. Where a registry ignores ranges, all of d is read.
func (c *Client) Prove(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	return c.prove(ctx, layout.SideDestination, repo, d, true)
}

// Serves says the same as Prove, for clients that may only read.
func (c *Client) Serves(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	return c.prove(ctx, layout.SideSource, repo, d, false)
}

func (c *Client) prove(ctx context.Context, side layout.Side, repo string, d layout.Descriptor, write bool) (bool, error) {
	t, err := c.about(side, repo, "", d.Digest)
	if err != nil {
		return false, err
	}
	if err := layout.CheckDescriptor(d); err != nil {
		return false, t.fail(err, "")
	}
	if err := c.readable(t.host); err != nil {
		return false, err
	}
	served := false
	switch {
	case d.Size <= proveWhole:
		served, err = t.servesWhole(ctx, d, write)
	default:
		if served, err = t.servesByte(ctx, d, 0, write); served && err == nil {
			served, err = t.servesByte(ctx, d, d.Size-1, write)
		}
	}
	if err != nil && ctx.Err() == nil && lostFor(err) {
		c.notReadable(t.host, err)
	}
	return served, err
}

// readable returns why no blob can be read from host: reads may lead to another
// server, which is out of reach here, and each attempt takes minutes.
func (c *Client) readable(host string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unread[host]
}

func (c *Client) notReadable(host string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unread[host] = err
}

func lostFor(err error) bool {
	var re *RequestError
	return errors.As(err, &re) && re.Status == 0 && !errors.Is(err, layout.ErrCorrupt)
}

func (t target) servesWhole(ctx context.Context, d layout.Descriptor, write bool) (bool, error) {
	resp, err := t.ask(ctx, question{method: http.MethodGet, url: t.url("blobs/" + string(d.Digest)), write: write})
	if err != nil {
		return false, err
	}
	return t.hashed(resp, d)
}

// hashed reads an answer that has to be all of d.
func (t target) hashed(resp *http.Response, d layout.Descriptor) (bool, error) {
	if resp.StatusCode != http.StatusOK {
		return false, t.notServed(resp)
	}
	defer resp.Body.Close()
	_, err := io.Copy(io.Discard, layout.Verify(layout.NopCloser(resp.Body), d))
	switch {
	case errors.Is(err, layout.ErrCorrupt):
		return false, nil
	case err != nil:
		return false, t.broken(resp, err)
	}
	return true, nil
}

// notServed is nil for an answer that says that a blob is not there.
func (t target) notServed(resp *http.Response) error {
	err := t.refused(resp)
	if errors.Is(err, layout.ErrNotFound) || resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil
	}
	return err
}

// servesByte asks for one byte of d.
func (t target) servesByte(ctx context.Context, d layout.Descriptor, off int64, write bool) (bool, error) {
	resp, err := t.ask(ctx, question{
		method: http.MethodGet, url: t.url("blobs/" + string(d.Digest)), write: write,
		header: http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", off, off)}},
	})
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusPartialContent {
		return t.hashed(resp, d)
	}
	defer resp.Body.Close()
	b := &blob{t: t, desc: d, off: off}
	if b.checkPart(resp) != nil {
		return false, nil
	}
	_, err = io.ReadFull(resp.Body, make([]byte, 1))
	switch {
	case errors.Is(err, io.EOF):
		return false, nil
	case err != nil:
		return false, t.broken(resp, err)
	}
	return true, nil
}
