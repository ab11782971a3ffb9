package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"airgap/layout"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxReferrersBytes is how long a list of referrers gets before it goes on under
// another address: as long as clients take manifests to be (distribution-spec 1.1,
// "Pushing Manifests").
const maxReferrersBytes = layout.MaxManifestBytes - 4<<10

func writeJSON(w http.ResponseWriter, r *http.Request, mediaType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		(&failure{http.StatusInternalServerError, codeUnknown, "no JSON"}).answer(w, r)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// next says where a list goes on (RFC 8288).
func next(w http.ResponseWriter, path string, q url.Values) {
	w.Header().Set("Link", "<"+path+"?"+q.Encode()+`>; rel="next"`)
}

// page is a part of a sorted list, as asked for with n and last.
func page(w http.ResponseWriter, u *url.URL, path string, all []string) ([]string, *failure) {
	q := u.Query()
	if q.Has("last") {
		i, found := slices.BinarySearch(all, q.Get("last"))
		if found {
			i++
		}
		all = all[i:]
	}
	if all == nil {
		all = []string{} // null is no list
	}
	if !q.Has("n") {
		return all, nil
	}
	n, err := strconv.ParseUint(q.Get("n"), 10, 31)
	if err != nil {
		return nil, &failure{http.StatusBadRequest, codeUnsupported, "n is no number of entries"}
	}
	if n >= uint64(len(all)) {
		return all, nil
	}
	all = all[:n]
	if n > 0 {
		on := url.Values{"n": {strconv.FormatUint(n, 10)}, "last": {all[n-1]}}
		if q.Has("ns") {
			on.Set("ns", q.Get("ns"))
		}
		next(w, path, on)
	}
	return all, nil
}

func (h *Handler) tags(w http.ResponseWriter, r *http.Request, a asked) {
	all, err := h.content(a).Tags(r.Context(), a.repo)
	if err != nil {
		h.failed(w, r, codeNameUnknown, err)
		return
	}
	tags, f := page(w, r.URL, "/v2/"+a.name+"/tags/list", all)
	if f != nil {
		f.answer(w, r)
		return
	}
	writeJSON(w, r, "application/json", struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{a.name, tags})
}

// catalog lists the repositories that whoever asks may pull from, by the names that
// paths have. One without such a name is reached with ns alone, and left out.
func (h *Handler) catalog(w http.ResponseWriter, r *http.Request, a asked) {
	all, err := h.c.Repositories(r.Context())
	if err != nil {
		h.failed(w, r, codeNameUnknown, err)
		return
	}
	var names []string
	for _, repo := range h.pullable(a.by, all) {
		if name := Name(repo); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names, f := page(w, r.URL, "/v2/_catalog", names)
	if f != nil {
		f.answer(w, r)
		return
	}
	writeJSON(w, r, "application/json", struct {
		Repositories []string `json:"repositories"`
	}{names})
}

// referrers lists what has a subject field that points here. What has to be said of
// each comes from its own bytes.
func (h *Handler) referrers(w http.ResponseWriter, r *http.Request, a asked) {
	c := h.content(a)
	found, err := c.Referrers(r.Context(), a.repo, a.digest)
	if err != nil {
		h.failed(w, r, codeManifestUnknown, err)
		return
	}
	q := r.URL.Query()
	wanted := q.Get("artifactType")
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: layout.MediaTypeIndex, Manifests: []layout.Descriptor{}}
	size := 0
	for _, d := range found {
		if string(d.Digest) <= q.Get("last") {
			continue
		}
		full, err := h.referrer(r, c, a.repo, d)
		if errors.Is(err, layout.ErrNotFound) && !errors.Is(err, layout.ErrCorrupt) {
			continue // it was taken away meanwhile; 404 would mean that there are no lists
		}
		if err != nil {
			h.failed(w, r, codeManifestUnknown, err)
			return
		}
		if wanted != "" && full.ArtifactType != wanted {
			continue
		}
		if size += full.bytes; size > maxReferrersBytes && len(index.Manifests) > 0 {
			q.Set("last", string(index.Manifests[len(index.Manifests)-1].Digest))
			next(w, "/v2/"+a.name+"/referrers/"+string(a.digest), q)
			break
		}
		index.Manifests = append(index.Manifests, full.Descriptor)
	}
	if wanted != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	writeJSON(w, r, layout.MediaTypeIndex, index)
}

func jsonSize(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return maxReferrersBytes
	}
	return len(b) + 1
}

// read describes a referrer by what it says of itself.
func read(r *http.Request, c Content, repo string, d layout.Descriptor) (layout.Descriptor, error) {
	data, err := c.Manifest(r.Context(), repo, d)
	if err != nil {
		return d, err
	}
	m, err := layout.ParseManifest(d, data)
	if err != nil {
		return d, err
	}
	return layout.Descriptor{
		MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		ArtifactType: m.ArtifactType, Annotations: m.Annotations,
	}, nil
}
