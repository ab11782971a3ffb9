package policy

import (
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"

	"airgap/verify/predicate"
)

// refusedAuthority are the fields of an authority that are known and not supported.
var refusedAuthority = map[string]string{
	"source":           "source is not supported here: signatures are those that came with the image",
	"rfc3161timestamp": "rfc3161timestamp is not supported here: timestamp authorities are those of the pinned trusted roots, and a timestamp does not stand in for a log entry",
}

func (r *clusterReader) authority(policy string, i int, n *node) (Requirement, error) {
	out := Requirement{line: n.line}
	if r.count++; r.count > maxRequirements {
		return out, n.fail("more than %d authorities and attestations", maxRequirements)
	}
	if err := n.only(refusedAuthority, "name", "key", "keyless", "static", "ctlog", "attestations", "signatureFormat"); err != nil {
		return out, err
	}
	name, err := n.string("name")
	if err != nil {
		return out, err
	}
	if name == "" {
		name = fmt.Sprintf("authority-%d", i)
	}
	// Names are the verdict's, which may be about several policies.
	name = policy + "/" + name
	given := slices.DeleteFunc([]string{"key", "keyless", "static"}, func(k string) bool { return n.fields[k] == nil })
	if len(given) != 1 {
		return out, n.fail("%d of key, keyless and static are given; want one", len(given))
	}
	if given[0] == "static" {
		out, err = r.static(n)
	} else {
		out, err = r.signed(n)
	}
	out.Name, out.line = name, n.line
	return out, err
}

func (r *clusterReader) static(n *node) (Requirement, error) {
	var out Requirement
	for _, key := range []string{"ctlog", "attestations", "signatureFormat"} {
		if f := n.fields[key]; f != nil {
			return out, f.fail("it means nothing beside static")
		}
	}
	s := n.fields["static"]
	if err := s.only(nil, "action", "message"); err != nil {
		return out, err
	}
	action, err := s.string("action")
	if err != nil {
		return out, err
	}
	switch action {
	case "pass":
		out.InsecureAnything = true
	case "fail":
		out.Nothing = true
	default:
		return out, s.fail("action %.50q, want pass or fail", action)
	}
	return out, nil
}

// signed is what a key's or an identity's authority asks for: its signature, or where
// it lists attestations, each of those instead.
func (r *clusterReader) signed(n *node) (Requirement, error) {
	var signers []Signer
	log, err := logAddress(n.fields["ctlog"])
	if err == nil {
		// Both forms count; the controller looks for one of them.
		err = n.oneOf("signatureFormat", "", "legacy", "bundle")
	}
	if err == nil && n.fields["key"] != nil {
		signers, err = keySigner(n.fields["key"], log)
	} else if err == nil {
		signers, err = keylessSigners(n.fields["keyless"], log)
	}
	if err != nil {
		return Requirement{}, err
	}
	each := func(ask func(Signer) Requirement) Requirement {
		var any []Requirement
		for _, s := range signers {
			req := ask(s)
			req.line = n.line
			any = append(any, req)
		}
		return Requirement{AnyOf: any, line: n.line}.alone()
	}
	if n.fields["attestations"] == nil {
		return each(func(s Signer) Requirement { return Requirement{Cosign: &Cosign{Signer: s}} }), nil
	}
	types, err := r.attestations(n.fields["attestations"])
	if err != nil {
		return Requirement{}, err
	}
	var all []Requirement
	for _, typ := range types {
		all = append(all, each(func(s Signer) Requirement {
			return Requirement{Attestation: &Attestation{PredicateType: typ, SignedBy: s}}
		}))
	}
	return Requirement{AllOf: all, line: n.line}.alone(), nil
}

// alone is the one part of a list of one.
func (r Requirement) alone() Requirement {
	if parts := r.parts(); len(parts) == 1 {
		return parts[0]
	}
	return r
}

// oneOf fails if a field is none of the texts.
func (n *node) oneOf(key string, texts ...string) error {
	s, err := n.string(key)
	if err == nil && !slices.Contains(texts, s) {
		err = n.fields[key].fail("%.50q is not supported here", s)
	}
	return err
}

