package bundle

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"airgap/bundle/custody"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// MarksAgainst says where marks are not what the entries of a ledger say: an older bundle, or
// an image that a name stood for once, would come in again. marks are all that a store has.
// Entries of which the store has lost the marks on record, since its database was made anew,
// are left out by the caller.
func MarksAgainst(marks map[string][]byte, entries []custody.Entry) []string {
	serials := map[string]uint64{}
	images := map[string][]digest.Digest{}
	for _, e := range entries {
		if e.Act != custody.Import {
			continue
		}
		if e.Line != nil {
			serials[e.Line.Name] = max(serials[e.Line.Name], e.Line.Serial)
		}
		// A mark may know a manifest by another digest of the same bytes.
		if ref, err := layout.ParseReference(e.Reference); err == nil && ref.Tag != "" && e.Digest.Algorithm() == digest.SHA256 {
			images[tagName(ref)] = append(images[tagName(ref)], e.Digest)
		}
	}
	var out []string
	for _, line := range slices.Sorted(maps.Keys(serials)) {
		if got := highestSerial(marks, line); got < serials[line] {
			out = append(out, fmt.Sprintf("line %s: the ledger has an import with serial %d, the highest that is remembered is %d", line, serials[line], got))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(images)) {
		var m tagMark
		if err := json.Unmarshal(marks[name], &m); err != nil && marks[name] != nil {
			out = append(out, fmt.Sprintf("%s: what is remembered cannot be read: %v", name, err))
			continue
		}
		for _, d := range slices.Compact(images[name]) {
			known := slices.Concat(m.leads(), m.Was, []digest.Digest{m.Digest})
			if !slices.Contains(known, d) && len(m.Was) < maxTagHistory {
				out = append(out, fmt.Sprintf("%s: the ledger has an import of %s, and that is not remembered", name, d))
			}
		}
	}
	return out
}

// highestSerial is the highest that is remembered of a line, by whatever key; 0 if none is.
func highestSerial(marks map[string][]byte, line string) (highest uint64) {
	prefix := lineName(line, "")
	for name, value := range marks {
		var m lineMark
		if strings.HasPrefix(name, prefix) && json.Unmarshal(value, &m) == nil {
			highest = max(highest, m.Serial)
		}
	}
	return highest
}
