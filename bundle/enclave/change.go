package enclave

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// change brings the store in line with the verdicts, all of it in one step, and tells
// what that was.
func (r *reverifying) change(ctx context.Context) (*ReverifyResult, error) {
	res := &ReverifyResult{DryRun: r.dryRun, State: verify.Passed, Images: len(r.Verdicts), Quarantined: []QuarantinedImage{}, Released: []QuarantinedImage{}, NotAdmitted: r.marked, Report: r.Report}
	if len(r.Verdicts) == 0 {
		res.Report = nil // there is nothing to refuse
	}
	if !r.dryRun {
		var err error
		if r.session, err = r.store.Begin(ctx); err != nil {
			return nil, err
		}
		defer r.session.Close()
		if err := r.session.Expect(r.state); err != nil {
			return nil, err
		}
	}
	for i := range r.Verdicts {
		if err := r.name(i, res); err != nil {
			return nil, err
		}
	}
	if err := r.manifests(ctx, res); err != nil || r.dryRun {
		return res, err
	}
	for _, l := range r.Lists {
		if err := r.session.KeepList(l.Issuer, l.CRL.Raw); err != nil {
			return nil, err
		}
	}
	if err := r.rememberAbsent(); err != nil {
		return nil, err
	}
	_, err := bundle.Attach(ctx, r.session, r.records)
	return res, err
}

// name holds a name, or lets go of it, as the verdict about it says.
func (r *reverifying) name(i int, res *ReverifyResult) error {
	v, root := &r.Verdicts[i], r.roots[i]
	at := spot{root.Reference.Repository, root.Descriptor.Digest}
	was, held := r.names[root.Reference]
	if !held && root.Reference.Tag == "" {
		was, held = r.held[at] // it may have no name at all
	}
	h := QuarantinedImage{Reference: root.Reference.String(), Digest: v.Digest, State: v.State, New: !held}
	if v.State == verify.Passed {
		if !held {
			return nil
		}
		h.New, h.Reason = false, was
		err := r.enter(custody.Release, i, &h, "passed; it was in quarantine: "+was)
		if err == nil && r.session != nil && !root.loose {
			err = r.session.LetGo(root.Reference)
		}
		res.Released = append(res.Released, h)
		return err
	}
	h.Reason, h.PartOfOthers = whyNot(v), r.give[at]
	if v.State == verify.Refused || res.State == verify.Passed {
		res.State = v.State
	}
	var err error
	if !held || was != h.Reason {
		err = r.enter(custody.Quarantine, i, &h, h.Reason)
	}
	if err == nil && r.session != nil && !root.loose {
		err = r.session.Hold(root.Reference, h.Reason)
	}
	res.Quarantined = append(res.Quarantined, h)
	return err
}

// manifests puts into quarantine what only images that did not pass lead to, and
// releases what one that passed leads to. What nothing leads to stays as it is.
func (r *reverifying) manifests(ctx context.Context, res *ReverifyResult) error {
	left, entered := map[spot]bool{}, r.entered(ctx, res)
	for _, at := range slices.SortedFunc(maps.Keys(r.held), compareSpots) {
		left[at] = true
		if !r.give[at] {
			continue
		}
		delete(left, at)
		if r.session == nil {
			continue
		}
		if err := r.session.Release(at.repo, at.digest); err != nil {
			return err
		}
		if r.things[at].starts && !entered[at] {
			if err := r.enterRelease(at, r.held[at]); err != nil {
				return err
			}
		}
	}
	for at, why := range r.hold {
		left[at] = true
		if r.session == nil || r.held[at] == why {
			continue
		}
		if err := r.session.Quarantine(at.repo, at.digest, why); err != nil {
			return err
		}
	}
	res.Manifests = len(left)
	return nil
}

