package serve

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"syscall"

	"airgap/layout"
)

// The codes of distribution-spec 1.1, "Error Codes", that are used here, and one of
// other registries for what is their own fault, for which it has none.
const (
	codeBlobUnknown         = "BLOB_UNKNOWN"
	codeDenied              = "DENIED"
	codeDigestInvalid       = "DIGEST_INVALID"
	codeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	codeManifestInvalid     = "MANIFEST_INVALID"
	codeManifestUnknown     = "MANIFEST_UNKNOWN"
	codeNameInvalid         = "NAME_INVALID"
	codeNameUnknown         = "NAME_UNKNOWN"
	codeSizeInvalid         = "SIZE_INVALID"
	codeTooMany             = "TOOMANYREQUESTS"
	codeUnauthorized        = "UNAUTHORIZED"
	codeUnavailable         = "UNAVAILABLE"
	codeUnknown             = "UNKNOWN"
	codeUnsupported         = "UNSUPPORTED"
	codeUploadInvalid       = "BLOB_UPLOAD_INVALID"
	codeUploadUnknown       = "BLOB_UPLOAD_UNKNOWN"
)

// failure is an answer that is no content.
type failure struct {
	status  int
	code    string
	message string // for people; nothing of the server's own
}

func nameInvalid(why string) *failure {
	return &failure{http.StatusBadRequest, codeNameInvalid, why}
}

// answer writes f in the form of the specification.
func (f *failure) answer(w http.ResponseWriter, r *http.Request) {
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]one{"errors": {{f.code, f.message}}})
	if err != nil {
		body = nil // texts and numbers: it cannot fail
	}
	if unread(r) {
		hangUp(w, r)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(f.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that is gone wants no answer
	}
}

// failed answers for an error of the content. code says what it is that is not
// there.
func (h *Handler) failed(w http.ResponseWriter, r *http.Request, code string, err error) {
	switch {
	case errors.Is(err, context.Canceled) && r.Context().Err() != nil:
		// The client is gone, or the server stops: an answer begun would pass
		// for a whole one.
		panic(http.ErrAbortHandler)
	case errors.Is(err, layout.ErrNotFound) && !errors.Is(err, layout.ErrCorrupt):
		(&failure{http.StatusNotFound, code, "not in this registry"}).answer(w, r)
		return
	}
	if h.o.Failed != nil {
		h.o.Failed(err)
	}
	h.broken(w, r, err).answer(w, r)
}

// broken says what of an error of the registry's own a client is told, so that it knows
// whether to try again.
func (h *Handler) broken(w http.ResponseWriter, r *http.Request, err error) *failure {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &failure{http.StatusInsufficientStorage, codeUnknown, "the registry's disk is full; nothing of this request was stored"}
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		w.Header().Set("Retry-After", retryAfter)
		return &failure{http.StatusServiceUnavailable, codeUnavailable, "the registry has too many files open; try again"}
	case reads:
		return &failure{http.StatusInternalServerError, codeUnknown, "the registry cannot read this; its log says why"}
	}
	return &failure{http.StatusInternalServerError, codeUnknown, "the registry could not do this; its log says why"}
}
