package sigstore

import (
	"bytes"
	"encoding/json"
	"strings"

	"airgap/verify/predicate"

	"github.com/opencontainers/go-digest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// record is a statement that a key signed under the payload type of custody records.
type record struct {
	Payload     []byte            `json:"payload"`
	PayloadType string            `json:"payloadType"`
	Signatures  []recordSignature `json:"signatures"`
}

type recordSignature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// ParseRecord reads a custody record: a DSSE envelope with a payload type of its own
// ([predicate.RecordPayloadType]), in exactly the form in which it is written; or a
// Sigstore bundle, as which earlier versions sealed records. Whatever a record says, it
// is no signature. Its error is a [*Failure].
func ParseRecord(data []byte) (e *Envelope, err error) {
	defer recovered(&err)
	if len(data) > MaxEnvelopeBytes {
		return nil, tooLarge("record", len(data), MaxEnvelopeBytes)
	}
	var r record
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return parseOldRecord(data)
	}
	if r.PayloadType != predicate.RecordPayloadType {
		return nil, failf(Malformed, "record: payload of type %.100q", r.PayloadType)
	}
	again, err := json.Marshal(r)
	if err != nil || !bytes.Equal(again, data) || len(r.Signatures) != 1 {
		return nil, failf(Malformed, "record: it is not in the form in which records are written")
	}
	e = &Envelope{record: &r}
	e.stmt, err = parseStatement(r.Payload)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func parseOldRecord(data []byte) (*Envelope, error) {
	e, err := ParseBundle(data)
	if err != nil {
		return nil, err
	}
	if e.stmt == nil || e.stmt.predicateType == PredicateCosignSign {
		return nil, failf(Malformed, "record: a bundle with no record in it")
	}
	return e, nil
}

// claimed is whose the record says it is.
func (r *record) claimed() Signer {
	if id := r.Signatures[0].KeyID; len(id) == len("sha256:")+64 && strings.HasPrefix(id, "sha256:") {
		return Signer{KeyFingerprint: id}
	}
	return Signer{}
}

// verifyRecord judges a record. It is by a key, and in no log.
func (e *Envelope) verifyRecord(subject digest.Digest, m Material, w Want) (*Signed, error) {
	if err := w.Check(); err != nil {
		return nil, &Failure{Reason: Unsupported, Err: err}
	}
	if err := e.checkSubject(subject, w); err != nil {
		return nil, err
	}
	if !w.byKey() {
		return nil, failf(WrongIdentity, "it is signed with a key")
	}
	key, err := verifierOf(w.Key, w.OnlySHA256)
	if err != nil {
		return nil, &Failure{Reason: Unsupported, Err: err}
	}
	message := dsse.PAE(e.record.PayloadType, e.record.Payload)
	name, err := fingerprint(w.Key)
	if err != nil {
		return nil, &Failure{Reason: Unsupported, Err: err}
	}
	if err := key.VerifySignature(bytes.NewReader(e.record.Signatures[0].Sig), bytes.NewReader(message)); err != nil {
		if e.record.claimed().KeyFingerprint == name {
			return nil, &Failure{Reason: BadSignature, Err: err}
		}
		return nil, &Failure{Reason: WrongKey, Err: err}
	}
	if w.RequireLog || !w.NoLog && len(m.Roots) > 0 {
		return nil, failf(NoLogEntry, "records are in no log")
	}
	if err := e.stmt.check(); err != nil {
		return nil, err
	}
	return &Signed{
		Signer:        Signer{KeyFingerprint: name},
		StatementType: e.stmt.typ, PredicateType: e.stmt.predicateType, Predicate: json.RawMessage(e.stmt.predicate),
	}, nil
}
