package layout

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// trim keeps of a descriptor what pins content; annotations and URLs are hearsay
// and would only take memory.
func trim(d Descriptor) Descriptor {
	return Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// listing is a child as an index lists it.
type listing struct {
	Descriptor               // trimmed, with its platform
	buildkit   bool          // says that it is a BuildKit attestation
	about      digest.Digest // of what
	elsewhere  bool          // its descriptor has data or urls
}

func newListing(d Descriptor) listing {
	l := listing{Descriptor: trim(d), elsewhere: isElsewhere(d)}
	l.Platform = d.Platform
	if d.Annotations[AnnotationBuildKitType] == BuildKitAttestation {
		l.buildkit = true
		l.about, _ = ParseDigest(d.Annotations[AnnotationBuildKitSubject]) // "" if it is none
	}
	return l
}

// isElsewhere says whether a descriptor embeds its content or says where else it is.
func isElsewhere(d Descriptor) bool { return d.Data != nil || len(d.URLs) > 0 }

// load fetches a manifest from the repository of t, and reads it.
func (w *walker) load(ctx context.Context, t task) (*load, error) {
	w.mu.Lock()
	l, s := w.loads[t.desc.Digest], w.spots[placeKey{t.repo, t.desc.Digest}]
	if l == nil {
		l = &load{}
		w.loads[t.desc.Digest] = l
	}
	if s == nil {
		s = &spot{Place: Place{Repository: t.repo, Digest: t.desc.Digest}}
		w.spots[placeKey{t.repo, t.desc.Digest}] = s
	}
	w.mu.Unlock()
	s.once.Do(func() {
		if s.err = w.read(ctx, t, l); s.err == nil {
			s.absent, s.err = w.absentOpaque(ctx, t, l)
		}
	})
	if s.err != nil {
		return nil, s.err
	}
	if d := l.node.Descriptor; d.MediaType != t.desc.MediaType || d.Size != t.desc.Size {
		return nil, fmt.Errorf("described as %s of %d bytes here and as %s of %d bytes elsewhere: %w",
			t.desc.MediaType, t.desc.Size, d.MediaType, d.Size, ErrCorrupt)
	}
	return l, nil
}

// read fetches a manifest, and parses it if no other repository had it.
func (w *walker) read(ctx context.Context, t task, l *load) error {
	if !IsManifest(t.desc.MediaType) {
		return fmt.Errorf("media type %.100q is no manifest: %w", t.desc.MediaType, ErrUnsupported)
	}
	weight := min(max(t.desc.Size, 0), MaxManifestsAtOnce)
	if err := w.room.Acquire(ctx, weight); err != nil {
		return err
	}
	defer w.room.Release(weight)
	rc, err := w.src.Open(ctx, t.repo, t.desc)
	if err != nil {
		return err
	}
	raw, err := ReadAll(rc, t.desc)
	if err != nil {
		return err
	}
	l.once.Do(func() { l.err = w.parse(t, raw, l) })
	return l.err
}

func (w *walker) parse(t task, raw []byte, l *load) error {
	m, err := ParseManifest(t.desc, raw)
	if err != nil {
		return err
	}
	n := &Node{Descriptor: trim(t.desc), Kind: KindOf(m), HasConfig: m.Config != nil, Image: HasImageTypes(m)}
	w.mu.Lock()
	defer w.mu.Unlock()
	n.Descriptor.ArtifactType = w.intern(m.ArtifactType)
	if m.Subject != nil {
		n.Subject = digest.Digest(w.intern(string(m.Subject.Digest)))
	}
	n.Blobs = make([]Blob, 0, len(m.Layers)+1)
	for _, d := range m.Blobs() {
		b := Blob{w.intern(d.MediaType), digest.Digest(w.intern(string(d.Digest))), d.Size}
		if IsIndex(m.MediaType) {
			l.opaque = append(l.opaque, opaqueListing{b, isElsewhere(d)})
		}
		if w.opt.SkipForeign && isForeign(b.MediaType) {
			l.skip = append(l.skip, b)
			continue
		}
		n.Blobs = append(n.Blobs, b)
	}
	for _, c := range m.Manifests {
		c.MediaType = w.intern(c.MediaType)
		l.listed = append(l.listed, newListing(c))
	}
	if w.opt.Keep && w.kept+int64(len(raw)) <= MaxManifestsKept {
		w.kept += int64(len(raw))
		n.raw = raw
	}
	l.node = n
	return nil
}

// intern makes equal strings share their memory: a graph names the same types
// and digests over and over. w.mu is held.
func (w *walker) intern(s string) string {
	if t, ok := w.interned[s]; ok {
		return t
	}
	w.interned[s] = s
	return s
}

// children queues what an index lists, as far as it is wanted.
func (w *walker) children(t task, l *load) ([]task, error) {
	var out []task
	images := len(l.listed) == 0
	chosen := w.choose(t, l)
	for i, d := range l.listed {
		if chosen[i] {
			images = images || !d.buildkit
			c := trim(d.Descriptor)
			out = append(out, task{repo: t.repo, desc: c, depth: t.depth + 1, filter: t.filter, parent: t.desc.Digest})
		}
	}
	if !images && t.parent == "" && t.filter {
		return nil, w.noPlatform(t.repo, t.desc.Digest, w.offered(l))
	}
	return out, nil
}
