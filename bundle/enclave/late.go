package enclave

import (
	"context"
	"fmt"
	"io"
	"slices"

	"airgap/bundle"
	"airgap/layout"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// A child that was absent when its index was admitted, and is in quarantine, counts as absent
// when the index is judged again: a client that can push or attach the child cannot take the
// index away. The child is released, under any name, only if the index passes with it.

// isLate says whether an import brought an index without a child that is in quarantine.
func (r *reverifying) isLate(index digest.Digest, child spot) (bool, error) {
	if r.held[child] == "" || !r.things[child].starts {
		return false, nil
	}
	return bundle.CameWithout(r.store, child.repo, index, child.digest)
}

// watch has the judgement look at what is late, by what is remembered of imports.
func (r *reverifying) watch(j *verify.Judge, src layout.Source) {
	r.late, r.quarantined = r.isLate, r.held
	r.check = bundle.NewChildCheck(r.store, j, src, func(repo string, index digest.Digest) bool {
		return r.things[spot{repo, index}] != nil
	})
}

// rememberAbsent notes the children that indexes which passed came without.
func (r *reverifying) rememberAbsent() error {
	var all []bundle.SparseIndex
	for i, v := range r.Verdicts {
		if n := r.roots[i].Name; v.State == verify.Passed && len(v.Absent) > 0 {
			all = append(all, bundle.SparseIndex{Repository: n.Reference.Repository, Digest: n.Descriptor.Digest, References: []string{n.Reference.Name()}, Absent: v.Absent})
		}
	}
	_, err := bundle.RememberAbsent(r.session, all)
	return err
}

// judgeWithoutLate judges again, without the children that are late, what does not pass with
// them: by its rule, or by that for a name under which it was imported.
func (s *separation) judgeWithoutLate(ctx context.Context, src layout.Source, j *verify.Judge) error {
	if s.late == nil {
		return nil
	}
	s.without, s.refused, s.lateFor = map[int]map[spot]bool{}, map[int]verify.Verdict{}, map[spot]int{}
	for _, group := range s.groups() {
		late, err := s.lateIn(s.roots[group[0]])
		if err != nil {
			return err
		}
		why, err := s.refusesAny(ctx, late)
		if err != nil {
			return err
		}
		with := func(i int) bool { return why == "" && s.Verdicts[i].State == verify.Passed }
		if len(late) == 0 || !slices.ContainsFunc(group, func(i int) bool { return !with(i) }) {
			continue
		}
		report, err := s.judgeTogether(ctx, &lacking{src, late}, j, group, true)
		if err != nil {
			if isContent(ctx, err) {
				continue // it stays as it was judged
			}
			return err
		}
		of := -1
		for k, i := range group {
			if v := report.Verdicts[k]; v.State == verify.Passed && !with(i) {
				if s.refused[i] = s.Verdicts[i]; s.refused[i].State == verify.Passed {
					s.refused[i] = verify.Verdict{Reference: v.Reference, Rule: v.Rule, State: verify.Refused, Reason: why}
				}
				s.Verdicts[i], s.without[i] = v, late
				of = i
			}
		}
		if of >= 0 {
			for at := range late {
				s.lateFor[at] = of
			}
		}
		s.Lists = append(s.Lists, report.Lists...)
	}
	return nil
}

// refusesAny says why a child must not be served with an index that was imported without it.
func (s *separation) refusesAny(ctx context.Context, late map[spot]bool) (string, error) {
	if s.check == nil {
		return "", nil
	}
	for at := range late {
		if why, err := s.check.Refuses(ctx, at.repo, at.digest); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// refuseSparseAttached refuses to release an index that is attached to an image, and whose
// children are not all here: those that come later would have to pass with it.
func (s *separation) refuseSparseAttached() {
	attached := map[spot]bool{}
	for at, t := range s.things {
		for _, d := range t.attached {
			attached[spot{at.repo, d}] = true
		}
	}
	for i, root := range s.roots {
		at, v := spot{root.Reference.Repository, root.Descriptor.Digest}, &s.Verdicts[i]
		if root.loose && attached[at] && s.quarantined[at] != "" && v.State == verify.Passed && len(v.Absent) > 0 {
			v.State, v.Reason = verify.Refused, fmt.Sprintf("it is attached, and its child %s is not here", v.Absent[0])
		}
	}
}

// lateIn lists what a root contains that is late.
func (s *separation) lateIn(root judgedRoot) (map[spot]bool, error) {
	contained := map[spot]bool{}
	var indexes []digest.Digest
	s.each(root.Name, (*thing).contains, func(at spot) bool {
		was := contained[at]
		contained[at] = true
		if !was && len(s.things[at].children) > 0 {
			indexes = append(indexes, at.digest)
		}
		return !was
	})
	late := map[spot]bool{}
	for at := range contained {
		for _, index := range indexes {
			is, err := s.late(index, at)
			if err != nil {
				return nil, err
			}
			if is {
				late[at] = true
				break
			}
		}
	}
	return late, nil
}

// completesLate says whether a root would bring out of quarantine what an index that
// passed came without.
func (s *separation) completesLate(root int) string {
	if len(s.lateFor) == 0 {
		return ""
	}
	without := s.without[root]
	contained, why := map[spot]bool{}, ""
	s.each(s.roots[root].Name, (*thing).contains, func(at spot) bool {
		if contained[at] || without[at] || why != "" {
			return false
		}
		contained[at] = true
		if i, late := s.lateFor[at]; late {
			v := s.refused[i]
			why = fmt.Sprintf("the index %s lists %s, which does not pass its rule %q: %s", v.Reference, at.digest, v.Rule, v.WhyNot())
		}
		return true
	})
	return why
}

// lacking is a source without some manifests.
type lacking struct {
	layout.Source
	without map[spot]bool
}

// Open implements [layout.Source].
func (l *lacking) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if l.without[spot{repo, d.Digest}] {
		return nil, &layout.Error{Side: layout.SideStore, Name: repo, Digest: d.Digest, Err: layout.ErrNotFound}
	}
	return l.Source.Open(ctx, repo, d)
}

// Attached implements [layout.Source].
func (l *lacking) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	all, err := l.Source.Attached(ctx, repo, subject)
	for i := range all {
		all[i].Found = slices.DeleteFunc(slices.Clone(all[i].Found), func(d layout.Descriptor) bool { return l.without[spot{repo, d.Digest}] })
	}
	return all, err
}
