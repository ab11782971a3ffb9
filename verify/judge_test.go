package verify_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/trust"
	"airgap/verify/verifytest"

	"github.com/opencontainers/go-digest"
)

const repo = verifytest.Name

// fixture is a repository with images and what is attached to them.
type fixture struct {
	*verifytest.Repository
	t *testing.T
}

func newFixture(t *testing.T) *fixture { return &fixture{verifytest.NewRepository(t), t} }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (f *fixture) content(c layouttest.Content) { f.t.Helper(); f.Put(c) }

func (f *fixture) image(tag string) layout.Descriptor { f.t.Helper(); return f.Image(tag) }

func (f *fixture) attach(as ...signing.Artifact) { f.t.Helper(); f.Attach(as...) }

// judge walks everything and judges the tag.
func (f *fixture) judge(j *verify.Judge, tag string) verify.Verdict {
	f.t.Helper()
	return f.Judge(j, tag).Verdicts[0]
}

// pinned makes a trust directory.
func pinned(t *testing.T, cas map[string]signing.Chain, keys map[string]crypto.Signer) *trust.Trust {
	t.Helper()
	p := verifytest.Pins{CA: map[string]*x509.Certificate{}, Keys: keys}
	for name, c := range cas {
		p.CA[name] = c.Root()
	}
	return verifytest.Trust(t, p)
}

// ruled parses a policy of one rule for everything.
func ruled(t *testing.T, require string) *policy.Policy {
	t.Helper()
	return verifytest.Policy(t, require)
}

const scanType = "https://cosign.sigstore.dev/attestation/vuln/v1"

func scan(severity string) signing.Attestation {
	return signing.Attestation{PredicateType: scanType, Predicate: json.RawMessage(`{"scanner":{"uri":"pkg:github/aquasecurity/trivy","result":{"SchemaVersion":2,"Results":[{"Target":"os"},{"Target":"app","Vulnerabilities":[{"VulnerabilityID":"CVE-2026-1","Severity":"` + severity + `"}]}]}}}`)}
}

