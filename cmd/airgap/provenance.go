package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify/predicate"

	"github.com/opencontainers/go-digest"
)

// branch is a line of a drawing, and what is beneath it. Its text is escaped.
type branch struct {
	text string
	subs []*branch
}

func (b *branch) add(format string, args ...any) *branch {
	sub := &branch{text: escape(fmt.Sprintf(format, args...))}
	b.subs = append(b.subs, sub)
	return sub
}

// draw writes b behind head, and what is beneath it behind body.
func (b *branch) draw(w io.Writer, head, body string) {
	fmt.Fprintln(w, head+b.text)
	for i, sub := range b.subs {
		if i < len(b.subs)-1 {
			sub.draw(w, body+"├─ ", body+"│  ")
		} else {
			sub.draw(w, body+"└─ ", body+"   ")
		}
	}
}

func writeProvenance(w io.Writer, res *provenanceResult) {
	for _, p := range res.Images {
		root := &branch{text: escape(fmt.Sprintf("%s  %s  %s", nameOnly(p.Reference), p.Kind, shortDigest(p.Digest)))}
		drawProvenance(root, p)
		root.draw(w, "", "")
		fmt.Fprintln(w)
	}
	switch {
	case len(res.Keys) == 0 && res.Policy == nil:
		fmt.Fprintln(w, "nothing is pinned: whoever signed is unknown; give --trust DIR, and --policy FILE")
	case res.Policy == nil:
		fmt.Fprintf(w, "pinned: %s; no policy was asked\n", plural(len(res.Keys), "key"))
	default:
		fmt.Fprintf(w, "pinned: %s; policy %s\n", plural(len(res.Keys), "key"), escape(res.Policy.File))
	}
}

// drawProvenance draws each part that there is.
func drawProvenance(b *branch, p *bundle.Provenance) {
	if p.Broken {
		b.add("BROKEN: the way is not whole; see what is missing below")
	}
	if p.Today != nil {
		line := fmt.Sprintf("the policy says today: %s", p.Today.State)
		if p.Today.Rule != "" {
			line += " (rule " + p.Today.Rule + ")"
		}
		if p.Today.Reason != "" {
			line += ": " + p.Today.Reason
		}
		b.add("%s", line)
	}
	drawBuilds(b, p)
	for _, part := range []struct {
		name string
		list []bundle.Vouched
	}{{"signed", p.Signatures}, {"approved", p.Approvals}, {"documents", p.Documents}} {
		if len(part.list) > 0 {
			sub := b.add("%s", part.name)
			for _, v := range part.list {
				drawVouched(sub, v)
			}
		}
	}
	drawWay(b, p)
	for _, g := range p.Gaps {
		if g.Evidence {
			b.add("MISSING: %s, on which the [%s] verdict %s rests", g.Missing, g.Standing, shortDigest(g.NamedBy))
		} else {
			b.add("MISSING: %s, which the [%s] record %s (%s) names as one before it", g.Missing, g.Standing, shortDigest(g.NamedBy), g.Act)
		}
	}
	for _, child := range p.Images {
		sub := b.add("%s  %s  %s", child.Kind, shortDigest(child.Digest), child.Platform)
		if child.DescribedAbove {
			sub.add("described above")
		}
		drawProvenance(sub, child)
	}
	if len(b.subs) == 0 {
		b.add("nothing is known of it")
	}
}

func drawBuilds(b *branch, p *bundle.Provenance) {
	if len(p.Builds) == 0 {
		return
	}
	built := b.add("built")
	for _, s := range p.Builds {
		v := s.Vouched
		v.Summary = "" // told in full below
		step := drawVouched(built, v)
		step.add("by %s", orNot(s.Builder, "a builder that is not named"))
		if s.Source != nil {
			step.add("from %s", s.Source)
		}
		if len(s.Materials) == 0 {
			continue
		}
		of := step.add("of %s", plural(len(s.Materials)+s.More, "material"))
		plain, more := 0, s.More
		for _, m := range s.Materials {
			if m.Held == nil && m.Note == "" {
				if plain++; plain > maxDrawn {
					more++
					continue
				}
			}
			line := m.String()
			if m.Note != "" {
				line += "  (" + m.Note + ")"
			}
			sub := of.add("%s", line)
			if m.Held != nil {
				held := sub.add("held here: %s  %s", nameOnly(m.Held.Reference), m.Held.Kind)
				drawProvenance(held, m.Held)
			}
		}
		if more > 0 {
			of.add("… and %d more", more)
		}
	}
}

