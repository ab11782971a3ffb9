package custody

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"airgap/layout"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// Act is what was done.
type Act string

// The acts. Each but the verdict is recorded with the predicate type that
// [Act.PredicateType] gives; refusals and quarantines stand in ledgers alone.
const (
	Export     Act = "export"     // taken from where it was, into a bundle
	Receive    Act = "receive"    // taken in from media
	Import     Act = "import"     // let in by a policy: a SLSA verification summary
	Promote    Act = "promote"    // approved for another environment
	Override   Act = "override"   // let in against a rule, for a reason
	Delete     Act = "delete"     // a name taken away
	Refuse     Act = "refuse"     // not let in
	Quarantine Act = "quarantine" // kept, and not given out any more
	Release    Act = "release"    // given out again
)

const typePrefix, typeSuffix = "urn:airgap:custody:", ":v1"

// PredicateType is the type of the statement that records the act.
func (a Act) PredicateType() string {
	if a == Import {
		return signing.PredicateVerificationSummary
	}
	return typePrefix + string(a) + typeSuffix
}

// ActOf is the act that a predicate type records; ok is false for other types.
func ActOf(predicateType string) (a Act, ok bool) {
	if predicateType == signing.PredicateVerificationSummary {
		return Import, true
	}
	name, isOurs := strings.CutPrefix(predicateType, typePrefix)
	name, isV1 := strings.CutSuffix(name, typeSuffix)
	switch a := Act(name); a {
	case Export, Receive, Promote, Override, Delete:
		return a, isOurs && isV1
	}
	return "", false
}

// Record is the predicate of each act but the verdict. What was acted on is the
// statement's subject. What is empty does not apply, or is not known.
type Record struct {
	// At is when, by Clock; to the second, in UTC.
	At    time.Time `json:"at"`
	Clock string    `json:"clock"`
	// By is who, as they call themselves; the key that signed tells more.
	By   string `json:"by,omitempty"`
	Tool Tool   `json:"tool"`
	// Reference is what the image was called where the act took place.
	Reference string `json:"reference,omitempty"`
	From      *Place `json:"from,omitempty"`
	To        *Place `json:"to,omitempty"`
	Reason    string `json:"reason,omitempty"`
	// Policy is the digest of the policy that the act rested on or, in an
	// override, went against.
	Policy digest.Digest `json:"policy,omitempty"`
	Media  *Media        `json:"media,omitempty"`
	Line   *Line         `json:"line,omitempty"`
	// Expires is when a bundle is too old to be taken in.
	Expires *time.Time `json:"expires,omitempty"`
	// Checkpoint is the state of the receiver's ledger that was known, as a
	// signed note; what receives this has to continue it.
	Checkpoint string `json:"checkpoint,omitempty"`
	// Previous are the records of the same image, or the same line, that came
	// directly before: digests of their manifests.
	Previous []digest.Digest `json:"previous,omitempty"`
}

// ClockHost is the clock of the machine that acted, which nobody vouches for.
const ClockHost = "host"

// Tool is how it was done.
type Tool struct {
	Name    string        `json:"name"`
	Version string        `json:"version,omitempty"`
	Digest  digest.Digest `json:"digest,omitempty"` // of the program
}

// Place is where something came from or went to.
type Place struct {
	Kind PlaceKind `json:"kind"`
	// Name is a repository, a name of an environment, or a label. Paths and
	// hosts' own names are nobody's business.
	Name   string        `json:"name,omitempty"`
	Digest digest.Digest `json:"digest,omitempty"` // of a bundle: of its export record's manifest
}

// PlaceKind tells places apart.
type PlaceKind string

// Kinds of places.
const (
	InRegistry    PlaceKind = "registry"
	InStore       PlaceKind = "store"
	InBundle      PlaceKind = "bundle"
	InEnvironment PlaceKind = "environment"
)

// Media is what a bundle was carried on.
type Media struct {
	Label  string `json:"label,omitempty"`
	Serial string `json:"serial,omitempty"`
}

// Line is a bundle's place in a sequence of exports.
type Line struct {
	Name   string `json:"name"`
	Serial uint64 `json:"serial"` // from 1
	// Previous is the manifest of the record of the bundle before; empty for
	// the first.
	Previous digest.Digest `json:"previous,omitempty"`
}

// Limits of records. They are written by whoever has a key, and read by all.
const (
	// MaxRecordBytes is how large a record, signed, may be.
	MaxRecordBytes = 256 << 10
	maxText        = 4096
	maxPrevious    = 1000
)

// ErrRecord says that something is no record, or none that can be written.
var ErrRecord = errors.New("not a custody record")

