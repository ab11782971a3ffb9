package serve

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airgap/layout/layouttest"
	"airgap/store"
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
		_, ok = l.R.(*os.File)
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

// counting is a connection that counts what is written to it.
type counting struct {
	spy
	writes int
}

func (c *counting) Write(p []byte) (int, error) {
	c.writes++
	return c.spy.Write(p)
}

// A manifest is written, not handed over: net/http would send the head first, and then
// that in a packet of its own.
func TestManifestsAreOnePiece(t *testing.T) {
	c := &counting{spy: spy{ResponseRecorder: *httptest.NewRecorder()}}
	w := &writer{ResponseWriter: c, control: http.NewResponseController(c)}
	manifest := bytes.Repeat([]byte("x"), 5000)
	http.ServeContent(w, httptest.NewRequest("GET", "/", nil), "x.bin", time.Time{}, bytes.NewReader(manifest))
	if c.files+c.others != 0 || c.writes != 1 || !bytes.Equal(c.Body.Bytes(), manifest) || w.sent != 5000 {
		t.Errorf("handed over %d times, written in %d pieces, %d bytes, %d counted", c.files+c.others, c.writes, c.Body.Len(), w.sent)
	}
}

// A blob of a store is a file of the operating system's when it reaches the connection,
// all the way through the store, the handler and net/http's ServeContent.
func TestStoredBlobsReachTheKernel(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b := layouttest.New("ghcr.io/acme/app")
	layer := b.Blob("application/vnd.oci.image.layer.v1.tar", bytes.Repeat([]byte("layer"), pieceBytes/4))
	b.Tag("v1", b.Image("v1", layer))
	if err := b.Content().Load(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	c := &spy{ResponseRecorder: *httptest.NewRecorder()}
	New(s.View(), Options{}).ServeHTTP(c, httptest.NewRequest("GET", "/v2/ghcr.io/acme/app/blobs/"+layer.Digest.String(), nil))
	if c.files != 2 || c.others != 0 || int64(c.Body.Len()) != layer.Size {
		t.Errorf("%d pieces of a file, %d others, %d bytes of %d", c.files, c.others, c.Body.Len(), layer.Size)
	}
}
