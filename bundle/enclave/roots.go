package enclave

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"airgap/bundle"
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

// separation says what of a store is to be served, by the verdicts about everything
// in it. A manifest is served if an image that passed contains it, or if it is
// attached to such a one and nothing can be started from it; what others lead to, and
// none that passed does, is held back.
type separation struct {
	*verify.Report              // its verdicts are about roots, in that order
	roots          []judgedRoot // what can be pulled: names, and images without one
	things         map[spot]*thing
	give           map[spot]bool
	hold           map[spot]string // why
	marked         []string        // repositories that are not admitted, and not looked at
	// veto says why a root that passed does not, for what no policy looks at; "" if
	// nothing is against it. nil has none.
	veto func(root int) (string, error)
	// late says whether an index was admitted without a child that is in quarantine since.
	late func(index digest.Digest, child spot) (bool, error)
	// check tells which children imported indexes must not be served with; nil says
	// nothing.
	check       *bundle.ChildCheck
	quarantined map[spot]string // manifests, before
	// without is what roots, which passed, passed without, and refused why they did not
	// pass with it; by their place in roots.
	without map[int]map[spot]bool
	refused map[int]verify.Verdict
	lateFor map[spot]int // a root that passed without a child, by the child
}

// judgedRoot is what is judged by itself.
type judgedRoot struct {
	layout.Name
	loose bool // no name of the store
	part  bool // loose, and another that is loose lists it
	stuck bool // a limit or damage kept it from being judged
}

// thing is a manifest in a repository, as it says of itself.
type thing struct {
	layout.Descriptor
	starts   bool            // it is an image, an index or cannot be read
	list     bool            // it is an index that says nothing of itself
	children []digest.Digest // there or not
	attached []digest.Digest
}

// everything finds what of a store was admitted and can be pulled: its names; and the images and indexes
// that no name contains any more, by their digests. What is attached to something and
// can be started is one of those. An old signature is none.
func everything(ctx context.Context, s store.Judged) (*separation, error) {
	repos, err := s.Repositories(ctx)
	if err != nil {
		return nil, err
	}
	marked, err := s.NotAdmitted(ctx)
	if err != nil {
		return nil, err
	}
	repos = slices.DeleteFunc(repos, func(repo string) bool { return slices.Contains(marked, repo) })
	out, err := everythingIn(ctx, s, repos, s.Outline)
	if err == nil {
		out.marked = marked
	}
	return out, err
}

// outliner reads what a manifest of a repository leads to.
type outliner func(ctx context.Context, repo string, d layout.Descriptor) (store.Outline, error)

// everythingIn finds what of some repositories can be pulled.
func everythingIn(ctx context.Context, s store.Judged, repos []string, outline outliner) (*separation, error) {
	out := &separation{things: map[spot]*thing{}, give: map[spot]bool{}, hold: map[spot]string{}}
	names, err := s.Names(ctx)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(n layout.Name) bool { return !slices.Contains(repos, n.Reference.Repository) })
	var starts []layout.Reference
	for _, repo := range repos {
		found, err := out.read(ctx, s, repo, outline)
		if err != nil {
			return nil, err
		}
		starts = append(starts, found...)
	}
	out.tie(names)
	for _, n := range names {
		if !layout.IsDerivedTag(n.Reference.Tag) {
			out.roots = append(out.roots, judgedRoot{Name: n})
		}
	}
	out.addLoose(starts)
	return out, nil
}

// read reads every manifest of a repository, and lists those that can be started.
func (s *separation) read(ctx context.Context, src store.Judged, repo string, outline outliner) ([]layout.Reference, error) {
	all, err := src.Manifests(ctx, repo)
	if err != nil {
		return nil, err
	}
	var starts []layout.Reference
	subjects := map[digest.Digest]digest.Digest{}
	for _, d := range all {
		t := &thing{Descriptor: d, starts: true}
		s.things[spot{repo, d.Digest}] = t
		o, err := outline(ctx, repo, d)
		switch {
		case err == nil:
			inert, err := src.Inert(repo, d.Digest)
			if err != nil {
				return nil, err
			}
			t.starts = !inert
			t.children = o.Children // what is listed as no manifest, too: engines may get it as one
			t.list = d.MediaType == layout.MediaTypeIndex && o.Subject == ""
			if o.Subject != "" {
				subjects[d.Digest] = o.Subject
			}
		case !isContent(ctx, err):
			return nil, err
		}
		if t.starts {
			starts = append(starts, layout.Reference{Repository: repo, Digest: d.Digest})
		}
	}
	for _, d := range all {
		if subject := s.things[spot{repo, subjects[d.Digest]}]; subject != nil {
			subject.attached = append(subject.attached, d.Digest)
		}
	}
	return starts, nil
}

