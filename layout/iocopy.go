package layout

import (
	"context"
	"io"
	"math"
	"sync"
)

// Content is read, hashed and written in pieces of largeCopy bytes: each write
// takes the lock of a file that other goroutines write as well. What fits into
// smallCopy bytes does not cost a large buffer, for much of that moves at once.
const (
	smallCopy = 32 << 10
	largeCopy = 512 << 10
)

var smallBuffers, largeBuffers = bufferPool(smallCopy), bufferPool(largeCopy)

func bufferPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

// copyBuffer copies through pooled buffers. Unlike io.Copy it tells an error of
// the writer (as *writeError) from one of the reader.
func copyBuffer(dst io.Writer, src io.Reader) (int64, error) {
	n, err := copyPieces(dst, src, smallBuffers, 1)
	if err == nil {
		var more int64
		more, err = copyPieces(dst, src, largeBuffers, math.MaxInt)
		n += more
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// copyPieces copies as many full buffers, or up to an error or io.EOF.
func copyPieces(dst io.Writer, src io.Reader, pool *sync.Pool, count int) (int64, error) {
	buf := pool.Get().(*[]byte)
	defer pool.Put(buf)
	var total int64
	for range count {
		n, err := fill(src, *buf)
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
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// fill reads until buf is full or src fails, which includes io.EOF. It gives the
// error of src as it is: io.ReadFull cannot tell the end from a reader whose own
// error is io.ErrUnexpectedEOF, which a cut connection gives.
func fill(src io.Reader, buf []byte) (int, error) {
	n := 0
	for n < len(buf) {
		m, err := src.Read(buf[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
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
