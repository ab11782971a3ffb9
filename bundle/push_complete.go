package bundle

import (
	"context"
	"errors"
	"fmt"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/policy"

	"github.com/opencontainers/go-digest"
)

// A push judges nothing, so it may serve nothing that the source does not: an index that
// was admitted without a child must not meet that child at the destination, by two
// repositories that become one, or by two pushes. With a policy the child is judged by the
// index's rule.

// SparseIndex is an index that was admitted by those of its children that were there.
type SparseIndex struct {
	Repository string // of the destination
	Digest     digest.Digest
	// References are those by whose rules it was admitted.
	References []string
	Absent     []digest.Digest // children
}

// RememberAbsent has m remember indexes that came to a repository without some of their
// children, so that those cannot come there later without being judged with the index. It
// says whether anything of that is new.
func RememberAbsent(m Marks, all []SparseIndex) (news bool, err error) {
	var c cameWithout
	for _, s := range all {
		for _, ref := range s.References {
			c.add(s.Repository, s.Digest, ref, s.Absent)
		}
	}
	return c.remember(m)
}

// pushCheck finds what a push completes.
type pushCheck struct {
	*pushing
	marks  *absentMarks
	byRule *listersByRule     // nil without a policy
	here   *verify.GraphJudge // of the graph; nil without a policy
	brings map[place][]string

	// What was found out once.
	nothing  map[spot]bool
	contains map[spot]map[spot]bool
	left     map[leftKey][]string
}

// leftKey is an index with its references at the destination, and those that it has in a
// repository of the source.
type leftKey struct {
	repo         string
	index        digest.Digest
	there, since *string // the first of each
}

// refuseCompleting refuses a push by which an index would be served with a child that was
// not admitted with it. It notes the indexes that are pushed without one.
func (p *pushing) refuseCompleting(ctx context.Context) error {
	if p.o.Marks == nil {
		return nil
	}
	c := &pushCheck{
		pushing: p, marks: newAbsentMarks(p.o.Marks), brings: map[place][]string{},
		nothing: map[spot]bool{}, contains: map[spot]map[spot]bool{}, left: map[leftKey][]string{},
	}
	if p.o.Judge != nil {
		c.byRule, c.here = newListersByRule(policy.NewLookup(p.o.Judge.Policy)), p.o.Judge.Of(p.src, p.g)
	}
	for _, at := range p.g.Places {
		to := place{p.to.repos[at.Repository], at.Digest}
		c.brings[to] = append(c.brings[to], at.Repository)
	}
	if err := c.absent(ctx); err != nil {
		return err
	}
	for _, at := range p.g.Places {
		if err := c.late(ctx, at); err != nil {
			return err
		}
	}
	return nil
}

