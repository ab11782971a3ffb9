package serve

import (
	"net/http"
	"slices"
	"strings"

	"airgap/store/serve/access"
)

// actions says what each method does to each kind of path, and so which right it
// needs. What is not here is not served.
var actions = map[string]map[string]access.Action{
	kindManifests: {
		http.MethodGet: access.Pull, http.MethodHead: access.Pull,
		http.MethodPut: access.Push, http.MethodDelete: access.Delete,
	},
	kindBlobs: {
		http.MethodGet: access.Pull, http.MethodHead: access.Pull, http.MethodDelete: access.Delete,
	},
	kindUploads: {http.MethodPost: access.Push},
	kindUpload: {
		http.MethodGet: access.Push, http.MethodHead: access.Push, http.MethodPatch: access.Push,
		http.MethodPut: access.Push, http.MethodDelete: access.Push, // of one's own upload
	},
	kindTags:      {http.MethodGet: access.Pull, http.MethodHead: access.Pull},
	kindReferrers: {http.MethodGet: access.Pull, http.MethodHead: access.Pull},
	// These two are about no repository: each entry of the catalog is one to pull.
	kindBase:    {http.MethodGet: access.Pull, http.MethodHead: access.Pull},
	kindCatalog: {http.MethodGet: access.Pull, http.MethodHead: access.Pull},
}

// action looks up what a request does.
func action(w http.ResponseWriter, method, kind string) (access.Action, *failure) {
	a, ok := actions[kind][method]
	if ok {
		return a, nil
	}
	var all []string
	for m := range actions[kind] {
		all = append(all, m)
	}
	slices.Sort(all)
	w.Header().Set("Allow", strings.Join(all, ", "))
	return 0, &failure{http.StatusMethodNotAllowed, codeUnsupported, "this cannot be done here"}
}

// content is what whoever asks sees of a repository.
func (h *Handler) content(a asked) Content {
	if h.o.Pending != nil && a.by.Known() && h.o.Guard.May(a.by, access.Push, a.repo) {
		return h.o.Pending
	}
	return h.c
}