// check says whether r can be recorded as a.
func (r *Record) check(a Act) error {
	switch {
	case r.At.IsZero() || r.At.Location() != time.UTC || r.At.Nanosecond() != 0 || r.At.Year() > 9999:
		return fmt.Errorf("%w: at: want a time in UTC, to the second", ErrRecord)
	case r.Clock == "":
		return fmt.Errorf("%w: no clock", ErrRecord)
	case r.Tool.Name == "":
		return fmt.Errorf("%w: no tool", ErrRecord)
	case a == Override && r.Reason == "":
		return fmt.Errorf("%w: an override has a reason", ErrRecord)
	case a == Promote && (r.To == nil || r.To.Name == ""):
		return fmt.Errorf("%w: a promotion leads somewhere", ErrRecord)
	case r.Line != nil && (r.Line.Name == "" || r.Line.Serial == 0 || (r.Line.Serial == 1) != (r.Line.Previous == "")):
		return fmt.Errorf("%w: a line has a name and serials from 1, and but for the first the record before", ErrRecord)
	case len(r.Previous) > maxPrevious:
		return fmt.Errorf("%w: %d records came directly before it, at most %d are accepted", ErrRecord, len(r.Previous), maxPrevious)
	case len(r.Checkpoint) > 4*maxText:
		return fmt.Errorf("%w: a checkpoint of %d bytes", ErrRecord, len(r.Checkpoint))
	case r.Expires != nil && (r.Expires.Location() != time.UTC || r.Expires.Before(r.At)):
		return fmt.Errorf("%w: expires: want a time in UTC, after it was made", ErrRecord)
	}
	if err := r.checkTexts(); err != nil {
		return err
	}
	return r.checkDigests()
}

func (r *Record) checkTexts() error {
	texts := []string{r.Clock, r.By, r.Tool.Name, r.Tool.Version, r.Reference, r.Reason}
	for _, p := range []*Place{r.From, r.To} {
		if p != nil {
			texts = append(texts, string(p.Kind), p.Name)
		}
	}
	if r.Media != nil {
		texts = append(texts, r.Media.Label, r.Media.Serial)
	}
	if r.Line != nil {
		texts = append(texts, r.Line.Name)
	}
	for _, s := range texts {
		if len(s) > maxText || !utf8.ValidString(s) {
			return fmt.Errorf("%w: a text of %d bytes; at most %d of UTF-8 are accepted", ErrRecord, len(s), maxText)
		}
	}
	return nil
}

func (r *Record) checkDigests() error {
	all := append([]digest.Digest{r.Policy, r.Tool.Digest}, r.Previous...)
	for _, p := range []*Place{r.From, r.To} {
		if p != nil {
			all = append(all, p.Digest)
		}
	}
	if r.Line != nil {
		all = append(all, r.Line.Previous)
	}
	for _, d := range all {
		if d == "" {
			continue
		}
		if _, err := layout.ParseDigest(string(d)); err != nil {
			return fmt.Errorf("%w: %w", ErrRecord, err)
		}
	}
	return nil
}

// Parse reads the predicate of an act other than the verdict, in exactly the form in
// which it is written.
func Parse(a Act, predicate []byte) (*Record, error) {
	if len(predicate) > MaxRecordBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrRecord, len(predicate), MaxRecordBytes)
	}
	var r Record
	dec := json.NewDecoder(bytes.NewReader(predicate))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if err := r.check(a); err != nil {
		return nil, err
	}
	again, err := marshal(&r)
	var compact bytes.Buffer
	if err != nil || json.Compact(&compact, predicate) != nil || !bytes.Equal(compact.Bytes(), again) {
		return nil, fmt.Errorf("%w: it is not in the form in which records are written", ErrRecord)
	}
	return &r, nil
}

// marshal writes JSON as signing does, on one line and without escaping HTML.
func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// Types of a record that nobody signed.
const (
	ClaimArtifactType = "application/vnd.airgap.claim.v1+json"
	statementType     = "application/vnd.in-toto+json"
)

// Attestation is the record as it is signed; name is what the image was called. For a
// verdict, see [signing.VerificationSummary].
func (r *Record) Attestation(a Act, name string) (signing.Attestation, error) {
	if a == Import {
		return signing.Attestation{}, fmt.Errorf("%w: a verdict is a verification summary", ErrRecord)
	}
	if err := r.check(a); err != nil {
		return signing.Attestation{}, err
	}
	predicate, err := marshal(r)
	if err == nil && len(predicate) > MaxRecordBytes/2 { // the envelope holds it in base64
		err = fmt.Errorf("%w: %d bytes, at most %d are accepted", ErrRecord, len(predicate), MaxRecordBytes/2)
	}
	return signing.Attestation{PredicateType: a.PredicateType(), Predicate: predicate, SubjectName: name}, err
}

// Artifact makes the record of an act on subject, to be attached to it: signed with
// key or, if that is nil, as a claim.
func (r *Record) Artifact(a Act, subject layout.Descriptor, name string, key crypto.Signer) (signing.Artifact, error) {
	att, err := r.Attestation(a, name)
	if err != nil {
		return signing.Artifact{}, err
	}
	return Attach(subject, att, key)
}

// Attach makes an artifact of a statement: signed with key or, if that is nil, as a
// claim.
func Attach(subject layout.Descriptor, att signing.Attestation, key crypto.Signer) (signing.Artifact, error) {
	subject = layout.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}
	if key != nil {
		return signing.BundleAttestation(subject, att, key)
	}
	statement, err := signing.Statement(subject, att)
	if err != nil {
		return signing.Artifact{}, err
	}
	return signing.Referrer(subject, signing.Document{ArtifactType: ClaimArtifactType, MediaType: statementType, Data: statement})
}
