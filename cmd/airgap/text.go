package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// humanSize writes bytes as media are labelled: powers of 1000.
func humanSize(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	f := float64(n)
	for _, unit := range []string{"kB", "MB", "GB", "TB"} {
		f /= 1000
		// 999.95 would be rounded up to 1000.0.
		if f < 999.95 || unit == "TB" {
			return strconv.FormatFloat(f, 'f', 1, 64) + " " + unit
		}
	}
	panic("unreachable")
}

// exactSize writes bytes to the last one: 12,345.
func exactSize(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s + " bytes"
}

// shortDigest is enough of a digest to recognise it by; the JSON has all.
func shortDigest(d digest.Digest) string {
	alg, hex, ok := strings.Cut(string(d), ":")
	if !ok || len(hex) < 12 {
		return escape(string(d))
	}
	return escape(alg + ":" + hex[:12])
}

// plural says "1 image", "2 images".
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// pluralIs says "1 image is", "2 images are".
func pluralIs(n int, thing string) string {
	if n == 1 {
		return plural(n, thing) + " is"
	}
	return plural(n, thing) + " are"
}

// table writes rows in columns. Cells are escaped.
func table(w io.Writer, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = escape(cell)
		}
		// The last cell ends no column, so that nothing pads the line.
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	_ = tw.Flush() // to a buffer
}

// formNames says how something is attached, in the field's words.
var formNames = map[layout.Form]string{
	layout.FormReferrers:    "referrers API",
	layout.FormReferrersTag: "referrers tag",
	layout.FormCosignSig:    "tag .sig",
	layout.FormCosignAtt:    "tag .att",
	layout.FormCosignSBOM:   "tag .sbom",
	layout.FormLayout:       "subject",
}

func formList(forms []layout.Form) string {
	out := make([]string, 0, len(forms))
	for _, f := range forms {
		name := formNames[f]
		if name == "" {
			name = string(f)
		}
		out = append(out, name)
	}
	return strings.Join(out, ", ")
}

// kindCounts says what is attached: "2 Notary signatures, 1 SPDX SBOM", the most
// frequent first.
func kindCounts(counts map[layout.Kind]int) string {
	kinds := make([]layout.Kind, 0, len(counts))
	for k := range counts {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(a, b layout.Kind) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(string(a), string(b))
	})
	out := make([]string, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, fmt.Sprintf("%d × %s", counts[k], k))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}
