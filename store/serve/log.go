package serve

import (
	"io"
	"net/http"
	"time"
)

// Access is a request and how it was answered. Nothing in it is secret, but for what
// a client may have put into the path.
type Access struct {
	Time     time.Time
	Client   string // address and port
	User     string // who has shown to be that; "" is nobody in particular
	Method   string
	Path     string // with what follows "?", as the client wrote it
	Kind     string // what was asked for, as in "manifests"; "" if it was nothing
	Agent    string
	Status   int
	Received int64 // bytes of the request's body
	Bytes    int64 // of the answer's body
	Duration time.Duration
	// WrongLogin says that name or password were wrong.
	WrongLogin bool
}

// visit is a request that is under way.
type visit struct {
	Access
	body *counted
}

// begin returns the request to go on with: the server's own has to keep its body, by
// which the server knows what it may still have to read, or that a client waits to be
// told to go on (RFC 9110, 10.1.1).
func (h *Handler) begin(r *http.Request) (*visit, *http.Request) {
	if h.o.Begun != nil {
		h.o.Begun()
	}
	v := &visit{Access: Access{
		Time: time.Now(), Client: r.RemoteAddr, Method: r.Method, Path: r.URL.RequestURI(), Agent: r.UserAgent(),
	}, body: &counted{ReadCloser: r.Body}}
	if r.Body != http.NoBody {
		r = r.WithContext(r.Context())
		r.Body = v.body
	}
	return v, r
}

func (h *Handler) end(v *visit, w *writer) {
	if h.o.Access == nil {
		return
	}
	v.Status, v.Received, v.Bytes, v.Duration = w.status, v.body.n, w.sent, time.Since(v.Time)
	h.o.Access(v.Access)
}

// counted counts what is read.
type counted struct {
	io.ReadCloser
	n     int64
	ended bool // nothing more can be read
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	c.ended = c.ended || err != nil
	return n, err
}
