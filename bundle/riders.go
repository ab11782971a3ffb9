package bundle

import (
	"fmt"

	"airgap/bundle/custody"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// reasonRider is why a rider is in quarantine.
const reasonRider = "it is attached to an image that passed, and could be started itself, which no policy has judged"

// holdRiders has riders come into quarantine, where the destination has one: images and
// indexes that come in because they are attached to something, and that no verdict is
// about. What the destination gives out already stays so.
func (i *importing) holdRiders() error {
	q, ok := i.dst.(interface {
		HoldBack(repo string, dgst digest.Digest, reason string) (bool, error)
	})
	if !ok || i.report == nil {
		return nil
	}
	for _, p := range riders(i.g) {
		repo := i.to.repos[p.Repository]
		held, err := q.HoldBack(repo, p.Digest, reasonRider)
		if err != nil {
			return err
		}
		if !held {
			continue
		}
		ref := layout.Reference{Repository: repo, Digest: p.Digest}
		i.notes = append(i.notes, fmt.Sprintf("%s is in quarantine: %s", ref, reasonRider))
		if i.o.Memory == nil {
			continue
		}
		e := i.entry(custody.Quarantine)
		e.Reference, e.Digest, e.Result, e.Reason = ref.String(), p.Digest, "", reasonRider
		if err := i.logEntry(e); err != nil {
			return err
		}
	}
	return nil
}

// riders are the places of what can be started and that no root contains.
func riders(g *layout.Graph) []layout.Place {
	type spot struct {
		repo   string
		digest digest.Digest
	}
	contained := map[spot]bool{}
	for _, root := range g.Roots {
		for todo := []digest.Digest{root.Descriptor.Digest}; len(todo) > 0; todo = todo[1:] {
			at := spot{root.Reference.Repository, todo[0]}
			if n := g.Nodes[at.digest]; n != nil && !contained[at] {
				contained[at] = true
				for _, c := range n.Children {
					todo = append(todo, c.Digest)
				}
			}
		}
	}
	var out []layout.Place
	for _, p := range g.Places {
		n := g.Nodes[p.Digest]
		if (n.Runnable || layout.IsIndex(n.Descriptor.MediaType)) && !contained[spot{p.Repository, p.Digest}] {
			out = append(out, p)
		}
	}
	return out
}
