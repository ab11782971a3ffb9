package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"airgap/layout"

	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

// foreign returns what reads a policy of another tool, known by its fields at the
// top, or nil.
func foreign(data []byte) func(string, []byte) (*Policy, error) {
	if len(data) > MaxBytes {
		return nil
	}
	keys := topKeys(data)
	switch {
	case slices.Contains(keys, "version"):
	case slices.Contains(keys, "apiVersion"), slices.Contains(keys, "kind"):
		return FromClusterImagePolicies
	case slices.Contains(keys, "default"), slices.Contains(keys, "transports"):
		return FromContainers
	}
	return nil
}

// topKeys lists the keys at the top of the first document, also of one that is broken
// further down.
func topKeys(data []byte) []string {
	if top := bytes.TrimSpace(data); len(top) > 0 && top[0] == '{' {
		return topKeysJSON(data)
	}
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			return nil
		}
		if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
			continue
		}
		var keys []string
		for i := 0; i < len(doc.Content[0].Content); i += 2 {
			keys = append(keys, doc.Content[0].Content[i].Value)
		}
		return keys
	}
}

func topKeysJSON(data []byte) (keys []string) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return keys
		}
		keys = append(keys, key)
		if dec.Decode(new(json.RawMessage)) != nil {
			return keys
		}
	}
	return keys
}

// FromNotation reads a trust policy of the Notary Project (trustpolicy.json,
// version 1.0) as it is; name is for errors. A scope is a repository, written in
// full, and "*" is for all that no other scope is for. Level "skip" accepts what
// the scope is for unsigned, as notation does; its verdicts carry a warning.
func FromNotation(name string, data []byte) (*Policy, error) {
	fail := func(err error) (*Policy, error) { return nil, fmt.Errorf("%s: %w: %w", name, err, ErrPolicy) }
	if len(data) > MaxBytes {
		return fail(fmt.Errorf("larger than %d bytes", MaxBytes))
	}
	var doc trustpolicy.Document
	if err := strictJSON(data, &doc); err != nil {
		return fail(err)
	}
	if err := doc.Validate(); err != nil {
		return fail(err)
	}
	p := &Policy{File: name, Digest: digest.FromBytes(data).String()}
	for i := range doc.TrustPolicies {
		s := &doc.TrustPolicies[i]
		r := Rule{Name: s.Name, Index: IndexItself, Require: fromStatement(s)}
		for _, scope := range s.RegistryScopes {
			if scope == "*" {
				scope = "**"
			}
			r.Match = append(r.Match, scope)
		}
		if err := r.Require.check(); err != nil {
			return fail(fmt.Errorf("statement %q: %w", s.Name, err))
		}
		p.Rules = append(p.Rules, r)
	}
	if err := checkPatterns(p.Rules); err != nil {
		return fail(err)
	}
	return p, nil
}

func fromStatement(s *trustpolicy.TrustPolicy) Requirement {
	v := s.SignatureVerification
	if v.VerificationLevel == trustpolicy.LevelSkip.Name {
		return Requirement{InsecureAnything: true}
	}
	n := &Notary{Level: v.VerificationLevel, VerifyTimestamp: string(v.VerifyTimestamp), Stores: s.TrustStores, Identities: s.TrustedIdentities}
	for typ, action := range v.Override {
		if n.Override == nil {
			n.Override = map[string]string{}
		}
		n.Override[string(typ)] = string(action)
	}
	return Requirement{Notary: n}
}

// strictJSON decodes one document without unknown fields and without keys given
// twice.
func strictJSON(data []byte, v any) error {
	// A policy is no manifest; under this key its fields may have any name.
	if !json.Valid(data) {
		return errors.New("no JSON")
	}
	if err := layout.CheckJSON(bytes.Join([][]byte{[]byte(`{"annotations":`), data, []byte(`}`)}, nil)); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one document in it")
	}
	return nil
}

// FromSigner is the policy of somebody who names one signer on the command line,
// as cosign's users do: everything has to be signed by it.
func FromSigner(s Signer) (*Policy, error) {
	p := &Policy{File: "command line", Rules: []Rule{{
		Name: "command line", Match: []string{"**"}, Index: IndexItself, Require: Requirement{Cosign: &Cosign{Signer: s}},
	}}}
	if err := p.Rules[0].Require.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrPolicy)
	}
	return p, nil
}
