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

// An index may be sparse: only some of its children travelled. Under a rule about children
// it was admitted by those, and the rest is judged when it meets the index in one
// repository of the destination, whichever comes first: else what another rule admitted,
// or another source brought, would be pulled by the index's name.

// knowsIndexes is a sink that can tell what it serves; see store.Session.
type knowsIndexes interface {
	Serves(ctx context.Context, repo string, dgst digest.Digest) (bool, error)
	Admitted(ctx context.Context, repo string, dgst digest.Digest) (bool, error)
	Listed(ctx context.Context, repo string, dgst digest.Digest) ([][]layout.Name, error)
}

// completing finds out whether what an import brings completes an index, or is completed
// by what is there.
type completing struct {
	*importing
	rules  *policy.Lookup
	judge  *verify.Judge
	here   *verify.GraphJudge // of what the bundle has
	marks  *absentMarks       // nil if nothing is remembered
	repos  map[string]string  // of the destination, by those of the source
	units  []*unit
	at     map[place]map[*policy.Rule][]*unit // by where they go
	brings map[place][]string                 // repositories of the source that have what goes to a place

	known   map[judgedUnder]verify.Verdict
	met     map[meetsAt][]meeting
	listers map[place]*listersOf
	byRule  *listersByRule
}

// unit is what is judged alike: one manifest of a repository, under all its references that
// have the same rule. It comes in if it stays passed.
type unit struct {
	repo     string // of the source
	dgst     digest.Digest
	rule     *policy.Rule
	names    []judgedName
	without  []digest.Digest // children that are absent
	isAbsent map[digest.Digest]bool

	state verify.State
	why   func(reference string) string
}

// refuse has a unit that passed not pass. What was refused before stays so.
func (u *unit) refuse(state verify.State, why func(reference string) string) bool {
	if u.state == verify.Refused {
		return false
	}
	u.state, u.why = state, why
	return true
}

// settle enters the state in the verdicts.
func (u *unit) settle() {
	for _, n := range u.names {
		if u.state != verify.Passed {
			n.verdict.State, n.verdict.Reason = u.state, u.why(n.Reference.String())
		}
	}
}

// judgedName is something that comes in if its verdict stays that it passed.
type judgedName struct {
	layout.Name
	verdict *verify.Verdict
}

// judgedNames are the roots, and what is attached and was judged by itself.
func (i *importing) judgedNames() []judgedName {
	var out []judgedName
	for n := range i.report.Verdicts {
		out = append(out, judgedName{i.g.Roots[n], &i.report.Verdicts[n]})
	}
	if i.attached == nil {
		return out
	}
	for n, name := range i.attached.names {
		out = append(out, judgedName{name, &i.attached.verdicts[n]})
	}
	return out
}

// place is a manifest in a repository of the destination.
type place struct {
	repo string
	d    digest.Digest
}

// judgedUnder is a verdict on a manifest. src is nil for what the bundle has.
type judgedUnder struct {
	src  layout.Source
	repo string
	dgst digest.Digest
	rule *policy.Rule
}

// maxCompletions is how many verdicts on children an import may need: one for each child
// and rule, and for each reference of an index whose rule asks for the signed reference.
const maxCompletions = 100_000

// complete refuses each root that passed and whose index would be completed, here or
// there, by something that does not pass the index's rule. What is still absent is
// remembered.
func (i *importing) complete(ctx context.Context) error {
	c, err := i.completing(ctx)
	if err != nil {
		return err
	}
	// What does not come in any more may be what another index would have come with.
	for changed := true; changed; {
		changed = false
		arrivals := map[place][]arrival{} // by repositories of the source
		for _, u := range c.units {
			if u.state != verify.Passed {
				continue
			}
			if err := errors.Join(c.absent(ctx, u), c.arriving(ctx, u, arrivals)); err != nil {
				return err
			}
			changed = changed || u.state != verify.Passed
		}
	}
	for _, u := range c.units {
		u.settle()
	}
	i.report.Decide()
	return c.remember()
}

