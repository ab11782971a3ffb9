package bundle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// moves looks at the tags of a destination before they are written.
type moves struct {
	src layout.Source
	g   *layout.Graph
	dst layout.Sink
}

// standing is what a destination says of a name that is to be written there.
type standing struct {
	there bool          // it stands for the same already
	lost  digest.Digest // what it would stand for no more
	keep  bool          // what is there is to stay
}

// look asks the destination for every tag. A name without one stands for its digest.
func (m *moves) look(ctx context.Context, names []layout.Name) ([]standing, error) {
	out := make([]standing, len(names))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(layout.DefaultWalkJobs)
	for i, n := range names {
		if n.Reference.Tag != "" {
			eg.Go(func() (err error) {
				out[i], err = m.one(ctx, n)
				return err
			})
		}
	}
	return out, eg.Wait()
}

// check asks the destination for every tag and refuses if one stands for something
// else, listing all of them. It returns the names that are left to write: a cosign
// tag that has more signatures there than here stays as it is.
func (m *moves) check(ctx context.Context, names []layout.Name) ([]layout.Name, error) {
	all, err := m.look(ctx, names)
	if err == nil {
		err = refuseMoves(names, all)
	}
	if err != nil {
		return nil, err
	}
	left := []layout.Name{}
	for i, n := range names {
		if !all[i].keep {
			left = append(left, n)
		}
	}
	return left, nil
}

func refuseMoves(names []layout.Name, all []standing) error {
	var list strings.Builder
	for i, s := range all {
		if s.lost != "" {
			ref := names[i].Reference
			ref.Digest = ""
			fmt.Fprintf(&list, "\n  %s is %s, would become %s", ref, s.lost, names[i].Descriptor.Digest)
		}
	}
	if list.Len() == 0 {
		return nil
	}
	return &layout.Error{Side: layout.SideDestination, Err: fmt.Errorf("%w:%s", ErrMoves, &list),
		Hint: "no name was written; let them move with --overwrite, or bring them elsewhere with --map SRC=DST"}
}

// one asks for one tag.
func (m *moves) one(ctx context.Context, n layout.Name) (standing, error) {
	ref := n.Reference
	ref.Digest = ""
	was, err := m.dst.Resolve(ctx, ref)
	switch {
	case errors.Is(err, layout.ErrNotFound):
		return standing{}, nil
	case err != nil:
		return standing{}, err
	case was.Digest == n.Descriptor.Digest:
		return standing{there: true}, nil
	}
	raw, err := m.g.ReadManifest(ctx, m.src, n.Descriptor.Digest)
	if err != nil {
		return standing{}, err
	}
	grows, holds, err := compareSignatures(ctx, m.dst, ref, was, n.Descriptor, raw)
	if err != nil || grows || holds {
		return standing{keep: holds}, err
	}
	return standing{lost: was.Digest}, nil
}

// guard looks at the tags of the destination once more before they are written:
// the copy took its time, and others may have set them. A registry has no
// conditional write, so that a moment is left in which it could still happen.
func (m *moves) guard(commit func(context.Context, []layout.Name) error) func(context.Context, []layout.Name) error {
	return func(ctx context.Context, names []layout.Name) error {
		left, err := m.check(ctx, names)
		if err != nil {
			return err
		}
		return commit(ctx, left)
	}
}
