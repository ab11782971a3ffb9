package serve

import (
	"errors"
	"net/http"
	"slices"

	"airgap/store/serve/access"
)

// retryAfter is in how many seconds to try again what was too much at once.
const retryAfter = "1"

// identify says who a request is from, or how to answer it.
func (h *Handler) identify(w http.ResponseWriter, r *http.Request) (access.User, *failure) {
	u, err := h.o.Guard.Identify(r)
	switch {
	case err == nil:
		return u, nil
	case errors.Is(err, access.ErrBusy):
		w.Header().Set("Retry-After", retryAfter)
		return u, &failure{http.StatusTooManyRequests, codeTooMany, "too many passwords are being checked; try again"}
	}
	h.challenge(w)
	return u, &failure{http.StatusUnauthorized, codeUnauthorized, "wrong name or password"}
}

// allow says how to answer somebody who may not do that with a repository. It looks at
// nothing that is stored, so that the answer does not tell what there is.
func (h *Handler) allow(w http.ResponseWriter, u access.User, do access.Action, repo string) *failure {
	if h.o.Guard.May(u, do, repo) {
		return nil
	}
	return h.deny(w, u)
}

// welcome says how to answer somebody who may do nothing.
func (h *Handler) welcome(w http.ResponseWriter, u access.User) *failure {
	if !u.Known() {
		// Also where nobody needs a name (RFC 9110, 11.6.1): a client that has one
		// should send it.
		h.challenge(w)
	}
	if h.o.Guard.Welcome(u) {
		return nil
	}
	return h.deny(w, u)
}

func (h *Handler) deny(w http.ResponseWriter, u access.User) *failure {
	if u.Known() {
		return &failure{http.StatusForbidden, codeDenied, "this user may not do that here"}
	}
	h.challenge(w)
	return &failure{http.StatusUnauthorized, codeUnauthorized, "log in first"}
}

func (h *Handler) challenge(w http.ResponseWriter) {
	if c := h.o.Guard.Challenge(); c != "" {
		w.Header().Set("WWW-Authenticate", c)
	}
}

// pullable leaves of repositories those that u may pull from.
func (h *Handler) pullable(u access.User, repos []string) []string {
	if h.o.Guard == nil {
		return repos
	}
	return slices.DeleteFunc(slices.Clone(repos), func(repo string) bool { return !h.o.Guard.May(u, access.Pull, repo) })
}
