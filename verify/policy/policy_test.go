package policy_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/verify/policy"
)

const head = "version: airgap.policy/v1\nrules:\n"

// onlyRule wraps a requirement, indented by six spaces, into a policy.
func onlyRule(require string) string {
	return head + "- name: r\n  match: [\"**\"]\n  require:\n" + require
}

const keyed = "    cosign: {key: release}\n"

// Each of these is refused, with a word that tells why and, for what is inside a
// requirement, the line.
func TestRefused(t *testing.T) {
	for what, test := range map[string]struct{ text, says string }{
		"empty":                   {"", "empty"},
		"no version":              {"rules: [x]\n", "line 1"},
		"another version":         {"version: airgap.policy/v2\n", "version"},
		"no rule":                 {"version: airgap.policy/v1\n", "no rule"},
		"unknown field":           {head + "- name: r\n  matches: [x]\n", "line 4: field matches unknown here"},
		"unknown field, deep":     {onlyRule("    cosign: {key: release, tlog: true}\n"), "line 6: field tlog"},
		"key twice":               {"version: airgap.policy/v1\nversion: airgap.policy/v1\n", "line 2"},
		"two documents":           {onlyRule(keyed) + "---\n" + onlyRule(keyed), "document"},
		"two documents, damaged":  {onlyRule(keyed) + "---\n{", "document"},
		"no name":                 {head + "- match: [x]\n  require:\n" + keyed, "name"},
		"no pattern":              {head + "- name: r\n  require:\n" + keyed, "pattern"},
		"no requirement":          {head + "- name: r\n  match: [x]\n", "want one"},
		"a null requirement":      {onlyRule("    cosign:\n"), "line 6: nothing"},
		"a null among others":     {onlyRule("    allOf:\n    - # notary: {}\n    - cosign: {key: a}\n"), "line 7: nothing"},
		"a null condition":        {onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, conditions: [~]}\n"), "line 6: nothing"},
		"no conditions":           {onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, conditions: []}\n"), "line 6: an empty"},
		"a null level":            {onlyRule("    notary: {level: ~, stores: [\"ca:x\"], identities: [\"*\"]}\n"), "line 6: nothing"},
		"a tag":                   {onlyRule("    cosign: !mine {key: a}\n"), "line 6: tag !mine"},
		"part of a signature":     {onlyRule("    atLeast: {count: 1.9, of: [{cosign: {key: a}}, {cosign: {key: b}}]}\n"), "line 6: count 1.9"},
		"age of no days":          {onlyRule("    attestation: {predicateType: x, signedBy: {identity: a, issuer: b}, maxAge: 0d}\n"), "line 6"},
		"age of ages":             {onlyRule("    attestation: {predicateType: x, signedBy: {identity: a, issuer: b}, maxAge: 999999d}\n"), "line 6"},
		"age of a key's word":     {onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, maxAge: 30d}\n"), "line 6: attestation: maxAge"},
		"two in one":              {onlyRule("    cosign: {key: release}\n    reject: true\n"), "line 6: 2 of"},
		"allOf nothing":           {onlyRule("    allOf: []\n"), "line 6: an empty list"},
		"anyOf nothing":           {onlyRule("    anyOf: []\n"), "line 6: an empty list"},
		"an empty item":           {onlyRule("    allOf:\n    - cosign: {key: a}\n    - {}\n"), "line 8: 0 of"},
		"at least none":           {onlyRule("    atLeast: {count: 0, of: [{cosign: {key: a}}]}\n"), "count 0"},
		"at least too many":       {onlyRule("    atLeast: {count: 2, of: [{cosign: {key: a}}]}\n"), "count 2"},
		"nobody's signature":      {onlyRule("    cosign: {}\n"), "want a key"},
		"identity, no issuer":     {onlyRule("    cosign: {identity: a@example.com}\n"), "issuer"},
		"issuer, no identity":     {onlyRule("    cosign: {issuer: https://example.com}\n"), "identity"},
		"key and identity":        {onlyRule("    cosign: {key: a, identity: b, issuer: c}\n"), "more than one"},
		"two identities":          {onlyRule("    cosign: {identity: a, identityRegexp: b, issuer: c}\n"), "more than one"},
		"bad expression":          {onlyRule("    cosign: {identityRegexp: \"(\", issuer: c}\n"), "missing closing"},
		"notary, nobody":          {onlyRule("    notary: {stores: [\"ca:x\"]}\n"), "trusted identities"},
		"notary, no store":        {onlyRule("    notary: {identities: [\"*\"]}\n"), "trust stores"},
		"notary, level":           {onlyRule("    notary: {level: lax, stores: [\"ca:x\"], identities: [\"*\"]}\n"), "level"},
		"notary, skip":            {onlyRule("    notary: {level: skip, stores: [\"ca:x\"], identities: [\"*\"]}\n"), "skip"},
		"notary, override":        {onlyRule("    notary: {override: {authenticity: skip}, stores: [\"ca:x\"], identities: [\"*\"]}\n"), "skip"},
		"attestation, any":        {onlyRule("    attestation: {signedBy: {key: a}}\n"), "predicateType"},
		"attestation, unsigned":   {onlyRule("    attestation: {predicateType: x}\n"), "want a key"},
		"artifact, any":           {onlyRule("    artifact: {signedBy: {cosign: {key: a}}}\n"), "type"},
		"artifact, unsigned":      {onlyRule("    artifact: {type: x}\n"), "signedBy"},
		"same signer as nobody":   {onlyRule("    cosign: {key: a, sameSignerAs: x}\n"), "no requirement of this rule"},
		"same signer as a group":  {onlyRule("    allOf:\n    - {name: g, anyOf: [{cosign: {key: a}}]}\n    - cosign: {sameSignerAs: g, key: a}\n"), "no signature"},
		"same signer as itself":   {onlyRule("    {name: x, cosign: {key: a, sameSignerAs: x}}\n"), "refers to another"},
		"condition, damaged":      {onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, conditions: [\"predicate.\"]}\n"), "condition"},
		"condition, unknown name": {onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, conditions: [\"content.x == 1\"]}\n"), "content"},
		"condition, no boolean":   {onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, conditions: [\"1 + 1\"]}\n"), "boolean"},
		"age, no duration":        {onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, maxAge: old}\n"), "line 6"},
		"age, negative":           {onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, maxAge: -1h}\n"), "line 6"},
		"pattern, odd":            {head + "- name: r\n  match: [\"a b\"]\n  require:\n" + keyed, "pattern"},
		"pattern twice":           {head + "- name: r\n  match: [a]\n  require:\n" + keyed + "- name: s\n  match: [a]\n  require:\n" + keyed, "both"},
		"two names":               {head + "- name: r\n  match: [a]\n  require:\n" + keyed + "- name: r\n  match: [b]\n  require:\n" + keyed, "two rules"},
		"index":                   {head + "- name: r\n  match: [a]\n  index: any\n  require:\n" + keyed, "index"},
		"revocation":              {"version: airgap.policy/v1\nrevocation: never\n", "revocation"},
		"too deep":                {onlyRule("    " + strings.Repeat("{allOf: [", 20) + "{reject: true}" + strings.Repeat("]}", 20) + "\n"), "deep"},
		"extends itself":          {"version: airgap.policy/v1\nenvironments: {a: {extends: b}, b: {extends: a}}\n", "extends itself"},
		"extends nothing":         {"version: airgap.policy/v1\nenvironments: {a: {extends: b}}\n", "no environment"},
		"many aliases":            {bomb(), ""},
	} {
		p, err := policy.Parse("policy.yaml", []byte(test.text), "")
		if p != nil || !errors.Is(err, policy.ErrPolicy) || !strings.Contains(err.Error(), test.says) || !strings.HasPrefix(err.Error(), "policy.yaml: ") {
			t.Errorf("%s: %v, want an error that says %q", what, err, test.says)
		}
	}
}

