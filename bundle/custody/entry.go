package custody

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	// Result is passed, refused or undecided, where a policy was asked.
	Result string        `json:"result,omitempty"`
	Policy digest.Digest `json:"policy,omitempty"`
	Reason string        `json:"reason,omitempty"`
	// Records are the manifests of the records that were attached.
	Records []digest.Digest `json:"records,omitempty"`
}

// maxEntryBytes is how large an entry may be (c2sp.org/tlog-tiles).
const maxEntryBytes = 1<<16 - 1

// maxEntryReason is how much of a reason an entry keeps.
const maxEntryReason = 1024

// Bytes writes the entry as a ledger keeps it: JSON on one line.
func (e Entry) Bytes() ([]byte, error) {
	e.At = e.At.UTC().Truncate(time.Second)
	if len(e.Reason) > maxEntryReason {
		e.Reason = string(bytes.ToValidUTF8([]byte(e.Reason[:maxEntryReason]), nil)) + "…"
	}
	data, err := marshal(e)
	if err == nil && (e.At.IsZero() || e.Act == "" || len(data) > maxEntryBytes) {
		err = fmt.Errorf("%w: an entry of %d bytes for %q", ErrRecord, len(data), e.Act)
	}
	return data, err
}

// ParseEntry reads what Bytes writes.
func ParseEntry(data []byte) (Entry, error) {
	var e Entry
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&e); err != nil {
		return e, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if again, err := e.Bytes(); err != nil || !bytes.Equal(again, data) {
		return e, fmt.Errorf("%w: it is not in the form in which entries are written", ErrRecord)
	}
	return e, nil
}
