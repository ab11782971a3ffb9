package serve

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Verify says when a blob's bytes are hashed, beside by whoever pulls it.
type Verify int

const (
	// VerifySize compares only its size, for content that was hashed when it was
	// stored.
	VerifySize Verify = iota
	// VerifyOnce hashes each blob before it is sent for the first time, for
	// content that nobody hashed yet.
	VerifyOnce
	// VerifyAlways hashes a blob before each time that it is sent, whole or in
	// part.
	VerifyAlways
)

// Options tune [New].
type Options struct {
	Verify Verify
	// Failed is told of content that could not be read. It may be called by
	// several goroutines.
	Failed func(error)
	// Access is told of each request that was answered, in the same way.
	Access func(Access)
}

// Access is a request and how it was answered.
type Access struct {
	Time     time.Time
	Client   string // address and port
	Method   string
	Path     string // with what follows "?", as the client wrote it
	Agent    string
	Status   int
	Bytes    int64 // of the answer's body
	Duration time.Duration
}

type handler struct {
	c      Content
	o      Options
	hashed hashed
}

// New returns a registry over c. It answers all paths; /healthz says whether c can
// be read.
func New(c Content, o Options) http.Handler {
	return &handler{c: c, o: o}
}

func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &writer{ResponseWriter: rw, control: http.NewResponseController(rw)}
	if h.o.Access != nil {
		begun := time.Now()
		defer func() {
			h.o.Access(Access{
				Time: begun, Client: r.RemoteAddr, Method: r.Method, Path: r.URL.RequestURI(), Agent: r.UserAgent(),
				Status: w.status, Bytes: w.sent, Duration: time.Since(begun),
			})
		}()
	}
	// What is served was made by others, and is no page.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if f := h.refuse(w, r); f != nil {
		f.answer(w, r)
		return
	}
	switch r.URL.Path {
	case "/healthz":
		h.health(w, r)
		return
	case "/v2":
		h.base(w, r)
		return
	}
	a, f := understand(r.URL)
	if f != nil {
		f.answer(w, r)
		return
	}
	h.serve(w, r, a)
}

// refuse turns away what can be no request to this registry, whatever its path.
func (h *handler) refuse(w *writer, r *http.Request) *failure {
	if r.ContentLength != 0 {
		// Else the connection would wait for ever for the rest of a body.
		_ = w.control.SetReadDeadline(time.Now().Add(bodyTime))
		w.Header().Set("Connection", "close")
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return &failure{http.StatusMethodNotAllowed, codeUnsupported, "this registry is read-only"}
	case r.ContentLength != 0:
		return &failure{http.StatusBadRequest, codeUnsupported, "a request to read has no body"}
	}
	return nil
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, a asked) {
	switch a.kind {
	case kindBase:
		h.base(w, r)
	case kindCatalog:
		h.catalog(w, r)
	case kindTags:
		h.tags(w, r, a)
	case kindReferrers:
		h.referrers(w, r, a)
	case kindManifests:
		h.manifest(w, r, a)
	case kindBlobs:
		h.blob(w, r, a)
	}
}

// base says that this is a registry.
func (h *handler) base(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, "application/json", struct{}{})
}

// health looks for what nobody has, to see whether looking works.
func (h *handler) health(w http.ResponseWriter, r *http.Request) {
	_, err := h.c.Resolve(r.Context(), layout.Reference{Repository: "localhost/healthz", Tag: "healthz"})
	if err != nil && !errors.Is(err, layout.ErrNotFound) {
		h.failed(w, r, codeUnknown, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader([]byte("ok\n")))
}

func (h *handler) manifest(w http.ResponseWriter, r *http.Request, a asked) {
	d, err := h.c.Resolve(r.Context(), layout.Reference{Repository: a.repo, Tag: a.tag, Digest: a.digest})
	var data []byte
	if err == nil {
		data, err = h.c.Manifest(r.Context(), a.repo, d)
	}
	if err != nil {
		h.failed(w, r, codeManifestUnknown, err)
		return
	}
	describe(w, d.MediaType, d.Digest)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (h *handler) blob(w http.ResponseWriter, r *http.Request, a asked) {
	f, err := h.c.Blob(r.Context(), a.repo, a.digest)
	if err != nil {
		h.failed(w, r, codeBlobUnknown, err)
		return
	}
	defer f.Close()
	if r.Method != http.MethodHead {
		if err := h.check(r.Context(), a.digest, f); err != nil {
			h.failed(w, r, codeBlobUnknown, err)
			return
		}
	}
	describe(w, "application/octet-stream", a.digest)
	http.ServeContent(w, r, "", time.Time{}, f)
}

// describe sets what conditional requests and clients go by.
func describe(w http.ResponseWriter, mediaType string, dgst digest.Digest) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", dgst.String())
	w.Header().Set("ETag", `"`+dgst.String()+`"`)
}

var _ io.ReaderFrom = (*writer)(nil)