// bomb has few bytes and very many requirements.
func bomb() string {
	s := "version: airgap.policy/v1\nx: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		p := string(c - 1)
		s += "x" + string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+p+",", 9) + "*" + p + "]\n"
	}
	return s
}

func TestMostSpecificRule(t *testing.T) {
	text := head
	for _, m := range []string{"**", "reg.example/**", "reg.example/team/*", "reg.example/team/app", "reg.example/team/app:v1*", "other.example/*"} {
		text += "- name: \"" + m + "\"\n  match: [\"" + m + "\"]\n  require:\n" + keyed
	}
	p, err := policy.Parse("p", []byte(text), "")
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"reg.example/team/app:v1":     "reg.example/team/app:v1*",
		"reg.example/team/app:v1.2":   "reg.example/team/app:v1*",
		"reg.example/team/app:v2":     "reg.example/team/app",
		"reg.example/team/other:v1":   "reg.example/team/*",
		"reg.example/team/deep/x:v1":  "reg.example/**",
		"reg.example/x:v1":            "reg.example/**",
		"REG.example/team/app:v2":     "reg.example/team/app",
		"reg.example:443/team/app:v2": "reg.example/team/app",
		"other.example/x:v1":          "other.example/*",
		"other.example/x/y:v1":        "**",
		"xreg.example/team/app:v1":    "**",
		"reg.example/team/app2:v1":    "reg.example/team/*",
		"regxexample/team/app:v1":     "**",
		"reg.example:5000/team/app:1": "**",
	} {
		r, err := layout.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.For(r); got == nil || got.Name != want {
			t.Errorf("%s: %v, want %s", ref, got, want)
		}
	}
	p.Rules = p.Rules[1:]
	if r := p.For(layout.Reference{Repository: "else.example/x", Tag: "v1"}); r != nil {
		t.Errorf("no rule is for it, and %s is taken", r.Name)
	}
}

