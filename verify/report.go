package verify

import (
	"time"

	"airgap/verify/notary"

	"github.com/opencontainers/go-digest"
)

// State is the outcome of a judgement. Whatever is not Passed does not enter.
type State string

// The three outcomes.
const (
	Refused   State = "refused"   // checked, and the answer is no
	Undecided State = "undecided" // could not be checked
	Passed    State = "passed"
)

// Report is what a judge says of a graph.
type Report struct {
	State  State     `json:"state"` // Passed if every verdict is
	Policy Origin    `json:"policy"`
	Trust  string    `json:"trust,omitempty"` // digest of the trust directory
	Time   time.Time `json:"time"`            // of the judgement, by this machine's clock
	// Reason is why all of it is refused, whatever the verdicts say.
	Reason   string   `json:"reason,omitempty"`
	Verdicts Verdicts `json:"verdicts"`
	// Lists are the revocation lists that verdicts which passed rest on: the
	// ones to keep, so that nobody can come with older ones later.
	Lists []notary.List `json:"-"`
}

// Origin says which policy it was.
type Origin struct {
	File        string `json:"file"`
	Digest      string `json:"digest,omitempty"`
	Environment string `json:"environment,omitempty"`
}

// Verdict is what is said of one root.
type Verdict struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	State     State         `json:"state"`
	// Rule that decided; empty if none is for the image.
	Rule   string `json:"rule,omitempty"`
	Reason string `json:"reason,omitempty"` // where there is no Outcome
	// Outcome of the rule's requirement on the manifest itself; Children, by
	// the rule's choice, of each child of an index instead.
	Outcome  *Outcome `json:"outcome,omitempty"`
	Children []Child  `json:"children,omitempty"`
	// Absent are the children, where those are judged, that are not here: nothing is
	// said of them.
	Absent []digest.Digest `json:"absent,omitempty"`
	// Warnings are what was let through and has to be known.
	Warnings []string `json:"warnings,omitempty"`
	// SameAs is the reference of an earlier verdict of the report, on the same manifest by
	// the same rule, that has the fields Outcome to Warnings; they are empty here. It is set
	// only by [Verdicts.Printed].
	SameAs string `json:"sameAs,omitempty"`
}

// Child is what is said of a child of an index.
type Child struct {
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform,omitempty"`
	Outcome  *Outcome      `json:"outcome"`
}

// Outcome is what came of one requirement.
type Outcome struct {
	Requirement string `json:"requirement"` // in words
	Name        string `json:"name,omitempty"`
	State       State  `json:"state"`
	Reason      string `json:"reason,omitempty"`
	// Evidence met it; Tried did not.
	Evidence []Evidence `json:"evidence,omitempty"`
	Tried    []Attempt  `json:"tried,omitempty"`
	Parts    []*Outcome `json:"parts,omitempty"`
	Warnings []string   `json:"warnings,omitempty"`

	signers []signer      // of the evidence
	lists   []notary.List // that it rests on
}

// Evidence is a signature that verified.
type Evidence struct {
	Manifest digest.Digest `json:"manifest"` // that carries it
	Kind     string        `json:"kind"`
	Signer   string        `json:"signer"`
	// SignedAt is known from Clock; without one nothing says when it was.
	SignedAt *time.Time `json:"signedAt,omitempty"`
	Clock    string     `json:"clock,omitempty"`
	Says     string     `json:"says,omitempty"` // the signed predicate type
	// Summary is what the statement says in a few words, which are the signer's.
	Summary string `json:"summary,omitempty"`
}

// Attempt is a signature that did not do.
type Attempt struct {
	Manifest digest.Digest `json:"manifest"`
	Kind     string        `json:"kind"`
	Claims   string        `json:"claims,omitempty"` // whose it says it is; not believed
	State    State         `json:"state"`
	Reason   string        `json:"reason"`
}

// Decide sets the report's state by its verdicts. A report of none, and one with a reason
// of its own, is refused.
func (r *Report) Decide() {
	states := make([]State, len(r.Verdicts))
	for i, v := range r.Verdicts {
		states[i] = v.State
	}
	if r.State = Refused; len(states) > 0 && r.Reason == "" {
		r.State = all(states)
	}
}

// all is Passed if every one is, else what weighs most.
func all(states []State) State {
	out := Passed
	for _, s := range states {
		switch {
		case s == Passed:
		case s == Undecided:
			if out == Passed {
				out = Undecided
			}
		default:
			return Refused
		}
	}
	return out
}

// atLeast is Passed if n are, Undecided if n could be, else Refused.
func atLeast(n int, states []State) State {
	passed, open := 0, 0
	for _, s := range states {
		switch s {
		case Passed:
			passed++
		case Undecided:
			open++
		}
	}
	switch {
	case n < 1: // nothing is asked for, which no policy may say
		return Refused
	case passed >= n:
		return Passed
	case passed+open >= n:
		return Undecided
	}
	return Refused
}
