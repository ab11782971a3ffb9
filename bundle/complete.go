package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

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
	Listed(ctx context.Context, repo string, dgst digest.Digest) ([]layout.Name, error)
}

// absentChild is what is remembered of a child that did not come with an index: that it
// has to pass the rule for a source reference of the index.
type absentChild struct {
	Index      digest.Digest `json:"index"`
	References []string      `json:"references"`
}

// maxAbsentReferences is how many references are remembered for a child of an index. None
// is forgotten: an import that would bring more is refused.
const maxAbsentReferences = 5000

func absentName(repo string, child digest.Digest) string {
	return "child " + layout.SameHost(repo) + " " + string(child)
}

// completing finds out whether what an import brings completes an index, or is completed
// by what is there.
type completing struct {
	*importing
	repos  map[string]string // of the destination, by those of the source
	judged []judgedName
	brings map[place][]string // repositories of the source that have what goes to a place
	known  map[judgedUnder]verify.Verdict
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
	rule string
}

// complete refuses each root that passed and whose index would be completed, here or
// there, by something that does not pass the index's rule. What is still absent is
// remembered.
func (i *importing) complete(ctx context.Context) error {
	c := &completing{importing: i, judged: i.judgedNames(), repos: map[string]string{}, brings: map[place][]string{}, known: map[judgedUnder]verify.Verdict{}}
	for _, repo := range i.g.Repositories() {
		to, err := i.o.Mapping.Repository(repo)
		if err != nil {
			return err
		}
		c.repos[repo] = to
	}
	for _, p := range i.g.Places {
		at := place{c.repos[p.Repository], p.Digest}
		c.brings[at] = append(c.brings[at], p.Repository)
	}
	// What does not come in any more may be what another index would have come with.
	for changed := true; changed; {
		changed = false
		for _, j := range c.judged {
			if j.verdict.State != verify.Passed {
				continue
			}
			if err := errors.Join(c.absent(ctx, j.Name, j.verdict), c.arriving(ctx, j.Name, j.verdict)); err != nil {
				return err
			}
			changed = changed || j.verdict.State != verify.Passed
		}
	}
	i.report.Decide()
	return c.remember()
}

// absent judges the children of an index that the bundle does not have with it, and that
// the destination has, or gets by this import.
func (c *completing) absent(ctx context.Context, root layout.Name, v *verify.Verdict) error {
	rule := c.o.Judge.Policy.For(root.Reference)
	to := c.repos[root.Reference.Repository]
	for _, d := range v.Absent {
		for _, repo := range c.brings[place{to, d}] {
			if err := c.hold(ctx, v, rule, c.source, repo, d, root.Reference.String()); err != nil {
				return err
			}
		}
		there, err := c.admittedThere(ctx, to, d)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		src, ok := c.dst.(layout.Source)
		if !ok {
			v.State, v.Reason = verify.Undecided, fmt.Sprintf("child %s of %s is in the destination already, and cannot be judged there", d, root.Reference)
			return nil
		}
		if err := c.hold(ctx, v, rule, src, to, d, root.Reference.String()); err != nil {
			return err
		}
	}
	return nil
}

// arriving judges what a root brings that completes indexes of the destination.
func (c *completing) arriving(ctx context.Context, root layout.Name, v *verify.Verdict) error {
	from := root.Reference.Repository
	to := c.repos[from]
	seen := map[digest.Digest]bool{}
	for todo := []digest.Digest{root.Descriptor.Digest}; len(todo) > 0; todo = todo[1:] {
		d := todo[0]
		if _, here := c.g.Place(from, d); !here || seen[d] {
			continue
		}
		seen[d] = true
		for _, child := range c.g.Nodes[d].Children {
			todo = append(todo, child.Digest)
		}
		refs, err := c.completes(ctx, to, d)
		if err != nil {
			return err
		}
		if len(refs) == 0 {
			continue
		}
		if there, err := c.serves(ctx, to, d); err != nil || there {
			if err != nil {
				return err
			}
			continue
		}
		for _, ref := range refs {
			rule := ruleFor(c.o.Judge.Policy, ref.name)
			if rule == nil && ref.remembered { // it was admitted by its children, and now by nothing
				v.State, v.Reason = verify.Refused, fmt.Sprintf("the index %s lists %s, and no policy rule matches the index any more", ref.name, d)
				continue
			}
			if rule == nil || rule.Index != policy.IndexChildren {
				continue // the index is judged as a whole
			}
			if err := c.hold(ctx, v, rule, c.source, from, d, ref.name); err != nil {
				return err
			}
		}
	}
	return nil
}

