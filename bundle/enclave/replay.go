package enclave

import (
	"fmt"
	"maps"
	"slices"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/store"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// replaying goes through a ledger, and does to names what it says was done to them.
type replaying struct {
	names   map[string]*replayed
	admits  map[string]int                        // how many names of a repository were admitted, or are judged
	marked  map[string]bool                       // repositories that are not admitted
	pushed  map[string]map[digest.Digest]struct{} // what clients pushed, by repository
	doubted map[digest.Digest]bool
	history []store.RebuiltAct
	absent  []custody.Entry // those that say which children were absent
}

type replayed struct {
	store.RebuiltName
	client bool // pushed, and not judged
}

// replay works out which names a ledger leaves, and in which state.
func replay(o *store.RebuildOptions) error {
	r := &replaying{
		names: map[string]*replayed{}, admits: map[string]int{}, marked: map[string]bool{},
		pushed: map[string]map[digest.Digest]struct{}{}, doubted: map[digest.Digest]bool{},
	}
	for i, data := range o.Entries {
		e, err := custody.ParseEntry(data)
		if err != nil {
			return fmt.Errorf("line %d: %w (%w)", i, err, layout.ErrCorrupt)
		}
		if len(e.Absent) > 0 {
			r.absent = append(r.absent, e)
		}
		ref, ok := aboutStore(e)
		if !ok {
			continue
		}
		r.line(ref, e)
	}
	o.Marks = func(contains func(digest.Digest) []digest.Digest) (map[string][]byte, error) {
		return bundle.AbsentMarks(r.absent, contains)
	}
	for _, name := range slices.Sorted(maps.Keys(r.names)) {
		o.Names = append(o.Names, r.names[name].RebuiltName)
	}
	o.NotAdmitted, o.Doubted, o.History = slices.Sorted(maps.Keys(r.marked)), r.doubted, r.history
	return nil
}

// aboutStore returns what an entry is about, if that is a name in the ledger's own store. It
// may be about a bundle, or an import into a registry that the store remembers.
func aboutStore(e custody.Entry) (layout.Reference, bool) {
	ref, err := layout.ParseReference(e.Reference)
	elsewhere := e.Act == custody.Import && e.To != nil && e.To.Kind == custody.InRegistry
	return ref, err == nil && e.Reference != "" && !elsewhere
}

func (r *replaying) line(ref layout.Reference, e custody.Entry) {
	repo, n := ref.Repository, r.names[ref.Name()]
	act := store.RebuiltAct{
		Repository: repo, Digest: e.Digest, Reason: e.Reason,
		Absent: e.Absent, Cut: len(e.Absent) == custody.MaxAbsent,
	}
	switch e.Act {
	case custody.Import:
		act.Attached = layout.IsDerivedTag(ref.Tag)
		if !act.Attached { // what is attached admits no image
			r.admit(repo)
		}
		act.Kind = store.ActAdmit
		r.history = append(r.history, act)
		r.set(ref, &replayed{RebuiltName: store.RebuiltName{Digest: e.Digest}})
	case custody.Push:
		r.push(ref, e)
	case custody.Delete:
		r.set(ref, nil)
		r.doubted[e.Digest] = true
		if act.Kind = store.ActDelete; n != nil && !n.Unnamed {
			act.Kind = store.ActUnname // by store rm, or by a client that deleted the manifest
		}
		if ref.Tag == "" {
			delete(r.pushed[repo], e.Digest)
			r.history = append(r.history, act)
		}
	case custody.Quarantine, custody.Release:
		r.doubted[e.Digest] = true
		if act.Kind = store.ActHold; e.Act == custody.Release {
			act.Kind = store.ActRelease
		}
		if e.Act == custody.Release || ref.Tag == "" { // else the name is quarantined
			r.history = append(r.history, act)
		}
		if n == nil && ref.Tag == "" { // it is pulled by its digest, if at all
			n = &replayed{RebuiltName: store.RebuiltName{Digest: e.Digest, Unnamed: true}}
			r.set(ref, n)
		}
		if n != nil && e.Act == custody.Quarantine {
			n.Hold = e.Reason
		} else if n != nil {
			n.Hold = ""
		}
	}
}

// push is an entry about what a client pushed: quarantined, with a reason, if pushes are
// judged and it was not served already; else served.
func (r *replaying) push(ref layout.Reference, e custody.Entry) {
	repo, n := ref.Repository, r.names[ref.Name()]
	judged := e.Reason != "" || e.Result == string(verify.Passed) // it passed before, if it has no reason
	if judged {
		r.admit(repo) // who judges admits nothing by a mark
	} else if r.admits[repo] == 0 { // what it had is collected, for it could not be pushed there else
		if !r.marked[repo] {
			r.history = append(r.history, store.RebuiltAct{Kind: store.ActReset, Repository: repo})
		}
		r.marked[repo] = true
	}
	r.history = append(r.history, store.RebuiltAct{Kind: store.ActPush, Repository: repo, Digest: e.Digest, Reason: e.Reason})
	if r.pushed[repo] == nil {
		r.pushed[repo] = map[digest.Digest]struct{}{}
	}
	r.pushed[repo][e.Digest], r.doubted[e.Digest] = struct{}{}, true
	if n != nil && n.Digest == e.Digest && n.Hold == "" && !n.Unnamed {
		return // it is served already, and stays so
	}
	r.set(ref, &replayed{
		RebuiltName: store.RebuiltName{Digest: e.Digest, Hold: e.Reason, Pushed: ref.Tag == ""},
		client:      !judged,
	})
}

// set makes n what a reference stands for; nil takes it away.
func (r *replaying) set(ref layout.Reference, n *replayed) {
	if was := r.names[ref.Name()]; was != nil && !was.client && !was.Unnamed {
		r.admits[ref.Repository]--
	}
	if n == nil {
		delete(r.names, ref.Name())
		return
	}
	n.Reference, r.names[ref.Name()] = nameIn(ref), n
	if !n.client && !n.Unnamed {
		r.admits[ref.Repository]++
	}
}

// reasonPushed is why what clients pushed is in quarantine once a repository has admitted
// content.
const reasonPushed = "it was pushed by a client, and nobody has admitted it"

// admit takes the mark off a repository: what was only pushed there is in quarantine.
func (r *replaying) admit(repo string) {
	if !r.marked[repo] {
		return
	}
	delete(r.marked, repo)
	r.history = append(r.history, store.RebuiltAct{Kind: store.ActHoldAll, Repository: repo, Reason: reasonPushed})
	for dgst := range r.pushed[repo] {
		ref := layout.Reference{Repository: repo, Digest: dgst}
		if r.names[ref.Name()] == nil {
			r.set(ref, &replayed{RebuiltName: store.RebuiltName{Digest: dgst, Unnamed: true}})
		}
	}
	for _, n := range r.names {
		if n.Reference.Repository == repo && n.Hold == "" && !layout.IsDerivedTag(n.Reference.Tag) {
			n.Hold = reasonPushed
		}
	}
}

// nameIn is a reference as a name: its tag or, without one, its digest.
func nameIn(ref layout.Reference) layout.Reference {
	if ref.Tag != "" {
		ref.Digest = ""
	}
	return ref
}