func TestEnvironments(t *testing.T) {
	text := `version: airgap.policy/v1
maxTrustAge: 90d
rules:
- name: shared
  match: ["**"]
  require: {reject: true}
environments:
  base:
    rules:
    - name: apps
      match: ["reg.example/**"]
      require: {cosign: {key: vendor}}
  prod:
    extends: base
    revocation: strict
    maxTrustAge: 7d
    rules:
    - name: apps
      match: ["reg.example/**"]
      require: {cosign: {key: approved}}
`
	for env, key := range map[string]string{"base": "vendor", "prod": "approved"} {
		p, err := policy.Parse("p", []byte(text), env)
		if err != nil {
			t.Fatal(err)
		}
		if r := p.For(layout.Reference{Repository: "reg.example/x", Tag: "v1"}); r.Require.Cosign == nil || r.Require.Cosign.Key != key {
			t.Errorf("%s: %+v, want key %s", env, r.Require, key)
		}
		if r := p.For(layout.Reference{Repository: "x.example/x", Tag: "v1"}); !r.Require.Nothing {
			t.Errorf("%s: the shared rule is lost: %+v", env, r)
		}
		if days := map[string]time.Duration{"base": 90, "prod": 7}[env]; p.MaxTrustAge.Age() != days*24*time.Hour {
			t.Errorf("%s: trust may be %s old", env, p.MaxTrustAge.Age())
		}
		if p.StrictRevocation != (env == "prod") {
			t.Errorf("%s: strict revocation %v", env, p.StrictRevocation)
		}
	}
	for _, env := range []string{"", "none"} {
		if _, err := policy.Parse("p", []byte(text), env); err == nil || !strings.Contains(err.Error(), "base, prod") {
			t.Errorf("environment %q: %v, want an error that lists them", env, err)
		}
	}
}