// absent refuses an index if a child that it was admitted without comes to the same
// repository from another one, or is there already and the index's names are not.
func (c *pushCheck) absent(ctx context.Context) error {
	sparse, seen := map[spot]int{}, map[spot]bool{}
	for _, o := range c.g.Omitted {
		child := spot{o.Repository, o.Descriptor.Digest}
		if o.Reason != layout.ReasonAbsent || seen[child] {
			continue
		}
		seen[child] = true
		all, err := c.marks.of(child.repo, child.digest)
		if err != nil {
			return err
		}
		for _, a := range all {
			at := spot{child.repo, a.Index}
			if _, here := c.g.Place(at.repo, at.digest); !here {
				continue
			}
			n, known := sparse[at]
			if !known {
				n, sparse[at] = len(c.sparse), len(c.sparse)
				c.sparse = append(c.sparse, SparseIndex{Repository: c.to.repos[at.repo], Digest: at.digest, References: a.References})
			}
			c.sparse[n].Absent = append(c.sparse[n].Absent, child.digest)
			if err := c.meets(ctx, at, a, child.digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// meets refuses what would bring an index and a child together.
func (c *pushCheck) meets(ctx context.Context, index spot, a absentChild, child digest.Digest) error {
	to := c.to.repos[index.repo]
	for _, repo := range c.brings[place{to, child}] {
		if err := c.refuse(ctx, a, c.src, repo, child, to, repo+" brings it"); err != nil {
			return err
		}
	}
	if len(c.brings[place{to, child}]) > 0 {
		return nil
	}
	if there, err := c.isThere(ctx, to, child); err != nil || !there {
		return err
	}
	if known, err := c.nothingNew(ctx, index); err != nil || known {
		return err
	}
	src, _ := c.dst.(layout.Source)
	return c.refuse(ctx, a, src, to, child, to, "the destination has it")
}

// nothingNew says whether the destination serves an index already by every name that this
// push would give it.
func (c *pushCheck) nothingNew(ctx context.Context, index spot) (bool, error) {
	known, ok := c.nothing[index]
	if !ok {
		var err error
		if known, err = c.servedByAll(ctx, index); err != nil {
			return false, err
		}
		c.nothing[index] = known
	}
	return known, nil
}

func (c *pushCheck) servedByAll(ctx context.Context, index spot) (bool, error) {
	named := false
	for i, root := range c.g.Roots {
		at := spot{root.Reference.Repository, root.Descriptor.Digest}
		if at.repo != index.repo {
			continue
		}
		if c.contains[at] == nil {
			c.contains[at] = containedIn(c.g, []layout.Name{root})
		}
		if !c.contains[at][index] {
			continue
		}
		named = true
		there := c.was[i].there
		if c.to.names[i].Reference.Tag == "" {
			var err error
			if there, err = c.isThere(ctx, c.to.repos[index.repo], root.Descriptor.Digest); err != nil {
				return false, err
			}
		}
		if !there {
			return false, nil
		}
	}
	if named {
		return true, nil
	}
	return c.isThere(ctx, c.to.repos[index.repo], index.digest)
}

// late refuses what is remembered as the absent child of an index that was brought to the
// destination before, unless it was admitted with that index where it comes from.
func (c *pushCheck) late(ctx context.Context, at layout.Place) error {
	to := c.to.repos[at.Repository]
	all, err := c.marks.of(to, at.Digest)
	if err != nil || len(all) == 0 {
		return err
	}
	if there, err := c.isThere(ctx, to, at.Digest); err != nil || there {
		return err
	}
	for _, a := range all {
		names, err := c.notAdmittedBy(ctx, at, a)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			continue
		}
		if err := c.refuse(ctx, absentChild{a.Index, names}, c.src, at.Repository, at.Digest, to, at.Repository+" brings it"); err != nil {
			return err
		}
	}
	return nil
}

// notAdmittedBy lists the references of an index by whose rules a manifest of the source was
// not admitted with it, as far as the source tells: it serves the index in the same
// repository by that name, or was brought it there under that reference, without the
// manifest, which has come since.
func (c *pushCheck) notAdmittedBy(ctx context.Context, at layout.Place, a absentChild) ([]string, error) {
	all, err := c.marks.of(at.Repository, at.Digest)
	if err != nil {
		return nil, err
	}
	k := leftKey{repo: at.Repository, index: a.Index, there: &a.References[0]}
	var since []string
	for _, one := range all {
		if one.Index == a.Index {
			since, k.since = one.References, &one.References[0]
		}
	}
	left, known := c.left[k]
	if !known {
		if left, err = c.leftOf(ctx, at.Repository, a, since); err != nil {
			return nil, err
		}
		c.left[k] = left
	}
	return left, nil
}

// leftOf lists the references of an index that are neither among others nor names by which a
// repository of the source serves it: all, if it does not serve it at all.
func (c *pushCheck) leftOf(ctx context.Context, repo string, a absentChild, others []string) ([]string, error) {
	serves, err := c.leads(ctx, layout.Reference{Repository: repo, Digest: a.Index}, a.Index)
	if err != nil || !serves {
		return a.References, err
	}
	known := map[string]bool{}
	for _, name := range others {
		known[name] = true
	}
	var out []string
	for _, name := range a.References {
		if known[name] {
			continue
		}
		ref, err := layout.ParseReference(name)
		if err == nil && layout.SameRepository(ref.Repository) == layout.SameRepository(repo) {
			ref.Repository = repo
			leads, err := c.leads(ctx, ref, a.Index)
			if err != nil {
				return nil, err
			}
			if leads {
				continue
			}
		}
		out = append(out, name)
	}
	return out, nil
}

// leads says whether the source serves an index by a name.
func (c *pushCheck) leads(ctx context.Context, ref layout.Reference, index digest.Digest) (bool, error) {
	if ref.Tag != "" {
		ref.Digest = ""
	}
	d, err := c.src.Resolve(ctx, ref)
	if errors.Is(err, layout.ErrNotFound) {
		return false, nil
	}
	return d.Digest == index, err
}

// refuse is an error if a manifest could be started and, by the rules for an index's
// references, does not pass with it.
func (c *pushCheck) refuse(ctx context.Context, a absentChild, src layout.Source, repo string, child digest.Digest, to, how string) error {
	if src == nil { // nobody can look at it
		return notAdmittedWith(to, a.References[0], child, how+", and it cannot be read there", "--map keeps the two in different repositories")
	}
	g, judge := c.g, c.here
	if src != c.src {
		var err error
		if g, err = walkOne(ctx, src, repo, child); err != nil {
			return err
		}
		if c.byRule != nil {
			judge = c.o.Judge.Of(src, g)
		}
	}
	if why, err := g.Startable(ctx, src, &c.starts, repo, child); err != nil || why == "" {
		return err
	}
	if c.byRule == nil {
		return notAdmittedWith(to, a.References[0], child, how+", and no policy was given to judge it by", "--policy judges it by the index's rule; --map keeps the two in different repositories")
	}
	for _, l := range c.byRule.remembered(a) {
		if l.rule == nil {
			return notAdmittedWith(to, l.reference, child, how+", and no policy rule matches the index", "give the policy that admitted the index")
		}
		v, err := judgeChild(ctx, judge, l.rule, src, g, repo, child, &c.starts)
		if err != nil {
			return err
		}
		if v.State != verify.Passed {
			return notAdmittedWith(to, l.reference, child, fmt.Sprintf("%s, and it does not pass the index's rule %q: %s", how, l.rule.Name, v.WhyNot()), "--map keeps the two in different repositories")
		}
	}
	return nil
}

func (p *pushing) isThere(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	_, err := p.dst.Resolve(ctx, layout.Reference{Repository: repo, Digest: d})
	if errors.Is(err, layout.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

func notAdmittedWith(repo, index string, child digest.Digest, why, hint string) error {
	return &layout.Error{Side: layout.SideDestination, Name: repo, Digest: child,
		Err: fmt.Errorf("the index %s lists it and was admitted without it; %s: %w", index, why, ErrRefused), Hint: hint}
}
