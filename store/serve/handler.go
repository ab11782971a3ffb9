package serve

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"airgap/layout"
	"airgap/store/serve/access"

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
	// Guard says who may do what; nil lets everybody do everything.
	Guard *access.Guard
	// Drain says whether the server will stop.
	Drain *Drain
	// Failed is told of content that could not be read. It may be called by
	// several goroutines.
	Failed func(error)
	// Begun is told of each request that came, and Access when it was answered, in
	// the same way.
	Begun  func()
	Access func(Access)
}

type handler struct {
	c      Content
	o      Options
	hashed hashed
}

// New returns a registry over c. It answers all paths. /livez says that it runs,
// /healthz whether c can be read, and /readyz that, too, unless the server will stop.
func New(c Content, o Options) http.Handler {
	return &handler{c: c, o: o}
}

func (h *handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &writer{ResponseWriter: rw, control: http.NewResponseController(rw)}
	seen := h.begin(r)
	defer func() { h.end(seen, w) }()
	// What is served was made by others, and is no page.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if f := h.answer(w, r, seen); f != nil {
		f.answer(w, r)
	}
}

// answer answers a request, or says how.
func (h *handler) answer(w *writer, r *http.Request, seen *visit) *failure {
	if f := h.refuse(w, r); f != nil {
		return f
	}
	if kind, ok := strings.CutPrefix(r.URL.Path, "/"); ok && slices.Contains(healthKinds, kind) {
		seen.Kind = kind
		return h.health(w, r, kind)
	}
	u, f := h.identify(w, r)
	if f != nil {
		seen.WrongLogin = f.status == http.StatusUnauthorized
		return f
	}
	seen.User = u.Name
	a, f := understand(r.URL)
	if f != nil {
		return f
	}
	a.by, seen.Kind = u, a.kind
	if f := h.permit(w, a); f != nil {
		return f
	}
	h.serve(w, r, a)
	return nil
}

// permit says how to answer somebody who may not ask that.
func (h *handler) permit(w http.ResponseWriter, a asked) *failure {
	switch a.kind {
	case kindBase, kindCatalog:
		return h.welcome(w, a.by)
	}
	return h.allow(w, a.by, access.Pull, a.repo)
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
		h.catalog(w, r, a)
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
