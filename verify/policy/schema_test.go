package policy_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"airgap/verify/policy"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	f, err := os.Open("../../docs/policy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("policy.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		return err
	}
	return s.Validate(v)
}

// The published schema takes what the parser takes.
func TestSchemaTakes(t *testing.T) {
	s := schema(t)
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, b := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1) {
		if !strings.HasPrefix(string(b[1]), "apiVersion:") { // another tool's
			texts = append(texts, string(b[1]))
		}
	}
	for _, r := range []string{
		"cosign: {key: a, reference: matchRepository}", "cosign: {identity: a, issuer: b, reference: \"reg.example/app:v1\"}",
		"allOf: [{name: x, cosign: {key: a}}, {cosign: {sameSignerAs: x, reference: matchExact}}]",
		"cosign: {key: a}", "cosign: {key: a, transparencyLog: true}", "cosign: {identity: a, issuer: b}", "cosign: {identity: a, issuer: b, logOrTimestamp: true}", "cosign: {identityRegexp: a, issuerRegexp: b}",
		"allOf: [{name: x, cosign: {key: a}}, {cosign: {sameSignerAs: x}}, {notary: {stores: [\"ca:x\"], identities: [\"*\"], sameSignerAs: x}}]",
		"atLeast: {count: 1, of: [{reject: true}, {insecureAcceptAnything: true}]}",
		"notary: {level: audit, override: {revocation: skip, expiry: log}, verifyTimestamp: always, stores: [\"ca:x\", \"tsa:y\"], identities: [\"x509.subject: C=US, ST=WA, O=x\"]}",
		"attestation: {predicateType: x, signedBy: {identity: a, issuer: b}, maxAge: 30d, conditions: [\"true\"]}",
		"allOf: [{name: x, cosign: {key: a}}, {attestation: {predicateType: x, sameSignerAs: x}}]",
		"artifact: {type: x, signedBy: {cosign: {key: a}}, conditions: [\"true\"]}",
		"buildkit: {predicateType: x, signedBy: {cosign: {key: a}}, conditions: [\"true\"]}",
	} {
		texts = append(texts, onlyRule("    "+r+"\n"))
	}
	for _, text := range texts {
		if err := valid(t, s, text); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		if envs, err := policy.Environments("p", []byte(text)); err != nil {
			t.Error(err)
		} else if _, err := policy.Parse("p", []byte(text), envs[0]); err != nil {
			t.Error(err)
		}
	}
}

// And it refuses what the parser refuses, as far as a schema can tell.
func TestSchemaRefuses(t *testing.T) {
	s := schema(t)
	for what, text := range map[string]string{
		"no version": "rules: []\n", "another version": "version: airgap.policy/v2\nrules: []\n", "no rules": "version: airgap.policy/v1\n",
		"no keys":       "version: airgap.policy/v1\nbundle: {line: x}\nrules:\n- name: r\n  match: [x]\n  require: {reject: true}\n",
		"unknown field": head + "- name: r\n  matches: [x]\n", "no pattern": head + "- name: r\n  match: []\n  require: {reject: true}\n",
		"no requirement": head + "- name: r\n  match: [x]\n", "odd pattern": head + "- name: r\n  match: [\"a b\"]\n  require: {reject: true}\n",
	} {
		if valid(t, s, text) == nil {
			t.Errorf("%s: taken", what)
		}
	}
	for _, r := range []string{
		"{}", "cosign: {key: release, tlog: true}", "{cosign: {key: a}, reject: true}", "allOf: []", "anyOf: []", "atLeast: {count: 0, of: [{reject: true}]}",
		"cosign: {reference: matchExact}", "cosign: {key: a, reference: \"\"}", "cosign: {key: a, reference: [x]}",
		"cosign: {}", "cosign: {identity: a}", "cosign: {issuer: a}", "cosign: {key: a, identity: b, issuer: c}", "cosign: {identity: a, identityRegexp: b, issuer: c}",
		"notary: {stores: [\"ca:x\"]}", "notary: {identities: [\"*\"]}", "notary: {level: skip, stores: [\"ca:x\"], identities: [\"*\"]}",
		"notary: {stores: [\"x:y\"], identities: [\"*\"]}", "notary: {override: {integrity: log}, stores: [\"ca:x\"], identities: [\"*\"]}",
		"attestation: {signedBy: {key: a}}", "attestation: {predicateType: x}", "attestation: {predicateType: x, signedBy: {key: a, b: c}}",
		"artifact: {type: x}", "buildkit: {predicateType: x}", "buildkit: {signedBy: {cosign: {key: a}}}", "artifact: {signedBy: {cosign: {key: a}}}", "reject: false", "insecureAcceptAnything: false",
	} {
		text := onlyRule("    " + r + "\n")
		if valid(t, s, text) == nil {
			t.Errorf("taken: %s", r)
		}
		if _, err := policy.Parse("p", []byte(text), ""); err == nil {
			t.Errorf("the parser takes %s", r)
		}
	}
}
