package policy

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"airgap/layout"
	"airgap/verify/predicate"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

// FromClusterImagePolicies reads the ClusterImagePolicies of Sigstore's
// policy-controller (policy.sigstore.dev, v1alpha1 and v1beta1) in a YAML or JSON
// file, as many as are in it; name is for errors.
//
// As there, any authority of a policy will do, and an image that several policies are
// for has to meet all of them. An image that none is for is refused; the controller
// leaves that to its configuration. What is not supported is an error that names it;
// docs/policy.md lists it.
func FromClusterImagePolicies(name string, data []byte) (*Policy, error) {
	p, err := (&clusterReader{}).policy(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, ErrPolicy)
	}
	p.File, p.Digest = name, digest.FromBytes(data).String()
	return p, nil
}

// clusterPolicy is one ClusterImagePolicy.
type clusterPolicy struct {
	Rule
	globs []*regexp.Regexp
}

type clusterReader struct{ count int }

func (r *clusterReader) policy(data []byte) (*Policy, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("larger than %d bytes", MaxBytes)
	}
	docs, err := documents(data)
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	var all []clusterPolicy
	for _, doc := range docs {
		c, err := r.one(doc)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o clusterPolicy) bool { return o.Name == c.Name }) {
			return nil, doc.fail("two policies are named %q", c.Name)
		}
		all = append(all, *c)
		p.Rules = append(p.Rules, c.Rule)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no policy in it, so nothing could ever enter")
	}
	p.choose = func(ref layout.Reference) *Rule { return everyOne(all, ref) }
	return p, nil
}

// documents reads those of a file that are not empty.
func documents(data []byte) ([]*node, error) {
	if top := bytes.TrimSpace(data); len(top) > 0 && top[0] == '{' {
		doc, err := readJSON(data)
		return []*node{doc}, err
	}
	var out []*node
	count := 0
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var y yaml.Node
		if err := dec.Decode(&y); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, plain(err)
		}
		if len(y.Content) == 0 || y.Content[0].ShortTag() == "!!null" {
			continue
		}
		doc, err := readYAML(y.Content[0], "", &count, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, doc)
	}
}

// everyOne puts the policies together that are for an image: all of them have to be
// met.
func everyOne(all []clusterPolicy, ref layout.Reference) *Rule {
	var found []Rule
	for i := range all {
		if globsFit(all[i].globs, ref) {
			found = append(found, all[i].Rule)
		}
	}
	if len(found) == 0 {
		return nil
	}
	if len(found) == 1 {
		return &found[0]
	}
	out := &Rule{Index: IndexItself}
	var names []string
	for _, r := range found {
		names = append(names, r.Name)
		out.Match = append(out.Match, r.Match...)
		out.Require.AllOf = append(out.Require.AllOf, r.Require)
	}
	out.Name = strings.Join(names, " and ")
	return out
}

var policyName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

const clusterGroup = "policy.sigstore.dev/"

func (r *clusterReader) one(doc *node) (*clusterPolicy, error) {
	// The status is what the controller says of it.
	if err := doc.only(nil, "apiVersion", "kind", "metadata", "spec", "status"); err != nil {
		return nil, err
	}
	version, err := doc.string("apiVersion")
	if err == nil && version != clusterGroup+"v1alpha1" && version != clusterGroup+"v1beta1" {
		err = doc.fail("apiVersion %.100q, want %sv1alpha1 or v1beta1", version, clusterGroup)
	}
	if err != nil {
		return nil, err
	}
	if kind, err := doc.string("kind"); err != nil || kind != "ClusterImagePolicy" {
		return nil, errors.Join(err, doc.fail("kind %.100q, want ClusterImagePolicy", kind))
	}
	for _, key := range []string{"metadata", "spec"} {
		if doc.fields[key] == nil {
			return nil, doc.fail("no %s", key)
		}
		if err := doc.fields[key].is(kindObject); err != nil {
			return nil, err
		}
	}
	name, err := doc.fields["metadata"].string("name")
	if err != nil {
		return nil, err
	}
	if !policyName.MatchString(name) {
		return nil, doc.fields["metadata"].fail("name %.100q: want lower-case letters, digits, - and .", name)
	}
	return r.spec(name, doc.fields["spec"])
}

// refusedSpec are the fields of a spec that are known and not supported.
var refusedSpec = map[string]string{
	"policy": "a policy in CUE or Rego is not supported here; airgap's own policies have conditions in CEL",
	"match":  "match is not supported here: it chooses by the resource in a cluster that wants the image, and here is none",
}

func (r *clusterReader) spec(name string, n *node) (*clusterPolicy, error) {
	if err := n.only(refusedSpec, "images", "authorities", "mode"); err != nil {
		return nil, err
	}
	if mode, err := n.string("mode"); err != nil {
		return nil, err
	} else if mode == "warn" {
		return nil, n.fields["mode"].fail("mode warn is not supported here: nothing enters that does not pass")
	} else if mode != "" && mode != "enforce" {
		return nil, n.fields["mode"].fail("mode %.50q, want enforce", mode)
	}
	c := &clusterPolicy{Rule: Rule{Name: name, Index: IndexItself}}
	images, err := n.items1("images")
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		if err := image.only(nil, "glob"); err != nil {
			return nil, err
		}
		glob, err := image.string("glob")
		if err != nil {
			return nil, err
		}
		g, err := imageGlob(glob)
		if err != nil {
			return nil, image.fail("%w", err)
		}
		c.Match, c.globs = append(c.Match, glob), append(c.globs, g)
	}
	authorities, err := n.items1("authorities")
	if err != nil {
		return nil, err
	}
	var any []Requirement
	for i, a := range authorities {
		req, err := r.authority(name, i, a)
		if err != nil {
			return nil, err
		}
		any = append(any, req)
	}
	c.Require = anyOf(any, n.line)
	if err := c.Require.check(); err != nil {
		return nil, fmt.Errorf("policy %s: %w", name, err)
	}
	return c, nil
}

// items1 is a field that is a list of at least one.
func (n *node) items1(key string) ([]*node, error) {
	if n.fields[key] == nil {
		return nil, n.fail("no %s", key)
	}
	return n.fields[key].list()
}

// anyOf is any of a list; the one, if it has one.
func anyOf(list []Requirement, line int) Requirement {
	if len(list) == 1 {
		return list[0]
	}
	return Requirement{AnyOf: list, line: line}
}

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