// isContent says whether an error is about some of a store's content, and so about no
// more than the images that lead to it: a limit, or damage. Any other is about all of it.
func isContent(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	for _, is := range []error{layout.ErrLimit, layout.ErrCorrupt, layout.ErrUnsupported, layout.ErrNotFound} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// tie adds what is attached by a tag.
func (s *separation) tie(names []layout.Name) {
	tags := map[layout.Reference]digest.Digest{}
	for _, n := range names {
		if layout.IsDerivedTag(n.Reference.Tag) {
			tags[n.Reference] = n.Descriptor.Digest
		}
	}
	if len(tags) == 0 {
		return
	}
	for at, t := range s.things {
		for _, form := range append([]layout.Form{layout.FormReferrersTag}, layout.CosignForms...) {
			tag, ok := form.Tag(at.digest)
			if !ok {
				continue
			}
			d, ok := tags[layout.Reference{Repository: at.repo, Tag: tag}]
			if !ok {
				continue
			}
			if form == layout.FormReferrersTag && s.listsAttached(at, d) {
				s.things[spot{at.repo, d}].starts = false
			}
			t.attached = append(t.attached, d)
		}
	}
}

// listsAttached says whether an index is a list of what is attached to a manifest, and of
// nothing else, and whether nothing of it can be started: an image that is served takes what
// it lists with it.
func (s *separation) listsAttached(subject spot, index digest.Digest) bool {
	list, attached := s.things[spot{subject.repo, index}], s.things[subject].attached
	return list != nil && list.list && !slices.ContainsFunc(list.children, func(d digest.Digest) bool {
		child := s.things[spot{subject.repo, d}]
		return child == nil || child.starts || !slices.Contains(attached, d)
	})
}

// addLoose adds the roots that are no names.
func (s *separation) addLoose(starts []layout.Reference) {
	named := map[spot]bool{}
	for _, root := range s.roots {
		s.each(root.Name, (*thing).contains, func(at spot) bool {
			was := named[at]
			named[at] = true
			return !was
		})
	}
	part := map[spot]bool{}
	var loose []judgedRoot
	for _, ref := range starts {
		at := spot{ref.Repository, ref.Digest}
		t := s.things[at]
		if named[at] || !t.starts {
			continue
		}
		loose = append(loose, judgedRoot{Name: layout.Name{Reference: ref, Descriptor: t.Descriptor}, loose: true})
		for _, c := range t.children {
			part[spot{at.repo, c}] = true
		}
	}
	for i := range loose {
		loose[i].part = part[spot{loose[i].Reference.Repository, loose[i].Descriptor.Digest}]
	}
	s.roots = append(s.roots, loose...)
}

// contains is what a manifest consists of: a signature on it covers that.
func (t *thing) contains() []digest.Digest { return t.children }

// leadsTo is everything that belongs to a manifest: its children and its attachments.
func (t *thing) leadsTo() []digest.Digest { return slices.Concat(t.children, t.attached) }

// judge separates everything.
func (s *separation) judge(ctx context.Context, src layout.Source, j *verify.Judge) (err error) {
	if s.Report, err = j.Graph(ctx, src, &layout.Graph{}); err != nil { // for what it says of no image
		return err
	}
	s.Verdicts = make([]verify.Verdict, len(s.roots))
	if err := s.judgeSome(ctx, src, j, s.groups()); err != nil {
		return err
	}
	if err := s.judgeWithoutLate(ctx, src, j); err != nil {
		return err
	}
	s.refuseSparseAttached()
	if err := s.askVeto(); err != nil {
		return err
	}
	for i, v := range s.Verdicts {
		if v.State == verify.Passed {
			s.giveOut(s.roots[i].Name, s.without[i])
		}
	}
	for i, v := range s.Verdicts {
		if v.State != verify.Passed {
			why := whyNot(&v)
			s.each(s.roots[i].Name, (*thing).leadsTo, func(at spot) bool {
				if _, was := s.hold[at]; was || s.give[at] {
					return false
				}
				s.hold[at] = why
				return true
			})
		}
	}
	s.drop()
	s.State = overall(s.Verdicts)
	return nil
}

func (s *separation) askVeto() error {
	for i := range s.Verdicts {
		v := &s.Verdicts[i]
		if v.State != verify.Passed {
			continue
		}
		why := s.completesLate(i)
		if why == "" && s.veto != nil {
			var err error
			if why, err = s.veto(i); err != nil {
				return err
			}
		}
		if why != "" {
			v.State, v.Reason = verify.Refused, why
		}
	}
	return nil
}

// groups puts the roots together that are the same manifest under several names.
func (s *separation) groups() [][]int {
	var out [][]int
	at := map[spot]int{}
	for i, root := range s.roots {
		k := spot{root.Reference.Repository, root.Descriptor.Digest}
		n, ok := at[k]
		if !ok {
			n, at[k] = len(out), len(out)
			out = append(out, nil)
		}
		out[n] = append(out[n], i)
	}
	return out
}

// judgeSome judges some roots. If there is too much of them, or something of them is
// damaged, it is each half by itself, down to the one that it is because of: that one is
// undecided, and the others are judged as if it were not there.
func (s *separation) judgeSome(ctx context.Context, src layout.Source, j *verify.Judge, groups [][]int) error {
	if len(groups) == 0 {
		return nil
	}
	all := slices.Concat(groups...)
	report, err := s.judgeTogether(ctx, src, j, all, len(groups) == 1)
	switch {
	case err == nil:
		for k, i := range all {
			s.Verdicts[i] = report.Verdicts[k]
		}
		s.Lists = append(s.Lists, report.Lists...)
		return nil
	case !isContent(ctx, err):
		return err
	case len(groups) == 1:
		for _, i := range all {
			s.Verdicts[i] = stuckVerdict(j, s.roots[i].Name, err)
			s.roots[i].stuck = true
		}
		return nil
	}
	half := len(groups) / 2
	if err := s.judgeSome(ctx, src, j, groups[:half]); err != nil {
		return err
	}
	return s.judgeSome(ctx, src, j, groups[half:])
}

func (s *separation) judgeTogether(ctx context.Context, src layout.Source, j *verify.Judge, roots []int, single bool) (*verify.Report, error) {
	o := layout.WalkOptions{MayMiss: mayMissAll}
	if single {
		o.Jobs = 1 // so that it fails in the same way each time
	}
	var refs []layout.Reference
	for _, i := range roots {
		refs = append(refs, s.roots[i].Reference)
	}
	g, err := layout.Walk(ctx, src, refs, o)
	if err != nil {
		return nil, err
	}
	return j.Graph(ctx, src, g)
}

// mayMissAll takes an index for sparse: a store keeps no record of what was left out.
func mayMissAll(string, digest.Digest, layout.Descriptor) bool { return true }

// stuckVerdict is about what cannot be judged.
func stuckVerdict(j *verify.Judge, root layout.Name, err error) verify.Verdict {
	v := verify.Verdict{
		Reference: root.Reference.String(), Digest: root.Descriptor.Digest, State: verify.Undecided,
		Reason: "it cannot be judged: " + err.Error(),
	}
	if rule := j.Policy.For(root.Reference); rule != nil {
		v.Rule = rule.Name
	}
	return v
}

// drop forgets verdicts about parts of indexes without a name, where they say nothing of
// their own: those that did not pass are quarantined, or served, with their index.
func (s *separation) drop() {
	var roots []judgedRoot
	var verdicts []verify.Verdict
	for i, v := range s.Verdicts {
		if !s.roots[i].part || v.State == verify.Passed {
			roots, verdicts = append(roots, s.roots[i]), append(verdicts, v)
		}
	}
	s.roots, s.Verdicts = roots, verdicts
}

// overall is passed if every verdict is, and there is one.
func overall(all []verify.Verdict) verify.State {
	state := verify.Passed
	for _, v := range all {
		if v.State == verify.Refused || state == verify.Passed {
			state = v.State
		}
	}
	if len(all) == 0 {
		return verify.Refused
	}
	return state
}

// giveOut gives out an image that passed, with what it contains, and of what is
// attached to those that from which nothing can be started; but not what it passed
// without.
func (s *separation) giveOut(root layout.Name, without map[spot]bool) {
	repo := root.Reference.Repository
	next := func(t *thing) []digest.Digest {
		attached := slices.DeleteFunc(slices.Clone(t.attached), func(d digest.Digest) bool {
			a := s.things[spot{repo, d}]
			return a == nil || a.starts
		})
		return append(attached, t.children...)
	}
	s.each(root, next, func(at spot) bool {
		if without[at] {
			return false
		}
		was := s.give[at]
		s.give[at] = true
		return !was
	})
}

// each goes through what a root leads to in its repository by next, as long as fn says
// that it wants what is beneath.
func (s *separation) each(root layout.Name, next func(*thing) []digest.Digest, fn func(spot) bool) {
	repo := root.Reference.Repository
	for todo := []digest.Digest{root.Descriptor.Digest}; len(todo) > 0; todo = todo[1:] {
		if t, here := s.things[spot{repo, todo[0]}]; here && fn(spot{repo, todo[0]}) {
			todo = append(todo, next(t)...)
		}
	}
}

// maxWhy is how much is said of why something did not pass, in bytes.
const maxWhy = 900

// whyNot is why an image did not pass, in a line.
func whyNot(v *verify.Verdict) string {
	text := fmt.Sprintf("%s: %s", v.State, v.WhyNot())
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
