package sigstore

import (
	"encoding/json"
	"fmt"
	"strings"

	"airgap/layout"
	"airgap/verify/predicate"

	"github.com/opencontainers/go-digest"
)

// PredicateCosignSign is the type of the statement that cosign 3 makes of a plain
// signature.
const PredicateCosignSign = predicate.CosignSign

// Types of the statements that are read (in-toto/attestation, spec/v0.1.0 and
// spec/v1/statement.md).
const (
	statementV01 = "https://in-toto.io/Statement/v0.1"
	statementV1  = "https://in-toto.io/Statement/v1"
)

// simpleSigningType stands in a payload of cosign's (sigstore/cosign,
// specs/SIGNATURE_SPEC.md). Other tools sign payloads of other types with the
// same keys.
const simpleSigningType = "cosign container image signature"

// statement is an in-toto statement, read but for its predicate.
type statement struct {
	typ           string
	subjects      []map[string]string // hex by algorithm
	predicateType string
	predicate     alias // part of raw
	raw           []byte
}

// parseStatement reads a statement. Other fields than the spec's are let be, as
// the spec asks, other spellings of these are not. Whether all of it can be read in one
// way only is for check to say, which costs far more: a stranger's is not worth that.
func parseStatement(raw []byte) (*statement, error) {
	fields, err := object(raw, "_type", "subject", "predicateType", "predicate")
	if err != nil {
		return nil, failf(Malformed, "statement: %w", err)
	}
	s := &statement{predicate: fields["predicate"], raw: raw}
	var subjects []alias
	for _, f := range []struct {
		name string
		into any
	}{{"_type", &s.typ}, {"predicateType", &s.predicateType}, {"subject", &subjects}} {
		if err := json.Unmarshal(fields[f.name], f.into); err != nil {
			return nil, failf(Malformed, "statement: field %s: %w", f.name, err)
		}
	}
	if s.typ != statementV01 && s.typ != statementV1 {
		return nil, failf(Unsupported, "statement of type %.100q", s.typ)
	}
	for _, raw := range subjects {
		sub, err := object(raw, "digest")
		if err != nil {
			return nil, failf(Malformed, "statement: subject: %w", err)
		}
		var digests map[string]string
		if err := json.Unmarshal(sub["digest"], &digests); err != nil {
			return nil, failf(Malformed, "statement: subject without a digest: %w", err)
		}
		s.subjects = append(s.subjects, digests)
	}
	return s, nil
}

// check refuses a statement that two parsers could read differently.
func (s *statement) check() error {
	if err := checkUnique(s.raw); err != nil {
		return failf(Malformed, "statement: %w", err)
	}
	return nil
}

// alias is JSON that is a part of what it was read from, not a copy: a predicate has
// tens of megabytes.
type alias []byte

// UnmarshalJSON implements [json.Unmarshaler].
func (a *alias) UnmarshalJSON(raw []byte) error {
	*a = raw
	return nil
}

// object reads the fields of an object. Those named are refused in another case,
// which other parsers would take for the same.
func object(raw []byte, names ...string) (map[string]alias, error) {
	var fields map[string]alias
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for key := range fields {
		for _, name := range names {
			if key != name && strings.EqualFold(key, name) {
				return nil, fmt.Errorf("field %.100q should be %q: %w", key, name, layout.ErrCorrupt)
			}
		}
	}
	return fields, nil
}

// about says whether any subject of the statement is d.
func (s *statement) about(d digest.Digest) bool {
	for _, sub := range s.subjects {
		if sub[d.Algorithm().String()] == d.Encoded() {
			return true
		}
	}
	return false
}

// simplePayload is what cosign signs in its older forms.
type simplePayload struct {
	digest      digest.Digest
	reference   string
	annotations map[string]string
	// inexact is why containers/image would not read it; nil if it would.
	inexact error
}

// parsePayload reads a simple signing payload (containers/image,
// docs/containers-signature.5.md).
func parsePayload(raw []byte) (*simplePayload, error) {
	if err := checkUnique(raw); err != nil {
		return nil, failf(Malformed, "payload: %w", err)
	}
	path := func(raw alias, into any, names ...string) error {
		for _, name := range names {
			fields, err := object(raw, name)
			if err != nil {
				return failf(Malformed, "payload: %w", err)
			}
			raw = fields[name]
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return failf(Malformed, "payload: %s: %w", strings.Join(names, "."), err)
		}
		return nil
	}
	var typ string
	if err := path(raw, &typ, "critical", "type"); err != nil {
		return nil, err
	}
	if typ != simpleSigningType {
		return nil, failf(Unsupported, "payload of type %.100q", typ)
	}
	p := &simplePayload{}
	if err := path(raw, &p.digest, "critical", "image", "docker-manifest-digest"); err != nil {
		return nil, err
	}
	if err := path(raw, &p.reference, "critical", "identity", "docker-reference"); err != nil {
		return nil, err
	}
	p.annotations, p.inexact = optional(raw), checkExact(raw)
	return p, nil
}

// optional returns the strings among what the signer added.
func optional(raw []byte) map[string]string {
	fields, err := object(raw, "optional")
	var said map[string]any
	if err != nil || json.Unmarshal(fields["optional"], &said) != nil {
		return nil
	}
	out := map[string]string{}
	for k, v := range said {
		if s, ok := v.(string); ok {
			out[k] = s
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}
