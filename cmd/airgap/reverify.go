package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"airgap/layout"
	"airgap/store"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// spot is a manifest in a repository.
type spot struct {
	repo   string
	digest digest.Digest
}

// separation says what of a store is to be given out, by the verdicts about everything
// in it. A manifest is given out if an image that passed leads to it; what others lead
// to, and none that passed does, is held back.
type separation struct {
	graph *layout.Graph
	*verify.Report
	give  map[spot]bool
	hold  map[spot]string           // why
	loose map[layout.Reference]bool // roots of the graph that are no names
}

// everything walks all of a store that can be pulled: what its names lead to, and the
// images that no name leads to any more, by their digests.
func everything(ctx context.Context, s store.Judged) (*separation, error) {
	names, err := s.Names(ctx)
	if err != nil {
		return nil, err
	}
	out := &separation{give: map[spot]bool{}, hold: map[spot]string{}, loose: map[layout.Reference]bool{}}
	var refs []layout.Reference
	for _, n := range names {
		if !layout.IsDerivedTag(n.Reference.Tag) {
			refs = append(refs, n.Reference)
		}
	}
	if out.graph, err = walkStore(ctx, s, refs); err != nil {
		return nil, err
	}
	loose, err := unnamed(ctx, s, out.graph)
	if err != nil || len(loose) == 0 {
		return out, err
	}
	for _, ref := range loose {
		out.loose[ref] = true
	}
	out.graph, err = walkStore(ctx, s, append(refs, loose...))
	return out, err
}

func walkStore(ctx context.Context, s layout.Source, refs []layout.Reference) (*layout.Graph, error) {
	return layout.Walk(ctx, s, refs, layout.WalkOptions{MayMiss: mayMissAny})
}

// unnamed lists the images and indexes of a store that are not in g and that nothing
// else leads to, such as one whose tag has moved on. An old signature is none, and
// cannot be started.
func unnamed(ctx context.Context, s store.Judged, g *layout.Graph) ([]layout.Reference, error) {
	repos, err := s.Repositories(ctx)
	if err != nil {
		return nil, err
	}
	var loose []layout.Reference
	for _, repo := range repos {
		all, err := s.Manifests(ctx, repo)
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			if _, ok := g.Place(repo, d.Digest); !ok {
				loose = append(loose, layout.Reference{Repository: repo, Digest: d.Digest})
			}
		}
	}
	if len(loose) == 0 {
		return nil, nil
	}
	rest, err := walkStore(ctx, s, loose)
	if err != nil {
		return nil, err
	}
	led := map[spot]bool{}
	for _, p := range rest.Places {
		for _, d := range beneath(rest, p) {
			led[spot{p.Repository, d}] = true
		}
	}
	return slices.DeleteFunc(loose, func(ref layout.Reference) bool {
		n := rest.Nodes[ref.Digest]
		return led[spot{ref.Repository, ref.Digest}] || !n.Runnable && !layout.IsIndex(n.Descriptor.MediaType)
	}), nil
}

// beneath is what a manifest leads to in its repository: children, and what is
// attached.
func beneath(g *layout.Graph, p layout.Place) []digest.Digest {
	var out []digest.Digest
	for _, c := range g.Nodes[p.Digest].Children {
		out = append(out, c.Digest)
	}
	for _, e := range p.Attached {
		out = append(out, e.Digest)
	}
	return out
}

// judge separates everything.
func (s *separation) judge(ctx context.Context, src layout.Source, j *verify.Judge) (err error) {
	if s.Report, err = j.Graph(ctx, src, s.graph); err != nil {
		return err
	}
	for i, v := range s.Verdicts {
		if v.State == verify.Passed {
			s.each(s.graph.Roots[i], func(at spot) bool {
				was := s.give[at]
				s.give[at] = true
				return !was
			})
		}
	}
	for i, v := range s.Verdicts {
		if v.State != verify.Passed {
			why := whyNot(&v)
			s.each(s.graph.Roots[i], func(at spot) bool {
				if _, was := s.hold[at]; was || s.give[at] {
					return false
				}
				s.hold[at] = why
				return true
			})
		}
	}
	return nil
}

// each goes through all that a root leads to in its repository, as long as fn says
// that it wants what is beneath.
func (s *separation) each(root layout.Name, fn func(spot) bool) {
	repo := root.Reference.Repository
	for todo := []digest.Digest{root.Descriptor.Digest}; len(todo) > 0; todo = todo[1:] {
		if p, here := s.graph.Place(repo, todo[0]); here && fn(spot{repo, todo[0]}) {
			todo = append(todo, beneath(s.graph, p)...)
		}
	}
}

// maxWhy is how much is said of why something did not pass, in bytes.
const maxWhy = 900

// whyNot is why an image did not pass, in a line.
func whyNot(v *verify.Verdict) string {
	var reasons []string
	if v.Reason != "" {
		reasons = append(reasons, v.Reason)
	}
	reasons = v.Outcome.WhyNot(reasons)
	for _, c := range v.Children {
		reasons = c.Outcome.WhyNot(reasons)
	}
	text := fmt.Sprintf("%s: %s", v.State, cmp.Or(strings.Join(unique(reasons), "; "), "its requirements are not met"))
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxWhy {
		cut := maxWhy
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return text
}

// unique keeps the first of each.
func unique(all []string) []string {
	var out []string
	for _, s := range all {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
