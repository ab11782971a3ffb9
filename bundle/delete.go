package bundle

import (
	"context"

	"airgap/bundle/custody"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Delete makes the record that a name is taken away, to be attached to the image that
// it stood for. It names the records that were there before, as far as they can be read:
// a name has to go even if what it leads to is damaged.
func (r *Recording) Delete(ctx context.Context, src layout.Source, name layout.Name, in custody.PlaceKind) (Addition, error) {
	ref := name.Reference
	rec := r.record()
	rec.Line = nil
	rec.Reference, rec.From = ref.Name(), &custody.Place{Kind: in, Name: ref.Repository}
	any := func(string, digest.Digest, layout.Descriptor) bool { return true }
	g, err := layout.Walk(ctx, src, []layout.Reference{ref}, layout.WalkOptions{MayMiss: any})
	if err == nil {
		before, err := custody.Of(ctx, src, g, ref.Repository, name.Descriptor.Digest, r.own())
		if err == nil {
			rec.Previous = custody.Heads(before)
		}
	}
	if err := ctx.Err(); err != nil {
		return Addition{}, err
	}
	a, err := rec.Artifact(custody.Delete, name.Descriptor, ref.Name(), r.Key)
	return Addition{Repository: ref.Repository, Subject: name.Descriptor.Digest, Artifact: a}, err
}
