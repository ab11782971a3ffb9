package layout

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// Layers returns the blobs that are no metadata, each once, sorted by digest: those
// that stand at the end of a bundle. A blob that is a config, or belongs to something
// attached, is none of them, even if an image has it as a layer too.
func (g *Graph) Layers() []Blob {
	var out []Blob
	for _, e := range blobEntries(g, g.Manifests()) {
		if e.Layer {
			out = append(out, e.Blob)
		}
	}
	return out
}

// Without returns the graph as a bundle holds it that does not carry these layers:
// the same manifests, which list the same, and are said to need less. An image that
// lacks a layer is not runnable there. What is no layer is not left out.
func (g *Graph) Without(layers map[digest.Digest]bool) *Graph {
	if len(layers) == 0 {
		return g
	}
	gone := map[digest.Digest]bool{}
	for _, l := range g.Layers() {
		if layers[l.Digest] {
			gone[l.Digest] = true
		}
	}
	if len(gone) == 0 {
		return g
	}
	out := *g
	out.Nodes = make(map[digest.Digest]*Node, len(g.Nodes))
	for d, n := range g.Nodes {
		if slices.ContainsFunc(n.Blobs, func(b Blob) bool { return gone[b.Digest] }) {
			less := *n
			less.Image = false
			less.Blobs = slices.DeleteFunc(slices.Clone(n.Blobs), func(b Blob) bool { return gone[b.Digest] })
			n = &less
		}
		out.Nodes[d] = n
	}
	return &out
}