// Requirements against what is attached: the state, and a word of why not.
func TestRequirements(t *testing.T) {
	vendor, org, stranger := must(signing.NewTestChain("vendor")), must(signing.NewTestChain("org")), must(signing.NewTestChain("stranger"))
	key, other := signing.InsecureKey("key"), signing.InsecureKey("other")
	tr := pinned(t, map[string]signing.Chain{"vendor": vendor, "org": org}, map[string]crypto.Signer{"release": key, "alias": key, "other": other})
	claim := signing.Claim{Reference: repo}
	notary := func(c signing.Chain) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact { return must(signing.Notary(d, c, signing.NotaryOptions{})) }
	}
	tagged := func(keys ...crypto.Signer) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact { return must(signing.CosignSignature(d, claim, keys...)) }
	}
	bundled := func(k crypto.Signer) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact { return must(signing.BundleSignature(d, k)) }
	}
	attested := func(k crypto.Signer, a signing.Attestation) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact { return must(signing.BundleAttestation(d, a, k)) }
	}
	att := func(k crypto.Signer, a signing.Attestation) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact { return must(signing.CosignAttestation(d, k, a)) }
	}
	junk := func(d layout.Descriptor) signing.Artifact {
		return must(signing.Referrer(d, signing.Document{ArtifactType: "application/vnd.cncf.notary.signature", MediaType: "application/jose+json", Data: []byte("{}")}))
	}
	junkBundle := func(d layout.Descriptor) signing.Artifact {
		return must(signing.Referrer(d, signing.Document{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", Data: []byte("{")}))
	}
	const byVendor = "notary: {stores: [\"ca:vendor\"], identities: [\"*\"]}"
	const byKey = "cosign: {key: release}"
	const noCritical = `conditions: ['predicate.scanner.result.Results.all(r, !has(r.Vulnerabilities) || r.Vulnerabilities.all(v, v.Severity != "CRITICAL"))']`
	type attached = []func(layout.Descriptor) signing.Artifact
	for what, test := range map[string]struct {
		require  string
		attached attached
		state    verify.State
		why      string
	}{
		"nothing attached":         {byVendor, nil, verify.Refused, "no Notary signature is attached"},
		"notary":                   {byVendor, attached{notary(vendor)}, verify.Passed, ""},
		"notary, stranger":         {byVendor, attached{notary(stranger)}, verify.Refused, "CN=stranger"},
		"notary, another's":        {byVendor, attached{notary(org)}, verify.Refused, "CN=org"},
		"notary, junk beside":      {byVendor, attached{junk, junkBundle, notary(vendor)}, verify.Passed, ""},
		"notary, junk only":        {byVendor, attached{junk, junkBundle}, verify.Refused, "bad signature"},
		"notary, stranger beside":  {byVendor, attached{notary(stranger), notary(vendor)}, verify.Passed, ""},
		"notary, store not pinned": {"notary: {stores: [\"ca:none\"], identities: [\"*\"]}", attached{notary(vendor)}, verify.Undecided, "not pinned"},

		"cosign tag":              {byKey, attached{tagged(key)}, verify.Passed, ""},
		"cosign bundle":           {byKey, attached{bundled(key)}, verify.Passed, ""},
		"cosign, another key":     {byKey, attached{tagged(other), bundled(other)}, verify.Refused, "key"},
		"cosign, beside another":  {byKey, attached{tagged(other, key)}, verify.Passed, ""},
		"cosign, junk beside":     {byKey, attached{junkBundle, junk, bundled(key)}, verify.Passed, ""},
		"cosign, key not pinned":  {"cosign: {key: none}", attached{tagged(key)}, verify.Undecided, "no key named"},
		"cosign, only attested":   {byKey, attached{attested(key, scan("LOW"))}, verify.Refused, "attestation of type"},
		"cosign, tag, attested":   {byKey, attached{att(key, scan("LOW"))}, verify.Refused, "attestation of type"},
		"keyless, nothing pinned": {"cosign: {identity: a@example.com, issuer: https://issuer.example}", attached{bundled(key)}, verify.Undecided, "no root is pinned"},

		"attestation":               {"attestation: {predicateType: " + scanType + ", signedBy: {key: release}}", attached{attested(key, scan("LOW"))}, verify.Passed, ""},
		"attestation, tag":          {"attestation: {predicateType: " + scanType + ", signedBy: {key: release}}", attached{att(key, scan("LOW"))}, verify.Passed, ""},
		"attestation, another type": {"attestation: {predicateType: https://slsa.dev/provenance/v1, signedBy: {key: release}}", attached{attested(key, scan("LOW"))}, verify.Refused, scanType},
		"keyless, none attached":    {"cosign: {identity: a@example.com, issuer: https://issuer.example}", nil, verify.Refused, "no cosign"},
		"key not pinned, none":      {"cosign: {key: none}", nil, verify.Refused, "no cosign"},
		"attestation, a signature":  {"attestation: {predicateType: " + scanType + ", signedBy: {key: release}}", attached{bundled(key)}, verify.Refused, "no attestation"},
		"attestation, another key":  {"attestation: {predicateType: " + scanType + ", signedBy: {key: release}}", attached{attested(other, scan("LOW"))}, verify.Refused, "key"},
		"condition holds":           {"attestation: {predicateType: " + scanType + ", signedBy: {key: release}, " + noCritical + "}", attached{attested(key, scan("LOW"))}, verify.Passed, ""},
		"condition does not":        {"attestation: {predicateType: " + scanType + ", signedBy: {key: release}, " + noCritical + "}", attached{attested(key, scan("CRITICAL"))}, verify.Refused, "condition"},
		"one of two holds":          {"attestation: {predicateType: " + scanType + ", signedBy: {key: release}, " + noCritical + "}", attached{attested(key, scan("CRITICAL")), attested(key, scan("LOW"))}, verify.Passed, ""},

		"all of, all":             {"allOf: [{" + byVendor + "}, {" + byKey + "}]", attached{notary(vendor), tagged(key)}, verify.Passed, ""},
		"all of, one":             {"allOf: [{" + byVendor + "}, {" + byKey + "}]", attached{notary(vendor)}, verify.Refused, "no cosign"},
		"all of, open":            {"allOf: [{" + byVendor + "}, {cosign: {key: none}}]", attached{notary(vendor), tagged(key)}, verify.Undecided, "no key named"},
		"all of, no wins":         {"allOf: [{" + byVendor + "}, {cosign: {key: none}}]", attached{tagged(key)}, verify.Refused, ""},
		"any of, one":             {"anyOf: [{" + byVendor + "}, {" + byKey + "}]", attached{tagged(key)}, verify.Passed, ""},
		"any of, none":            {"anyOf: [{" + byVendor + "}, {" + byKey + "}]", nil, verify.Refused, ""},
		"any of, open":            {"anyOf: [{" + byVendor + "}, {cosign: {key: none}}]", attached{tagged(key)}, verify.Undecided, ""},
		"two of three":            {"atLeast: {count: 2, of: [{" + byVendor + "}, {" + byKey + "}, {cosign: {key: other}}]}", attached{tagged(key, other)}, verify.Passed, ""},
		"one with two names":      {"atLeast: {count: 2, of: [{cosign: {key: release}}, {cosign: {key: alias}}, {cosign: {key: other}}]}", attached{tagged(key)}, verify.Refused, "fewer than 2 different"},
		"two, one with two names": {"atLeast: {count: 2, of: [{cosign: {key: release}}, {cosign: {key: alias}}, {cosign: {key: other}}]}", attached{tagged(key, other)}, verify.Passed, ""},
		"one of three":            {"atLeast: {count: 2, of: [{" + byVendor + "}, {" + byKey + "}, {cosign: {key: other}}]}", attached{tagged(other)}, verify.Refused, ""},
		"could be two":            {"atLeast: {count: 2, of: [{cosign: {key: none}}, {" + byKey + "}, {cosign: {key: other}}]}", attached{tagged(other)}, verify.Undecided, ""},
		"reject":                  {"reject: true", attached{notary(vendor)}, verify.Refused, "accepts nothing"},
		"anything":                {"insecureAcceptAnything: true", nil, verify.Passed, ""},
	} {
		f := newFixture(t)
		image := f.image("v1")
		for _, a := range test.attached {
			f.attach(a(image))
		}
		v := f.judge(&verify.Judge{Policy: ruled(t, test.require), Trust: tr}, "v1")
		text := string(must(json.Marshal(v)))
		if v.State != test.state || test.why != "" && !strings.Contains(text, test.why) {
			t.Errorf("%s: %s, want %s because %q\n%s", what, v.State, test.state, test.why, text)
		}
		if v.State == verify.Passed && test.require != "insecureAcceptAnything: true" && !strings.Contains(text, `"evidence":[{"manifest":"sha256:`) {
			t.Errorf("%s: passed without evidence: %s", what, text)
		}
	}
}

// The scan has to be signed by whoever signed the image, whichever pinned key
// that was.
func TestSameSigner(t *testing.T) {
	a, b := signing.InsecureKey("a"), signing.InsecureKey("b")
	chain := must(signing.NewTestChain("vendor"))
	tr := pinned(t, map[string]signing.Chain{"vendor": chain}, map[string]crypto.Signer{"a": a, "b": b})
	byEither := "allOf:\n- attestation: {predicateType: " + scanType + ", sameSignerAs: publisher}\n- {name: publisher, %s}\n"
	for what, test := range map[string]struct {
		publisher string
		sign      func(layout.Descriptor) signing.Artifact
		scanBy    crypto.Signer
		state     verify.State
	}{
		"same key":      {"cosign: {key: a}", func(d layout.Descriptor) signing.Artifact { return must(signing.BundleSignature(d, a)) }, a, verify.Passed},
		"another key":   {"cosign: {key: a}", func(d layout.Descriptor) signing.Artifact { return must(signing.BundleSignature(d, a)) }, b, verify.Refused},
		"nobody signed": {"cosign: {key: b}", func(d layout.Descriptor) signing.Artifact { return must(signing.BundleSignature(d, a)) }, b, verify.Refused},
		"certificate's key": {"notary: {stores: [\"ca:vendor\"], identities: [\"*\"]}", func(d layout.Descriptor) signing.Artifact {
			return must(signing.Notary(d, chain, signing.NotaryOptions{}))
		}, chain.Key, verify.Passed},
		"certificate's key, another's scan": {"notary: {stores: [\"ca:vendor\"], identities: [\"*\"]}",
			func(d layout.Descriptor) signing.Artifact {
				return must(signing.Notary(d, chain, signing.NotaryOptions{}))
			}, a, verify.Refused},
	} {
		f := newFixture(t)
		image := f.image("v1")
		f.attach(test.sign(image), must(signing.BundleAttestation(image, scan("LOW"), test.scanBy)))
		if v := f.judge(&verify.Judge{Policy: ruled(t, fmt.Sprintf(byEither, test.publisher)), Trust: tr}, "v1"); v.State != test.state {
			t.Errorf("%s: %s, want %s: %s", what, v.State, test.state, must(json.Marshal(v)))
		}
	}
}

// An SBOM counts through a signature on itself.
func TestArtifact(t *testing.T) {
	key, other := signing.InsecureKey("key"), signing.InsecureKey("other")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	const sbomType = "application/spdx+json"
	require := "artifact: {type: " + sbomType + ", signedBy: {cosign: {key: release}}, conditions: ['content.spdxVersion.startsWith(\"SPDX-2\")']}"
	for what, test := range map[string]struct {
		data  string
		sign  crypto.Signer
		state verify.State
	}{
		"signed":           {`{"spdxVersion":"SPDX-2.3"}`, key, verify.Passed},
		"unsigned":         {`{"spdxVersion":"SPDX-2.3"}`, nil, verify.Refused},
		"by another":       {`{"spdxVersion":"SPDX-2.3"}`, other, verify.Refused},
		"another content":  {`{"spdxVersion":"SPDX-3.0"}`, key, verify.Refused},
		"no JSON":          {`SPDXVersion: SPDX-2.3`, key, verify.Refused},
		"without the name": {`{}`, key, verify.Refused},
	} {
		f := newFixture(t)
		image := f.image("v1")
		sbom := must(signing.Referrer(image, signing.Document{MediaType: sbomType, Data: []byte(test.data)}))
		f.attach(sbom, must(signing.BundleSignature(image, key))) // the image's signature is none of the SBOM's
		if test.sign != nil {
			f.attach(must(signing.BundleSignature(sbom.Manifest, test.sign)))
		}
		if v := f.judge(&verify.Judge{Policy: ruled(t, require), Trust: tr}, "v1"); v.State != test.state {
			t.Errorf("%s: %s, want %s: %s", what, v.State, test.state, must(json.Marshal(v)))
		}
	}
}

// An artifact counts for the manifest that it names, and not for one that a tag of
// somebody else's puts it to.
func TestArtifactOfAnother(t *testing.T) {
	key := signing.InsecureKey("key")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	f := newFixture(t)
	image := f.image("v1")
	scan := must(signing.CosignSBOM(image, "application/x-scan+json", []byte(`{"critical":0}`)))
	f.attach(scan) // by its tag alone
	f.attach(must(signing.BundleSignature(scan.Manifest, key)))
	v := f.judge(&verify.Judge{Policy: ruled(t, "artifact: {type: application/vnd.oci.image.config.v1+json, signedBy: {cosign: {key: release}}}"), Trust: tr}, "v1")
	if text := string(must(json.Marshal(v))); v.State == verify.Passed || !strings.Contains(text, "subject") && !strings.Contains(text, "no artifact") {
		t.Errorf("%s: %s", v.State, text)
	}
}

// moved attaches what is about another image to this one.
func moved(a signing.Artifact, to layout.Descriptor) signing.Artifact {
	if a.Tag != "" {
		a.Tag = strings.Replace(to.Digest.String(), ":", "-", 1) + ".sig"
		return a
	}
	layer := a.Blobs[len(a.Blobs)-1]
	return must(signing.Referrer(to, signing.Document{ArtifactType: a.Manifest.ArtifactType, MediaType: layer.Desc.MediaType, Data: layer.Data}))
}

// An index speaks for itself; by the rule's choice, each child has to.
func TestIndex(t *testing.T) {
	key := signing.InsecureKey("key")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	for what, test := range map[string]struct {
		rule   policy.Index
		signed []int // 0 is the index, then its children
		state  verify.State
	}{
		"index, itself":         {policy.IndexItself, []int{0}, verify.Passed},
		"children, itself":      {policy.IndexItself, []int{1, 2}, verify.Refused},
		"index, children":       {policy.IndexChildren, []int{0}, verify.Refused},
		"children, children":    {policy.IndexChildren, []int{1, 2}, verify.Passed},
		"one child of two":      {policy.IndexChildren, []int{0, 1}, verify.Refused},
		"nobody, children rule": {policy.IndexChildren, nil, verify.Refused},
	} {
		f := newFixture(t)
		b := layouttest.New(repo)
		all := []layout.Descriptor{{}, b.Image("amd"), b.Image("arm")}
		all[0] = b.Index(layouttest.ForPlatform(all[1], "linux", "amd64"), layouttest.ForPlatform(all[2], "linux", "arm64"), b.BuildKit(all[1]))
		b.Tag("v1", all[0])
		f.content(b.Content())
		for _, i := range test.signed {
			f.attach(must(signing.BundleSignature(all[i], key)))
		}
		p := ruled(t, "cosign: {key: release}")
		p.Rules[0].Index = test.rule
		if v := f.judge(&verify.Judge{Policy: p, Trust: tr}, "v1"); v.State != test.state {
			t.Errorf("%s: %s, want %s", what, v.State, test.state)
		}
	}
}

// Under a rule about children an index inside an index is its images: a signature on
// it is none on them.
func TestNestedIndex(t *testing.T) {
	key := signing.InsecureKey("key")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	for what, test := range map[string]struct {
		signed func(inner, image layout.Descriptor) layout.Descriptor
		state  verify.State
	}{
		"the inner index": {func(inner, _ layout.Descriptor) layout.Descriptor { return inner }, verify.Refused},
		"the image":       {func(_, image layout.Descriptor) layout.Descriptor { return image }, verify.Passed},
	} {
		f := newFixture(t)
		b := layouttest.New(repo)
		image := b.Image("x")
		inner := b.Index(layouttest.ForPlatform(image, "linux", "amd64"))
		b.Tag("v1", b.Index(inner))
		f.content(b.Content())
		f.attach(must(signing.BundleSignature(test.signed(inner, image), key)))
		p := ruled(t, "cosign: {key: release}")
		p.Rules[0].Index = policy.IndexChildren
		if v := f.judge(&verify.Judge{Policy: p, Trust: tr}, "v1"); v.State != test.state || len(v.Children) != 1 || v.Children[0].Digest != image.Digest {
			t.Errorf("%s signed: %s, want %s: %+v", what, v.State, test.state, v.Children)
		}
	}
}

// An image that no rule is for is refused, with a word of why.
func TestNoRule(t *testing.T) {
	f := newFixture(t)
	f.image("v1")
	p := ruled(t, "insecureAcceptAnything: true")
	p.Rules[0].Match = []string{"other.example/**"}
	if v := f.judge(&verify.Judge{Policy: p, Trust: pinned(t, nil, nil)}, "v1"); v.State != verify.Refused || !strings.Contains(v.Reason, "no rule") {
		t.Errorf("%+v", v)
	}
}

// loses is a source that loses one blob.
type loses struct {
	layout.Source
	lost digest.Digest
}

var errLost = errors.New("lost")

func (l loses) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if d.Digest == l.lost {
		return nil, errLost
	}
	return l.Source.Open(ctx, repo, d)
}

// What cannot be read is no verdict at all.
func TestSourceFails(t *testing.T) {
	key := signing.InsecureKey("key")
	f := newFixture(t)
	image := f.image("v1")
	a := must(signing.BundleSignature(image, key))
	f.attach(a)
	g := f.Graph("v1")
	layer := a.Blobs[len(a.Blobs)-1].Desc.Digest
	r, err := (&verify.Judge{Policy: ruled(t, "cosign: {key: release}"), Trust: pinned(t, nil, map[string]crypto.Signer{"release": key})}).
		Graph(t.Context(), loses{f.Source, layer}, g)
	if r != nil || !errors.Is(err, errLost) {
		t.Errorf("%v, %v", r, err)
	}
}

// What is missing is said, and not that the keys of something else are wrong.
func TestNoneOfThatKind(t *testing.T) {
	key, other := signing.InsecureKey("key"), signing.InsecureKey("other")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	statement := func(k crypto.Signer) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact { return must(signing.BundleAttestation(d, scan("LOW"), k)) }
	}
	signature := func(d layout.Descriptor) signing.Artifact { return must(signing.BundleSignature(d, other)) }
	const slsa = "https://slsa.dev/provenance/v1"
	for _, c := range []struct {
		require, reason string
		attached        []func(layout.Descriptor) signing.Artifact
	}{
		{"attestation: {predicateType: " + slsa + ", signedBy: {key: release}}", "no attestation of type " + slsa + " is attached", nil},
		{"attestation: {predicateType: " + slsa + ", signedBy: {key: release}}", "no attestation of type " + slsa + " is attached",
			[]func(layout.Descriptor) signing.Artifact{statement(other), statement(key), signature}},
		{"attestation: {predicateType: " + slsa + ", signedBy: {key: nobody}}", "no attestation of type " + slsa + " is attached",
			[]func(layout.Descriptor) signing.Artifact{statement(other)}},
		{"cosign: {key: release}", "no cosign signature is attached", []func(layout.Descriptor) signing.Artifact{statement(other), statement(key)}},
	} {
		f := newFixture(t)
		image := f.image("v1")
		for _, a := range c.attached {
			f.attach(a(image))
		}
		v := f.judge(&verify.Judge{Policy: ruled(t, c.require), Trust: tr}, "v1")
		if v.State != verify.Refused || v.Outcome.Reason != c.reason || len(v.Outcome.Tried) != len(c.attached) {
			t.Errorf("%s: %+v", c.require, v.Outcome)
		}
		for _, a := range v.Outcome.Tried {
			if strings.Contains(a.Reason, "key") {
				t.Errorf("%s: %+v", c.require, a)
			}
		}
	}
}

// A custody record meets a requirement of its type in a policy of ours, and none of a
// signature. In another tool's policy it counts for nothing, as there.
func TestRecordsAreNoSignatures(t *testing.T) {
	key, other := signing.InsecureKey("key"), signing.InsecureKey("other")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	const promote = "urn:airgap:custody:promote:v1"
	record := func(typ, predicate string, k crypto.Signer) func(layout.Descriptor) signing.Artifact {
		return func(d layout.Descriptor) signing.Artifact {
			att := signing.Attestation{PredicateType: typ, Predicate: []byte(predicate)}
			return must(signing.AttachRecord(d, must(signing.SealRecord(d, att, k)), typ))
		}
	}
	pem := string(must(signing.PublicKeyPEM(key)))
	cluster := func(typ string) *policy.Policy {
		attestations := ""
		if typ != "" {
			attestations = `,"attestations":[{"name":"a","predicateType":"` + typ + `"}]`
		}
		return must(policy.FromClusterImagePolicies("cip.json", []byte(`{"apiVersion":"policy.sigstore.dev/v1beta1","kind":"ClusterImagePolicy","metadata":{"name":"p"},
			"spec":{"images":[{"glob":"**"}],"authorities":[{"key":{"data":`+string(must(json.Marshal(pem)))+`}`+attestations+`}]}}`)))
	}
	ours := func(typ string) *policy.Policy {
		return ruled(t, "attestation: {predicateType: \""+typ+"\", signedBy: {key: release}}")
	}
	const vsa, passed, failed = signing.PredicateVerificationSummary, `{"verificationResult":"PASSED"}`, `{"verificationResult":"FAILED"}`
	for what, c := range map[string]struct {
		policy *policy.Policy
		record func(layout.Descriptor) signing.Artifact
		state  verify.State
		why    string
	}{
		"promoted":                {ours(promote), record(promote, "{}", key), verify.Passed, "custody record"},
		"promoted by another":     {ours(promote), record(promote, "{}", other), verify.Refused, "wrong key"},
		"passed":                  {ours(vsa), record(vsa, passed, key), verify.Passed, ""},
		"failed":                  {ours(vsa), record(vsa, failed, key), verify.Refused, "FAILED"},
		"a signature is wanted":   {ruled(t, "cosign: {key: release}"), record(promote, "{}", key), verify.Refused, "no cosign signature is attached"},
		"of a signature's type":   {ruled(t, "cosign: {key: release}"), record(signing.PredicateCosignSign, "{}", key), verify.Refused, "no cosign signature is attached"},
		"controller, a signature": {cluster(""), record(promote, "{}", key), verify.Refused, ""},
		"controller, a statement": {cluster(promote), record(promote, "{}", key), verify.Refused, "does not read"},
		"controller, passed":      {cluster(vsa), record(vsa, passed, key), verify.Refused, "does not read"},
		"controller, its own form": {cluster(vsa), func(d layout.Descriptor) signing.Artifact {
			return must(signing.BundleAttestation(d, signing.Attestation{PredicateType: vsa, Predicate: []byte(passed)}, key))
		}, verify.Passed, ""},
		"controller, failed": {cluster(vsa), func(d layout.Descriptor) signing.Artifact {
			return must(signing.BundleAttestation(d, signing.Attestation{PredicateType: vsa, Predicate: []byte(failed)}, key))
		}, verify.Refused, "FAILED"},
	} {
		f := newFixture(t)
		f.attach(c.record(f.image("v1")))
		v := f.judge(&verify.Judge{Policy: c.policy, Trust: tr}, "v1")
		if text := string(must(json.Marshal(v))); v.State != c.state || !strings.Contains(text, c.why) {
			t.Errorf("%s: %s\n%s", what, v.State, text)
		}
	}
}
