package layout

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// WithoutAttached returns what the roots lead to if some of what is attached is not
// followed: the manifests for which out is true, in the repositories where it is. What one
// of them alone leads to is not in it either. A root, and what an index contains, stays.
func (g *Graph) WithoutAttached(out func(repo string, dgst digest.Digest) bool) *Graph {
	kept := map[placeKey]bool{}
	var todo []placeKey
	visit := func(k placeKey) {
		if _, here := g.Place(k.repo, k.digest); here && !kept[k] {
			kept[k] = true
			todo = append(todo, k)
		}
	}
	for _, n := range g.Roots {
		visit(placeKey{n.Reference.Repository, n.Descriptor.Digest})
	}
	for ; len(todo) > 0; todo = todo[1:] {
		at := todo[0]
		for _, c := range g.Nodes[at.digest].Children {
			visit(placeKey{at.repo, c.Digest})
		}
		p, _ := g.Place(at.repo, at.digest)
		for _, e := range p.Attached {
			if !out(at.repo, e.Digest) {
				visit(placeKey{at.repo, e.Digest})
			}
		}
	}
	return g.only(kept)
}

// only is the part of g that is in some places.
func (g *Graph) only(kept map[placeKey]bool) *Graph {
	less := &Graph{Roots: g.Roots, Unmatched: g.Unmatched, Nodes: map[digest.Digest]*Node{}}
	for _, p := range g.Places {
		if !kept[placeKey{p.Repository, p.Digest}] {
			continue
		}
		p.Attached = slices.DeleteFunc(slices.Clone(p.Attached), func(e Edge) bool { return !kept[placeKey{p.Repository, e.Digest}] })
		less.Places = append(less.Places, p)
		if less.Nodes[p.Digest] == nil {
			n := *g.Nodes[p.Digest]
			n.Repository = p.Repository
			less.Nodes[p.Digest] = &n
		}
	}
	for _, n := range less.Nodes {
		n.Children = slices.DeleteFunc(slices.Clone(n.Children), func(c Child) bool { return less.Nodes[c.Digest] == nil })
	}
	for _, n := range g.Tags {
		if kept[placeKey{n.Reference.Repository, n.Descriptor.Digest}] {
			less.Tags = append(less.Tags, n)
		}
	}
	for _, o := range g.Omitted {
		if kept[placeKey{o.Repository, o.Parent}] {
			less.Omitted = append(less.Omitted, o)
		}
	}
	for _, r := range g.Rejected {
		if r.Subject == "" || kept[placeKey{r.Repository, r.Subject}] {
			less.Rejected = append(less.Rejected, r)
		}
	}
	return less
}
