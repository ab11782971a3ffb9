package policy

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// FromContainers reads a policy.json of containers/image, as podman, skopeo and
// CRI-O use it (containers-policy.json(5)); name is for errors. Images come from
// registries, so of its transports "docker" is the one that applies; what it says of
// others is not looked into, and [Policy.Warnings] says so.
//
// What is judged of an index is each platform's image, never the index: there too.
//
// Of its requirements, reject, insecureAcceptAnything and sigstoreSigned are judged as
// containers/image judges them. signedBy (GPG) and pki are errors that name them, as
// is every field that is not known.
func FromContainers(name string, data []byte) (*Policy, error) {
	return fromContainers(name, data, readKeyFile)
}

func fromContainers(name string, data []byte, readFile func(string) ([]byte, error)) (*Policy, error) {
	p, err := (&containersReader{readFile: readFile}).policy(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, ErrPolicy)
	}
	p.File, p.Digest = name, digest.FromBytes(data).String()
	return p, nil
}

// containersReader reads a policy.json.
type containersReader struct {
	readFile func(path string) ([]byte, error)
	count    int
}

func (r *containersReader) policy(data []byte) (*Policy, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("larger than %d bytes", MaxBytes)
	}
	doc, err := readJSON(data)
	if err != nil {
		return nil, err
	}
	if err := doc.only(nil, "default", "transports"); err != nil {
		return nil, err
	}
	if doc.fields["default"] == nil {
		return nil, doc.fail("no default, which every policy.json has")
	}
	p := &Policy{scoped: true}
	scopes := map[string]*Rule{}
	if t := doc.fields["transports"]; t != nil {
		if err := r.transports(p, t, scopes); err != nil {
			return nil, err
		}
	}
	// The default is checked even where the transport has one of its own.
	all, err := r.rule("default", "", doc.fields["default"])
	if err != nil {
		return nil, err
	}
	if scopes[""] == nil {
		scopes[""] = all
	}
	p.Rules = scopeOrder(scopes)
	p.choose = func(ref layout.Reference) *Rule {
		return scopeRule(scopes, ref)
	}
	return p, nil
}

// transports reads what is for images of registries.
func (r *containersReader) transports(p *Policy, n *node, scopes map[string]*Rule) error {
	if err := n.is(kindObject); err != nil {
		return err
	}
	var others []string
	for _, name := range n.keys {
		t := n.fields[name]
		if err := t.is(kindObject); err != nil {
			return err
		}
		if name != "docker" {
			others = append(others, name)
			continue
		}
		for _, scope := range t.keys {
			if err := checkScope(scope); err != nil {
				return t.fields[scope].fail("%w", err)
			}
			rule, err := r.rule(cmp.Or(scope, "docker"), scope, t.fields[scope])
			if err != nil {
				return err
			}
			same := sameScope(scope)
			if other := scopes[same]; other != nil {
				return t.fields[scope].fail("scope %.200q is scope %.200q in another spelling; keep one of them", scope, other.Match[0])
			}
			scopes[same] = rule
		}
	}
	if len(others) > 0 {
		slices.Sort(others)
		p.warnings = append(p.warnings, fmt.Sprintf("what it says of %s is not asked: images here come from registries, for which docker stands", strings.Join(others, ", ")))
	}
	return nil
}

