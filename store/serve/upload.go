package serve

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"airgap/layout"
	"airgap/store/push"
	"airgap/store/serve/access"

	"github.com/opencontainers/go-digest"
)

// beginUpload answers POST: a whole blob, one that another repository has, or the
// beginning of an upload.
func (h *Handler) beginUpload(w *writer, r *http.Request, a asked) {
	if h.o.Drain.Draining() {
		w.Header().Set("Retry-After", retryAfter)
		(&failure{http.StatusServiceUnavailable, codeUnavailable, "the registry is about to stop; try again"}).answer(w, r)
		return
	}
	q := r.URL.Query()
	if q.Has("mount") {
		done, f := h.mount(w, r, a)
		if f != nil {
			f.answer(w, r)
		}
		if done || f != nil {
			return
		}
	}
	alg, dgst, f := wanted(q)
	if f != nil {
		f.answer(w, r)
		return
	}
	p, f, err := h.uploads.begin(a.repo, a.by.Name, func() (push.Upload, error) { return h.o.Pusher.Upload(r.Context(), a.repo, alg) })
	switch {
	case err != nil:
		h.failed(w, r, codeNameInvalid, err)
	case f != nil:
		w.Header().Set("Retry-After", retryAfter)
		f.answer(w, r)
	case dgst != "":
		h.whole(w, r, a, p, dgst)
	default:
		defer h.uploads.give(p)
		h.progress(w, r, a, p)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusAccepted)
	}
}

// wanted reads what POST says of the blob: its digest, for a whole one, or its
// algorithm.
func wanted(q url.Values) (digest.Algorithm, digest.Digest, *failure) {
	if q.Has("digest") {
		dgst, f := oneDigest(q, "digest")
		return dgst.Algorithm(), dgst, f
	}
	switch alg := digest.Algorithm(q.Get("digest-algorithm")); {
	case !q.Has("digest-algorithm"), alg == digest.SHA256:
		return digest.SHA256, "", nil
	case alg == digest.SHA512:
		return alg, "", nil
	}
	return "", "", &failure{http.StatusBadRequest, codeDigestInvalid, "digest-algorithm is none of sha256 and sha512"}
}

func oneDigest(q url.Values, name string) (digest.Digest, *failure) {
	if values := q[name]; len(values) == 1 {
		if dgst, err := layout.ParseDigest(values[0]); err == nil {
			return dgst, nil
		}
	}
	// Not empty, so that its algorithm can be asked for.
	return "sha256:", &failure{http.StatusBadRequest, codeDigestInvalid, name + ": want one of sha256: or sha512: and lower-case hex digits"}
}

// mount answers with a blob of another repository, if there is one that the user may
// see.
func (h *Handler) mount(w *writer, r *http.Request, a asked) (done bool, f *failure) {
	q := r.URL.Query()
	dgst, f := oneDigest(q, "mount")
	if f != nil {
		return false, f
	}
	from := ""
	if name := q.Get("from"); name != "" {
		var ok bool
		if from, ok = repository(name, q.Get("ns")); !ok {
			return false, nameInvalid("from is outside the grammar")
		}
	}
	may := func(repo string) bool { return h.o.Guard.May(a.by, access.Pull, repo) }
	err := h.o.Pusher.Mount(r.Context(), a.repo, dgst, from, may)
	switch {
	case errors.Is(err, layout.ErrNotFound):
		return false, nil // it has to be uploaded
	case err != nil:
		h.pushFailed(w, r, codeBlobUnknown, err)
		return true, nil
	}
	h.created(w, a, kindBlobs, dgst)
	return true, nil
}

// whole takes a blob in one request.
func (h *Handler) whole(w *writer, r *http.Request, a asked, p *pending, dgst digest.Digest) {
	err := h.receive(w, r, p)
	if err != nil {
		err = errors.Join(err, h.uploads.drop(p))
	} else {
		h.uploads.remove(p)
		err = p.Commit(r.Context(), dgst)
	}
	if err != nil {
		h.pushFailed(w, r, codeUploadUnknown, err)
		return
	}
	h.created(w, a, kindBlobs, dgst)
}

// created answers for what is there now.
func (h *Handler) created(w http.ResponseWriter, a asked, kind string, dgst digest.Digest) {
	w.Header().Set("Location", a.at(kind+"/"+string(dgst)))
	w.Header().Set("Docker-Content-Digest", string(dgst))
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
}