// completed is a reference of an index, remembered from an import or found at the
// destination.
type completed struct {
	name       string
	remembered bool
}

// completes lists the references of indexes that list a manifest, are in a repository of
// the destination, and do not come again by this import with the manifest judged.
func (c *completing) completes(ctx context.Context, to string, d digest.Digest) ([]completed, error) {
	var remembered []absentChild
	var err error
	if c.o.Memory != nil {
		if remembered, _, err = absentFrom(c.o.Memory, to, d); err != nil {
			return nil, err
		}
	}
	var out []completed
	for _, a := range remembered {
		for _, ref := range a.References {
			if !c.comesWith(to, a.Index, d, ref) {
				out = append(out, completed{ref, true})
			}
		}
	}
	k, ok := c.dst.(knowsIndexes)
	if !ok {
		return out, nil
	}
	names, err := k.Listed(ctx, to, d)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if ref := n.Reference.String(); !c.comesWith(to, n.Descriptor.Digest, d, ref) {
			out = append(out, completed{ref, false})
		}
	}
	return out, nil
}

// comesWith says whether this import brings an index that passed, and a child judged with
// it by the rule that a reference has.
func (c *completing) comesWith(to string, index, child digest.Digest, reference string) bool {
	rule := ruleFor(c.o.Judge.Policy, reference)
	for _, j := range c.judged {
		if j.Descriptor.Digest != index || c.repos[j.Reference.Repository] != to || j.verdict.State != verify.Passed {
			continue
		}
		if _, here := c.g.Place(j.Reference.Repository, child); here && !slices.Contains(j.verdict.Absent, child) && sameRule(rule, c.o.Judge.Policy.For(j.Reference)) {
			return true
		}
	}
	return false
}

func ruleFor(p *policy.Policy, reference string) *policy.Rule {
	ref, err := layout.ParseReference(reference)
	if err != nil {
		return nil
	}
	return p.For(ref)
}

