package policy_test

import (
	"errors"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify/policy"
)

const notationPolicy = `{"version":"1.0","trustPolicies":[
 {"name":"apps","registryScopes":["reg.example/team/app","reg.example/team/other"],"signatureVerification":{"level":"permissive","override":{"revocation":"enforce"},"verifyTimestamp":"afterCertExpiry"},
  "trustStores":["ca:acme","tsa:acme"],"trustedIdentities":["x509.subject: C=US, ST=WA, O=acme"]},
 {"name":"unsigned","registryScopes":["reg.example/scratch"],"signatureVerification":{"level":"skip"}},
 {"name":"rest","registryScopes":["*"],"signatureVerification":{"level":"strict"},"trustStores":["ca:acme"],"trustedIdentities":["*"]}]}`

func TestFromNotation(t *testing.T) {
	p, err := policy.FromNotation("trustpolicy.json", []byte(notationPolicy))
	if err != nil {
		t.Fatal(err)
	}
	for repo, want := range map[string]string{
		"reg.example/team/app": "apps", "reg.example/team/other": "apps", "reg.example/scratch": "unsigned",
		"reg.example/team/app2": "rest", "reg.example/team": "rest", "reg.example/team/app/deep": "rest", "other.example/x": "rest",
	} {
		if r := p.For(layout.Reference{Repository: repo, Tag: "v1"}); r == nil || r.Name != want {
			t.Errorf("%s: %+v, want %s", repo, r, want)
		}
	}
	n := p.Rules[0].Require.Notary
	if n.Level != "permissive" || n.Override["revocation"] != "enforce" || n.VerifyTimestamp != "afterCertExpiry" || len(n.Stores) != 2 || len(n.Identities) != 1 {
		t.Errorf("%+v", n)
	}
	if !p.Rules[1].Require.InsecureAnything {
		t.Error("level skip does not accept")
	}
	for what, text := range map[string]string{
		"unknown field":   strings.Replace(notationPolicy, `"name":"apps"`, `"name":"apps","minimum":2`, 1),
		"a key twice":     strings.Replace(notationPolicy, `"name":"apps"`, `"name":"x","name":"apps"`, 1),
		"version":         strings.Replace(notationPolicy, `"version":"1.0"`, `"version":"2.0"`, 1),
		"a bad level":     strings.Replace(notationPolicy, `"strict"`, `"lax"`, 1),
		"a bad override":  strings.Replace(notationPolicy, `"enforce"`, `"maybe"`, 1),
		"one scope twice": strings.Replace(notationPolicy, `"reg.example/scratch"`, `"reg.example/team/app"`, 1),
		"a wildcard":      strings.Replace(notationPolicy, `"reg.example/scratch"`, `"reg.example/*"`, 1),
		"two documents":   notationPolicy + "{}",
		"nothing":         "",
		"null":            "null",
	} {
		if p, err := policy.FromNotation("trustpolicy.json", []byte(text)); p != nil || !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%s: %v, %v", what, p, err)
		}
	}
}

func TestFromSigner(t *testing.T) {
	if p, err := policy.FromSigner(policy.Signer{Key: "k"}); err != nil || p.For(layout.Reference{Repository: "a.example/b", Tag: "c"}) == nil {
		t.Errorf("%v, %v", p, err)
	}
	for _, s := range []policy.Signer{{}, {Identity: "a"}, {Issuer: "b"}, {Key: "k", Identity: "a", Issuer: "b"}, {IdentityRegexp: "(", Issuer: "b"}} {
		if p, err := policy.FromSigner(s); p != nil || !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%+v: %v, %v", s, p, err)
		}
	}
}
