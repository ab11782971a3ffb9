package layout

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// trim keeps of a descriptor what pins content; annotations and URLs are hearsay
// and would only take memory.
func trim(d Descriptor) Descriptor {
	return Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

func (w *walker) load(ctx context.Context, t task) (*load, error) {
	w.mu.Lock()
	l := w.loads[t.desc.Digest]
	if l == nil {
		l = &load{}
		w.loads[t.desc.Digest] = l
	}
	w.mu.Unlock()
	l.once.Do(func() { l.err = l.read(ctx, w.src, t, w.opt) })
	if l.err != nil {
		return nil, l.err
	}
	if d := l.node.Descriptor; d.MediaType != t.desc.MediaType || d.Size != t.desc.Size {
		return nil, fmt.Errorf("described as %s of %d bytes here and as %s of %d bytes elsewhere: %w",
			t.desc.MediaType, t.desc.Size, d.MediaType, d.Size, ErrCorrupt)
	}
	return l, nil
}

func (l *load) read(ctx context.Context, src Source, t task, o WalkOptions) error {
	if !IsManifest(t.desc.MediaType) {
		return fmt.Errorf("media type %.100q is no manifest: %w", t.desc.MediaType, ErrUnsupported)
	}
	rc, err := src.Open(ctx, t.repo, t.desc)
	if err != nil {
		return err
	}
	raw, err := ReadAll(rc, t.desc)
	if err != nil {
		return err
	}
	m, err := ParseManifest(t.desc, raw)
	if err != nil {
		return err
	}
	n := &Node{Descriptor: t.desc, Kind: KindOf(m), HasConfig: m.Config != nil}
	n.Descriptor.ArtifactType = m.ArtifactType
	if m.Subject != nil {
		n.Subject = m.Subject.Digest
	}
	for _, b := range m.Blobs() {
		if o.SkipForeign && isForeign(b.MediaType) {
			l.skip = append(l.skip, trim(b))
			continue
		}
		n.Blobs = append(n.Blobs, trim(b))
	}
	if o.Keep {
		n.raw = raw
	}
	l.node, l.listed = n, m.Manifests
	return nil
}

// children queues what an index lists, as far as it is wanted.
func (w *walker) children(t task, l *load) ([]task, error) {
	var out []task
	chosen := w.choose(t, l)
	for i, d := range l.listed {
		w.hint(d)
		if chosen[i] {
			out = append(out, task{repo: t.repo, desc: trim(d), depth: t.depth + 1, filter: t.filter, parent: t.desc.Digest})
		}
	}
	if len(l.listed) > 0 && !slices.Contains(chosen, true) {
		return nil, &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest,
			Err:  fmt.Errorf("the index has no child for %s: %w", platformList(w.opt.Platforms), ErrNotFound),
			Hint: "it has " + offered(l.listed)}
	}
	return out, nil
}

// choose decides child by child. What states no platform (a nested index, an
// artifact) is taken; a BuildKit attestation goes with what it speaks of.
func (w *walker) choose(t task, l *load) []bool {
	out := make([]bool, len(l.listed))
	taken := map[digest.Digest]bool{}
	for i, d := range l.listed {
		if d.Annotations[AnnotationBuildKitType] == BuildKitAttestation {
			continue
		}
		out[i] = !t.filter || len(w.opt.Platforms) == 0 || d.Platform == nil ||
			slices.ContainsFunc(w.opt.Platforms, func(p Platform) bool { return MatchPlatform(p, *d.Platform) })
		taken[d.Digest] = taken[d.Digest] || out[i]
	}
	for i, d := range l.listed {
		if d.Annotations[AnnotationBuildKitType] == BuildKitAttestation {
			about := digest.Digest(d.Annotations[AnnotationBuildKitSubject])
			listed := slices.ContainsFunc(l.listed, func(o Descriptor) bool { return o.Digest == about })
			out[i] = taken[about] || !listed
		}
	}
	return out
}

// hint merges what an index says of a child into it; of several sayings the
// smallest wins, whatever the order.
func (w *walker) hint(d Descriptor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.loads[d.Digest]
	if l == nil {
		l = &load{}
		w.loads[d.Digest] = l
	}
	if d.Platform != nil && (l.platform == nil || FormatPlatform(*d.Platform) < FormatPlatform(*l.platform)) {
		l.platform = d.Platform
	}
	if d.Annotations[AnnotationBuildKitType] == BuildKitAttestation {
		about := digest.Digest(d.Annotations[AnnotationBuildKitSubject])
		if l.buildkit == "" || about < l.buildkit {
			l.buildkit = about
		}
	}
}

