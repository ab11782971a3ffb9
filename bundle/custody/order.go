package custody

import (
	"cmp"
	"slices"

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
	for i := range all {
		for _, d := range all[i].Previous() {
			if j, ok := at[d]; ok && j != i {
				waits[i]++
				frees[j] = append(frees[j], i)
			}
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
	// Digests form no circles; if some did, nothing would be lost.
	for i := range all {
		if waits[i] > 0 {
			out = append(out, i)
		}
	}
	sorted := make([]Found, 0, len(all))
	for _, i := range out {
		sorted = append(sorted, all[i])
	}
	return sorted
}
