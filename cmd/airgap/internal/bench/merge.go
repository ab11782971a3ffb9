//go:build unix

package main

import (
	"slices"
	"strings"
)

// A run of some workloads alone replaces their part of the page and leaves the rest
// as it was. A page has a top, a table of goals, the text written by hand, and a
// section for each workload.

// section is a piece of the page below a heading, which is its first line.
type section struct{ title, body string }

// parts is a page taken apart. goals are the rows of the table.
type parts struct {
	top      string
	goals    []string
	text     string // with its markers
	sections []section
}

const (
	goalsHead = "## Goals\n"
	tableLine = "|---|---|---|---|\n"
)

// takeApart is strict: false means that the page is not one that was made here.
func takeApart(page string) (p parts, ok bool) {
	top, rest, ok := strings.Cut(page, goalsHead)
	table, rest, ok2 := strings.Cut(rest, textBegin)
	text, rest, ok3 := strings.Cut(rest, textEnd)
	head, rows, ok4 := strings.Cut(table, tableLine)
	if !ok || !ok2 || !ok3 || !ok4 {
		return parts{}, false
	}
	p.top = top + goalsHead + head + tableLine
	for row := range strings.Lines(rows) {
		if strings.HasPrefix(row, "|") {
			p.goals = append(p.goals, row)
		}
	}
	p.text = textBegin + text + textEnd
	for s := range strings.SplitSeq("\n"+strings.TrimSpace(rest), "\n## ") {
		if title, body, ok := strings.Cut(s, "\n"); ok {
			p.sections = append(p.sections, section{title, strings.TrimSpace(body)})
		}
	}
	return p, true
}

func (p parts) String() string {
	var b strings.Builder
	b.WriteString(p.top + strings.Join(p.goals, "") + "\n" + p.text + "\n")
	for _, s := range p.sections {
		b.WriteString("\n## " + s.title + "\n\n" + s.body + "\n")
	}
	return b.String()
}

// merge puts the goals and sections of a later run into an earlier page, each in
// its place or else at the end. note says in each section what run it is from.
func merge(earlier, later parts, note string) parts {
	out := earlier
	out.goals, out.sections = slices.Clone(earlier.goals), slices.Clone(earlier.sections)
	for _, row := range later.goals {
		i := slices.IndexFunc(out.goals, func(o string) bool { return sameGoal(o, row) })
		if i < 0 {
			out.goals = append(out.goals, row)
		} else {
			out.goals[i] = row
		}
	}
	for _, s := range later.sections {
		s.body = note + "\n\n" + s.body
		i := slices.IndexFunc(out.sections, func(o section) bool { return o.title == s.title })
		if i < 0 {
			out.sections = append(out.sections, s)
		} else {
			out.sections[i] = s
		}
	}
	return out
}

// sameGoal compares the first two cells of rows: the work and the goal.
func sameGoal(a, b string) bool {
	x, y := strings.SplitN(a, "|", 4), strings.SplitN(b, "|", 4)
	return len(x) == 4 && len(y) == 4 && slices.Equal(x[1:3], y[1:3])
}
