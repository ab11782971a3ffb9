package enclave

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/store"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// Admission judges what clients push to a store that is served. It releases, and never
// quarantines: all that is pushed is in quarantine already, and what is served stays served
// until [Reverify], so that a client cannot take an image away by attaching to it.
type Admission struct {
	Store *store.Store
	Judge *verify.Judge
	Now   func() time.Time
}

// Admit judges every image that a manifest is part of, is attached to, or leads to, and
// releases what passes, in one transaction with the entries of the ledger.
func (a *Admission) Admit(ctx context.Context, repo string, dgst digest.Digest) error {
	at, err := LedgerTime(a.Store, a.Now())
	if err != nil {
		return err
	}
	kept, err := KeptLists(a.Store)
	if err != nil {
		return err
	}
	r := &reverifying{store: a.Store, now: at}
	if err := r.before(ctx); err != nil {
		return err
	}
	src := a.Store.Judged()
	// Of all manifests of the repository only those are read again that are judged.
	if r.separation, err = everythingIn(ctx, src, []string{repo}, src.RememberedOutline); err != nil {
		return err
	}
	if r.session, err = a.Store.Begin(ctx); err != nil {
		return err
	}
	defer r.session.Close()
	r.about(spot{repo, dgst})
	j := bundle.WithLists(a.Judge, kept)
	r.watch(j, src)
	r.veto = func(root int) (string, error) {
		if why := r.completes(r.roots[root]); why != "" {
			return why, nil
		}
		if why, err := r.completesImported(ctx, root); why != "" || err != nil {
			return why, err
		}
		return r.rollback(ctx, r.roots[root])
	}
	if len(r.roots) == 0 {
		return nil // it is attached to what is not there
	}
	if err := r.separation.judge(ctx, src, j); err != nil {
		return err
	}
	return r.release(ctx)
}

// about leaves of the roots those that lead to a manifest, or to anything that it leads
// to: an index that is served may list what comes with another.
func (s *separation) about(at spot) {
	below := map[spot]bool{}
	s.each(layout.Name{Reference: layout.Reference{Repository: at.repo}, Descriptor: layout.Descriptor{Digest: at.digest}}, (*thing).leadsTo, func(to spot) bool {
		was := below[to]
		below[to] = true
		return !was
	})
	var roots []judgedRoot
	known := map[spot]bool{} // a manifest may have many names
	for _, root := range s.roots {
		at := spot{root.Reference.Repository, root.Descriptor.Digest}
		related, looked := known[at]
		if !looked {
			related = below[at]
			seen := map[spot]bool{}
			s.each(root.Name, (*thing).leadsTo, func(to spot) bool {
				was := seen[to]
				seen[to] = true
				related = related || below[to]
				return !was && !related
			})
			known[at] = related
		}
		if related {
			roots = append(roots, root)
		}
	}
	s.roots = roots
}

// release gives out what passed, and tells of the rest why it did not.
func (r *reverifying) release(ctx context.Context) (err error) {
	res := &ReverifyResult{}
	for i := range r.Verdicts {
		if !r.waits(i) {
			continue
		}
		if err := errors.Join(r.unmoved(ctx, i), r.name(i, res)); err != nil {
			return err
		}
	}
	for at, was := range r.held {
		switch why := r.hold[at]; {
		case r.give[at]:
			err = errors.Join(r.session.Release(at.repo, at.digest), r.released(at, was))
		case why != "" && why != was:
			err = r.session.Quarantine(at.repo, at.digest, why)
		}
		if err != nil {
			return err
		}
	}
	for _, l := range r.Lists {
		if err := r.session.KeepList(l.Issuer, l.CRL.Raw); err != nil {
			return err
		}
	}
	if err := r.rememberAbsent(); err != nil {
		return err
	}
	return r.session.Commit(ctx, nil)
}