// scopeGrammar is a registry, a namespace, a repository or a tagged image in full,
// or the subdomains of a domain.
var scopeGrammar = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9]([A-Za-z0-9._/:-]*[A-Za-z0-9_-])?$`)

// checkScope refuses scopes that containers would let stand and that no image could
// ever have, where that would leave images to a laxer rule; "" is the transport's
// default.
func checkScope(scope string) error {
	switch {
	case scope == "":
		return nil
	case strings.Contains(scope, "@"):
		return fmt.Errorf("scope %.200q: one for a digest is not supported: rules are found by the name that an image came under", scope)
	case !scopeGrammar.MatchString(scope), strings.Contains(scope, "//"), len(scope) > maxReferenceBytes:
		return fmt.Errorf("scope %.200q: want a registry, a namespace or an image in full, or *.DOMAIN", scope)
	case strings.HasPrefix(scope, "*.") && strings.ContainsAny(scope, "/:"):
		return fmt.Errorf("scope %.200q: the subdomains of a domain, and nothing behind them", scope)
	}
	return nil
}

// sameScope writes a scope's registry in one way, as [layout.SameHost] does: the maker of
// a bundle must not get past the rule for reg.example by writing reg.example:443, nor past
// the one for reg.example:443 by leaving the port out.
func sameScope(scope string) string {
	if scope == "" || strings.HasPrefix(scope, "*.") {
		return strings.ToLower(scope)
	}
	return strings.TrimSuffix(layout.SameHost(scope+"/"), "/")
}

// scopeRule finds the rule for an image. One whose name has another host of Docker Hub than
// docker.io has to meet the rule for docker.io, and that for the domains of that host too.
func scopeRule(scopes map[string]*Rule, ref layout.Reference) *Rule {
	found := byScope(scopes, ref)
	host, _, _ := strings.Cut(strings.ToLower(ref.Repository), "/")
	host, _, _ = strings.Cut(host, ":")
	if !slices.Contains(layout.HubHosts(), host) {
		return found
	}
	for _, domain := range domains(host) {
		if other := scopes[domain]; other != nil && other != found {
			both := *found
			both.Require = Requirement{AllOf: []Requirement{found.Require, other.Require}}
			return &both
		}
	}
	return found
}

// domains are the scopes of the domains that a host is in, the narrowest first.
func domains(host string) []string {
	var out []string
	for {
		_, parent, ok := strings.Cut(host, ".")
		if !ok {
			return out
		}
		host = parent
		out = append(out, "*."+host)
	}
}

// byScope finds the rule of the most specific scope: the image, its repository, the
// namespaces that is in, its registry, and the domains of that.
func byScope(scopes map[string]*Rule, ref layout.Reference) *Rule {
	name := layout.SameHost(ref.Repository)
	repos, tries := []string{name}, []string(nil)
	if full := layout.SameRepository(ref.Repository); full != name {
		repos = []string{full, name}
	}
	if ref.Tag != "" {
		for _, repo := range repos {
			tries = append(tries, repo+":"+ref.Tag)
		}
	}
	tries = append(tries, repos...)
	if len(repos) > 1 {
		tries = append(tries, path.Dir(repos[0]))
	}
	for i := strings.LastIndex(name, "/"); i >= 0; i = strings.LastIndex(name, "/") {
		name = name[:i]
		tries = append(tries, name)
	}
	host, _, _ := strings.Cut(name, ":")
	for _, scope := range append(append(tries, domains(host)...), "") {
		if rule := scopes[scope]; rule != nil {
			return rule
		}
	}
	return nil
}

// scopeOrder lists the rules as they are tried: the longest scope first, subdomains
// after registries, the default last.
func scopeOrder(scopes map[string]*Rule) []Rule {
	var out []Rule
	for _, r := range scopes {
		out = append(out, *r)
	}
	weight := func(scope string) int {
		switch {
		case scope == anyScope:
			return -10_000
		case strings.HasPrefix(scope, "*."):
			return len(scope) - 5_000
		}
		return len(scope)
	}
	slices.SortFunc(out, func(a, b Rule) int {
		return cmp.Or(cmp.Compare(weight(b.Match[0]), weight(a.Match[0])), cmp.Compare(a.Match[0], b.Match[0]))
	})
	return out
}

// anyScope is how the default is shown.
const anyScope = "**"

// rule reads a list of requirements, all of which have to be met.
func (r *containersReader) rule(name, scope string, n *node) (*Rule, error) {
	items, err := n.list()
	if err != nil {
		return nil, err
	}
	rule := &Rule{Name: name, Match: []string{cmp.Or(scope, anyScope)}, Index: IndexChildren}
	var all []Requirement
	for _, item := range items {
		req, err := r.requirement(item)
		if err != nil {
			return nil, err
		}
		all = append(all, req)
	}
	rule.Require = all[0]
	if len(all) > 1 {
		rule.Require = Requirement{AllOf: all, line: n.line}
	}
	if err := rule.Require.check(); err != nil {
		return nil, err
	}
	return rule, nil
}

func (r *containersReader) requirement(n *node) (Requirement, error) {
	out := Requirement{line: n.line}
	if r.count++; r.count > maxRequirements {
		return out, n.fail("more than %d requirements", maxRequirements)
	}
	if err := n.is(kindObject); err != nil {
		return out, err
	}
	typ, err := n.string("type")
	if err != nil {
		return out, err
	}
	switch typ {
	case "reject":
		out.Nothing = true
		return out, n.only(nil, "type")
	case "insecureAcceptAnything":
		out.InsecureAnything = true
		return out, n.only(nil, "type")
	case "sigstoreSigned":
		out.Cosign, err = r.sigstoreSigned(n)
		return out, err
	case "signedBy":
		return out, n.fail("type signedBy (GPG) is not supported here; nothing of this policy can be used while an image's rule asks for it")
	case "signedBaseLayer":
		return out, n.fail("type signedBaseLayer is not supported here")
	case "":
		return out, n.fail("no type")
	}
	return out, n.fail("type %.100q is not known", typ)
}

// refusedSigners are the fields of sigstoreSigned that are known and not supported.
var refusedSigners = map[string]string{
	"pki": "pki is not supported here: its certificates count only while they are valid by the clock of whoever verifies",
}

func (r *containersReader) sigstoreSigned(n *node) (*Cosign, error) {
	err := n.only(refusedSigners, "type", "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio",
		"rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas", "signedIdentity")
	if err != nil {
		return nil, err
	}
	pinned := &Pinned{ExactPayload: true}
	c := &Cosign{Signer: Signer{Pinned: pinned}}
	if pinned.Keys, err = r.keySource(n, "key"); err != nil {
		return nil, err
	}
	logs, err := r.keySource(n, "rekorPublicKey")
	if err != nil {
		return nil, err
	}
	for _, k := range logs {
		if _, ok := k.(*ecdsa.PublicKey); !ok {
			return nil, n.fail("a rekorPublicKey that is no ECDSA key")
		}
	}
	c.Log = len(logs) > 0
	var cas []*x509.Certificate
	switch f := n.fields["fulcio"]; {
	case f != nil && len(pinned.Keys) > 0:
		return nil, n.fail("both a key and fulcio are given; want one")
	case f != nil && len(logs) == 0:
		return nil, n.fail("fulcio without a rekorPublicKey: nothing would say when it was signed")
	case f != nil:
		cas, err = r.fulcio(f, &c.Signer)
	case len(pinned.Keys) == 0:
		err = n.fail("no key: want one of keyPath, keyPaths, keyData, keyDatas, fulcio")
	}
	if err == nil && len(logs) > 0 {
		err = pinned.pin(cas, logs)
	}
	if err == nil {
		c.Reference, err = signedIdentity(n.fields["signedIdentity"])
	}
	return c, err
}

func (p *Pinned) pin(cas []*x509.Certificate, logs []crypto.PublicKey) error {
	m, err := materialOf(cas, logs)
	if err == nil {
		p.Roots = append(p.Roots, m)
	}
	return err
}

// fulcio reads by which authority which identity has to be vouched for. As in
// containers/image, no certificate log is asked, and what is between the certificate
// and the authority's may stand beside the signature.
func (r *containersReader) fulcio(n *node, s *Signer) ([]*x509.Certificate, error) {
	if err := n.only(nil, "caPath", "caData", "oidcIssuer", "subjectEmail"); err != nil {
		return nil, err
	}
	for key, into := range map[string]*string{"oidcIssuer": &s.Issuer, "subjectEmail": &s.Identity} {
		var err error
		if *into, err = n.string(key); err != nil {
			return nil, err
		}
		if *into == "" {
			return nil, n.fail("no %s", key)
		}
	}
	s.Pinned.InsecureNoSCT, s.Pinned.CarriedChain, s.Pinned.ByEmail = true, true, true
	return r.authorities(n)
}

// signedIdentity reads under what name it has to be signed; nil is for the default.
func signedIdentity(n *node) (*Identity, error) {
	if n == nil {
		return &Identity{kind: matchRepoDigestOrExact}, nil
	}
	if err := n.is(kindObject); err != nil {
		return nil, err
	}
	kind, err := n.string("type")
	if err != nil {
		return nil, err
	}
	w := &Identity{kind: kind}
	fields := map[string]*string{}
	switch kind {
	case matchExact, matchRepository, matchRepoDigestOrExact:
	case matchExactReference:
		fields["dockerReference"] = &w.reference
	case matchExactRepository:
		fields["dockerRepository"] = &w.reference
	case matchRemapIdentity:
		fields["prefix"], fields["signedPrefix"] = &w.prefix, &w.signedPrefix
	default:
		return nil, n.fail("type %.100q is not known", kind)
	}
	known := []string{"type"}
	for key, into := range fields {
		known = append(known, key)
		if n.fields[key] == nil {
			return nil, n.fail("no %s", key)
		}
		if *into, err = n.string(key); err != nil {
			return nil, err
		}
	}
	if err := n.only(nil, known...); err != nil {
		return nil, err
	}
	w.reference = inFull(w.reference, kind)
	if err := w.check(); err != nil {
		return nil, n.fail("%w", err)
	}
	return w, nil
}
