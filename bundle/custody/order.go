package custody

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// Order puts records in the order in which things happened: each after those that it
// names as coming before it and, where that leaves a choice, by what they say the
// time was, and in one second by what usually follows what. A name is a digest, and so
// stronger than any clock.
func Order(all []Found) []Found {
	at := make(map[digest.Digest]int, len(all))
	for i := range all {
		at[all[i].Manifest] = i
	}
	waits := make([]int, len(all)) // for how many others
	frees := make([][]int, len(all))
	link := func(before, after int) {
		waits[after]++
		frees[before] = append(frees[before], after)
	}
	receptions := map[receptionKey][]int{}
	for i := range all {
		f := &all[i]
		for _, d := range f.Previous() {
			if j, ok := at[d]; ok && j != i {
				link(j, i)
			}
		}
		if f.Act == Receive {
			k := receptionKey{f.Record.Reference, f.Standing, f.Fingerprint}
			receptions[k] = append(receptions[k], i)
		}
	}
	for i := range all {
		if j := receivedWith(all, i, receptions); j >= 0 {
			link(j, i)
		}
	}
	var ready, out []int
	for i := range all {
		if waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	earlier := func(i, j int) int {
		return cmp.Or(all[i].At().Compare(all[j].At()), cmp.Compare(slices.Index(acts, all[i].Act), slices.Index(acts, all[j].Act)), cmp.Compare(all[i].Manifest, all[j].Manifest))
	}
	slices.SortFunc(ready, earlier)
	for len(ready) > 0 {
		i := ready[0]
		out, ready = append(out, i), ready[1:]
		for _, j := range frees[i] {
			if waits[j]--; waits[j] == 0 {
				k, _ := slices.BinarySearchFunc(ready, j, earlier)
				ready = slices.Insert(ready, k, j)
			}
		}
	}
	// Digests form no circles; where a verdict was put behind the wrong reception,
	// nothing is lost.
	for i := range all {
		if waits[i] > 0 {
			ready = append(ready, i)
		}
	}
	slices.SortFunc(ready, earlier)
	out = append(out, ready...)
	sorted := make([]Found, 0, len(all))
	for _, i := range out {
		sorted = append(sorted, all[i])
	}
	return sorted
}

// receptionKey is what a reception and the verdict of the same import have in common:
// the name at the destination, and who signed.
type receptionKey struct {
	reference   string
	standing    Standing
	fingerprint string
}

// maxReceptions is how many receptions are compared for one verdict.
const maxReceptions = 100

// receivedWith finds the reception that a verdict belongs to, or returns -1: verdicts
// name what they rest on and not what came before them.
func receivedWith(all []Found, i int, receptions map[receptionKey][]int) int {
	f := &all[i]
	if f.Summary == nil {
		return -1
	}
	candidates := receptions[receptionKey{strings.TrimPrefix(f.Summary.ResourceURI, signing.ImageURI("")), f.Standing, f.Fingerprint}]
	best, apart := -1, time.Duration(0)
	for _, j := range candidates[:min(len(candidates), maxReceptions)] {
		if slices.Contains(all[j].Record.Previous, f.Manifest) {
			continue
		}
		if d := all[j].At().Sub(f.At()).Abs(); best < 0 || d < apart {
			best, apart = j, d
		}
	}
	return best
}
