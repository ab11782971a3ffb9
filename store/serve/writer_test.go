package serve

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// spy is a connection that looks at what it is handed.
type spy struct {
	httptest.ResponseRecorder
	files, others int
	most          int64
}

func (s *spy) ReadFrom(r io.Reader) (int64, error) {
	l, ok := r.(*io.LimitedReader)
	if ok {
		_, ok = l.R.(interface {
			syscall.Conn
			io.Seeker
			Stat() (os.FileInfo, error)
		})
		s.most = max(s.most, l.N)
	}
	if ok {
		s.files++
	} else {
		s.others++
	}
	return io.Copy(&s.ResponseRecorder, struct{ io.Reader }{r})
}

// A file reaches the connection in the form that net gives to the kernel (sendfile),
// in pieces, and is counted.
func TestFilesReachTheKernel(t *testing.T) {
	const size = 2*pieceBytes + 5
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := &spy{ResponseRecorder: *httptest.NewRecorder()}
	w := &writer{ResponseWriter: s, control: http.NewResponseController(s)}
	http.ServeContent(w, httptest.NewRequest("GET", "/", nil), "x.bin", time.Time{}, f)
	if s.files != 3 || s.others != 0 || s.most != pieceBytes || s.Body.Len() != size || w.sent != size || w.status != 200 {
		t.Errorf("%d pieces of a file, %d others, %d bytes at most, %d in all, %d counted, status %d", s.files, s.others, s.most, s.Body.Len(), w.sent, w.status)
	}
}
