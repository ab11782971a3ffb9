package bundle

import (
	"slices"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// AbsentMarks returns the marks that imports and pushes have set, by the lines of a ledger,
// of indexes that came to a repository without some of their children. contains lists all
// that an index lists, at any depth, as far as it is at hand: if the list in a line may be cut
// short, any of it is taken for absent. An index that was imported without a policy has no
// marks, nor has one by a line of an earlier version, which lists nothing.
func AbsentMarks(entries []custody.Entry, contains func(index digest.Digest) []digest.Digest) (map[string][]byte, error) {
	c := cameWithout{all: true}
	last := map[place][]digest.Digest{}
	for _, e := range entries {
		repo, reference := wentWithout(e)
		if repo == "" {
			continue
		}
		absent, at := e.Absent, place{repo, e.Digest}
		if len(absent) == custody.MaxAbsent {
			absent = slices.Concat(absent, contains(e.Digest))
		}
		if slices.Equal(last[at], absent) {
			absent = last[at] // its references share it
		}
		last[at] = absent
		c.add(repo, e.Digest, reference, absent)
	}
	m := markMap{}
	_, err := c.remember(m)
	return m, err
}

// wentWithout returns the repository to which a line says that an index went without
// children, and the reference whose rule they have to pass; "" if a line says nothing of it.
func wentWithout(e custody.Entry) (repo, reference string) {
	if len(e.Absent) == 0 {
		return "", ""
	}
	switch {
	case e.Act == custody.Import && e.Result == string(verify.Passed):
		ref, err := layout.ParseReference(e.Reference)
		if err != nil {
			return "", ""
		}
		if repo, reference = ref.Repository, e.Reference; e.Source != "" {
			reference = e.Source
		}
	case e.Act == custody.Export && e.To != nil && e.To.Kind == custody.InRegistry:
		repo, reference = e.To.Name, e.Reference
	}
	return repo, reference
}

// markMap are marks in memory.
type markMap map[string][]byte

// Marked implements [MarkReader].
func (m markMap) Marked(name string) ([]byte, error) { return m[name], nil }

// Mark implements [Marks].
func (m markMap) Mark(name string, _, now []byte) error {
	m[name] = now
	return nil
}