// entered lists what the images contain that have been released, and entered. A manifest
// that the ledger quarantines by its digest is released by a line for that; and so is each,
// if the ledger cannot be read.
func (r *reverifying) entered(ctx context.Context, res *ReverifyResult) map[spot]bool {
	lines := map[string]bool{}
	for _, h := range res.Released {
		lines[h.Reference] = true
	}
	out := map[spot]bool{}
	if len(lines) == 0 {
		return out
	}
	says, _, err := replayLedger(ctx, r.store)
	if err != nil {
		return out
	}
	held := map[string]bool{}
	for _, n := range says.Names {
		held[n.Reference.Name()] = n.Hold != ""
	}
	seen := map[spot]bool{}
	for _, root := range r.roots {
		if !lines[root.Reference.String()] {
			continue
		}
		r.each(root.Name, (*thing).contains, func(at spot) bool {
			ref := layout.Reference{Repository: at.repo, Digest: at.digest}
			was := seen[at]
			seen[at], out[at] = true, !held[ref.Name()] || lines[ref.String()]
			return !was
		})
	}
	return out
}

func compareSpots(a, b spot) int {
	return cmp.Or(cmp.Compare(a.repo, b.repo), cmp.Compare(a.digest, b.digest))
}

// enter writes a line of the ledger and, if there is a key, signs the verdict. To what
// cannot be judged nothing is attached: it may be too much already.
func (r *reverifying) enter(act custody.Act, i int, h *QuarantinedImage, reason string) error {
	if r.session == nil {
		return nil
	}
	e := custody.Entry{
		At: r.now, Act: act, Reference: h.Reference, Digest: h.Digest, By: r.recording.By,
		Result: string(h.State), Policy: digest.Digest(r.Policy.Digest), Reason: reason,
	}
	if act == custody.Release {
		e.Absent = r.absentFrom(spot{r.roots[i].Reference.Repository, h.Digest})
	}
	if r.recording.Reason != "" {
		e.Reason += "; because: " + r.recording.Reason
	}
	if r.recording.Key != nil && !r.roots[i].stuck {
		a, err := r.verdict(i)
		if err != nil {
			return err
		}
		if e.Key, err = sigstore.Fingerprint(r.recording.Key.Public()); err != nil {
			return err
		}
		h.Record = a.Artifact.Manifest.Digest
		e.Records = []digest.Digest{h.Record}
		r.records = append(r.records, a)
	}
	return Enter(r.session, e)
}

// verdict signs a verdict.
func (r *reverifying) verdict(i int) (a bundle.Addition, err error) {
	root, v := r.roots[i], &r.Verdicts[i]
	summary, err := bundle.Summary(r.Report, v, r.verifier, root.Reference)
	if err != nil {
		return a, err
	}
	att, err := summary.Attestation(v.Reference)
	if err != nil {
		return a, err
	}
	artifact, err := custody.Attach(root.Descriptor, att, r.recording.Key)
	a = bundle.Addition{Repository: root.Reference.Repository, Subject: root.Descriptor.Digest, Artifact: artifact}
	if at := (spot{a.Repository, artifact.Manifest.Digest}); v.State != verify.Passed && !r.give[spot{a.Repository, a.Subject}] {
		r.hold[at] = whyNot(v) // it goes with its image
	}
	return a, err
}

// absentFrom lists the children, at any depth, that a store does not serve with an index: it
// does not have them, or the index passed without them. The list is sorted and has at most
// custody.MaxAbsent digests; it is nil for what is no index.
func (s *separation) absentFrom(index spot) []digest.Digest {
	if t := s.things[index]; t == nil || !layout.IsIndex(t.MediaType) {
		return nil
	}
	absent, seen := []digest.Digest{}, map[digest.Digest]bool{index.digest: true}
	for todo := []digest.Digest{index.digest}; len(todo) > 0; todo = todo[1:] {
		for _, d := range s.things[spot{index.repo, todo[0]}].children {
			switch at := (spot{index.repo, d}); {
			case seen[d]:
			case s.give[at]:
				todo = append(todo, d)
			default:
				absent = append(absent, d)
			}
			seen[d] = true
		}
	}
	slices.Sort(absent)
	return slices.Clip(absent[:min(len(absent), custody.MaxAbsent)])
}
