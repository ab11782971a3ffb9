package layout

import (
	"context"
	"io"
	"sync"
)

// copySize is how much is read, hashed and written at a time.
const copySize = 256 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, copySize); return &b }}

// copyBuffer copies through a pooled buffer. Unlike io.Copy it tells an error of
// the writer (as *writeError) from one of the reader.
func copyBuffer(dst io.Writer, src io.Reader) (int64, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	var total int64
	for {
		n, err := src.Read(*buf)
		if n > 0 {
			w, werr := dst.Write((*buf)[:n])
			if werr == nil && w < n {
				werr = io.ErrShortWrite
			}
			if werr != nil {
				return total, &writeError{werr}
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// offsetWriter writes one after the other from a place in a file.
type offsetWriter struct {
	w   io.WriterAt
	off int64
}

func (o *offsetWriter) Write(p []byte) (int, error) {
	n, err := o.w.WriteAt(p, o.off)
	o.off += int64(n)
	return n, err
}

// ctxReader ends with the context's error.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

// Conduit implements [Conduit].
func (c *ctxReader) Conduit() io.Reader { return c.r }

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
