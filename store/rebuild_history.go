package store

import (
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// RebuiltAct is one thing that was done in a repository. The acts of a ledger, in order,
// say what a repository served; names and blobs do not say which children of an index were
// there with it.
type RebuiltAct struct {
	Kind       ActKind
	Repository string
	Digest     digest.Digest // of a manifest; empty for ActHoldAll and ActReset
	// Reason is why something was quarantined. A push without a reason was served.
	Reason string
	// Absent, of what was admitted or released, are those of its children, at any depth, that
	// the repository did not serve with it; nil if that is not known. Of what was quarantined
	// they are those that were not there.
	Absent []digest.Digest
	Cut    bool // there may be more of those than Absent lists
	// Attached: what was admitted is attached to something, by a tag. That releases nothing.
	Attached bool
}

// ActKind says what was done.
type ActKind int

// The kinds of acts.
const (
	ActAdmit   ActKind = iota // a manifest was admitted, with what came with it
	ActPush                   // a client pushed a manifest, and pushed its children by themselves
	ActHold                   // a manifest was quarantined
	ActRelease                // that ended, for a manifest and, but for Absent, its children
	ActDelete                 // a manifest was deleted
	ActUnname                 // a name that was a digest was removed; the manifest may have been, too
	ActHoldAll                // everything was quarantined, for clients had pushed it
	ActReset                  // the repository had nothing any more
)

// Reasons for the quarantine of a child of an index.
const (
	reasonAbsent  = "an index lists it, and it was not there when the index was admitted: airgap reverify judges both"
	reasonDeleted = "its name was removed, and nothing says that it was to stay: airgap reverify judges it"
	reasonUnknown = "an index lists it, and nothing says that it came with the index: airgap reverify judges both"
)

// standing is what is known of a manifest of a repository.
type standing struct {
	is     standingKind
	why    string // it is not served
	pushed bool   // by a client: what an index of a client's lists was pushed by itself
	by     int    // the act that quarantined it, counted from 1
}

type standingKind int

const (
	unknown  standingKind = iota
	served                // if something leads to it that is
	held                  // it was there, and quarantined
	doubtful              // it may have been there, and was not served for all that is known
	absent                // it was not there
)

// history is what the acts leave: the standing of each manifest that one of them is about,
// or that such a manifest contains.
type history struct {
	*rebuilding
	names     map[string][]RebuiltName              // by repository, but for those that are only listed
	manifests map[string]map[digest.Digest]standing // by repository
	opaque    map[spot]bool                         // listed under a type that is no manifest's, and missing
	acts      int                                   // applied so far
}

// replay goes through the acts. A name that no act is about was admitted, and nothing is
// known of its children.
func (r *rebuilding) replay() (*history, error) {
	h := &history{r, map[string][]RebuiltName{}, map[string]map[digest.Digest]standing{}, map[spot]bool{}, 0}
	acts := map[spot]bool{}
	for _, a := range r.o.History {
		acts[spot{a.Repository, a.Digest}] = true
	}
	var all []RebuiltAct
	for _, n := range r.o.Names {
		if n.Listed {
			continue
		}
		a := RebuiltAct{Repository: n.Reference.Repository, Digest: n.Digest, Reason: n.Hold}
		h.names[a.Repository] = append(h.names[a.Repository], n)
		switch {
		case acts[spot{a.Repository, a.Digest}] || layout.IsDerivedTag(n.Reference.Tag):
		case n.Hold == "":
			all = append(all, a)
		case n.Reference.Tag == "": // else the name is held, and not what it stands for
			a.Kind = ActHold
			all = append(all, a)
		}
	}
	for _, a := range append(all, r.o.History...) {
		if err := h.apply(a); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (h *history) apply(a RebuiltAct) error {
	at := spot{a.Repository, a.Digest}
	h.acts++
	switch was := h.of(at); a.Kind {
	case ActAdmit:
		return h.admit(a)
	case ActPush:
		h.push(at, a.Reason)
	case ActHold:
		h.set(at, standing{held, a.Reason, was.pushed, h.acts})
		return h.without(at, a.Absent)
	case ActRelease:
		if a.Absent != nil {
			return h.admit(a)
		}
		h.release(at)
	case ActDelete, ActUnname:
		switch {
		case was.is == held: // it may be pushed again
		case a.Kind == ActDelete:
			h.set(at, standing{is: absent, why: reasonDeleted})
		default:
			h.set(at, standing{is: doubtful, why: reasonDeleted})
		}
	case ActHoldAll:
		h.holdAll(a.Repository, a.Reason)
	case ActReset:
		delete(h.manifests, a.Repository)
	}
	return nil
}

func (h *history) of(at spot) standing { return h.manifests[at.repo][at.digest] }

func (h *history) set(at spot, now standing) {
	if h.manifests[at.repo] == nil {
		h.manifests[at.repo] = map[digest.Digest]standing{}
	}
	h.manifests[at.repo][at.digest] = now
}

// holdAll quarantines everything that a repository serves.
func (h *history) holdAll(repo, reason string) {
	for dgst, was := range h.manifests[repo] {
		if was.is == served {
			h.manifests[repo][dgst] = standing{held, reason, was.pushed, h.acts}
		}
	}
}

// admit takes what came with a manifest for served, and its absent children for absent. If
// nothing is known of those, what was not served before stays so. A release with a list of
// absent children is the same, of what was there.
func (h *history) admit(a RebuiltAct) error {
	missing := map[digest.Digest]bool{}
	for _, d := range a.Absent {
		missing[d] = true
	}
	whole := a.Absent != nil && !a.Cut && !a.Attached
	root := spot{a.Repository, a.Digest}
	return h.walk(root, func(at spot) (bool, error) {
		was := h.of(at)
		now := standing{is: served, pushed: was.pushed && a.Kind == ActRelease}
		switch {
		case at == root && !a.Attached || whole && !missing[at.digest]:
		case missing[at.digest] && (was.is == unknown || was.is == absent):
			now = standing{is: absent, why: reasonAbsent}
		case missing[at.digest] && was.is != held: // it may have been in quarantine since
			now = standing{is: doubtful, why: reasonAbsent}
		case was.is != unknown && was.is != served:
			now = was
		case a.Cut && at != root:
			now = standing{is: doubtful, why: reasonAbsent}
		case was.is == unknown && a.Absent == nil && h.o.Doubted[at.digest]:
			starts, err := h.starts(at.digest)
			if err != nil {
				return false, err
			}
			if starts {
				now = standing{is: doubtful, why: reasonUnknown}
			}
		}
		h.set(at, now)
		if m := h.found.manifests[at.digest]; m != nil && now.is == served && a.Kind == ActAdmit {
			for _, o := range m.Opaque {
				h.opaque[spot{at.repo, o.Digest}] = missing[o.Digest]
			}
		}
		return now.is == served, nil
	})
}

// push takes what a client pushed for served, or for quarantined if there is a reason. What
// was there already stays as it was.
func (h *history) push(at spot, reason string) {
	switch was := h.of(at); {
	case was.is == served || was.is == held:
	case reason != "":
		h.set(at, standing{held, reason, true, h.acts})
	default:
		h.set(at, standing{is: served, pushed: true})
	}
}

// without takes for absent what a manifest that was quarantined came without and what could
// be started, if nothing else is known of it.
func (h *history) without(root spot, children []digest.Digest) error {
	for _, d := range children {
		at := spot{root.repo, d}
		if h.of(at).is != unknown {
			continue
		}
		starts, err := h.starts(d)
		if err != nil {
			return err
		}
		if starts {
			h.set(at, standing{is: absent, why: reasonAbsent})
		}
	}
	return nil
}

// release takes a manifest for served, of which nothing says which children it passed
// without. Of those, the ones that were quarantined together with it are served again: one
// that was quarantined by itself is released by itself.
func (h *history) release(root spot) {
	by := h.of(root).by
	_ = h.walk(root, func(at spot) (bool, error) {
		was := h.of(at)
		if at != root && was.is != served && (was.is != held || was.by != by) {
			return false, nil
		}
		h.set(at, standing{is: served, pushed: was.pushed})
		return true, nil
	})
}

// walk calls fn with a manifest and with all that it contains, each once. Beneath one of
// which fn does not return true it does not look.
func (h *history) walk(root spot, fn func(spot) (bool, error)) error {
	seen := map[digest.Digest]bool{root.digest: true}
	for todo := []digest.Digest{root.digest}; len(todo) > 0; todo = todo[1:] {
		more, err := fn(spot{root.repo, todo[0]})
		if err != nil {
			return err
		}
		m := h.found.manifests[todo[0]]
		if !more || m == nil {
			continue
		}
		for _, c := range m.Manifests {
			if !seen[c.Digest] {
				seen[c.Digest] = true
				todo = append(todo, c.Digest)
			}
		}
	}
	return nil
}

// contained adds what a name consists of and its repository serves with it. own are the
// manifests that have a name of their own there.
func (h *history) contained(all map[digest.Digest]bool, n RebuiltName, own map[digest.Digest]bool) {
	_ = h.walk(spot{n.Reference.Repository, n.Digest}, func(at spot) (bool, error) {
		if !own[at.digest] && h.of(at).is != served {
			return false, nil
		}
		was := all[at.digest]
		all[at.digest] = true
		return !was, nil
	})
}

// leads reports whether an index of repo leads to a child there. One that was absent stays
// absent, though its bytes are in the store: in quarantine it would be judged with the
// index, which passed without it.
func (h *history) leads(repo string, index, child digest.Digest) bool {
	switch h.of(spot{repo, child}).is {
	case served, held:
		return true
	case absent:
		return false
	case doubtful:
		return !h.marked[repo] // where a client pushed each manifest by itself
	}
	// Nothing is known of what came with an index that is attached to something.
	return !h.marked[repo] && !h.of(spot{repo, index}).pushed
}

// gives reports whether an index of repo leads to content that it lists as no manifest.
func (h *history) gives(repo string, opaque digest.Digest) bool {
	return !h.opaque[spot{repo, opaque}]
}