// graph puts the result in order.
func (w *walker) graph() (*Graph, error) {
	g := &Graph{Nodes: make(map[digest.Digest]*Node, w.count), Tags: w.tags, Rejected: w.rejected}
	for _, p := range w.places {
		slices.SortFunc(p.Attached, func(a, b Edge) int { return cmp.Compare(a.Digest, b.Digest) })
		for _, e := range p.Attached {
			slices.Sort(e.Forms)
		}
		g.Places = append(g.Places, *p)
	}
	slices.SortFunc(g.Places, comparePlaces)
	for _, p := range g.Places {
		l := w.loads[p.Digest]
		if g.Nodes[p.Digest] == nil {
			l.node.Repository = p.Repository
			l.node.Descriptor.Platform, l.node.BuildKit = l.platform, l.buildkit
			if l.buildkit != "" {
				l.node.Kind = KindBuildKit
			}
			g.Nodes[p.Digest] = l.node
		}
	}
	w.link(g)
	slices.SortFunc(g.Tags, func(a, b Name) int { return cmp.Compare(a.Reference.String(), b.Reference.String()) })
	g.Tags = slices.CompactFunc(g.Tags, func(a, b Name) bool { return a.Reference == b.Reference })
	slices.SortFunc(g.Rejected, func(a, b Rejection) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Subject, b.Subject),
			cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Form, b.Form))
	})
	return g, g.setRoots(w.roots)
}

// setRoots drops names asked for twice, as with and without the digest, and
// refuses one that stands for two manifests.
func (g *Graph) setRoots(roots []Name) error {
	byName := map[string]digest.Digest{}
	for _, n := range roots {
		name := n.Reference.Name()
		switch d, ok := byName[name]; {
		case !ok:
			byName[name] = n.Descriptor.Digest
			g.Roots = append(g.Roots, n)
		case d != n.Descriptor.Digest:
			return &Error{Side: SideSource, Name: name, Digest: n.Descriptor.Digest,
				Err: fmt.Errorf("one name was given for two digests, the other is %s: %w", d, ErrUnsupported)}
		}
	}
	return nil
}

// link sets each index's children and lists what was left out.
func (w *walker) link(g *Graph) {
	for _, n := range g.Manifests() {
		l := w.loads[n.Descriptor.Digest]
		for _, d := range l.listed {
			if g.Nodes[d.Digest] != nil {
				n.Children = append(n.Children, d.Digest)
				continue
			}
			o := Omission{n.Descriptor.Digest, trim(d), ReasonPlatform}
			o.Descriptor.Platform = d.Platform
			if slices.ContainsFunc(w.missing, func(m Omission) bool { return m.Descriptor.Digest == d.Digest }) {
				o.Reason = ReasonAbsent
			}
			g.Omitted = append(g.Omitted, o)
		}
		for _, d := range l.skip {
			g.Omitted = append(g.Omitted, Omission{n.Descriptor.Digest, d, ReasonForeign})
		}
	}
}

// ParsePlatform reads os/arch[/variant].
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return Platform{}, fmt.Errorf("platform %.100q: want os/arch or os/arch/variant, as in linux/arm64", s)
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// FormatPlatform is the inverse of ParsePlatform.
func FormatPlatform(p Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// MatchPlatform says whether got is what want asks for. A wish without a variant
// takes every variant.
func MatchPlatform(want, got Platform) bool {
	return want.OS == got.OS && want.Architecture == got.Architecture &&
		(want.Variant == "" || want.Variant == got.Variant)
}

func platformList(ps []Platform) string {
	var out []string
	for _, p := range ps {
		out = append(out, FormatPlatform(p))
	}
	return strings.Join(out, ", ")
}

func offered(ds []Descriptor) string {
	var ps []Platform
	for _, d := range ds {
		if d.Platform != nil && d.Annotations[AnnotationBuildKitType] == "" {
			ps = append(ps, *d.Platform)
		}
	}
	return platformList(ps)
}
