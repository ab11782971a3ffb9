package serve

import (
	"errors"
	"io"
	"net/http"
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
