package bundle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// A push judges nothing, so it may serve nothing that the source does not: an index that
// came into the source without a child must not meet that child at the destination, by two
// repositories that become one, or by two pushes.

// refuseCompleting refuses a push by which an index would be served with a child that its
// repository in the source does not have.
func (p *pushing) refuseCompleting(ctx context.Context) error {
	brings := map[place][]string{}
	for _, at := range p.g.Places {
		to := place{p.to.repos[at.Repository], at.Digest}
		brings[to] = append(brings[to], at.Repository)
	}
	for _, o := range p.g.Omitted {
		if o.Reason != layout.ReasonAbsent {
			continue
		}
		if err := p.refuseChild(ctx, o, brings[place{p.to.repos[o.Repository], o.Descriptor.Digest}]); err != nil {
			return err
		}
	}
	if p.o.Marks == nil {
		return nil
	}
	late := &lateCheck{pushing: p, marks: newAbsentMarks(p.o.Marks), known: map[lateKey]string{}}
	for _, at := range p.g.Places {
		if err := late.refuse(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// refuseChild refuses an index without a child that from bring to the same repository, or
// that is there already while the index is not.
func (p *pushing) refuseChild(ctx context.Context, o layout.Omission, from []string) error {
	to := p.to.repos[o.Repository]
	for _, repo := range from {
		why, err := p.startable(ctx, repo, o.Descriptor.Digest)
		if err != nil {
			return err
		}
		if why {
			return notAdmittedWith(to, layout.Reference{Repository: o.Repository, Digest: o.Parent}.String(), o.Descriptor.Digest, repo+" brings it")
		}
	}
	if len(from) > 0 {
		return nil
	}
	child, err := p.isThere(ctx, to, o.Descriptor.Digest)
	if err != nil || !child {
		return err
	}
	index, err := p.isThere(ctx, to, o.Parent)
	if err != nil || index {
		return err
	}
	return notAdmittedWith(to, layout.Reference{Repository: o.Repository, Digest: o.Parent}.String(), o.Descriptor.Digest, "the destination has it")
}

// lateCheck finds what comes late to an index. It asks once for all children of an index.
type lateCheck struct {
	*pushing
	marks *absentMarks
	known map[lateKey]string
}

// lateKey is a repository of the source, and an index with references there.
type lateKey struct {
	repo string
	namesOf
}

// refuse refuses what is remembered as the absent child of an index that was brought to
// the destination before, unless the index is in the same repository of the source.
func (c *lateCheck) refuse(ctx context.Context, at layout.Place) error {
	to := c.to.repos[at.Repository]
	all, err := c.marks.of(to, at.Digest)
	if err != nil || len(all) == 0 {
		return err
	}
	if starts, err := c.startable(ctx, at.Repository, at.Digest); err != nil || !starts {
		return err
	}
	for _, a := range all {
		name, err := c.without(ctx, at.Repository, a)
		if err != nil {
			return err
		}
		if name != "" {
			return notAdmittedWith(to, name, at.Digest, at.Repository+" brings it")
		}
	}
	return nil
}

// without returns a reference of an index for which the source does not serve it in a
// repository; empty if there is none.
func (c *lateCheck) without(ctx context.Context, repo string, a absentChild) (string, error) {
	if len(a.References) == 0 {
		return "", nil
	}
	k := lateKey{repo, namesOf{index: a.Index, reference: &a.References[0], n: len(a.References)}}
	if name, known := c.known[k]; known {
		return name, nil
	}
	without := ""
	for _, name := range a.References {
		with, err := c.admittedWith(ctx, repo, name, a.Index)
		if err != nil {
			return "", err
		}
		if !with {
			without = name
			break
		}
	}
	c.known[k] = without
	return without, nil
}

// admittedWith says whether the source serves an index in a repository, which is that of a
// name that is remembered.
func (p *pushing) admittedWith(ctx context.Context, repo, name string, index digest.Digest) (bool, error) {
	ref, err := layout.ParseReference(name)
	if err != nil || layout.SameRepository(ref.Repository) != layout.SameRepository(repo) {
		return false, nil
	}
	_, err = p.src.Resolve(ctx, layout.Reference{Repository: repo, Digest: index})
	if errors.Is(err, layout.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func (p *pushing) startable(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	why, err := p.g.Startable(ctx, p.src, &p.starts, repo, d)
	return why != "", err
}

func (p *pushing) isThere(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	_, err := p.dst.Resolve(ctx, layout.Reference{Repository: repo, Digest: d})
	if errors.Is(err, layout.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func notAdmittedWith(repo, index string, child digest.Digest, how string) error {
	return &layout.Error{Side: layout.SideDestination, Name: repo, Digest: child,
		Err:  fmt.Errorf("the index %s lists it and was admitted without it, and %s: %w", index, how, ErrRefused),
		Hint: "keep the two in different repositories with --map, or import the index with all of its children first"}
}

// lacks lists what a root lists, at any depth, and its repository does not have.
func lacks(g *layout.Graph, root layout.Name) []digest.Digest {
	below := containedIn(g, []layout.Name{root})
	var out []digest.Digest
	for _, o := range g.Omitted {
		if o.Repository == root.Reference.Repository && o.Reason == layout.ReasonAbsent && below[spot{o.Repository, o.Parent}] {
			out = append(out, o.Descriptor.Digest)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
