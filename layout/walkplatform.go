package layout

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// choose decides child by child. What states no platform (a nested index, an
// artifact) is taken; a BuildKit attestation goes with the image that it speaks of.
func (w *walker) choose(t task, l *load) []bool {
	all := !t.filter || len(w.opt.Platforms) == 0
	out := make([]bool, len(l.listed))
	images, taken := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	for i, d := range l.listed {
		if d.buildkit {
			continue
		}
		images[d.Digest] = true
		out[i] = all || d.Platform == nil ||
			slices.ContainsFunc(w.opt.Platforms, func(p Platform) bool { return MatchPlatform(p, *d.Platform) })
		taken[d.Digest] = taken[d.Digest] || out[i]
	}
	for i, d := range l.listed {
		if d.buildkit {
			out[i] = all || taken[d.about] || !images[d.about]
		}
	}
	return out
}

// Unmatched is a root that has nothing for one of the chosen platforms.
type Unmatched struct {
	Reference Reference
	Platform  Platform
}

// checkPlatforms makes sure that of each root there is something for the chosen
// platforms, and lists those for which there is nothing. An index says what it
// has, and so may indexes in it; of a single image the config is read.
func (w *walker) checkPlatforms(ctx context.Context, g *Graph) error {
	if len(w.opt.Platforms) == 0 {
		return nil
	}
	lacks := make([][]Platform, len(g.Roots))
	jobs, ctx := errgroup.WithContext(ctx)
	jobs.SetLimit(w.opt.Jobs)
	for i, root := range g.Roots {
		jobs.Go(func() (err error) {
			lacks[i], err = w.lacks(ctx, root.Reference.Repository, g.Nodes[root.Descriptor.Digest])
			return err
		})
	}
	if err := jobs.Wait(); err != nil {
		return err
	}
	for i, root := range g.Roots {
		for _, p := range lacks[i] {
			g.Unmatched = append(g.Unmatched, Unmatched{root.Reference, p})
		}
	}
	return nil
}

// lacks lists the chosen platforms for which a root has nothing. That it has
// nothing for any of them is an error.
func (w *walker) lacks(ctx context.Context, repo string, root *Node) ([]Platform, error) {
	has, offered := w.images(repo, root.Descriptor.Digest), w.offered(w.loads[root.Descriptor.Digest])
	if root.Image {
		p, err := ConfigPlatform(ctx, w.src, repo, root)
		if err != nil || p == nil {
			return nil, err
		}
		has, offered = []*Platform{p}, []string{FormatPlatform(*p)}
	}
	if len(offered) == 0 {
		return nil, nil // nothing in it is for a platform
	}
	out := slices.DeleteFunc(slices.Clone(w.opt.Platforms), func(want Platform) bool {
		return slices.ContainsFunc(has, func(p *Platform) bool { return p == nil || MatchPlatform(want, *p) })
	})
	if len(out) == len(w.opt.Platforms) {
		return nil, w.noPlatform(repo, root.Descriptor.Digest, offered)
	}
	return out, nil
}

// images lists what is reached from dgst downwards and is for a platform, or a
// container image for which none is stated (nil). Other artifacts are for none.
func (w *walker) images(repo string, dgst digest.Digest) []*Platform {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*Platform
	seen := map[digest.Digest]bool{}
	stack := []listing{{Descriptor: Descriptor{Digest: dgst}}}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		s := w.spots[placeKey{repo, at.Digest}]
		if at.buildkit || s == nil || !s.entered {
			continue
		}
		l := w.loads[at.Digest]
		if !IsIndex(l.node.Descriptor.MediaType) || len(l.listed) == 0 {
			if at.Platform != nil || l.node.Image {
				out = append(out, at.Platform)
			}
		} else if !seen[at.Digest] {
			seen[at.Digest] = true
			stack = append(stack, l.listed...)
		}
	}
	return out
}

// ConfigPlatform reads what the config of an image says it is for
// (image-spec, "Image Configuration"); nil if it says nothing.
func ConfigPlatform(ctx context.Context, src Source, repo string, n *Node) (*Platform, error) {
	config := n.Blobs[0]
	fail := func(err error) error {
		return &Error{Side: SideSource, Name: repo, Digest: n.Descriptor.Digest, Err: fmt.Errorf("its config %s: %w", config.Digest, err)}
	}
	rc, err := src.Open(ctx, repo, config.Descriptor())
	if err != nil {
		return nil, fail(err)
	}
	raw, err := ReadAll(rc, config.Descriptor())
	if err != nil {
		return nil, fail(err)
	}
	var p struct{ OS, Architecture, Variant string }
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fail(fmt.Errorf("%v: %w", err, ErrCorrupt))
	}
	if p.OS == "" || p.Architecture == "" {
		return nil, nil
	}
	return &Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}, nil
}

func (w *walker) noPlatform(repo string, dgst digest.Digest, offered []string) error {
	return &Error{Side: SideSource, Name: repo, Digest: dgst,
		Err:  fmt.Errorf("it has nothing for %s: %w", platformList(w.opt.Platforms), ErrNotFound),
		Hint: "it has " + strings.Join(offered, ", ")}
}

// offered lists the platforms of an index, and of indexes in it, as far as they
// were read.
func (w *walker) offered(l *load) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	seen := map[*load]bool{}
	for stack := []*load{l}; len(stack) > 0; {
		l := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if l == nil || seen[l] {
			continue
		}
		seen[l] = true
		for _, c := range l.listed {
			if c.Platform != nil && !c.buildkit {
				out = append(out, FormatPlatform(*c.Platform))
			}
			stack = append(stack, w.loads[c.Digest])
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
