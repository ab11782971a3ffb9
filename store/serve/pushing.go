package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"unicode"

	"airgap/layout"
	"airgap/store/push"
	"airgap/store/serve/access"

	"github.com/opencontainers/go-digest"
)

// maxTags is how many tags one manifest may be pushed with.
const maxTags = 100

var (
	errTooLarge = errors.New("too large")
	errRange    = errors.New("the body has another size than Content-Range says")
)

// putManifest answers PUT of a manifest, by tag or by digest.
func (h *Handler) putManifest(w *writer, r *http.Request, a asked) {
	place := place{h.large, false}
	defer place.leave()
	m, f := h.pushed(w, r, a, &place)
	if f != nil {
		f.answer(w, r)
		return
	}
	res, err := h.o.Pusher.Put(r.Context(), m)
	if err != nil {
		h.pushFailed(w, r, codeManifestUnknown, err)
		return
	}
	if res.Subject != "" {
		w.Header().Set("OCI-Subject", string(res.Subject))
	}
	for _, tag := range m.Tags {
		w.Header().Add("OCI-Tag", tag)
	}
	if res.Held != "" {
		w.Header().Set("Warning", `299 - "not given out yet: `+warnText(res.Held)+`"`)
	}
	h.sayAdmitted(w, r, a)
	h.created(w, a, kindManifests, m.Digest)
}

// pushed reads a manifest, and holds it against what the request says of it.
func (h *Handler) pushed(w *writer, r *http.Request, a asked, p *place) (push.Manifest, *failure) {
	m := push.Manifest{By: a.by.Name, Repository: a.repo}
	var f *failure
	if m.Tags, f = tagsOf(r, a); f != nil {
		return m, f
	}
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || len(params) > 0 || !layout.IsManifest(mediaType) {
		return m, &failure{http.StatusBadRequest, codeManifestInvalid, "Content-Type is that of no manifest which can be stored here"}
	}
	if m.Bytes, f = readManifest(w, r, p); f != nil {
		return m, f
	}
	m.Descriptor = layout.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(m.Bytes), Size: int64(len(m.Bytes))}
	if a.digest != "" {
		if m.Digest = a.digest.Algorithm().FromBytes(m.Bytes); m.Digest != a.digest {
			return m, &failure{http.StatusBadRequest, codeDigestInvalid, "the manifest has another digest: " + string(m.Digest)}
		}
	}
	return m, nil
}

