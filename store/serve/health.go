package serve

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"airgap/layout"
)

// What is asked of the server itself. Nobody needs a name for that.
const (
	kindLive   = "livez"
	kindReady  = "readyz"
	kindHealth = "healthz"
)

var healthKinds = []string{kindLive, kindReady, kindHealth}

// health looks for what nobody has, to see whether looking works.
func (h *Handler) health(w http.ResponseWriter, r *http.Request, kind string) *failure {
	if kind == kindReady && h.o.Drain.Draining() {
		return &failure{http.StatusServiceUnavailable, codeUnknown, "the registry is about to stop"}
	}
	if kind == kindReady {
		h.uploads.expire(h.uploads.idle) // who asks comes again and again
		if p, ok := h.o.Pusher.(interface{ Ready() error }); ok && p.Ready() != nil {
			h.failed(w, r, codeUnknown, p.Ready())
			return nil
		}
	}
	if kind != kindLive {
		_, err := h.c.Resolve(r.Context(), layout.Reference{Repository: "localhost/healthz", Tag: "healthz"})
		if err != nil && !errors.Is(err, layout.ErrNotFound) {
			h.failed(w, r, codeUnknown, err)
			return nil
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader([]byte("ok\n")))
	return nil
}
