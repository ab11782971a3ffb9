package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"airgap/bundle"
)

// writeContents says what is in a bundle: images, attachments, what is missing.
func writeContents(w io.Writer, c *bundle.Contents) {
	rows := [][]string{{"IMAGE", "DIGEST", "KIND", "PLATFORMS", "ATTACHED", "SIZE"}}
	for _, img := range c.Images {
		platforms := strings.Join(img.Platforms, ",")
		if platforms == "" {
			platforms = "-"
		}
		rows = append(rows, []string{
			nameOnly(img.Reference), shortDigest(img.Digest), string(img.Kind), platforms,
			fmt.Sprint(img.Attached), humanSize(img.Bytes),
		})
	}
	table(w, rows)
	fmt.Fprintf(w, "\n%s, %s, %s from %s\n", plural(c.Manifests, "manifest"), plural(c.Blobs, "blob"),
		humanSize(c.Bytes), countRepositories(len(c.Repositories)))
	fmt.Fprintf(w, "attached: %s\n", escape(kindCounts(c.Attachments)))
	writeDelta(w, c.Delta)
	writeLeftOut(w, c.LeftOut)
	writeSetAside(w, c.SetAside)
}

func countRepositories(n int) string {
	if n == 1 {
		return "1 repository"
	}
	return fmt.Sprintf("%d repositories", n)
}

// nameOnly drops the digest of a reference that has a tag: it has a column.
func nameOnly(ref string) string {
	name, _, ok := strings.Cut(ref, "@")
	if i := strings.LastIndex(name, "/"); ok && strings.Contains(name[i+1:], ":") {
		return name
	}
	return ref
}

func writeLeftOut(w io.Writer, list []bundle.RecordLeftOut) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(w, "\nleft out:\n")
	var rows [][]string
	for _, l := range list {
		platform := l.Platform
		if platform == "" {
			platform = "-"
		}
		rows = append(rows, []string{"  " + shortDigest(l.Digest), platform, "of " + shortDigest(l.Parent), l.Reason})
	}
	table(w, rows)
}

// writeSetAside lists what a registry named as attached and is not, and counts
// the remarks that are about no manifest in particular.
func writeSetAside(w io.Writer, list []bundle.RecordSetAside) {
	var rows [][]string
	remarks := map[string]int{}
	for _, s := range list {
		if s.Digest == "" {
			remarks[s.Repository+": "+s.Reason]++
			continue
		}
		rows = append(rows, []string{"  " + shortDigest(s.Digest), "to " + s.Repository + "@" + shortDigest(s.Subject), s.Reason})
	}
	if len(rows) > 0 {
		fmt.Fprintf(w, "\nnamed as attached at the source, but not:\n")
		table(w, rows)
	}
	for _, r := range slices.Sorted(maps.Keys(remarks)) {
		fmt.Fprintf(w, "note: %s (%s)\n", escape(r), plural(remarks[r], "manifest"))
	}
}
