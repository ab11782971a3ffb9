package bundle

import (
	"context"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// judged is what a policy says of a graph; the zero value is that of none.
type judged struct {
	report *verify.Report
	// met has what met a requirement, by the manifest that carries it.
	met map[digest.Digest]verify.Evidence
	// accepted are the signers of those.
	accepted map[string]bool
	// subjects counts what a manifest is attached to. A signature that hangs on a
	// tag can be hung beside any number of images.
	subjects map[digest.Digest]int
}

func (t *tracer) judge(ctx context.Context, g *layout.Graph) (*judged, error) {
	j := &judged{}
	if t.o.Judge == nil {
		return j, nil
	}
	var err error
	if j.report, err = t.o.Judge.Graph(ctx, t.src, g); err != nil {
		return nil, err
	}
	j.subjects = map[digest.Digest]int{}
	for _, p := range g.Places {
		for _, e := range p.Attached {
			j.subjects[e.Digest]++
		}
	}
	return j, nil
}

// of is what the policy says of the i-th root: who counts for one image does not count
// for another that has another rule.
func (j *judged) of(i int) *judged {
	if j.report == nil {
		return j
	}
	one := &judged{report: j.report, met: map[digest.Digest]verify.Evidence{}, accepted: map[string]bool{}, subjects: j.subjects}
	v := j.report.Verdicts[i]
	one.collect(v.Outcome)
	for _, c := range v.Children {
		one.collect(c.Outcome)
	}
	return one
}

func (j *judged) collect(o *verify.Outcome) {
	if o == nil {
		return
	}
	for _, e := range o.Evidence {
		j.met[e.Manifest] = e
		j.accepted[e.Signer] = true
	}
	for _, p := range o.Parts {
		j.collect(p)
	}
}

// today is the verdict about the i-th root.
func (j *judged) today(i int) *PolicyToday {
	if j.report == nil {
		return nil
	}
	v := j.report.Verdicts[i]
	return &PolicyToday{v.State, v.Rule, v.Reason}
}

// evidence is what n, which is attached to subject and holds one signature, is to the
// policy; nil if it met nothing. It counts only if the policy cannot have met it
// beside another image.
func (j *judged) evidence(subject digest.Digest, n *layout.Node) *verify.Evidence {
	e, ok := j.met[n.Descriptor.Digest]
	if !ok || n.Subject != subject && j.subjects[n.Descriptor.Digest] != 1 {
		return nil
	}
	return &e
}

// upgrade takes a record for verified that met a requirement of the policy, as one by
// an identity does. Records have one layer, and a subject that is in their digest.
func (j *judged) upgrade(f *custody.Found, g *layout.Graph) {
	if f.Standing != custody.Unknown {
		return
	}
	n := g.Nodes[f.Manifest]
	if e := j.evidence(f.Subject, n); e != nil && e.Says == f.Act.PredicateType() {
		f.Standing, f.Key, f.Reason = custody.Verified, e.Signer, ""
	}
}
