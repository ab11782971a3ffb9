package layout

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// graph puts the result in order.
func (w *walker) graph() (*Graph, error) {
	g := &Graph{Nodes: make(map[digest.Digest]*Node, w.count), Tags: w.tags, Rejected: w.rejected}
	for _, s := range w.spots {
		if s.entered {
			s.Attached = mergeForms(s.Attached)
			g.Places = append(g.Places, s.Place)
		}
	}
	slices.SortFunc(g.Places, comparePlaces)
	for _, p := range g.Places {
		l := w.loads[p.Digest]
		if g.Nodes[p.Digest] == nil {
			l.node.Repository = p.Repository
			g.Nodes[p.Digest] = l.node
		}
	}
	w.link(g)
	w.heldOpaque(g)
	g.sort()
	err := g.setRoots(w.roots)
	g.markBuildKit()
	for _, check := range []func(*Graph) error{(*Graph).checkTags, (*Graph).checkSizes} {
		if err == nil {
			err = check(g)
		}
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// sort orders tags and rejections, each once.
func (g *Graph) sort() {
	slices.SortFunc(g.Tags, func(a, b Name) int {
		return cmp.Or(cmp.Compare(a.Reference.String(), b.Reference.String()), cmp.Compare(a.Descriptor.Digest, b.Descriptor.Digest))
	})
	g.Tags = slices.CompactFunc(g.Tags, func(a, b Name) bool {
		return a.Reference == b.Reference && a.Descriptor.Digest == b.Descriptor.Digest
	})
	slices.SortFunc(g.Rejected, func(a, b Rejection) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Subject, b.Subject),
			cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Form, b.Form), cmp.Compare(a.Reason, b.Reason))
	})
	g.Rejected = slices.Compact(g.Rejected)
}

// mergeForms puts the forms by which a manifest is attached into one edge.
func mergeForms(all []Edge) []Edge {
	slices.SortFunc(all, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Forms[0], b.Forms[0]))
	})
	var out []Edge
	for _, e := range all {
		last := len(out) - 1
		if last < 0 || out[last].Digest != e.Digest {
			out = append(out, e)
		} else if forms := out[last].Forms; forms[len(forms)-1] != e.Forms[0] {
			out[last].Forms = append(forms, e.Forms[0])
		}
	}
	return slices.Clip(out)
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
				Err:  fmt.Errorf("one name was given for two digests, the other is %s: %w", d, ErrUnsupported),
				Hint: "take one of them by its digest: of a layout as in oci:DIR#" + string(d) + ", of a registry as in REPOSITORY@" + string(d)}
		}
	}
	return nil
}

// checkTags refuses a cosign tag that stands for two manifests, as from two
// sources of one repository: one of them would get lost.
func (g *Graph) checkTags() error {
	byName := map[string]digest.Digest{}
	for _, n := range g.Names() {
		name := n.Reference.Name()
		if d, ok := byName[name]; ok && d != n.Descriptor.Digest {
			return &Error{Side: SideSource, Name: name, Digest: n.Descriptor.Digest,
				Err:  fmt.Errorf("the tag stands for two manifests, the other is %s: %w", d, ErrUnsupported),
				Hint: "take the repository from one of the sources only"}
		}
		byName[name] = n.Descriptor.Digest
	}
	return nil
}

// checkSizes refuses content that two manifests describe with different sizes:
// one of them cannot be true, and a bundle has one place for it.
func (g *Graph) checkSizes() error {
	sizes := make(map[digest.Digest]int64, len(g.Nodes))
	for d, n := range g.Nodes {
		sizes[d] = n.Descriptor.Size
	}
	for _, n := range g.Manifests() {
		for _, b := range n.Blobs {
			if size, ok := sizes[b.Digest]; ok && size != b.Size {
				return &Error{Side: SideSource, Name: n.Repository, Digest: n.Descriptor.Digest,
					Err: fmt.Errorf("it says that %s has %d bytes, another manifest says %d: %w", b.Digest, b.Size, size, ErrCorrupt)}
			}
			sizes[b.Digest] = b.Size
		}
	}
	return nil
}

// markBuildKit names what indexes list as an attestation of BuildKit's and as
// nothing else. Its own manifest does not say so; and a root, or what any index
// lists as an image, does not become one by the word of another index.
func (g *Graph) markBuildKit() {
	plain := map[digest.Digest]bool{}
	for _, n := range g.Roots {
		plain[n.Descriptor.Digest] = true
	}
	for _, n := range g.Nodes {
		for _, c := range n.Children {
			plain[c.Digest] = plain[c.Digest] || !c.BuildKit
		}
	}
	for _, n := range g.Nodes {
		for _, c := range n.Children {
			if c.BuildKit && !plain[c.Digest] {
				g.Nodes[c.Digest].Kind = KindBuildKit
			}
		}
	}
}

// link sets each index's children and lists what was left out of which
// repository.
func (w *walker) link(g *Graph) {
	absent := map[placeKey]bool{}
	for _, o := range w.missing {
		absent[placeKey{o.Repository, o.Descriptor.Digest}] = true
	}
	for _, n := range g.Manifests() {
		for _, d := range w.loads[n.Descriptor.Digest].listed {
			if g.Nodes[d.Digest] != nil {
				n.Children = append(n.Children, Child{d.Digest, d.Platform, d.buildkit, d.about})
			}
		}
	}
	for _, p := range g.Places {
		l := w.loads[p.Digest]
		for _, d := range l.listed {
			at := placeKey{p.Repository, d.Digest}
			if s := w.spots[at]; s != nil && s.entered {
				continue
			}
			o := Omission{p.Repository, p.Digest, d.Descriptor, ReasonPlatform, d.elsewhere}
			if absent[at] {
				o.Reason = ReasonAbsent
			}
			g.Omitted = append(g.Omitted, o)
		}
		lacks := w.spots[placeKey{p.Repository, p.Digest}].absent
		for _, o := range l.opaque {
			if asManifest, gone := lacks[o.Digest]; gone {
				g.Omitted = append(g.Omitted, Omission{p.Repository, p.Digest, o.Descriptor(), ReasonAbsent, asManifest || o.elsewhere})
			}
		}
		for _, b := range l.skip {
			if _, gone := lacks[b.Digest]; !gone {
				g.Omitted = append(g.Omitted, Omission{p.Repository, p.Digest, b.Descriptor(), ReasonForeign, false})
			}
		}
	}
}
