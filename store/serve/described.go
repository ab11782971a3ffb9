package serve

import (
	"net/http"
	"sync"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// maxDescribed is how much is remembered of what manifests say of themselves, in bytes
// of JSON.
const maxDescribed = 4 << 20

// described remembers what referrers say of themselves, so that a list of them is made
// without reading and hashing each. What has a digest never says anything else; whether
// somebody may see it is not asked here.
type described struct {
	mu    sync.Mutex
	all   map[describedKey]referrer
	bytes int
}

// describedKey has the media type, since manifests are read by that.
type describedKey struct {
	digest    digest.Digest
	mediaType string
}

// referrer is how a list of referrers has it.
type referrer struct {
	layout.Descriptor     // its annotations are shared, and not to be changed
	bytes             int // of JSON
}

// referrer describes a manifest by what it says of itself.
func (h *Handler) referrer(r *http.Request, c Content, repo string, d layout.Descriptor) (referrer, error) {
	if known, ok := h.described.find(d); ok {
		return known, nil
	}
	full, err := read(r, c, repo, d)
	if err != nil {
		return referrer{}, err
	}
	out := referrer{full, jsonSize(full)}
	h.described.add(out)
	return out, nil
}

func (m *described) find(d layout.Descriptor) (referrer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out, ok := m.all[describedKey{d.Digest, d.MediaType}]
	return out, ok && out.Size == d.Size
}

// add forgets everything once there is too much of it: what is asked for often is soon
// there again.
func (m *described) add(r referrer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := describedKey{r.Digest, r.MediaType}
	if _, ok := m.all[k]; ok || r.bytes > maxDescribed {
		return
	}
	if m.bytes += r.bytes; m.all == nil || m.bytes > maxDescribed {
		m.all, m.bytes = map[describedKey]referrer{}, r.bytes
	}
	m.all[k] = r
}
