package store

import (
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// outline is what a manifest leads to.
type outline struct {
	children, blobs []digest.Digest
	opaque          int // how many of the blobs, the last, an index lists as no manifest
	subject         digest.Digest
	image           bool        // it has the types of an image, which can be started
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
	if o := s.outlines.get(d); o != nil {
		return o, nil
	}
	m, err := s.parse(d)
	if err != nil {
		return nil, err
	}
	return s.outlines.put(d, m), nil
}

// Outline is what a manifest leads to, as it says.
type Outline struct {
	Children []digest.Digest // what an index lists, under whatever media type
	Subject  digest.Digest   // may be empty
}

// Outline reads a manifest of repo, and returns what it leads to.
func (j Judged) Outline(ctx context.Context, repo string, d layout.Descriptor) (Outline, error) {
	rc, err := j.Open(ctx, repo, d)
	if err != nil {
		return Outline{}, err
	}
	data, err := layout.ReadAll(rc, d)
	if err != nil {
		return Outline{}, err
	}
	m, err := layout.ParseManifest(d, data)
	if err != nil {
		return Outline{}, err
	}
	return j.outlines.put(d, m).public(), nil
}

// RememberedOutline is like Outline, but reads no manifest twice: that one has been
// damaged since, or is gone, is not noticed.
func (j Judged) RememberedOutline(ctx context.Context, repo string, d layout.Descriptor) (Outline, error) {
	if o := j.outlines.get(d); o != nil {
		return o.public(), nil
	}
	return j.Outline(ctx, repo, d)
}

func (o *outline) public() Outline {
	return Outline{slices.Concat(o.children, o.blobs[len(o.blobs)-o.opaque:]), o.subject}
}

// get returns the outline of a manifest, or nil.
func (l *outlines) get(d layout.Descriptor) *outline {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[outlined{d.Digest, d.MediaType}]
}

// put remembers a manifest whose bytes were checked.
func (l *outlines) put(d layout.Descriptor, m *layout.Manifest) *outline {
	o := &outline{opaque: len(m.Opaque), image: layout.HasImageTypes(m)}
	if m.Subject != nil {
		o.subject = m.Subject.Digest
	}
	for _, c := range m.Manifests {
		o.children = append(o.children, c.Digest)
	}
	for _, b := range m.Blobs() {
		o.blobs = append(o.blobs, b.Digest)
	}
	l.keep(outlined{d.Digest, d.MediaType}, o)
	return o
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
