package sigstore

import (
	"encoding/json"

	"github.com/opencontainers/go-digest"
)

// Statement is an in-toto statement that nobody signed, such as BuildKit puts beside
// images. It is worth as much as whoever vouches for its bytes.
type Statement struct {
	PredicateType string
	Predicate     json.RawMessage
	stmt          *statement
}

// ParseStatement reads a statement, v0.1 or v1, as strictly as a signed one. Its
// error is a [*Failure].
func ParseStatement(raw []byte) (s *Statement, err error) {
	defer recovered(&err)
	stmt, err := parseStatement(raw)
	if err == nil {
		err = stmt.check()
	}
	if err != nil {
		return nil, err
	}
	return &Statement{stmt.predicateType, json.RawMessage(stmt.predicate), stmt}, nil
}

// About says whether any subject of the statement is d.
func (s *Statement) About(d digest.Digest) bool { return s.stmt.about(d) }

// Says returns the statement in the envelope without asking who signed it; ok is
// false for one that holds none. It is for people, and to find out whether verifying
// is worth while.
func (e *Envelope) Says() (s *Statement, ok bool) {
	if e.stmt == nil || e.stmt.check() != nil {
		return nil, false
	}
	return &Statement{e.stmt.predicateType, json.RawMessage(e.stmt.predicate), e.stmt}, true
}

// Kind says what the envelope holds, without asking who signed it: a plain signature,
// or a statement of a predicate type; ok is false for what is neither.
func (e *Envelope) Kind() (isSignature bool, predicateType string, ok bool) {
	switch {
	case e.stmt != nil:
		return e.record == nil && e.stmt.predicateType == PredicateCosignSign, e.stmt.predicateType, true
	case e.other != "":
		return false, "", false
	}
	return true, "", true
}
