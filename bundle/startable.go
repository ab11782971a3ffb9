package bundle

import (
	"context"
	"fmt"

	"airgap/bundle/custody"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// reasonUnjudged is why an attachment is in quarantine.
const reasonUnjudged = "it is attached to an image that passed, no policy judged it, and an engine could start it"

// quarantines is a sink that can keep what it does not serve; see store.Session.
type quarantines interface {
	HoldBack(repo string, dgst digest.Digest, reason string) (bool, error)
}

// quarantineUnjudged has unjudged attachments quarantined, where the destination can:
// what comes because it is attached to an image, and could be started itself. What the
// destination serves already stays so.
func (i *importing) quarantineUnjudged(ctx context.Context) error {
	q, ok := i.dst.(quarantines)
	if !ok || i.report == nil {
		return nil
	}
	all, err := i.unjudged(ctx)
	if err != nil {
		return i.damaged(err)
	}
	if len(all) == 0 {
		return nil
	}
	absences := i.absences()
	for _, a := range all {
		repo := i.to.repos[a.Repository]
		reason := reasonUnjudged + ": " + a.why
		held, err := q.HoldBack(repo, a.Digest, reason)
		if err != nil {
			return err
		}
		if !held {
			continue
		}
		ref := layout.Reference{Repository: repo, Digest: a.Digest}
		i.notes = append(i.notes, fmt.Sprintf("%s is in quarantine: %s", ref, reason))
		if i.o.Memory == nil {
			continue
		}
		e := i.entry(custody.Quarantine)
		e.Reference, e.Digest, e.Result, e.Reason = ref.String(), a.Digest, "", reason
		if e.Absent, err = absences.from(ctx, repo, i.g.Nodes[a.Digest].Descriptor); err != nil {
			return i.damaged(err)
		}
		if err := i.logEntry(e); err != nil {
			return err
		}
	}
	return nil
}

// startable is a manifest that is only attached to something, and could be started.
type startable struct {
	layout.Place
	why string
}

// unjudged lists the attachments of g that could be started, and that nothing contains
// that passed.
func (i *importing) unjudged(ctx context.Context) ([]startable, error) {
	return i.startableBeside(ctx, i.g, &i.starts, i.g.Roots)
}

// startableBeside lists what could be started in g and belongs to none of some images.
func (b *Bundle) startableBeside(ctx context.Context, g *layout.Graph, starts *layout.Inspector, images []layout.Name) ([]startable, error) {
	contained := containedIn(g, images)
	var out []startable
	for _, p := range g.Places {
		if contained[spot{p.Repository, p.Digest}] {
			continue
		}
		why, err := g.Startable(ctx, b.source, starts, p.Repository, p.Digest)
		if err != nil {
			return nil, err
		}
		if why != "" {
			out = append(out, startable{p, why})
		}
	}
	return out, nil
}

// containedIn is what images consist of: themselves, and of an index its children.
func containedIn(g *layout.Graph, images []layout.Name) map[spot]bool {
	out := map[spot]bool{}
	for _, n := range images {
		for todo := []digest.Digest{n.Descriptor.Digest}; len(todo) > 0; todo = todo[1:] {
			at := spot{n.Reference.Repository, todo[0]}
			if n := g.Nodes[at.digest]; n != nil && !out[at] {
				out[at] = true
				for _, c := range n.Children {
					todo = append(todo, c.Digest)
				}
			}
		}
	}
	return out
}
