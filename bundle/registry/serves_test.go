package registry

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A registry has a blob if it gives it; only a plain "not found" says that it has not.
func TestServes(t *testing.T) {
	data, blob := blobOf(10)
	for name, c := range map[string]struct {
		status  int
		body    string
		is, bad bool
	}{
		"there": {200, string(data), true, false}, "of another size": {200, string(data) + "x", false, false}, "not there": {404, "", false, false},
		"denied": {403, "", false, true}, "broken": {500, "", false, true}, "gone elsewhere": {302, "", false, true},
	} {
		h := func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}
		is, err := clientFor(t, http.HandlerFunc(h)).Serves(t.Context(), repo, blob)
		if is != c.is || (err != nil) != c.bad {
			t.Errorf("%s: %v, %v", name, is, err)
		}
	}
	blob.Digest = "sha256:x"
	if _, err := clientFor(t, &fake{}).Serves(t.Context(), repo, blob); err == nil {
		t.Error("an odd digest: no error")
	}
}

// Whoever may only read can ask: the token that is wanted allows no more.
func TestServesReads(t *testing.T) {
	data, blob := blobOf(10)
	var scopes []string
	h := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/token":
			scopes = append(scopes, r.URL.Query()["scope"]...)
			fmt.Fprint(w, `{"token":"t"}`)
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+r.Host+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			_, _ = w.Write(data)
		}
	}
	is, err := clientFor(t, http.HandlerFunc(h)).Serves(t.Context(), repo, blob)
	if !is || err != nil {
		t.Fatalf("Serves = %v, %v", is, err)
	}
	if text := strings.Join(scopes, " "); !strings.Contains(text, "pull") || strings.Contains(text, "push") {
		t.Errorf("it asked for a token that allows %q", text)
	}
}