func (i *importing) completing(ctx context.Context) (*completing, error) {
	lists, err := i.RevocationLists(ctx)
	if err != nil {
		return nil, i.damaged(err)
	}
	c := &completing{
		importing: i, rules: policy.NewLookup(i.o.Judge.Policy), judge: WithLists(i.o.Judge, lists),
		repos: map[string]string{}, at: map[place]map[*policy.Rule][]*unit{}, brings: map[place][]string{},
		known: map[judgedUnder]verify.Verdict{}, met: map[meetsAt][]meeting{}, listers: map[place]*listersOf{},
	}
	c.byRule = newListersByRule(c.rules)
	c.here = c.judge.Of(i.source, i.g)
	if i.o.Memory != nil {
		c.marks = newAbsentMarks(i.o.Memory)
	}
	for _, repo := range i.g.Repositories() {
		if c.repos[repo], err = i.o.Mapping.Repository(repo); err != nil {
			return nil, err
		}
	}
	for _, p := range i.g.Places {
		at := place{c.repos[p.Repository], p.Digest}
		c.brings[at] = append(c.brings[at], p.Repository)
	}
	c.unite(i.judgedNames())
	return c, nil
}

// unite makes the units.
func (c *completing) unite(all []judgedName) {
	type key struct {
		repo string
		dgst digest.Digest
		rule *policy.Rule
		// Verdicts on one manifest by one rule share their lists.
		without *digest.Digest
	}
	units := map[key]*unit{}
	isAbsent := map[*digest.Digest]map[digest.Digest]bool{}
	for _, j := range all {
		if j.verdict.State != verify.Passed {
			continue
		}
		k := key{repo: j.Reference.Repository, dgst: j.Descriptor.Digest, rule: c.rules.For(j.Reference)}
		if without := j.verdict.Absent; len(without) > 0 {
			k.without = &without[0]
			if isAbsent[k.without] == nil {
				isAbsent[k.without] = setOf(without)
			}
		}
		u := units[k]
		if u == nil {
			u = &unit{repo: k.repo, dgst: k.dgst, rule: k.rule, without: j.verdict.Absent, isAbsent: isAbsent[k.without], state: verify.Passed}
			units[k] = u
			c.units = append(c.units, u)
			at := place{c.repos[k.repo], k.dgst}
			if c.at[at] == nil {
				c.at[at] = map[*policy.Rule][]*unit{}
			}
			c.at[at][k.rule] = append(c.at[at][k.rule], u)
		}
		u.names = append(u.names, j)
	}
}

func setOf(all []digest.Digest) map[digest.Digest]bool {
	out := make(map[digest.Digest]bool, len(all))
	for _, d := range all {
		out[d] = true
	}
	return out
}

// meetsAt is a list of absent children in a repository of the destination.
type meetsAt struct {
	to      string
	without *digest.Digest // the first of the list
	n       int
}

// meeting is an absent child that the destination has, or gets by this import.
type meeting struct {
	src  layout.Source // nil for a destination that cannot be read
	repo string
	d    digest.Digest
}

// meetings lists them. It asks the destination once for each child of a list.
func (c *completing) meetings(ctx context.Context, to string, without []digest.Digest) ([]meeting, error) {
	if len(without) == 0 {
		return nil, nil
	}
	k := meetsAt{to, &without[0], len(without)}
	out, known := c.met[k]
	if known {
		return out, nil
	}
	for _, d := range without {
		for _, repo := range c.brings[place{to, d}] {
			out = append(out, meeting{c.source, repo, d})
		}
		there, err := c.admittedThere(ctx, to, d)
		if err != nil {
			return nil, err
		}
		if there {
			src, _ := c.dst.(layout.Source)
			out = append(out, meeting{src, to, d})
		}
	}
	c.met[k] = out
	return out, nil
}

// absent judges the children of an index that the bundle does not have with it, and that
// the destination has, or gets by this import.
func (c *completing) absent(ctx context.Context, u *unit) error {
	all, err := c.meetings(ctx, c.repos[u.repo], u.without)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.src == nil {
			u.refuse(verify.Undecided, func(reference string) string {
				return fmt.Sprintf("child %s of %s is in the destination already, and cannot be judged there", m.d, reference)
			})
			return nil
		}
		if err := c.hold(ctx, u, u.rule, m.src, m.repo, m.d, ""); err != nil {
			return err
		}
	}
	return nil
}

// arriving judges what a root brings that completes indexes of the destination.
func (c *completing) arriving(ctx context.Context, u *unit, known map[place][]arrival) error {
	at := place{u.repo, u.dgst}
	all, ok := known[at]
	if !ok {
		var err error
		if all, err = c.arrivals(ctx, u.repo, u.dgst); err != nil {
			return err
		}
		known[at] = all
	}
	for _, a := range all {
		if a.rule == nil { // it was admitted by its children, and now by nothing
			u.refuse(verify.Refused, func(string) string {
				return fmt.Sprintf("the index %s lists %s, and no policy rule matches the index any more", a.reference, a.d)
			})
			continue
		}
		if err := c.hold(ctx, u, a.rule, c.source, u.repo, a.d, a.reference); err != nil {
			return err
		}
	}
	return nil
}

