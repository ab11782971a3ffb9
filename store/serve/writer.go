package serve

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Limits on clients. Whoever takes pieceBytes in stallTime, 35 kB a second, is
// served to the end.
const (
	// stallTime is how long a client may take for a piece of an answer.
	stallTime = 2 * time.Minute
	// pieceBytes is how much of a blob is handed to the kernel at once.
	pieceBytes = 4 << 20
	// copyBytes is how much of anything else is copied at once.
	copyBytes = 32 << 10
	// bodyTime is how long to wait for the rest of a body that is not wanted.
	bodyTime = 10 * time.Second
)

// copies are buffers for what is not handed to the kernel.
var copies = sync.Pool{New: func() any { b := make([]byte, copyBytes); return &b }}

// writer counts what is sent, and does not wait for ever for a client to take it.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	sent    int64
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) begin() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(stallTime)) // a test's recorder has none
}

func (w *writer) Write(p []byte) (int, error) {
	w.begin()
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}

// ReadFrom hands a file on to the connection, which has the kernel copy it where it
// can; piece by piece, so that progress shows. All else is written: so handed over, the
// head of the answer would be sent by itself first.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		_, ok = limited.R.(syscall.Conn)
	}
	if !ok {
		buf := copies.Get().(*[]byte)
		defer copies.Put(buf)
		return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *buf)
	}
	var total int64
	for limited.N > 0 {
		w.begin()
		// A LimitedReader over a file is what net looks for.
		piece := &io.LimitedReader{R: limited.R, N: min(pieceBytes, limited.N)}
		n, err := io.Copy(w.ResponseWriter, piece)
		limited.N -= n
		total += n
		w.sent += n
		if err != nil || n == 0 {
			return total, err
		}
	}
	return total, nil
}

// Flush implements [http.Flusher].
func (w *writer) Flush() {
	if err := w.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return // the next write says so
	}
}
