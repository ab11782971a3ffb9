package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"slices"

	"airgap/verify/notary"

	"github.com/opencontainers/go-digest"
)

// A manifest may have any number of references. A verdict on it is made once for all that
// are judged by the same rule, and what it holds is shared between them.

// share makes it safe to share what v holds: who adds to it later gets a copy.
func (v *Verdict) share() {
	v.Children, v.Absent, v.Warnings = slices.Clip(v.Children), slices.Clip(v.Absent), slices.Clip(v.Warnings)
}

// shared identifies what several verdicts share, by the first of each. It is the zero value for
// a verdict that holds nothing of it.
type shared struct {
	outcome *Outcome
	child   *Child
	absent  *digest.Digest
	warning *string
}

func (v *Verdict) shared() shared {
	s := shared{outcome: v.Outcome}
	if len(v.Children) > 0 {
		s.child = &v.Children[0]
	}
	if len(v.Absent) > 0 {
		s.absent = &v.Absent[0]
	}
	if len(v.Warnings) > 0 {
		s.warning = &v.Warnings[0]
	}
	return s
}

// lists are the revocation lists that verdicts which passed rest on, each once.
func (r *Report) lists() []notary.List {
	var out []notary.List
	looked := map[shared]bool{}
	known := map[*x509.RevocationList]map[string]bool{} // by their issuers
	add := func(l notary.List) {
		if known[l.CRL] == nil {
			known[l.CRL] = map[string]bool{}
		}
		if !known[l.CRL][l.Issuer] {
			known[l.CRL][l.Issuer] = true
			out = append(out, l)
		}
	}
	for i := range r.Verdicts {
		v := &r.Verdicts[i]
		if s := v.shared(); v.State != Passed || looked[s] {
			continue
		} else {
			looked[s] = true
		}
		v.Outcome.eachList(add)
		for _, c := range v.Children {
			c.Outcome.eachList(add)
		}
	}
	return out
}

// eachList goes through those of the whole tree.
func (o *Outcome) eachList(add func(notary.List)) {
	if o == nil {
		return
	}
	for _, l := range o.lists {
		add(l)
	}
	for _, p := range o.Parts {
		p.eachList(add)
	}
}

// Verdicts are those of a report.
type Verdicts []Verdict

// maxPrinted is how many lines of a report may be about what another verdict of the report
// has, too: in a report of fewer, each verdict is whole.
const maxPrinted = 50_000

// Printed returns the verdicts as they are printed, in the same order. What many of them
// share is printed once if the report would be too long otherwise; see [Verdict.SameAs].
func (vs Verdicts) Printed() []Verdict {
	out := slices.Clone(vs)
	first := map[shared]int{}
	lines := map[shared]int{}
	left := maxPrinted
	for i := range out {
		v := &out[i]
		s := v.shared()
		at, known := first[s]
		if s == (shared{}) {
			continue
		}
		if !known {
			first[s], lines[s] = i, v.lines()
		}
		left -= lines[s]
		if known && left < 0 {
			v.Outcome, v.Children, v.Absent, v.Warnings = nil, nil, nil, nil
			v.SameAs = out[at].Reference
		}
	}
	return out
}

// MarshalJSON implements [json.Marshaler], with what [Verdicts.Printed] returns.
func (vs Verdicts) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // that is for the encoder of the whole to decide
	err := enc.Encode(vs.Printed())
	return out.Bytes(), err
}

// lines is how long v is in print, about.
func (v *Verdict) lines() int {
	n := 1 + len(v.Absent) + len(v.Warnings) + v.Outcome.lines()
	for _, c := range v.Children {
		n += 1 + c.Outcome.lines()
	}
	return n
}

func (o *Outcome) lines() int {
	if o == nil {
		return 0
	}
	n := 1 + len(o.Evidence) + len(o.Tried) + len(o.Warnings)
	for _, p := range o.Parts {
		n += p.lines()
	}
	return n
}
