package main

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

// A child that an index came without, and that is in quarantine since, is not there for
// that index: whoever can push or attach it cannot take the index away. It does not come
// out of quarantine either, under whatever name, unless the index passes with it.

// isLate says whether an import brought an index without a child that is in quarantine.
func (r *reverifying) isLate(index digest.Digest, child spot) (bool, error) {
	if r.held[child] == "" || !r.things[child].starts {
		return false, nil
	}
	return bundle.CameWithout(r.store, child.repo, index, child.digest)
}

// judgeWithoutLate judges again what did not pass, without the children that are late.
func (s *separation) judgeWithoutLate(ctx context.Context, src layout.Source, j *verify.Judge) error {
	if s.late == nil {
		return nil
	}
	s.without, s.refused = map[int]map[spot]bool{}, map[int]verify.Verdict{}
	for _, group := range s.groups() {
		if s.Verdicts[group[0]].State == verify.Passed {
			continue
		}
		late, err := s.lateIn(s.roots[group[0]])
		if err != nil {
			return err
		}
		if len(late) == 0 {
			continue
		}
		report, err := s.judgeTogether(ctx, &lacking{src, late}, j, group, true)
		if err != nil {
			if isContent(ctx, err) {
				continue // it stays as it was judged
			}
			return err
		}
		for k, i := range group {
			if v := report.Verdicts[k]; v.State == verify.Passed {
				s.refused[i], s.Verdicts[i] = s.Verdicts[i], v
				s.without[i] = late
			}
		}
		s.Lists = append(s.Lists, report.Lists...)
	}
	return nil
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
	if len(s.without) == 0 {
		return ""
	}
	contained := map[spot]bool{}
	s.each(s.roots[root].Name, (*thing).contains, func(at spot) bool {
		was := contained[at] || s.without[root][at]
		contained[at] = !s.without[root][at]
		return !was
	})
	for i, late := range s.without {
		for at := range late {
			if contained[at] {
				v := s.refused[i]
				return fmt.Sprintf("the index %s lists %s, which does not pass its rule %q: %s", v.Reference, at.digest, v.Rule, v.WhyNot())
			}
		}
	}
	return ""
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