// completes says whether a root would complete an index that is served and does not pass
// with it: what was absent when the index was admitted has to pass the index's rule.
//
// What is not in quarantine itself would not be served anew: each index that is served and
// lists it serves it already.
func (r *reverifying) completes(root judgedRoot) string {
	gains := r.gains(root)
	for i, v := range r.Verdicts {
		if v.State == verify.Passed || r.waits(i) {
			continue
		}
		seen, listed := map[spot]bool{}, digest.Digest("")
		r.each(r.roots[i].Name, (*thing).contains, func(at spot) bool {
			if gains[at] {
				listed = at.digest
			}
			was := seen[at]
			seen[at] = true
			return !was && listed == ""
		})
		if listed != "" {
			return fmt.Sprintf("the index %s lists %s, which does not pass its rule %q: %s", v.Reference, listed, v.Rule, v.WhyNot())
		}
	}
	return ""
}

// gains is all that a root contains, and whether it could be started and would be served
// anew.
func (r *reverifying) gains(root judgedRoot) map[spot]bool {
	gains := map[spot]bool{}
	r.each(root.Name, (*thing).contains, func(at spot) bool {
		_, was := gains[at]
		gains[at] = r.held[at] != "" && r.things[at].starts
		return !was
	})
	return gains
}

// completesImported is like completes, of indexes that were imported under other names:
// they were admitted by the rules for those.
func (r *reverifying) completesImported(ctx context.Context, root int) (string, error) {
	for at, gained := range r.gains(r.roots[root]) {
		if !gained || r.without[root][at] {
			continue
		}
		why, err := r.check.Refuses(ctx, at.repo, at.digest)
		if why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// rollback says whether a name that waits led to the image before, and to another since:
// an old image has signatures as good as ever. What is let in is remembered.
func (r *reverifying) rollback(ctx context.Context, root judgedRoot) (string, error) {
	if r.names[root.Reference] == "" || root.Reference.Tag == "" {
		return "", nil
	}
	var leads []digest.Digest
	s := r.separation
	s.each(root.Name, (*thing).contains, func(at spot) bool {
		if slices.Contains(leads, at.digest) || !s.things[at].starts {
			return false
		}
		leads = append(leads, at.digest)
		return true
	})
	err := bundle.NameLeads(r.session, root.Name, leads, func(d digest.Digest) ([]byte, error) {
		at := spot{root.Reference.Repository, d}
		rc, err := r.store.Judged().Open(ctx, at.repo, s.things[at].Descriptor)
		if err != nil {
			return nil, err
		}
		return layout.ReadAll(rc, s.things[at].Descriptor)
	})
	if errors.Is(err, bundle.ErrRollback) {
		return err.Error(), nil
	}
	return "", err
}

// unmoved has the commit fail unless a name still leads to what was judged.
func (r *reverifying) unmoved(ctx context.Context, i int) error {
	root := r.roots[i]
	if root.Reference.Tag == "" {
		return nil
	}
	d, err := r.session.Resolve(ctx, root.Reference)
	if err == nil && d.Digest != root.Descriptor.Digest {
		err = fmt.Errorf("%s: %w", root.Reference, store.ErrChanged)
	}
	return err
}

// released enters a manifest that comes with an image which passed, or passed under a tag.
// An image without a tag has a line of its own.
func (r *reverifying) released(at spot, was string) error {
	for i, root := range r.roots {
		if root.Reference.Tag == "" && root.Reference.Repository == at.repo && root.Descriptor.Digest == at.digest && r.waits(i) {
			return nil
		}
	}
	return r.enterRelease(at, was)
}

// enterRelease enters a manifest that is released with the image that it belongs to.
func (r *reverifying) enterRelease(at spot, was string) error {
	return Enter(r.session, custody.Entry{
		At: r.now, Act: custody.Release, Reference: layout.Reference{Repository: at.repo, Digest: at.digest}.Name(), Digest: at.digest,
		Absent: r.absentFrom(at),
		Result: string(verify.Passed), Policy: digest.Digest(r.Policy.Digest), Reason: "it belongs to an image that passed; it was in quarantine: " + was,
	})
}

// waits says whether a root is in quarantine, by its name or itself.
func (r *reverifying) waits(i int) bool {
	root := r.roots[i]
	return cmp.Or(r.names[root.Reference], r.held[spot{root.Reference.Repository, root.Descriptor.Digest}]) != ""
}