func TestConditions(t *testing.T) {
	parse := func(c string) *policy.Requirement {
		p, err := policy.Parse("p", []byte(onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, conditions: ['"+c+"']}\n")), "")
		if err != nil {
			t.Fatal(err)
		}
		return &p.Rules[0].Require
	}
	const data = `{"scanner":{"result":[{"severity":"LOW"},{"severity":"HIGH"}]},"n":3}`
	for c, want := range map[string]bool{
		`predicate.n == 3.0`: true, `predicate.n < 3.0`: false, `predicate.none == 1`: false, `has(predicate.none)`: false,
		`predicate.scanner.result.all(r, r.severity != "CRITICAL")`: true,
		`predicate.scanner.result.exists(r, r.severity == "HIGH")`:  true,
		`predicate.n`: false,
	} {
		if err := parse(c).Holds([]byte(data)); (err == nil) != want || err != nil && !errors.Is(err, policy.ErrCondition) {
			t.Errorf("%s: %v, want %v", c, err, want)
		}
	}
	if err := parse("true").Holds([]byte("no JSON")); !errors.Is(err, policy.ErrCondition) {
		t.Errorf("no JSON: %v", err)
	}
	for _, data := range []string{`{"n":5,"n":3}`, `{"n":3} {"n":5}`, `{"n":3} x`} {
		if err := parse("predicate.n == 3.0").Holds([]byte(data)); !errors.Is(err, policy.ErrCondition) {
			t.Errorf("%s, which can be read in two ways: %v", data, err)
		}
	}
	// Work is bounded, whatever the content.
	long := `{"n":[` + strings.Repeat("0,", 3000) + `0]}`
	if err := parse("predicate.n.all(a, predicate.n.all(b, predicate.n.all(c, true)))").Holds([]byte(long)); !errors.Is(err, policy.ErrCost) || errors.Is(err, policy.ErrCondition) {
		t.Errorf("27 thousand million comparisons: %v", err)
	}
}

// What conditions look at is held in memory, at many times its size: there is a limit on
// the number of values. Beyond it nobody knows whether they hold.
func TestManyValues(t *testing.T) {
	p, err := policy.Parse("p", []byte(onlyRule("    attestation: {predicateType: x, signedBy: {key: a}, conditions: ['has(predicate.a)']}\n")), "")
	if err != nil {
		t.Fatal(err)
	}
	r := &p.Rules[0].Require
	for what, test := range map[string]struct {
		predicate string
		holds     bool
	}{
		"many values":         {`{"a":[` + strings.Repeat("[],", 3<<20) + `0]}`, false},
		"a long text":         {`{"a":"` + strings.Repeat(`,[\"{`, 1<<20) + `"}`, true},
		"a list within limit": {`{"a":[` + strings.Repeat("0,", 1<<10) + `0]}`, true},
	} {
		err := r.Holds([]byte(test.predicate))
		if test.holds && err != nil || !test.holds && !errors.Is(err, policy.ErrCost) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// SLSA provenance has one form in conditions, whatever its version, and one of
// BuildKit's is no different.
func TestBuildConditions(t *testing.T) {
	statements := map[string]string{
		"slsaprovenance02": `{"builder":{"id":"https://b.example"},"invocation":{"configSource":{"uri":"git+https://g.example/a"}},"materials":[{"uri":"m"}]}`,
		"slsaprovenance1":  `{"runDetails":{"builder":{"id":"https://b.example"}},"buildDefinition":{"externalParameters":{"configSource":{"uri":"git+https://g.example/a"}},"resolvedDependencies":[{"uri":"m"}]}}`,
		"vuln":             `{}`,
	}
	for _, form := range []string{"attestation: {predicateType: %s, signedBy: {key: a}, conditions: ['%s']}", "buildkit: {predicateType: %s, signedBy: {cosign: {key: a}}, conditions: ['%s']}"} {
		for c, want := range map[string]bool{
			`build.builder == "https://b.example"`: true, `build.source.uri.startsWith("git+https://g.example/")`: true,
			`build.materials.exists(m, m.uri == "m")`: true, `build.builder == "https://c.example"`: false, `build.type == ""`: false,
		} {
			for typ, data := range statements {
				p, err := policy.Parse("p", []byte(onlyRule("    "+fmt.Sprintf(form, typ, c)+"\n")), "")
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Rules[0].Require.Holds([]byte(data)); (err == nil) != (want && typ != "vuln") {
					t.Errorf("%s of %s: %v, want %v", c, typ, err, want)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(onlyRule(keyed)))
	f.Add([]byte(bomb()))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.Parse("p", data, "")
		if (p == nil) == (err == nil) || err != nil && !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%v, %v", p, err)
		}
		if p != nil && len(p.Rules) == 0 {
			t.Error("a policy without rules")
		}
	})
}
