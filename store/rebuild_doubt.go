package store

import (
	"cmp"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// keepHeld keeps a name in quarantine, and its manifest, which another name may have
// been given out by: to find out takes a judge.
func (s *Session) keepHeld(n RebuiltName) {
	if s.held == nil {
		s.held = map[layout.Reference]string{}
	}
	s.held[n.Reference] = n.Hold
	s.keep(spot{n.Reference.Repository, n.Digest}, n.Hold)
}

func (s *Session) keep(at spot, reason string) {
	if s.quarantined == nil {
		s.quarantined = map[spot]string{}
	}
	s.quarantined[at] = reason
}

// reasonDoubted is why something is in quarantine that is attached to an image.
const reasonDoubted = "it is attached to an image, and could be started: nobody has admitted it here"

// doubting decides what a repository serves of what its names lead to.
type doubting struct {
	*history
	repo string
	// By digest: what has a name of its own that is served; what a tag of something attached
	// leads to; what served names contain; and why names are held, of what those contain.
	own, tagged, contained map[digest.Digest]bool
	holds                  map[digest.Digest]string
}

func (h *history) doubt(repo string) *doubting {
	d := &doubting{h, repo, map[digest.Digest]bool{}, map[digest.Digest]bool{}, map[digest.Digest]bool{}, map[digest.Digest]string{}}
	for _, n := range h.names[repo] {
		switch {
		case n.Hold != "":
		case layout.IsDerivedTag(n.Reference.Tag):
			d.tagged[n.Digest] = true
		case !n.Unnamed && !n.Pushed: // those are as their acts say
			d.own[n.Digest] = true
		}
	}
	for _, n := range h.names[repo] {
		switch {
		case layout.IsDerivedTag(n.Reference.Tag):
		case n.Hold == "":
			h.contained(d.contained, n, d.own)
		default:
			_ = h.walk(spot{repo, n.Digest}, func(at spot) (bool, error) {
				_, was := d.holds[at.digest]
				d.holds[at.digest] = n.Hold
				return !was, nil
			})
		}
	}
	return d
}

// why says why a manifest is in quarantine; "" if it is served. What could be started is
// served if a name contains it and its acts do not speak against that; what could not, if
// no act does.
func (d *doubting) why(dgst digest.Digest) (string, error) {
	at := d.of(spot{d.repo, dgst})
	switch {
	case d.own[dgst] || d.contained[dgst] || d.tagged[dgst] && at.is == served:
		return "", nil
	case at.is == doubtful || at.is == absent:
		return at.why, nil
	}
	starts, err := d.starts(dgst)
	if err != nil || !starts {
		return "", err
	}
	return cmp.Or(at.why, d.holds[dgst], reasonDoubted), nil
}

// keepDoubted keeps in quarantine what nobody is known to have admitted in a repository: a
// child of an index that, for all that is known, was not served with it; and what only is
// there because it is attached to something, and could be started. A client can have left
// that anywhere, as a blob too, of which no line of the ledger tells. It is as if it had
// been pushed now.
func (r *rebuilding) keepDoubted(s, pushed *Session, h *history, repo string) error {
	d := h.doubt(repo)
	for dgst, rec := range s.gains[repo].manifests {
		if s == pushed && !r.o.Doubted[dgst] {
			continue
		}
		why, err := d.why(dgst)
		switch at := (spot{repo, dgst}); {
		case err != nil:
			return err
		case why == "":
		case d.of(at).is == doubtful || d.of(at).is == absent: // no client has brought it
			s.keep(at, why)
		default:
			if s != pushed {
				delete(s.gains[repo].manifests, dgst)
			}
			pushed.keepRider(at, rec, why)
		}
	}
	return nil
}

// starts says whether something could be started from what somebody attached.
func (r *rebuilding) starts(dgst digest.Digest) (bool, error) {
	if starts, known := r.started[dgst]; known {
		return starts, nil
	}
	m := r.found.manifests[dgst]
	if m == nil {
		return true, nil
	}
	why, err := r.store.startable(m.Manifest)
	if err == nil {
		r.started[dgst] = why != ""
	}
	return why != "", err
}

// keepRider keeps in quarantine what nobody is known to have judged.
func (s *Session) keepRider(at spot, rec record, reason string) {
	if s.gains[at.repo] == nil {
		s.gains[at.repo] = &gain{manifests: map[digest.Digest]record{}}
	}
	s.gains[at.repo].manifests[at.digest] = rec
	s.keep(at, reason)
}