// maxDrawn is how many materials are drawn of which there is nothing to tell but their
// names; the JSON has more.
const maxDrawn = 10

func orNot(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func drawVouched(b *branch, v bundle.Vouched) *branch {
	line := fmt.Sprintf("[%s] %s", v.Standing, v.Kind)
	if v.Says != "" && v.Summary == "" && (v.Kind == string(predicate.Other) || v.Kind == string(layout.KindArtifact)) {
		line += " " + v.Says
	}
	line += " " + shortDigest(v.Manifest)
	if v.Summary != "" {
		line += ": " + v.Summary
	}
	line += signedBy(v.Standing, v.By, v.Fingerprint, v.Reason)
	if v.SignedAt != nil {
		line += fmt.Sprintf(", %s by the clock of a %s", v.SignedAt.Format(time.RFC3339), v.Clock)
	}
	if v.Through != "" {
		line += ", through the index " + shortDigest(v.Through)
	}
	sub := b.add("%s", line)
	for _, s := range v.Signatures {
		drawVouched(sub, s)
	}
	return sub
}

// signedBy says by whom, and of what is not verified, why not.
func signedBy(s custody.Standing, by, fingerprint, reason string) string {
	switch s {
	case custody.Verified:
		if fingerprint != "" {
			by = "key " + by
		}
		return "; signed by " + by
	case custody.Claimed:
		return "; " + reason
	}
	if by == "" || strings.Contains(reason, by) {
		return "; " + reason
	}
	return "; " + reason + " (it says: " + by + ")"
}

// drawWay draws the hops in order.
func drawWay(b *branch, p *bundle.Provenance) {
	if len(p.Hops) == 0 {
		return
	}
	way := b.add("way")
	for i, h := range p.Hops {
		sub := way.add("%d. %s  %s  [%s] %s%s", i+1, h.At().UTC().Format(time.RFC3339), actText(h), h.Standing, shortDigest(h.Manifest), signedBy(h.Standing, h.Key, h.Fingerprint, h.Reason))
		if h.Carried {
			sub.add("in the head of this bundle; import attaches it")
		}
		for _, line := range hopLines(h) {
			sub.add("%s", line)
		}
	}
}

func actText(h bundle.Hop) string {
	if h.Summary != nil {
		return "verdict " + h.Summary.VerificationResult
	}
	return string(h.Act)
}

// hopLines are what a record says, a line for each question.
func hopLines(h bundle.Hop) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if s := h.Summary; s != nil {
		add("by %s, of %s", s.Verifier.ID, s.ResourceURI)
		add("policy %s %s", s.Policy.URI, digests(s.Policy.Digest))
		if n := len(s.InputAttestations); n > 0 {
			add("rests on %s", plural(n, "piece")+" of evidence")
		}
		return out
	}
	r := h.Record
	if r.From != nil || r.To != nil {
		add("%s → %s", placeText(r.From), placeText(r.To))
	}
	if r.Reference != "" {
		add("as %s", r.Reference)
	}
	if r.By != "" {
		add("by %s, in their own words", r.By)
	}
	if r.Reason != "" {
		add("because: %s", r.Reason)
	}
	if r.Policy != "" {
		add("%s", strings.TrimSpace(fmt.Sprintf("policy %s %s", shortDigest(r.Policy), r.Result)))
	}
	if r.Media != nil {
		add("on media %s", strings.TrimSpace(r.Media.Label+" "+r.Media.Serial))
	}
	if r.Line != nil {
		add("line %s, serial %d", r.Line.Name, r.Line.Serial)
	}
	add("with %s, by the clock %s", strings.Join(strings.Fields(r.Tool.Name+" "+r.Tool.Version+" "+shortDigest(r.Tool.Digest)), " "), r.Clock)
	return out
}

// digests writes what in-toto says of one.
func digests(m map[string]string) string {
	var out []string
	for _, alg := range slices.Sorted(maps.Keys(m)) {
		out = append(out, shortDigest(digest.Digest(alg+":"+m[alg])))
	}
	return strings.Join(out, " ")
}
