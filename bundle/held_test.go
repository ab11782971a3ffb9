package bundle_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// serving is a registry that lost blobs, or cannot say.
type serving struct {
	*layout.Memory
	lost  map[string]bool // repository and digest
	fails error
}

func (s *serving) Serves(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	if s.fails != nil {
		return false, s.fails
	}
	has, err := s.Has(ctx, repo, d)
	return has && !s.lost[repo+string(d.Digest)], err
}

// A blob is held if one of the repositories that list it has it; the others are
// counted. What cannot be found out is no receipt.
func TestHeld(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything(repo), layouttest.Everything("reg.example/copy"))
	s := &serving{Memory: memory(t, content), lost: map[string]bool{}}
	g, err := layout.Walk(t.Context(), s, content.Roots(), layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var want []digest.Digest
	for _, n := range g.Nodes {
		for _, b := range n.Blobs {
			want = append(want, b.Digest)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	inOne, inBoth := want[0], want[1]
	s.lost[repo+string(inOne)] = true
	s.lost[repo+string(inBoth)], s.lost["reg.example/copy"+string(inBoth)] = true, true
	want = slices.Delete(want, 1, 2)
	held, absent, err := bundle.Held(t.Context(), s, content.Roots())
	if got := digests(held); err != nil || absent != 1 || !slices.Equal(got, want) {
		t.Errorf("Held = %d blobs, %d absent, %v; want %d", len(got), absent, err, len(want))
	}
	s.fails = errors.New("down")
	if _, _, err := bundle.Held(t.Context(), s, content.Roots()); !errors.Is(err, s.fails) {
		t.Errorf("Held = %v, want the registry's error", err)
	}
}
