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

// keepDoubted keeps in quarantine what only is in repo because it is attached to
// something, and could be started: a client can have left it anywhere, as a blob too, of
// which no line of the ledger tells. It is as if it had been pushed now.
func (r *rebuilding) keepDoubted(s, pushed *Session, repo string) error {
	here, contained := map[digest.Digest]string{}, map[digest.Digest]bool{}
	for _, n := range r.o.Names {
		derived := layout.IsDerivedTag(n.Reference.Tag)
		if n.Reference.Repository != repo || derived && n.Hold != "" {
			continue // such a tag is not held by itself
		}
		if n.Hold == "" && !derived {
			r.found.contained(contained, n)
		}
		if was, ok := here[n.Digest]; !ok || was == "" {
			here[n.Digest] = n.Hold
		}
	}
	for dgst, rec := range s.gains[repo].manifests {
		if contained[dgst] || s == pushed && !r.o.Doubted[dgst] {
			continue
		}
		why, ok := here[dgst]
		if ok && why == "" {
			continue
		}
		starts, err := r.starts(dgst)
		if err != nil {
			return err
		}
		if !starts {
			continue
		}
		if s != pushed {
			delete(s.gains[repo].manifests, dgst)
		}
		pushed.keepRider(spot{repo, dgst}, rec, cmp.Or(why, reasonDoubted))
	}
	return nil
}

// starts says whether something could be started from what somebody attached.
func (r *rebuilding) starts(dgst digest.Digest) (bool, error) {
	why, err := r.store.startable(r.found.manifests[dgst].Manifest)
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
