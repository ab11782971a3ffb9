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

// quarantineUnjudged has unjudged attachments quarantined, where the destination can:
// what comes because it is attached to an image, and could be started itself. What the
// destination serves already stays so.
func (i *importing) quarantineUnjudged(ctx context.Context) error {
	q, ok := i.dst.(interface {
		HoldBack(repo string, dgst digest.Digest, reason string) (bool, error)
	})
	if !ok || i.report == nil {
		return nil
	}
	all, err := i.unjudged(ctx)
	if err != nil {
		return i.damaged(err)
	}
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
		if err := i.logEntry(e); err != nil {
			return err
		}
	}
	return nil
}

// unjudgedAttachment is an attachment that could be started.
type unjudgedAttachment struct {
	layout.Place
	why string
}

// unjudged lists the attachments that could be started and that no root contains.
func (i *importing) unjudged(ctx context.Context) ([]unjudgedAttachment, error) {
	contained := map[spot]bool{}
	for _, root := range i.g.Roots {
		for todo := []digest.Digest{root.Descriptor.Digest}; len(todo) > 0; todo = todo[1:] {
			at := spot{root.Reference.Repository, todo[0]}
			if n := i.g.Nodes[at.digest]; n != nil && !contained[at] {
				contained[at] = true
				for _, c := range n.Children {
					todo = append(todo, c.Digest)
				}
			}
		}
	}
	var out []unjudgedAttachment
	for _, p := range i.g.Places {
		if contained[spot{p.Repository, p.Digest}] {
			continue
		}
		why, err := i.g.Startable(ctx, i.source, &i.starts, p.Repository, p.Digest)
		if err != nil {
			return nil, err
		}
		if why != "" {
			out = append(out, unjudgedAttachment{p, why})
		}
	}
	return out, nil
}
