package serve

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"airgap/layout"
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

// The server's own request keeps its body: by it the server knows that a client waits to
// be told to go on, and answers at once instead of waiting for a body that never comes.
func TestServerKeepsBody(t *testing.T) {
	r := httptest.NewRequest(http.MethodPut, "/v2/a.b/c/manifests/x", strings.NewReader("a body"))
	r.Header.Set("Expect", "100-continue")
	body := r.Body
	var seen Access
	New(FromGraph(&layout.Graph{}, nil), Options{Access: func(a Access) { seen = a }}).ServeHTTP(httptest.NewRecorder(), r)
	if r.Body != body || seen.Status != http.StatusMethodNotAllowed {
		t.Errorf("the body is another, or the answer %d", seen.Status)
	}
}