// receive writes the body of a request to an upload. One that gets too large, or that
// could not be written, is no use any more.
func (h *Handler) receive(w *writer, r *http.Request, p *pending) error {
	left := h.o.MaxBlob - p.Size()
	if r.ContentLength > left {
		return errTooLarge
	}
	n, err := copyBody(p, io.LimitReader(newBody(w, r), left+1))
	if err == nil && n > left {
		err = errTooLarge
	}
	return err
}

// upload answers what is about one upload.
func (h *Handler) upload(w *writer, r *http.Request, a asked) {
	p, f := h.uploads.take(a.id, a.repo, a.by.Name)
	if f != nil {
		f.answer(w, r)
		return
	}
	switch r.Method {
	case http.MethodPatch:
		h.patch(w, r, a, p)
	case http.MethodPut:
		h.finish(w, r, a, p)
	case http.MethodDelete:
		if err := h.uploads.drop(p); err != nil {
			h.failed(w, r, codeUploadUnknown, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		defer h.uploads.give(p)
		h.progress(w, r, a, p)
		w.WriteHeader(http.StatusNoContent)
	}
}

// progress says where an upload goes on, and how far it is.
func (h *Handler) progress(w http.ResponseWriter, r *http.Request, a asked, p *pending) {
	w.Header().Set("Location", a.at("blobs/uploads/"+p.id))
	w.Header().Set("Range", "0-"+strconv.FormatInt(max(p.Size()-1, 0), 10))
	w.Header().Set("Docker-Upload-UUID", p.id)
}

// patch takes a part of a blob.
func (h *Handler) patch(w *writer, r *http.Request, a asked, p *pending) {
	if !h.take(w, r, a, p) {
		return
	}
	defer h.uploads.give(p)
	h.progress(w, r, a, p)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
}

// take receives a part, in its place. If it fails the request was answered; the upload
// goes on if the client can send the part again.
func (h *Handler) take(w *writer, r *http.Request, a asked, p *pending) bool {
	want, f := contentRange(r)
	if f == nil && want != nil && want.start != p.Size() {
		h.progress(w, r, a, p)
		f = &failure{http.StatusRequestedRangeNotSatisfiable, codeUploadInvalid, "this is not where the upload goes on"}
	}
	if f != nil {
		h.uploads.give(p)
		f.answer(w, r)
		return false
	}
	begun := p.Size()
	err := h.receive(w, r, p)
	if err == nil && want != nil && p.Size()-begun != want.length {
		err = errRange
	}
	switch {
	case err == nil:
		return true
	case errors.Is(err, errClient):
		h.uploads.give(p)
	default:
		err = errors.Join(err, h.uploads.drop(p))
	}
	h.pushFailed(w, r, codeUploadUnknown, err)
	return false
}

// finish takes the last part, if there is one, and makes a blob of all.
func (h *Handler) finish(w *writer, r *http.Request, a asked, p *pending) {
	dgst, f := oneDigest(r.URL.Query(), "digest")
	if f != nil {
		h.uploads.give(p)
		f.answer(w, r)
		return
	}
	if !h.take(w, r, a, p) {
		return
	}
	h.uploads.remove(p)
	if err := p.Commit(r.Context(), dgst); err != nil {
		h.pushFailed(w, r, codeUploadUnknown, err)
		return
	}
	h.created(w, a, kindBlobs, dgst)
}

// part is a part of a blob.
type part struct{ start, length int64 }

var rangeGrammar = regexp.MustCompile(`^([0-9]{1,18})-([0-9]{1,18})$`)

// contentRange reads where the body of a request belongs; nil if it does not say.
func contentRange(r *http.Request) (*part, *failure) {
	values := r.Header.Values("Content-Range")
	if len(values) == 0 {
		return nil, nil
	}
	bad := &failure{http.StatusBadRequest, codeUploadInvalid, "Content-Range: want FIRST-LAST, as in 0-1023"}
	m := rangeGrammar.FindStringSubmatch(values[0])
	if len(values) > 1 || m == nil {
		return nil, bad
	}
	first, err1 := strconv.ParseInt(m[1], 10, 64)
	last, err2 := strconv.ParseInt(m[2], 10, 64)
	if err1 != nil || err2 != nil || last < first {
		return nil, bad
	}
	if n := last - first + 1; r.ContentLength >= 0 && r.ContentLength != n {
		return nil, &failure{http.StatusBadRequest, codeSizeInvalid, "Content-Range and Content-Length do not fit"}
	}
	return &part{first, last - first + 1}, nil
}
