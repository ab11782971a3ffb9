package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"airgap/layout"
)

// openBlob starts reading a blob. The first request is made here, so that a
// blob that is not there is known at once.
func (t target) openBlob(ctx context.Context, d layout.Descriptor) (io.ReadCloser, error) {
	b := &blob{t: t, ctx: ctx, desc: d}
	if err := b.connect(false); err != nil {
		return nil, err
	}
	return &checked{layout.Verify(b, d), t}, nil
}

// checked says which blob it was that did not match.
type checked struct {
	io.ReadCloser
	t target
}

// Conduit implements layout.Conduit.
func (c *checked) Conduit() io.Reader { return c.ReadCloser }

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	var known *layout.Error
	if err != nil && err != io.EOF && !errors.As(err, &known) {
		err = c.t.fail(asRegistry(err), "")
	}
	return n, err
}

// blob reads a blob and, where the connection is lost, goes on from the byte it
// had reached. It does not check the bytes; layout.Verify does, over the whole,
// so that parts of different contents do not add up to anything.
type blob struct {
	t     target
	ctx   context.Context // of the Open, for the requests made by Read
	desc  layout.Descriptor
	resp  *http.Response
	off   int64
	start int64 // off when this connection began
	tries int   // connections asked for
	idle  int   // those in a row that brought nothing, or too little for their time
	whole bool  // ask for all, since ranges are refused
}

func (b *blob) Read(p []byte) (int, error) {
	for {
		n, err := b.resp.Body.Read(p)
		b.off += int64(n)
		if n > 0 {
			return n, nil // an error comes again
		}
		if err == nil {
			continue
		}
		if b.off >= b.desc.Size {
			return 0, io.EOF // all are there; how the connection ended does not matter
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err := b.resume(b.t.broken(b.resp, err)); err != nil {
			return 0, err
		}
	}
}

// maxTries bounds the connections for one blob: a hundred, and one for each MiB, which
// is what a connection has to bring on average.
func maxTries(size int64) int { return 100 + int(size>>20) }

// resume connects again after cause.
func (b *blob) resume(cause error) error {
	b.resp.Body.Close()
	if b.off > b.start && !errors.Is(cause, errStalled) {
		b.idle = 0
	}
	for {
		if b.ctx.Err() != nil {
			return cause
		}
		if b.idle >= b.t.client.opts.Retries || b.tries >= maxTries(b.desc.Size) {
			return b.giveUp(cause)
		}
		var re *RequestError
		var asked time.Duration
		if errors.As(cause, &re) {
			asked = re.after
		}
		if err := pause(b.ctx, b.t.client.opts.Wait(b.idle, asked)); err != nil {
			return b.t.fail(err, "")
		}
		b.idle++
		err := b.connect(true)
		if err == nil || !errors.As(err, &re) || !re.Temporary() {
			return err
		}
		cause = err
	}
}

// giveUp says how far a blob has come.
func (b *blob) giveUp(cause error) error {
	var re *RequestError
	if !errors.As(cause, &re) {
		return cause
	}
	hint := layout.Hint(cause)
	if errors.Is(cause, errStalled) {
		hint = "where the link is slow, lower --jobs; else the registry, or a proxy before it, holds the content back"
	}
	return b.t.fail(fmt.Errorf("given up at byte %d of %d after %d tries: %w", b.off, b.desc.Size, b.tries, re), hint)
}

// connect asks for the blob from b.off on. A registry that refuses ranges is asked for
// all of it. A connection made again is not repeated here, for resume does that.
func (b *blob) connect(again bool) error {
	for {
		q := question{method: http.MethodGet, url: b.t.url("blobs/" + string(b.desc.Digest)), once: again}
		if b.off > 0 && !b.whole {
			q.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", b.off, b.desc.Size-1)}}
		}
		b.tries++
		resp, err := b.t.ask(b.ctx, q)
		if err != nil {
			return err
		}
		if err = b.accept(resp); err == nil {
			b.resp, b.start = resp, b.off
			return nil
		}
		resp.Body.Close()
		if q.header == nil || !refusesRange(resp.StatusCode, err) {
			return err
		}
		b.whole = true
	}
}

// refusesRange says whether what is wrong with an answer may be that a range was asked
// for.
func refusesRange(status int, err error) bool {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusPreconditionFailed,
		http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented:
		return true
	}
	return status == http.StatusPartialContent && errors.Is(err, layout.ErrCorrupt)
}

func (b *blob) accept(resp *http.Response) error {
	switch {
	case resp.StatusCode == http.StatusOK:
		if err := b.checkWhole(resp); err != nil {
			return err
		}
		// Asked for a part, given the whole: skip what is there already.
		if _, err := io.CopyN(io.Discard, resp.Body, b.off); err != nil {
			return b.t.broken(resp, noEOF(err))
		}
		return nil
	case resp.StatusCode == http.StatusPartialContent && b.off > 0 && !b.whole:
		return b.checkPart(resp)
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return b.t.bad(resp, "has no byte %d of %d: %w", b.off, b.desc.Size, layout.ErrCorrupt)
	case resp.StatusCode/100 == 2:
		return b.t.bad(resp, "unexpected status %s: %w", resp.Status, layout.ErrCorrupt)
	}
	return b.t.refused(resp)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (b *blob) checkWhole(resp *http.Response) error {
	if err := b.t.checkPlain(resp); err != nil {
		return err
	}
	if n := resp.ContentLength; n >= 0 && n != b.desc.Size {
		return b.t.bad(resp, "%d bytes, the descriptor says %d: %w", n, b.desc.Size, layout.ErrCorrupt)
	}
	if said := resp.Header.Get(digestHeader); said != "" && said != string(b.desc.Digest) &&
		strings.HasPrefix(said, string(b.desc.Digest.Algorithm())+":") {
		return b.t.bad(resp, "%s says %.150q: %w", digestHeader, said, layout.ErrCorrupt)
	}
	return nil
}

// checkPart holds Content-Range against what was asked (RFC 9110, section 14.4).
// A shorter part is fine; it will be resumed in turn.
func (b *blob) checkPart(resp *http.Response) error {
	if err := b.t.checkPlain(resp); err != nil {
		return err
	}
	said := resp.Header.Get("Content-Range")
	span, total, ok := strings.Cut(strings.TrimPrefix(said, "bytes "), "/")
	first, last, ok2 := strings.Cut(span, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	switch {
	case !ok, !ok2, err1 != nil, err2 != nil, !strings.HasPrefix(said, "bytes "),
		from != b.off, to < from, to >= b.desc.Size,
		total != "*" && total != strconv.FormatInt(b.desc.Size, 10),
		resp.ContentLength >= 0 && resp.ContentLength != to-from+1:
		return b.t.bad(resp, "asked for bytes %d-%d of %d, Content-Range is %.100q: %w",
			b.off, b.desc.Size-1, b.desc.Size, said, layout.ErrCorrupt)
	}
	return nil
}

func (b *blob) Close() error { return b.resp.Body.Close() }
