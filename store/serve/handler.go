package serve

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"airgap/layout"
	"airgap/store/push"
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

	// Pusher takes what clients push. nil makes the registry read-only.
	Pusher push.Pusher
	// Pending is the content as those see it who may push to a repository, and have
	// said who they are; nil: as all others.
	Pending Content
	// MaxBlob is how large a blob may be that is pushed, in bytes; 0 means
	// layout.MaxBlobBytes.
	MaxBlob int64
	// MaxUploads is how many blobs may be on their way at once; 0 means 256. A quarter of
	// the files that this process may have open is the most.
	MaxUploads int
	// UploadIdle is how long an upload may go without a request; 0 means an hour.
	UploadIdle time.Duration
	// Now is the clock for uploads; nil means time.Now.
	Now func() time.Time
}

// Handler is a registry.
type Handler struct {
	c         Content
	o         Options
	hashed    hashed
	described described
	uploads   *uploads
	large     chan struct{} // one for each large manifest that comes
}

var _ Busy = (*Handler)(nil)

// New returns a registry over c. It answers all paths. /livez says that it runs,
// /healthz whether c can be read, and /readyz that, too, unless the server will stop.
func New(c Content, o Options) *Handler {
	o.MaxBlob = cmp.Or(o.MaxBlob, layout.MaxBlobBytes)
	return &Handler{c: c, o: o, uploads: newUploads(&o), large: make(chan struct{}, maxLarge)}
}

// Uploads says how many uploads go on: those that had a request in the last half
// minute. A server that is to stop lets them end.
func (h *Handler) Uploads() int { return h.uploads.active() }

// Close discards the uploads that have not ended. No request is under way.
func (h *Handler) Close() error {
	var errs []error
	for _, p := range h.uploads.takeIf(func(*pending) bool { return true }) {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

func (h *Handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &writer{ResponseWriter: rw, control: http.NewResponseController(rw)}
	seen, r := h.begin(r)
	defer func() { h.end(seen, w) }()
	// What is served was made by others, and is no page.
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if f := h.answer(w, r, seen); f != nil {
		f.answer(w, r)
	}
	drain(w, r)
}

// answer answers a request, or says how.
func (h *Handler) answer(w *writer, r *http.Request, seen *visit) *failure {
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
		if f.code == codeManifestUnknown && r.Method == http.MethodPut {
			f = tagInvalid
		}
		return f
	}
	a.by, seen.Kind = u, a.kind
	if h.o.Pusher == nil && (a.kind == kindUploads || a.kind == kindUpload) {
		return noEndpoint
	}
	do, f := action(w, r.Method, a.kind)
	if f == nil {
		f = h.permit(w, a, do)
	}
	if f == nil {
		h.serve(w, r, a, do)
	}
	return f
}

// permit says how to answer somebody who may not do that. Nothing was looked up before.
func (h *Handler) permit(w http.ResponseWriter, a asked, do access.Action) *failure {
	switch a.kind {
	case kindBase, kindCatalog:
		return h.welcome(w, a.by)
	}
	return h.allow(w, a.by, do, a.repo)
}

// refuse turns away what can be no request to this registry, whatever its path.
func (h *Handler) refuse(w *writer, r *http.Request) *failure {
	if r.ContentLength != 0 {
		// Else the connection would wait for ever for the rest of a body.
		_ = w.control.SetReadDeadline(time.Now().Add(bodyTime))
	}
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
	case h.o.Pusher == nil:
		w.Header().Set("Allow", "GET, HEAD")
		hangUp(w, r)
		return &failure{http.StatusMethodNotAllowed, codeUnsupported, "this registry is read-only"}
	case r.Method != http.MethodDelete:
		return nil // the rest is for the table of actions
	}
	if r.ContentLength != 0 {
		hangUp(w, r)
		return &failure{http.StatusBadRequest, codeUnsupported, "this request has no body"}
	}
	return nil
}

// hangUp ends a connection on which a body may follow that nobody reads.
func hangUp(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		w.Header().Set("Connection", "close")
	}
}

// serve does what is asked for, and may be done.
func (h *Handler) serve(w *writer, r *http.Request, a asked, do access.Action) {
	switch {
	case a.kind == kindUploads:
		h.beginUpload(w, r, a)
	case a.kind == kindUpload:
		h.upload(w, r, a)
	case do == access.Push:
		h.putManifest(w, r, a)
	case do == access.Delete:
		h.remove(w, r, a)
	default:
		h.give(w, r, a)
	}
}

// give answers what only reads.
func (h *Handler) give(w http.ResponseWriter, r *http.Request, a asked) {
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
func (h *Handler) base(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, r, "application/json", struct{}{})
}

func (h *Handler) manifest(w http.ResponseWriter, r *http.Request, a asked) {
	if f := h.absentToPusher(r, a); f != nil {
		f.answer(w, r)
		return
	}
	c := h.content(a)
	d, err := c.Resolve(r.Context(), layout.Reference{Repository: a.repo, Tag: a.tag, Digest: a.digest})
	var data []byte
	if err == nil {
		data, err = c.Manifest(r.Context(), a.repo, d)
	}
	if err != nil {
		h.failed(w, r, codeManifestUnknown, err)
		return
	}
	h.sayAdmitted(w, r, a)
	describe(w, d.MediaType, d.Digest)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

func (h *Handler) blob(w http.ResponseWriter, r *http.Request, a asked) {
	if f := h.absentToPusher(r, a); f != nil {
		f.answer(w, r)
		return
	}
	f, err := h.content(a).Blob(r.Context(), a.repo, a.digest)
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
