package custody

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"airgap/layout"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// Act is what was done.
type Act string

// The acts. Each but the verdict is recorded with the predicate type that
// [Act.PredicateType] gives; pushes, refusals and quarantines stand in ledgers alone.
const (
	Export     Act = "export"     // taken from where it was, into a bundle; in ledgers also: out of the store, into a registry
	Receive    Act = "receive"    // taken in from media
	Import     Act = "import"     // let in by a policy: a SLSA verification summary
	Promote    Act = "promote"    // approved for another environment
	Override   Act = "override"   // let in against a rule, for a reason
	Delete     Act = "delete"     // a name taken away
	Refuse     Act = "refuse"     // not let in
	Quarantine Act = "quarantine" // kept, and not given out any more
	Release    Act = "release"    // given out again
	Push       Act = "push"       // taken from a client, by a registry
)

// acts are in the order in which they usually follow each other.
var acts = []Act{Export, Receive, Override, Import, Promote, Push, Delete, Refuse, Quarantine, Release}

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
	// override, went against; Result is what that policy said.
	Policy digest.Digest `json:"policy,omitempty"`
	Result Result        `json:"result,omitempty"`
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

// Result is what a policy said.
type Result string

// The results, as [airgap/verify.State] has them.
const (
	Passed    Result = "passed"
	Refused   Result = "refused"
	Undecided Result = "undecided"
)

func (r Result) known() bool {
	switch r {
	case "", Passed, Refused, Undecided:
		return true
	}
	return false
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
	Serial uint64 `json:"serial"` // from 1 to maxSerial
	// Previous is the manifest of the record of the bundle before; empty for
	// the first.
	Previous digest.Digest `json:"previous,omitempty"`
}

func (l *Line) valid() bool {
	return l.Name != "" && l.Serial >= 1 && l.Serial <= maxSerial && (l.Serial == 1) == (l.Previous == "")
}

// Limits of records. They are written by whoever has a key, and read by all.
const (
	// MaxRecordBytes is how large a record, signed, may be.
	MaxRecordBytes = 256 << 10
	maxText        = 4096
	maxCheckpoint  = 4 * maxText
	maxPrevious    = 1000
	// maxSerial is the largest number that every reader of JSON reads the same
	// (RFC 8259, section 6).
	maxSerial = 1<<53 - 1
)

// ErrRecord says that something is no record, or none that can be written.
var ErrRecord = errors.New("not a custody record")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRecord}, args...)...)
}

// check says whether r can be recorded as a.
func (r *Record) check(a Act) error {
	switch {
	case !inSeconds(r.At):
		return bad("at: want a time in UTC, to the second")
	case r.Clock == "":
		return bad("no clock")
	case r.Tool.Name == "":
		return bad("no tool")
	case !r.Result.known() || r.Result != "" && r.Policy == "":
		return bad("a result is passed, refused or undecided, and some policy's")
	case r.Media != nil && *r.Media == (Media{}):
		return bad("media without a label and a serial")
	case r.Line != nil && !r.Line.valid():
		return bad("a line has a name and serials from 1 to %d, and but for the first the record before", uint64(maxSerial))
	case r.Expires != nil && (!inSeconds(*r.Expires) || r.Expires.Before(r.At)):
		return bad("expires: want a time in UTC, to the second, after it was made")
	}
	for _, err := range []error{r.checkAct(a), r.checkPlaces(), r.checkTexts(), r.checkDigests()} {
		if err != nil {
			return err
		}
	}
	return nil
}

// inSeconds says whether t is written in one way only.
func inSeconds(t time.Time) bool {
	return t.Location() == time.UTC && t.Nanosecond() == 0 && t.Year() >= 1970 && t.Year() <= 9999
}

// checkAct holds r against what the act cannot do without.
func (r *Record) checkAct(a Act) error {
	switch {
	case a == Override && r.Reason == "":
		return bad("an override has a reason")
	case a == Promote && (r.To == nil || r.To.Kind != InEnvironment || r.To.Name == ""):
		return bad("a promotion leads to an environment with a name")
	case a == Delete && r.Reference == "":
		return bad("a deletion says which name was taken away")
	}
	return nil
}

func (r *Record) checkPlaces() error {
	for _, p := range r.places() {
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Place) check() error {
	switch p.Kind {
	case InRegistry, InStore, InBundle, InEnvironment:
		return nil
	}
	return bad("%.100q is no kind of place", string(p.Kind))
}

func (r *Record) places() []*Place {
	return slices.DeleteFunc([]*Place{r.From, r.To}, func(p *Place) bool { return p == nil })
}

// checkTexts refuses what could play with whoever looks at it. Only a checkpoint has
// several lines.
func (r *Record) checkTexts() error {
	texts := []string{r.Clock, r.By, r.Tool.Name, r.Tool.Version, r.Reference, r.Reason}
	for _, p := range r.places() {
		texts = append(texts, p.Name)
	}
	if r.Media != nil {
		texts = append(texts, r.Media.Label, r.Media.Serial)
	}
	if r.Line != nil {
		texts = append(texts, r.Line.Name)
	}
	for _, s := range texts {
		if err := checkText(s, maxText); err != nil {
			return err
		}
	}
	return checkText(strings.ReplaceAll(r.Checkpoint, "\n", ""), maxCheckpoint)
}

func checkText(s string, most int) error {
	switch {
	case len(s) > most:
		return bad("a text of %d bytes, at most %d are accepted", len(s), most)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return bad("control characters, or no UTF-8, in %.100q", s)
	}
	return nil
}

func (r *Record) checkDigests() error {
	if len(r.Previous) > maxPrevious {
		return bad("%d records came directly before it, at most %d are accepted", len(r.Previous), maxPrevious)
	}
	seen := map[digest.Digest]bool{}
	for _, d := range r.Previous {
		if d == "" || seen[d] {
			return bad("previous: %q is empty, or stands there twice", string(d))
		}
		seen[d] = true
	}
	all := append([]digest.Digest{r.Policy, r.Tool.Digest}, r.Previous...)
	for _, p := range r.places() {
		all = append(all, p.Digest)
	}
	if r.Line != nil {
		all = append(all, r.Line.Previous)
	}
	return checkAll(all)
}

// checkAll takes empty ones for those that do not apply.
func checkAll(all []digest.Digest) error {
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
		return nil, bad("%d bytes, at most %d are read", len(predicate), MaxRecordBytes)
	}
	if _, ok := ActOf(a.PredicateType()); !ok || a == Import {
		return nil, bad("%.100q has no record of this form", string(a))
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
		return nil, bad("it is not in the form in which records are written")
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
		return signing.Attestation{}, bad("a verdict is a verification summary")
	}
	if _, ok := ActOf(a.PredicateType()); !ok {
		return signing.Attestation{}, bad("%.100q is recorded in ledgers alone", string(a))
	}
	if err := r.check(a); err != nil {
		return signing.Attestation{}, err
	}
	predicate, err := marshal(r)
	if err == nil && len(predicate) > MaxRecordBytes/2 { // the envelope holds it in base64
		err = bad("%d bytes, at most %d are accepted", len(predicate), MaxRecordBytes/2)
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
		data, err := signing.SealRecord(subject, att, key)
		if err != nil {
			return signing.Artifact{}, err
		}
		return signing.AttachRecord(subject, data, att.PredicateType)
	}
	statement, err := signing.Statement(subject, att)
	if err != nil {
		return signing.Artifact{}, err
	}
	return signing.Referrer(subject, signing.Document{ArtifactType: ClaimArtifactType, MediaType: statementType, Data: statement})
}
