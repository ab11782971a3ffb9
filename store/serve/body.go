package serve

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// errClient says that what a client sends ended too early, or came too slowly.
var errClient = errors.New("the body did not come to its end")

// body reads what a client sends, and does not wait for ever for it: a piece of
// pieceBytes has stallTime.
type body struct {
	r       io.Reader
	control *http.ResponseController
	left    int64 // of the piece
}

func newBody(w *writer, r *http.Request) *body { return &body{r: r.Body, control: w.control} }

func (b *body) Read(p []byte) (int, error) {
	if b.left <= 0 {
		_ = b.control.SetReadDeadline(time.Now().Add(stallTime)) // a test's recorder has none
		b.left = pieceBytes
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	switch {
	case err == io.EOF:
		// What is done with it may take longer.
		_ = b.control.SetReadDeadline(time.Time{})
	case err != nil:
		err = errors.Join(errClient, err)
	}
	return n, err
}

// Limits on the rest of a body that is not wanted.
const (
	// smallRest is how much net/http reads by itself before it goes on with the
	// connection.
	smallRest = 256 << 10
	// restTime is how long a client may take to send the rest after it was answered.
	restTime = 30 * time.Second
)

// unread reports whether a client may still be sending a body of which more is left than
// net/http would read.
func unread(r *http.Request) bool {
	b, ok := r.Body.(*counted)
	return ok && !b.ended && (r.ContentLength < 0 || r.ContentLength-b.n > smallRest) && !waitsForGo(r)
}

// waitsForGo reports whether a client sends the body only once it is told to (RFC 9110,
// 10.1.1), which it never is if nobody reads.
func waitsForGo(r *http.Request) bool {
	b, ok := r.Body.(*counted)
	return ok && b.n == 0 && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
}

// drain reads the rest of a body after the answer, and discards it: a client that writes
// until the end, and a connection that is closed before, would lose the answer.
func drain(w *writer, r *http.Request) {
	if w.status < http.StatusBadRequest || !unread(r) {
		return
	}
	w.Flush()
	_ = w.control.SetReadDeadline(time.Now().Add(restTime)) // a test's recorder has none
	_, _ = io.Copy(io.Discard, r.Body)                      // the answer is what counts
}
