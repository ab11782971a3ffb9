package bundle

import (
	"context"
	"fmt"
	"slices"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// A registry has no quarantine. There, an attachment that an engine could start is an image
// like any other: it is imported if it passes by itself, under its digest, and is left out
// otherwise.

// attachedJudged are attachments that were judged by themselves.
type attachedJudged struct {
	names    []layout.Name
	verdicts []verify.Verdict // by names
}

// judgeAttached judges what is only attached to images that passed, and could be started.
func (b *Bundle) judgeAttached(ctx context.Context, j *verify.Judge, g *layout.Graph, r *verify.Report, starts *layout.Inspector) (*attachedJudged, error) {
	var passed []layout.Name
	for n, v := range r.Verdicts {
		if v.State == verify.Passed {
			passed = append(passed, g.Roots[n])
		}
	}
	all, err := b.startableBeside(ctx, g, starts, passed)
	a := &attachedJudged{}
	if err != nil || len(all) == 0 {
		return a, err
	}
	for _, s := range all {
		ref := layout.Reference{Repository: s.Repository, Digest: s.Digest}
		a.names = append(a.names, layout.Name{Reference: ref, Descriptor: g.Nodes[s.Digest].Descriptor})
	}
	alone := *g
	alone.Roots = a.names
	lists, err := b.RevocationLists(ctx)
	if err != nil {
		return nil, err
	}
	judged, err := WithLists(j, lists).Graph(ctx, b.source, &alone)
	if err != nil {
		return nil, err
	}
	a.verdicts = judged.Verdicts
	for i := range a.verdicts {
		// Those that come later would have to pass with it, for all who use the repository.
		if v := &a.verdicts[i]; v.State == verify.Passed && len(v.Absent) > 0 {
			v.State, v.Reason = verify.Refused, fmt.Sprintf("its child %s is not here", v.Absent[0])
		}
	}
	return a, nil
}

// passed are the names of what passed.
func (a *attachedJudged) passed() []layout.Name {
	var out []layout.Name
	for n, v := range a.verdicts {
		if v.State == verify.Passed {
			out = append(out, a.names[n])
		}
	}
	return out
}

// whyNot says why attachments did not pass.
func (a *attachedJudged) whyNot() map[spot]string {
	out := map[spot]string{}
	for n, v := range a.verdicts {
		if v.State != verify.Passed {
			out[spot{a.names[n].Reference.Repository, a.names[n].Descriptor.Digest}] = v.WhyNot()
		}
	}
	return out
}

// withoutUnjudged leaves out of g, all of whose roots passed, the attachments that could be
// started and did not pass.
func (b *Bundle) withoutUnjudged(ctx context.Context, g *layout.Graph, a *attachedJudged, starts *layout.Inspector) (*layout.Graph, []LeftOutAttachment, error) {
	all, err := b.startableBeside(ctx, g, starts, slices.Concat(g.Roots, a.passed()))
	if err != nil {
		return nil, nil, err
	}
	out, whyNot := map[spot]bool{}, a.whyNot()
	var left []LeftOutAttachment
	for _, s := range all {
		at := spot{s.Repository, s.Digest}
		out[at] = true
		why := "it is attached to an image that passed, and an engine could start it: " + s.why
		if not := whyNot[at]; not != "" {
			why += "; by itself it does not pass: " + not
		}
		left = append(left, LeftOutAttachment{layout.Reference{Repository: s.Repository, Digest: s.Digest}, why})
	}
	return g.WithoutAttached(func(repo string, d digest.Digest) bool { return out[spot{repo, d}] }), left, nil
}

// LeftOutAttachment is an attachment of an image that passed, and is not served with it.
type LeftOutAttachment struct {
	Reference layout.Reference // by digest
	Reason    string
}

// Admitted returns the part of g, all of whose roots passed by r, that may be served where
// there is no quarantine, and lists what is left out of it: attachments that an engine
// could start and that do not pass by themselves.
func (b *Bundle) Admitted(ctx context.Context, j *verify.Judge, g *layout.Graph, r *verify.Report) (*layout.Graph, []LeftOutAttachment, error) {
	var starts layout.Inspector
	a, err := b.judgeAttached(ctx, j, g, r, &starts)
	if err != nil {
		return nil, nil, b.damaged(err)
	}
	less, left, err := b.withoutUnjudged(ctx, g, a, &starts)
	if err != nil {
		return nil, nil, b.damaged(err)
	}
	return less, left, nil
}

// leaveOutUnjudged leaves out what does not come in, where the destination has no
// quarantine for it.
func (i *importing) leaveOutUnjudged(ctx context.Context) (err error) {
	if i.attached == nil {
		return nil
	}
	if i.g, i.leftOut, err = i.withoutUnjudged(ctx, i.g, i.attached, &i.starts); err != nil {
		return i.damaged(err)
	}
	return nil
}

// logLeftOut has the ledger say what was left out.
func (i *importing) logLeftOut() error {
	for _, l := range i.leftOut {
		i.notes = append(i.notes, fmt.Sprintf("%s was left out: %s", l.Reference, l.Reason))
		if i.o.Memory == nil {
			continue
		}
		e := i.entry(custody.Refuse)
		e.Reference, e.Digest, e.Result, e.Reason = l.Reference.String(), l.Reference.Digest, string(verify.Refused), l.Reason
		if err := i.logEntry(e); err != nil {
			return err
		}
	}
	return nil
}
