package custody

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Entry is a line of a ledger: one act on one thing, and where its records are. It
// is short, for ledgers grow for ever; the records tell the rest.
type Entry struct {
	At  time.Time `json:"at"` // by the clock of the machine, to the second, in UTC
	Act Act       `json:"act"`
	// Reference and Digest are what was acted on, under the name it has here;
	// both empty for an act on a whole bundle.
	Reference string        `json:"reference,omitempty"`
	Digest    digest.Digest `json:"digest,omitempty"`
	// Bundle is the export record of the bundle in question, and Line its place
	// in its line.
	Bundle digest.Digest `json:"bundle,omitempty"`
	Line   *Line         `json:"line,omitempty"`
	By     string        `json:"by,omitempty"`  // as they call themselves
	Key    string        `json:"key,omitempty"` // fingerprint of the key that signed the records
	// To is where it went: of a promotion, the environment; of an import, a registry, or nil
	// for the store of the ledger and in entries of earlier versions.
	To *Place `json:"to,omitempty"`
	// Result is passed, refused or undecided, where a policy was asked.
	Result string        `json:"result,omitempty"`
	Policy digest.Digest `json:"policy,omitempty"`
	Reason string        `json:"reason,omitempty"`
	// Records are the manifests of the records that were attached.
	Records []digest.Digest `json:"records,omitempty"`
	// Absent, of an index that was imported or released, are those of its children, at any
	// depth, that its repository did not serve with it: sorted, each once. It is empty, and
	// not nil, if the repository served all of them. It is nil if nothing is known of it: of
	// what is no index, of other lines, and in entries of earlier versions. One of MaxAbsent
	// digests may be cut short: any child of that index may have been absent.
	//
	// Of an index that came attached and was quarantined, they are those that its repository
	// does not have. Of an index that store push brought to a registry, they are those that
	// the repository of the store does not serve with it.
	Absent []digest.Digest `json:"absent,omitzero"`
	// Source is the reference in the bundle of an index that was imported without some of
	// its children, if it is another than Reference: its policy rule is the one for Source.
	Source string `json:"source,omitempty"`
}

// MaxAbsent is how many absent children an entry lists.
const MaxAbsent = 256

// maxEntryBytes is how large an entry may be (c2sp.org/tlog-tiles).
const maxEntryBytes = 1<<16 - 1

// maxEntryReason is how much of a reason an entry keeps.
const maxEntryReason = 1024

// Bytes writes the entry as a ledger keeps it: JSON on one line.
func (e Entry) Bytes() ([]byte, error) {
	e.At = e.At.UTC().Truncate(time.Second)
	e.readable()
	if len(e.Reason) > maxEntryReason {
		e.Reason = string(bytes.ToValidUTF8([]byte(e.Reason[:maxEntryReason]), nil)) + "…"
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	data, err := marshal(e)
	if err == nil && len(data) > maxEntryBytes {
		err = bad("an entry of %d bytes, at most %d are accepted", len(data), maxEntryBytes)
	}
	return data, err
}

// readable replaces what is no UTF-8: it would be written as one thing and read as
// another, and an entry that cannot be read is in the ledger for ever.
func (e *Entry) readable() {
	valid := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	e.Reference, e.Source, e.By, e.Key, e.Reason = valid(e.Reference), valid(e.Source), valid(e.By), valid(e.Key), valid(e.Reason)
	if e.Line != nil {
		l := *e.Line
		l.Name = valid(l.Name)
		e.Line = &l
	}
	if e.To != nil {
		to := *e.To
		to.Name = valid(to.Name)
		e.To = &to
	}
}

func (e *Entry) check() error {
	switch {
	case !inSeconds(e.At):
		return bad("an entry without a time")
	case !slices.Contains(acts, e.Act):
		return bad("%.100q is no act", string(e.Act))
	case !Result(e.Result).known():
		return bad("%.100q is no result", e.Result)
	case e.Line != nil && !e.Line.valid():
		return bad("a line that is none")
	}
	if err := e.checkAbsent(); err != nil {
		return err
	}
	all := append([]digest.Digest{e.Digest, e.Bundle, e.Policy}, e.Records...)
	if e.Line != nil {
		all = append(all, e.Line.Previous)
	}
	if e.To != nil {
		all = append(all, e.To.Digest)
		if err := e.To.check(); err != nil {
			return err
		}
	}
	return checkAll(all)
}

// checkAbsent rejects a list of absent children that could be written in another form.
func (e *Entry) checkAbsent() error {
	if len(e.Absent) > MaxAbsent {
		return bad("%d children are absent, at most %d are listed", len(e.Absent), MaxAbsent)
	}
	for i, d := range e.Absent {
		if d == "" || i > 0 && d <= e.Absent[i-1] {
			return bad("absent: %q is empty, out of order or listed twice", string(d))
		}
	}
	return checkAll(e.Absent)
}

// ParseEntry reads what Bytes writes.
func ParseEntry(data []byte) (Entry, error) {
	var e Entry
	if len(data) > maxEntryBytes {
		return e, bad("an entry of %d bytes, at most %d are accepted", len(data), maxEntryBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return e, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if again, err := e.Bytes(); err != nil || !bytes.Equal(again, data) {
		return e, bad("it is not in the form in which entries are written")
	}
	return e, nil
}
