package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"airgap/verify"
)

// writeReport draws every verdict with the requirements of its rule, what met
// them, and what did not.
func writeReport(w io.Writer, r *verify.Report) {
	for i, v := range r.Verdicts.Printed() {
		if i > 0 {
			fmt.Fprintln(w)
		}
		writeVerdict(w, &v)
	}
	if r.Reason != "" {
		fmt.Fprintf(w, "\nREFUSED  %s\n", escape(r.Reason))
	}
	by := r.Policy.File
	if r.Policy.Environment != "" {
		by += ", environment " + r.Policy.Environment
	}
	fmt.Fprintf(w, "\n%s by %s\n", strings.ToUpper(string(r.State)), escape(by))
}

func writeVerdict(w io.Writer, v *verify.Verdict) {
	rule := ""
	if v.Rule != "" {
		rule = "  (rule " + v.Rule + ")"
	}
	fmt.Fprintf(w, "%s  %s  %s%s\n", strings.ToUpper(string(v.State)), escape(nameOnly(v.Reference)), shortDigest(v.Digest), escape(rule))
	if v.Reason != "" {
		fmt.Fprintf(w, "   %s\n", escape(v.Reason))
	}
	if v.SameAs != "" {
		fmt.Fprintf(w, "   the same as %s\n", escape(nameOnly(v.SameAs)))
	}
	if v.Outcome != nil {
		drawOutcome(w, v.Outcome, "└─ ", "   ")
	}
	for i, c := range v.Children {
		head, body := "├─ ", "│  "
		if i == len(v.Children)-1 {
			head, body = "└─ ", "   "
		}
		fmt.Fprintln(w, head+escape(fmt.Sprintf("[%s] child %s %s", c.Outcome.State, shortDigest(c.Digest), c.Platform)))
		drawOutcome(w, c.Outcome, body+"└─ ", body+"   ")
	}
	for _, warning := range v.Warnings {
		fmt.Fprintf(w, "   WARNING: %s\n", escape(warning))
	}
}

// drawOutcome is one line for the requirement, and one for each piece of evidence,
// each attempt and each part beneath it.
func drawOutcome(w io.Writer, o *verify.Outcome, head, body string) {
	name := ""
	if o.Name != "" {
		name = o.Name + ": "
	}
	line := fmt.Sprintf("[%s] %s%s", o.State, name, o.Requirement)
	if o.Reason != "" {
		line += ": " + o.Reason
	}
	fmt.Fprintln(w, head+escape(line))
	var lines []string
	for _, e := range o.Evidence {
		lines = append(lines, evidenceLine(e))
	}
	lines = append(lines, attemptLines(o)...)
	for i, l := range lines {
		branch := "├─ "
		if i == len(lines)-1 && len(o.Parts) == 0 {
			branch = "└─ "
		}
		fmt.Fprintln(w, body+branch+escape(l))
	}
	for i, p := range o.Parts {
		if i == len(o.Parts)-1 {
			drawOutcome(w, p, body+"└─ ", body+"   ")
		} else {
			drawOutcome(w, p, body+"├─ ", body+"│  ")
		}
	}
}

// attemptLines tells what did not do: each of it where that is why, how many where
// something else did.
func attemptLines(o *verify.Outcome) []string {
	var lines []string
	if n := len(o.Tried); o.State == verify.Passed && n > maxMisses {
		return []string{fmt.Sprintf("and %d others that are not it", n)}
	}
	for _, a := range o.Tried {
		lines = append(lines, attemptLine(a))
	}
	return lines
}

// maxMisses is how many misses are told of beside what did do.
const maxMisses = 1

func evidenceLine(e verify.Evidence) string {
	s := fmt.Sprintf("%s %s by %s", e.Kind, shortDigest(e.Manifest), e.Signer)
	if e.SignedAt != nil {
		s += fmt.Sprintf(", %s by the clock of a %s", e.SignedAt.Format(time.RFC3339), e.Clock)
	}
	if e.Summary != "" {
		s += ": " + e.Summary
	}
	return s
}

func attemptLine(a verify.Attempt) string {
	s := fmt.Sprintf("not %s %s", a.Kind, shortDigest(a.Manifest))
	if a.Claims != "" {
		s += " (signed by " + a.Claims + ", it says)"
	}
	return s + ": " + a.Reason
}