// predicateCustom is what cosign and the controller call "custom".
const predicateCustom = "https://cosign.sigstore.dev/attestation/v1"

func (r *clusterReader) attestations(n *node) ([]string, error) {
	items, err := n.list()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, a := range items {
		if r.count++; r.count > maxRequirements {
			return nil, a.fail("more than %d authorities and attestations", maxRequirements)
		}
		if err := a.only(map[string]string{"policy": refusedSpec["policy"]}, "name", "predicateType"); err != nil {
			return nil, err
		}
		if name, err := a.string("name"); err != nil || name == "" {
			return nil, errors.Join(err, a.fail("no name"))
		}
		typ, err := a.string("predicateType")
		if err != nil || typ == "" {
			return nil, errors.Join(err, a.fail("no predicateType"))
		}
		if typ == "custom" {
			typ = predicateCustom
		}
		out = append(out, predicate.Type(typ))
	}
	return out, nil
}

// address is a field that is the URL of a service. It is not asked: of what is pinned,
// only what has that address counts.
func (n *node) address(key string) (string, error) {
	s, err := n.string(key)
	if err == nil && s != "" && !strings.HasPrefix(s, "https://") && !strings.HasPrefix(s, "http://") {
		err = n.fields[key].fail("%.100q is no URL", s)
	}
	return s, err
}

const refusedTrustRoot = "trustRootRef is not supported here: roots are those of the trust directory"

func logAddress(n *node) (string, error) {
	if n == nil {
		return "", nil
	}
	if err := n.only(map[string]string{"trustRootRef": refusedTrustRoot}, "url"); err != nil {
		return "", err
	}
	url, err := n.address("url")
	if err == nil && url == "" {
		err = n.fail("no url; leave ctlog away where no log is wanted")
	}
	return url, err
}

func keySigner(n *node, log string) ([]Signer, error) {
	err := n.only(map[string]string{
		"secretRef": "secretRef is not supported here: no cluster has the key; give its data",
		"kms":       "kms is not supported here: nothing is asked over a network; give the key's data",
	}, "data", "hashAlgorithm")
	if err == nil {
		err = n.oneOf("hashAlgorithm", "", "sha256")
	}
	if err != nil {
		return nil, err
	}
	data, err := n.string("data")
	if err != nil {
		return nil, err
	}
	if data == "" {
		return nil, n.fail("no data")
	}
	key, err := parseKey([]byte(data))
	if err != nil {
		return nil, n.fields["data"].fail("%w", err)
	}
	return []Signer{{Log: log != "", Pinned: &Pinned{Keys: []crypto.PublicKey{key}, Log: log}}}, nil
}

func keylessSigners(n *node, log string) ([]Signer, error) {
	err := n.only(map[string]string{
		"ca-cert":      "ca-cert is not supported here: authorities are those of the pinned trusted roots",
		"trustRootRef": refusedTrustRoot,
	}, "url", "identities", "insecureIgnoreSCT")
	if err != nil {
		return nil, err
	}
	pinned := &Pinned{Log: log}
	if pinned.Authority, err = n.address("url"); err != nil {
		return nil, err
	}
	if f := n.fields["insecureIgnoreSCT"]; f != nil {
		if err := f.is(kindBool); err != nil {
			return nil, err
		}
		pinned.InsecureNoSCT = strings.EqualFold(f.text, "true")
	}
	identities, err := n.items1("identities")
	if err != nil {
		return nil, err
	}
	var out []Signer
	for _, id := range identities {
		s, err := identitySigner(id)
		if err != nil {
			return nil, err
		}
		s.Pinned = pinned
		out = append(out, s)
	}
	return out, nil
}

func identitySigner(n *node) (Signer, error) {
	var s Signer
	if err := n.only(nil, "issuer", "issuerRegExp", "subject", "subjectRegExp"); err != nil {
		return s, err
	}
	for key, into := range map[string]*string{"issuer": &s.Issuer, "issuerRegExp": &s.IssuerRegexp, "subject": &s.Identity, "subjectRegExp": &s.IdentityRegexp} {
		var err error
		if *into, err = n.string(key); err != nil {
			return s, err
		}
	}
	// What does not go together is found where every signer is checked.
	return s, nil
}
