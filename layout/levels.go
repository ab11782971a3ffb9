package layout

import (
	"github.com/opencontainers/go-digest"
)

// levels sorts manifests so that each comes after its children and its subject.
// References by digest cannot form a circle, so this ends.
func (g *Graph) levels() [][]*Node {
	nodes := g.Manifests()
	waits := make(map[digest.Digest]int, len(nodes))
	unblocks := map[digest.Digest][]*Node{}
	var ready []*Node
	for _, n := range nodes {
		var deps []digest.Digest
		for _, c := range n.Children {
			deps = append(deps, c.Digest)
		}
		if n.Subject != "" {
			deps = append(deps, n.Subject)
		}
		for _, d := range deps {
			if g.Nodes[d] != nil {
				waits[n.Descriptor.Digest]++
				unblocks[d] = append(unblocks[d], n)
			}
		}
		if waits[n.Descriptor.Digest] == 0 {
			ready = append(ready, n)
		}
	}
	var out [][]*Node
	for len(ready) > 0 {
		out = append(out, ready)
		var next []*Node
		for _, n := range ready {
			for _, u := range unblocks[n.Descriptor.Digest] {
				if waits[u.Descriptor.Digest]--; waits[u.Descriptor.Digest] == 0 {
					next = append(next, u)
				}
			}
		}
		ready = next
	}
	return out
}
