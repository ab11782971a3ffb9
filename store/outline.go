package store

import (
	"os"
	"sync"
	"sync/atomic"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// outline is what a manifest leads to.
type outline struct {
	children, blobs []digest.Digest
	inert           atomic.Bool // it is known that nothing can be started from it
}

// maxOutlined is how many digests are remembered, about 25 MB of them; then it begins
// anew.
const maxOutlined = 1 << 18

// outlines remembers those of manifests: what is given out of a repository is worked out
// anew whenever the database has changed, and bytes with a digest do not change. The same
// bytes may be read as two types.
type outlines struct {
	mu  sync.Mutex
	all map[outlined]*outline
	n   int
}

type outlined struct {
	digest    digest.Digest
	mediaType string
}

// outline reads a manifest, and checks it, if it is not remembered. What it returns is
// not to be changed, but for inert.
func (s *Store) outline(d layout.Descriptor) (*outline, error) {
	k := outlined{d.Digest, d.MediaType}
	s.outlines.mu.Lock()
	o := s.outlines.all[k]
	s.outlines.mu.Unlock()
	if o != nil {
		return o, nil
	}
	m, err := s.parse(d)
	if err != nil {
		return nil, err
	}
	o = &outline{}
	for _, c := range m.Manifests {
		o.children = append(o.children, c.Digest)
	}
	for _, b := range m.Blobs() {
		o.blobs = append(o.blobs, b.Digest)
	}
	s.outlines.keep(k, o)
	return o, nil
}

func (l *outlines) keep(k outlined, o *outline) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 1 + len(o.children) + len(o.blobs)
	if l.all == nil || l.n+n > maxOutlined {
		l.all, l.n = map[outlined]*outline{}, 0
	}
	if l.all[k] == nil {
		l.all[k] = o
		l.n += n
	}
}

// parse reads a manifest, and checks it.
func (s *Store) parse(d layout.Descriptor) (*layout.Manifest, error) {
	f, err := s.fs.Open(layout.BlobPath(d.Digest), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	data, err := layout.ReadAll(f, d)
	if err != nil {
		return nil, err
	}
	return layout.ParseManifest(d, data)
}