// sameRule says whether two rules decide alike. Each look-up in a policy makes a new one.
func sameRule(a, b *policy.Rule) bool {
	return a != nil && b != nil && a.Name == b.Name && a.Index == b.Index && reflect.DeepEqual(a.Require, b.Require)
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

// hold turns a verdict that passed if a manifest does not pass the rule for an index.
func (c *completing) hold(ctx context.Context, v *verify.Verdict, rule *policy.Rule, src layout.Source, repo string, d digest.Digest, index string) error {
	key := judgedUnder{nil, repo, d, rule.Name}
	if src != c.source {
		key.src = src
	}
	child, ok := c.known[key]
	if !ok {
		var err error
		if child, err = c.judgeUnder(ctx, rule, src, repo, d); err != nil {
			return err
		}
		c.known[key] = child
	}
	if child.State == verify.Passed || v.State == verify.Refused {
		return nil
	}
	v.State = child.State
	v.Reason = fmt.Sprintf("the index %s lists %s, which does not pass its rule %q: %s", index, d, rule.Name, child.WhyNot())
	return nil
}

// judgeUnder judges a manifest by a rule.
func (c *completing) judgeUnder(ctx context.Context, rule *policy.Rule, src layout.Source, repo string, d digest.Digest) (verify.Verdict, error) {
	g := c.g
	if src != c.source {
		var err error
		if g, err = walkOne(ctx, src, repo, d); err != nil {
			return verify.Verdict{}, err
		}
	}
	lists, err := c.RevocationLists(ctx)
	if err != nil {
		return verify.Verdict{}, c.damaged(err)
	}
	return judgeChild(ctx, WithLists(c.o.Judge, lists), rule, src, g, repo, d, &c.starts)
}

// judgeChild judges a manifest of g by the rule for an index that lists it. One from which
// nothing can be started passes.
func judgeChild(ctx context.Context, j *verify.Judge, rule *policy.Rule, src layout.Source, g *layout.Graph, repo string, d digest.Digest, starts *layout.Inspector) (verify.Verdict, error) {
	why, err := g.Startable(ctx, src, starts, repo, d)
	if err != nil || why == "" {
		return verify.Verdict{State: verify.Passed}, err
	}
	v, err := j.Under(ctx, src, g, rule, layout.Name{Reference: layout.Reference{Repository: repo, Digest: d}, Descriptor: g.Nodes[d].Descriptor})
	if len(v.Absent) > 0 && v.State == verify.Passed { // of an index in the index
		v.State, v.Reason = verify.Refused, fmt.Sprintf("its child %s is not here", v.Absent[0])
	}
	return v, err
}

// walkOne is the graph of a manifest, found by its digest.
func walkOne(ctx context.Context, src layout.Source, repo string, d digest.Digest) (*layout.Graph, error) {
	return layout.Walk(ctx, src, []layout.Reference{{Repository: repo, Digest: d}}, layout.WalkOptions{MayMiss: mayMissAll})
}

// RefusesChild says why a repository must not serve a manifest of src, by what is
// remembered of imports: an index came without it, and by the rule for a name that the
// index had where it came from, the manifest does not pass. It is empty if nothing is
// against it. there says whether the repository has an index still.
func RefusesChild(ctx context.Context, m Marks, j *verify.Judge, src layout.Source, repo string, d digest.Digest, there func(index digest.Digest) bool) (string, error) {
	all, _, err := absentFrom(m, repo, d)
	if err != nil || len(all) == 0 {
		return "", err
	}
	g, err := walkOne(ctx, src, repo, d)
	if err != nil {
		return "", err
	}
	var starts layout.Inspector
	for _, a := range all {
		if !there(a.Index) {
			continue
		}
		for _, name := range a.References {
			rule := ruleFor(j.Policy, name)
			if rule == nil {
				return fmt.Sprintf("the index %s lists %s, and no policy rule matches the index", name, d), nil
			}
			if rule.Index != policy.IndexChildren {
				continue // the index is judged as a whole
			}
			v, err := judgeChild(ctx, j, rule, src, g, repo, d, &starts)
			if err != nil {
				return "", err
			}
			if v.State != verify.Passed {
				return fmt.Sprintf("the index %s lists %s, which does not pass its rule %q: %s", name, d, rule.Name, v.WhyNot()), nil
			}
		}
	}
	return "", nil
}

// CameWithout says whether an index was imported into a repository without a child, as is
// remembered there.
func CameWithout(m MarkReader, repo string, index, child digest.Digest) (bool, error) {
	all, _, err := absentFrom(m, repo, child)
	return slices.ContainsFunc(all, func(a absentChild) bool { return a.Index == index }), err
}

// mayMissAll takes an index for sparse.
func mayMissAll(string, digest.Digest, layout.Descriptor) bool { return true }

// absentFrom returns what is remembered of a child, and as it was written.
func absentFrom(m MarkReader, repo string, d digest.Digest) (all []absentChild, raw []byte, err error) {
	name := absentName(repo, d)
	if raw, err = m.Marked(name); err != nil || raw == nil {
		return nil, nil, err
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, nil, fmt.Errorf("what is remembered of %s: %v: %w", name, err, layout.ErrCorrupt)
	}
	return all, raw, nil
}

// remember notes the children that roots which passed came without.
func (c *completing) remember() error {
	if c.o.Memory == nil {
		return nil
	}
	news := map[place][]absentChild{}
	var order []place
	for _, j := range c.judged {
		if j.verdict.State != verify.Passed {
			continue
		}
		for _, d := range j.verdict.Absent {
			at := place{c.repos[j.Reference.Repository], d}
			if news[at] == nil {
				order = append(order, at)
			}
			news[at] = append(news[at], absentChild{j.Descriptor.Digest, []string{j.Reference.String()}})
		}
	}
	for _, at := range order {
		all, was, err := absentFrom(c.o.Memory, at.repo, at.d)
		if err != nil {
			return err
		}
		now, _, err := withAbsent(all, at.repo, at.d, news[at]...)
		if err != nil {
			return err
		}
		if err := c.o.Memory.Mark(absentName(at.repo, at.d), was, now); err != nil {
			return err
		}
	}
	return nil
}

// withAbsent is what is to be remembered of a child, and whether that is more than all.
func withAbsent(all []absentChild, repo string, d digest.Digest, news ...absentChild) (raw []byte, changed bool, err error) {
	for _, a := range news {
		var added bool
		all, added = addAbsent(all, a)
		changed = changed || added
	}
	for _, a := range all {
		if len(a.References) > maxAbsentReferences {
			return nil, false, &layout.Error{Side: layout.SideDestination, Name: repo, Digest: a.Index,
				Err:  fmt.Errorf("more than %d names for an index whose child %s is absent: %w", maxAbsentReferences, d, layout.ErrLimit),
				Hint: "import the index with all of its children"}
		}
	}
	raw, err = json.Marshal(all)
	return raw, changed, err
}

// addAbsent adds a reference, and says whether it is new.
func addAbsent(all []absentChild, a absentChild) ([]absentChild, bool) {
	for i := range all {
		if all[i].Index != a.Index {
			continue
		}
		if slices.Contains(all[i].References, a.References[0]) {
			return all, false
		}
		all[i].References = append(all[i].References, a.References[0])
		return all, true
	}
	return append(all, a), true
}