func tagsOf(r *http.Request, a asked) ([]string, *failure) {
	tags := r.URL.Query()["tag"]
	if a.tag != "" {
		tags = append([]string{a.tag}, tags...)
	}
	if len(tags) > maxTags {
		return nil, &failure{http.StatusRequestURITooLong, codeManifestInvalid, fmt.Sprintf("more than %d tags", maxTags)}
	}
	seen := map[string]bool{}
	var out []string
	for _, t := range tags {
		if !tagGrammar.MatchString(t) {
			return nil, tagInvalid
		}
		if !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	return out, nil
}

var tagInvalid = &failure{http.StatusBadRequest, codeManifestInvalid, "the tag is outside the grammar"}

// Manifests are held in memory while they come, and until they are stored.
const (
	// smallManifest is up to what size any number may come at once.
	smallManifest = 64 << 10
	// maxLarge is how many larger ones may.
	maxLarge = 32
)

// place is one among those who send a large manifest.
type place struct {
	all   chan struct{}
	taken bool
}

func (p *place) take() bool {
	select {
	case p.all <- struct{}{}:
		p.taken = true
	default:
	}
	return p.taken
}

func (p *place) leave() {
	if p.taken {
		<-p.all
	}
}

func readManifest(w *writer, r *http.Request, p *place) ([]byte, *failure) {
	large := &failure{http.StatusRequestEntityTooLarge, codeSizeInvalid, fmt.Sprintf("a manifest has at most %d bytes here", layout.MaxManifestBytes)}
	if r.ContentLength > layout.MaxManifestBytes {
		return nil, large
	}
	body := newBody(w, r)
	data, err := io.ReadAll(io.LimitReader(body, smallManifest))
	if err == nil && len(data) == smallManifest {
		if !p.take() {
			w.Header().Set("Retry-After", retryAfter)
			return nil, &failure{http.StatusTooManyRequests, codeTooMany, "too many large manifests at once"}
		}
		var rest []byte
		rest, err = io.ReadAll(io.LimitReader(body, layout.MaxManifestBytes+1-smallManifest))
		data = append(data, rest...)
	}
	switch {
	case err != nil:
		return nil, shortBody
	case len(data) > layout.MaxManifestBytes:
		return nil, large
	}
	return data, nil
}

var shortBody = &failure{http.StatusBadRequest, codeSizeInvalid, "the body ended too early, or came too slowly"}

// remove answers DELETE of a manifest, a tag or a blob.
func (h *Handler) remove(w *writer, r *http.Request, a asked) {
	what := push.Removal{By: a.by.Name, Reference: layout.Reference{Repository: a.repo, Tag: a.tag, Digest: a.digest}, Blob: a.kind == kindBlobs}
	code := codeManifestUnknown
	if what.Blob {
		code = codeBlobUnknown
	}
	if err := h.o.Pusher.Delete(r.Context(), what); err != nil {
		h.pushFailed(w, r, code, err)
		return
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
}

// pushFailed answers for an error of what takes content. code says what it is that is
// not there.
func (h *Handler) pushFailed(w http.ResponseWriter, r *http.Request, code string, err error) {
	var refusal *push.Refusal
	switch {
	case errors.As(err, &refusal):
		refused(refusal).answer(w, r)
	case errors.Is(err, push.ErrDigest):
		(&failure{http.StatusBadRequest, codeDigestInvalid, "the bytes have another digest"}).answer(w, r)
	case errors.Is(err, errClient):
		shortBody.answer(w, r)
	case errors.Is(err, errRange):
		(&failure{http.StatusBadRequest, codeSizeInvalid, errRange.Error()}).answer(w, r)
	case errors.Is(err, errTooLarge), errors.Is(err, layout.ErrLimit):
		(&failure{http.StatusRequestEntityTooLarge, codeSizeInvalid, fmt.Sprintf("a blob has at most %d bytes here", h.o.MaxBlob)}).answer(w, r)
	default:
		h.failed(w, r, code, err)
	}
}

func refused(r *push.Refusal) *failure {
	text := r.Why
	if r.Hint != "" {
		text += "; " + r.Hint
	}
	switch {
	case errors.Is(r, push.ErrBlobUnknown):
		return &failure{http.StatusNotFound, codeManifestBlobUnknown, text}
	case errors.Is(r, push.ErrManifest):
		return &failure{http.StatusBadRequest, codeManifestInvalid, text}
	case errors.Is(r, push.ErrInUse):
		return &failure{http.StatusConflict, codeDenied, text}
	}
	return &failure{http.StatusForbidden, codeDenied, text}
}

// maxWarning is how much of a reason a header tells.
const maxWarning = 512

// warnText is text for a quoted string in a header.
func warnText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case unicode.IsControl(r) || r > unicode.MaxASCII:
			return ' '
		}
		return r
	}, s)
	return s[:min(len(s), maxWarning)]
}

// Marker is content of which not all was admitted.
type Marker interface {
	// Admitted is false for a repository that gives out what clients pushed.
	Admitted(ctx context.Context, repo string) (bool, error)
}

// sayAdmitted warns of a repository with content that nobody has admitted.
func (h *Handler) sayAdmitted(w http.ResponseWriter, r *http.Request, a asked) {
	m, ok := h.c.(Marker)
	if !ok {
		return
	}
	if admitted, err := m.Admitted(r.Context(), a.repo); !admitted || err != nil {
		w.Header().Set("Airgap-Admitted", "false")
	}
}

// bodyBytes is how much is read, hashed and written at a time.
const bodyBytes = 256 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bodyBytes); return &b }}

func copyBody(w io.Writer, r io.Reader) (int64, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, *buf)
}

// prover tells what is stored with the bytes that its digest says.
type prover interface {
	Intact(ctx context.Context, dgst digest.Digest) (bool, error)
}

// absentToPusher answers HEAD by a client that may push: what is damaged is absent, so
// that the client pushes it. It returns nil if the content is intact.
func (h *Handler) absentToPusher(r *http.Request, a asked) *failure {
	p, ok := h.o.Pusher.(prover)
	if !ok || r.Method != http.MethodHead || a.digest == "" || !h.o.Guard.May(a.by, access.Push, a.repo) {
		return nil
	}
	intact, err := p.Intact(r.Context(), a.digest)
	if err != nil || intact {
		return nil // reading it says what is wrong
	}
	code := codeBlobUnknown
	if a.kind == kindManifests {
		code = codeManifestUnknown
	}
	return &failure{http.StatusNotFound, code, "not in this registry"}
}
