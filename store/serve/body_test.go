package serve

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"
)

// clock is a connection that notes the deadlines it is given.
type clock struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (c *clock) SetReadDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

// some reads a few bytes at a time, and ends with err.
type some struct {
	left int
	err  error
}

func (s *some) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, s.err
	}
	n := min(s.left, len(p), pieceBytes/4)
	s.left -= n
	return n, nil
}

// A client has stallTime for each piece, and what is done with the last one may take any
// time; one that is too slow is told from a store that fails.
func TestBodyDeadlines(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error
		n    int // deadlines
	}{{io.EOF, nil, 4}, {os.ErrDeadlineExceeded, errClient, 3}, {io.ErrUnexpectedEOF, errClient, 3}} {
		conn := &clock{ResponseRecorder: httptest.NewRecorder()}
		b := &body{r: &some{left: 2*pieceBytes + 5, err: c.err}, control: http.NewResponseController(conn)}
		begun := time.Now()
		n, err := copyBody(io.Discard, b)
		if n != 2*pieceBytes+5 || !errors.Is(err, c.want) || c.want != nil && !errors.Is(err, c.err) {
			t.Errorf("%d bytes (%v), want %v", n, err, c.want)
		}
		if len(conn.deadlines) != c.n {
			t.Fatalf("deadlines %v, want %d", conn.deadlines, c.n)
		}
		for i, d := range conn.deadlines {
			if last := c.err == io.EOF && i == c.n-1; last != d.IsZero() || !last && (d.Before(begun.Add(stallTime)) || d.After(time.Now().Add(stallTime))) {
				t.Errorf("deadline %d of %d: %v", i, c.n, d)
			}
		}
	}
}