// serves says whether the destination serves a manifest.
func (c *completing) serves(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	if k, ok := c.dst.(knowsIndexes); ok {
		return k.Serves(ctx, repo, d)
	}
	_, err := c.dst.Resolve(ctx, layout.Reference{Repository: repo, Digest: d})
	if errors.Is(err, layout.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// admittedThere says whether the destination would serve a manifest once an index that is
// served lists it.
func (c *completing) admittedThere(ctx context.Context, repo string, d digest.Digest) (bool, error) {
	if k, ok := c.dst.(knowsIndexes); ok {
		return k.Admitted(ctx, repo, d)
	}
	return c.serves(ctx, repo, d)
}

// hold turns a unit that passed if a manifest does not pass the rule for an index, which is
// the unit's own or has a reference.
func (c *completing) hold(ctx context.Context, u *unit, rule *policy.Rule, src layout.Source, repo string, d digest.Digest, index string) error {
	if u.state == verify.Refused {
		return nil
	}
	key := judgedUnder{nil, repo, d, rule}
	if src != c.source {
		key.src = src
	}
	child, ok := c.known[key]
	if !ok {
		if len(c.known) == maxCompletions {
			return c.fail(&layout.Error{Err: fmt.Errorf("more than %d verdicts on children that complete an index: %w", maxCompletions, layout.ErrLimit), Hint: "import the index with all of its children, or fewer references at a time"})
		}
		var err error
		if child, err = c.judgeUnder(ctx, rule, src, repo, d); err != nil {
			return err
		}
		c.known[key] = child
	}
	if child.State == verify.Passed {
		return nil
	}
	why := child.WhyNot()
	u.refuse(child.State, func(reference string) string {
		if index != "" {
			reference = index
		}
		return fmt.Sprintf("the index %s lists %s, which does not pass its rule %q: %s", reference, d, rule.Name, why)
	})
	return nil
}

// judgeUnder judges a manifest by a rule.
func (c *completing) judgeUnder(ctx context.Context, rule *policy.Rule, src layout.Source, repo string, d digest.Digest) (verify.Verdict, error) {
	if src == c.source {
		return judgeChild(ctx, c.here, rule, src, c.g, repo, d, &c.starts)
	}
	g, err := walkOne(ctx, src, repo, d)
	if err != nil {
		return verify.Verdict{}, err
	}
	return judgeChild(ctx, c.judge.Of(src, g), rule, src, g, repo, d, &c.starts)
}

// judgeChild judges a manifest of g by the rule for an index that lists it. One from which
// nothing can be started passes.
func judgeChild(ctx context.Context, j *verify.GraphJudge, rule *policy.Rule, src layout.Source, g *layout.Graph, repo string, d digest.Digest, starts *layout.Inspector) (verify.Verdict, error) {
	why, err := g.Startable(ctx, src, starts, repo, d)
	if err != nil || why == "" {
		return verify.Verdict{State: verify.Passed}, err
	}
	v, err := j.Under(ctx, rule, layout.Name{Reference: layout.Reference{Repository: repo, Digest: d}, Descriptor: g.Nodes[d].Descriptor})
	if len(v.Absent) > 0 && v.State == verify.Passed { // of an index in the index
		v.State, v.Reason = verify.Refused, fmt.Sprintf("its child %s is not here", v.Absent[0])
	}
	return v, err
}

// walkOne is the graph of a manifest, found by its digest.
func walkOne(ctx context.Context, src layout.Source, repo string, d digest.Digest) (*layout.Graph, error) {
	return layout.Walk(ctx, src, []layout.Reference{{Repository: repo, Digest: d}}, layout.WalkOptions{MayMiss: mayMissAll})
}

// mayMissAll takes an index for sparse.
func mayMissAll(string, digest.Digest, layout.Descriptor) bool { return true }

// remember notes the children that roots which passed came without.
func (c *completing) remember() error {
	if c.o.Memory == nil {
		return nil
	}
	var all cameWithout
	for _, u := range c.units {
		if u.state != verify.Passed {
			continue
		}
		for _, n := range u.names {
			all.add(c.repos[u.repo], u.dgst, n.Reference.String(), u.without)
		}
	}
	_, err := all.remember(c.o.Memory)
	return err
}
