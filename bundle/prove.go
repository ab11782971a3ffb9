package bundle

import (
	"context"
	"fmt"
	"slices"

	"airgap/layout"
)

// prove makes the bundle anew from the graph that was walked, in memory and
// without the content of blobs, and compares: first the record, then every file
// in its place. A single bit that differs anywhere outside blobs shows.
func (b *Bundle) prove(ctx context.Context, g *layout.Graph) error {
	again := newRecord(g)
	// Why something was left out or set aside is known only to the one who
	// did it; what was left out has to be what is missing.
	if err := sameLeftOut(again, b.Record); err != nil {
		return err
	}
	again.LeftOut, again.SetAside = b.Record.LeftOut, b.Record.SetAside
	again.RevocationLists, again.AttachedFrom = b.Record.RevocationLists, b.Record.AttachedFrom
	if err := b.Record.Delta.check(g); err != nil {
		return err
	}
	again.Delta = b.Record.Delta
	lists, err := b.lists(ctx)
	if err != nil {
		return err
	}
	artifact, err := again.artifact(lists)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(b.reader.Index(), func(d layout.Descriptor) bool { return d.Digest == artifact[0].Descriptor.Digest }) {
		return fmt.Errorf("the export record does not describe what is in it: %w", layout.ErrCorrupt)
	}
	head, err := b.proveHead(ctx, artifact[0].Descriptor)
	if err != nil {
		return err
	}
	plan, err := layout.NewPlan(g.Without(again.Delta.set()), artifacts(artifact, head)...)
	if err != nil {
		return err
	}
	return b.reader.Matches(plan)
}

func sameLeftOut(got, want *Record) error {
	listed := want.listings()
	for _, o := range got.LeftOut {
		if !listed[listing{o.Repository, o.Parent, o.Digest}] {
			return fmt.Errorf("%s, listed by %s in %s, is not in it, and the export record does not say that it was left out: %w",
				o.Digest, o.Parent, o.Repository, layout.ErrCorrupt)
		}
	}
	if len(got.LeftOut) != len(want.LeftOut) {
		return fmt.Errorf("the export record says that %d things were left out, %d are: %w", len(want.LeftOut), len(got.LeftOut), layout.ErrCorrupt)
	}
	return nil
}
