package bundle

import (
	"context"
	"fmt"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/policy"

	"github.com/opencontainers/go-digest"
)

// lister is an index that lists a manifest and is in a repository of the destination, with
// the first of its references that have the same rule.
type lister struct {
	index     digest.Digest
	rule      *policy.Rule // nil if no rule matches any more
	reference string
}

// listersOf is all that lists a manifest, but for what does not matter to it.
type listersOf struct {
	listers []lister
	asked   bool // whether
	served  bool // the destination serves the manifest already
}

// arrival is a manifest that completes an index of the destination.
type arrival struct {
	d digest.Digest
	lister
}

// arrivals lists what a root brings that completes indexes, of which this import does not
// bring one that passed with the manifest.
func (c *completing) arrivals(ctx context.Context, from string, root digest.Digest) ([]arrival, error) {
	to := c.repos[from]
	var out []arrival
	seen := map[digest.Digest]bool{}
	for todo := []digest.Digest{root}; len(todo) > 0; todo = todo[1:] {
		d := todo[0]
		if _, here := c.g.Place(from, d); !here || seen[d] {
			continue
		}
		seen[d] = true
		for _, child := range c.g.Nodes[d].Children {
			todo = append(todo, child.Digest)
		}
		l, err := c.listersIn(ctx, to, d)
		if err != nil {
			return nil, err
		}
		var completes []arrival
		for _, by := range l.listers {
			if !c.comesWith(to, by.index, d, by.rule) {
				completes = append(completes, arrival{d, by})
			}
		}
		if len(completes) > 0 && !l.asked {
			if l.served, err = c.serves(ctx, to, d); err != nil {
				return nil, err
			}
			l.asked = true
		}
		if !l.served {
			out = append(out, completes...)
		}
	}
	return out, nil
}

// listersIn finds what lists a manifest, once for each.
func (c *completing) listersIn(ctx context.Context, to string, d digest.Digest) (*listersOf, error) {
	at := place{to, d}
	if l := c.listers[at]; l != nil {
		return l, nil
	}
	l := &listersOf{}
	if c.marks != nil {
		remembered, err := c.marks.of(to, d)
		if err != nil {
			return nil, err
		}
		for _, a := range remembered {
			l.listers = append(l.listers, c.byRule.remembered(a)...)
		}
	}
	if k, ok := c.dst.(knowsIndexes); ok {
		indexes, err := k.Listed(ctx, to, d)
		if err != nil {
			return nil, err
		}
		for _, names := range indexes {
			l.listers = append(l.listers, c.byRule.served(names)...)
		}
	}
	c.listers[at] = l
	return l, nil
}

// namesOf are the references of an index, which its children share: by the first of them.
type namesOf struct {
	index     digest.Digest
	reference *string
	name      *layout.Name
	n         int
}

// listersByRule finds which references of indexes matter. It looks once at the references of
// an index.
type listersByRule struct {
	rules *policy.Lookup
	known map[namesOf][]lister
}

func newListersByRule(rules *policy.Lookup) *listersByRule {
	return &listersByRule{rules, map[namesOf][]lister{}}
}

// remembered lists an index by the rules for its references. If no rule is for one, that
// matters too.
func (l *listersByRule) remembered(a absentChild) []lister {
	if len(a.References) == 0 {
		return nil
	}
	k := namesOf{index: a.Index, reference: &a.References[0], n: len(a.References)}
	return l.of(k, func(i int) (*policy.Rule, string) {
		ref, err := layout.ParseReference(a.References[i])
		if err != nil {
			return nil, a.References[i]
		}
		return l.rules.For(ref), a.References[i]
	})
}

// served is the same for an index of the destination. One that has no rule does not matter.
func (l *listersByRule) served(names []layout.Name) []lister {
	if len(names) == 0 {
		return nil
	}
	k := namesOf{index: names[0].Descriptor.Digest, name: &names[0], n: len(names)}
	return l.of(k, func(i int) (*policy.Rule, string) {
		return l.rules.For(names[i].Reference), names[i].Reference.String()
	})
}

func (l *listersByRule) of(k namesOf, nth func(int) (*policy.Rule, string)) []lister {
	if out, known := l.known[k]; known {
		return out
	}
	remembered := k.reference != nil
	var out []lister
	seen := map[*policy.Rule]bool{}
	for i := range k.n {
		rule, reference := nth(i)
		matters := rule == nil && remembered || rule != nil && rule.Index == policy.IndexChildren // else the index is judged as a whole
		if matters && !seen[rule] {
			seen[rule] = true
			out = append(out, lister{k.index, rule, reference})
		}
	}
	l.known[k] = out
	return out
}

// comesWith says whether this import brings an index that passed, and a child judged with
// it by the rule.
func (c *completing) comesWith(to string, index, child digest.Digest, rule *policy.Rule) bool {
	if rule == nil {
		return false
	}
	for _, u := range c.at[place{to, index}][rule] {
		if _, here := c.g.Place(u.repo, child); here && u.state == verify.Passed && !u.isAbsent[child] {
			return true
		}
	}
	return false
}

// ChildCheck tells what repositories must not serve, by what is remembered of imports: an
// index came without a child, and by the rule for a reference that the index had where it
// came from, the child does not pass. It looks once at each child: neither what is remembered
// nor the source may change meanwhile. One goroutine uses it at a time.
type ChildCheck struct {
	marks  *absentMarks
	judge  *verify.Judge
	src    layout.Source
	there  func(repo string, index digest.Digest) bool
	byRule *listersByRule
	starts layout.Inspector
	known  map[place]string
}

// NewChildCheck returns a check of manifests that src has. there says whether a repository
// has an index still.
func NewChildCheck(m MarkReader, j *verify.Judge, src layout.Source, there func(repo string, index digest.Digest) bool) *ChildCheck {
	return &ChildCheck{
		marks: newAbsentMarks(m), judge: j, src: src, there: there,
		byRule: newListersByRule(policy.NewLookup(j.Policy)), known: map[place]string{},
	}
}

// Refuses says why a repository must not serve a manifest. It is empty if nothing is against
// it.
func (c *ChildCheck) Refuses(ctx context.Context, repo string, d digest.Digest) (string, error) {
	at := place{repo, d}
	why, known := c.known[at]
	if known {
		return why, nil
	}
	all, err := c.marks.of(repo, d)
	if err == nil && len(all) > 0 {
		why, err = c.refuses(ctx, at, all)
	}
	if err == nil {
		c.known[at] = why
	}
	return why, err
}

func (c *ChildCheck) refuses(ctx context.Context, at place, all []absentChild) (string, error) {
	g, err := walkOne(ctx, c.src, at.repo, at.d)
	if err != nil {
		return "", err
	}
	judge := c.judge.Of(c.src, g)
	for _, a := range all {
		if !c.there(at.repo, a.Index) {
			continue
		}
		for _, l := range c.byRule.remembered(a) {
			if l.rule == nil {
				return fmt.Sprintf("the index %s lists %s, and no policy rule matches the index", l.reference, at.d), nil
			}
			v, err := judgeChild(ctx, judge, l.rule, c.src, g, at.repo, at.d, &c.starts)
			if err != nil {
				return "", err
			}
			if v.State != verify.Passed {
				return fmt.Sprintf("the index %s lists %s, which does not pass its rule %q: %s", l.reference, at.d, l.rule.Name, v.WhyNot()), nil
			}
		}
	}
	return "", nil
}
