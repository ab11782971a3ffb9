package policy_test

import (
	"crypto"
	"errors"
	"strings"
	"testing"

	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/sigstore/sigstoretest"
	"airgap/verify/verifytest"
)

// Where the one stands whose signer is wanted.
func TestSameSignerPlaces(t *testing.T) {
	const x, same = "{name: x, cosign: {key: a}}", "{cosign: {sameSignerAs: x}}"
	const attested = "{attestation: {predicateType: p, sameSignerAs: x}}"
	artifact := func(by string) string { return "{artifact: {type: t, signedBy: " + by + "}}" }
	for require, why := range map[string]string{
		"allOf: [" + x + ", " + same + "]":                                "",
		"allOf: [" + same + ", " + x + "]":                                "",
		"allOf: [{anyOf: [" + same + ", " + attested + "]}, " + x + "]":   "",
		"allOf: [" + x + ", " + artifact(same) + "]":                      "",
		"allOf: [" + artifact("{allOf: ["+x+", "+same+"]}") + "]":         "",
		"allOf: [{allOf: [" + x + "]}, " + same + "]":                     "",
		"anyOf: [{allOf: [" + x + ", " + same + "]}, {cosign: {key: b}}]": "",
		"anyOf: [" + x + ", " + same + "]":                                "another branch",
		"anyOf: [" + same + ", " + x + "]":                                "another branch",
		"atLeast: {count: 2, of: [" + x + ", " + same + "]}":              "another branch",
		"allOf: [{anyOf: [" + x + ", {cosign: {key: b}}]}, " + same + "]": "another branch",
		"allOf: [" + artifact(x) + ", " + same + "]":                      "another branch",
		"allOf: [" + artifact(x) + ", " + artifact(same) + "]":            "another branch",
		// The second is judged before the one that it refers to, which waits for z.
		"allOf: [" + same + ", {allOf: [" + x + ", {cosign: {sameSignerAs: z}}]}, {name: z, cosign: {key: c}}]": "behind this",

		// Who passes whoever signed says nothing of the signer.
		notaryThen(""): "", notaryThen(", level: permissive"): "", notaryThen(", level: audit, override: {authenticity: enforce}"): "",
		notaryThen(", level: audit"):                                     "must enforce authenticity",
		notaryThen(", override: {authenticity: log}"):                    "must enforce authenticity",
		notaryThen(", level: permissive, override: {authenticity: log}"): "must enforce authenticity",
	} {
		_, err := policy.Parse("p", []byte(onlyRule("    "+require+"\n")), "")
		if (err == nil) != (why == "") || err != nil && (!errors.Is(err, policy.ErrPolicy) || !strings.Contains(err.Error(), why)) {
			t.Errorf("%s: %v, want %q", require, err, why)
		}
	}
}

func notaryThen(more string) string {
	return "allOf: [{name: x, notary: {stores: [\"ca:s\"], identities: [\"*\"]" + more + "}}, {cosign: {sameSignerAs: x}}]"
}

// Who has to be in a log has to be so for every signature that is asked of them.
func TestSameSignerLogged(t *testing.T) {
	s := newSigstore(t)
	key := signing.InsecureKey("a")
	tr := verifytest.Trust(t, verifytest.Pins{Keys: map[string]crypto.Signer{"a": key}, Roots: map[string][]byte{"": s.json}})
	signed := logged(s.Sigstore, verifytest.Name, sigstoretest.Signing{Key: key}, nil)
	rule := func(log, signer string) *policy.Policy {
		return verifytest.Policy(t, "allOf: [{name: x, cosign: {key: a"+log+"}}, {attestation: {predicateType: \"https://example.com/scan\", sameSignerAs: x"+signer+"}}]")
	}
	const wantsLog = ", transparencyLog: true"
	in, out := stated(s.Sigstore, "https://example.com/scan", sigstoretest.Signing{Key: key}), stated(s.Sigstore, "https://example.com/scan", sigstoretest.Signing{Key: key, NoLog: true})
	checkVerdicts(t, tr, map[string]verdictCase{
		"both logged":               {rule(wantsLog, ""), []sign{signed, in}, verify.Passed, ""},
		"the second is not":         {rule(wantsLog, ""), []sign{signed, out}, verify.Refused, "no log entry"},
		"the second is not, by key": {rule(wantsLog, ", signedBy: {key: a}"), []sign{signed, out}, verify.Refused, "no log entry"},
		"none asked for":            {rule("", ""), []sign{signed, out}, verify.Passed, ""},
	})
}

func TestWarnings(t *testing.T) {
	for require, warn := range map[string]string{
		`cosign: {identityRegexp: '^https://a/.*$', issuerRegexp: '\Ahttps://b\z'}`: "",
		`cosign: {identityRegexp: '^(a|b)$', issuerRegexp: '(^a$|^b$)'}`:            "",
		`cosign: {identityRegexp: 'a$', issuer: b}`:                                 "identityRegexp",
		`cosign: {identityRegexp: '^a', issuer: b}`:                                 "identityRegexp",
		`cosign: {identityRegexp: '^a|b$', issuer: b}`:                              "identityRegexp",
		`cosign: {identityRegexp: '(?m)^a$', issuer: b}`:                            "identityRegexp",
		`cosign: {identityRegexp: '(^a$)?', issuer: b}`:                             "identityRegexp",
		`cosign: {identity: a, issuerRegexp: 'example.com'}`:                        "issuerRegexp",
		`attestation: {predicateType: p, signedBy: {identityRegexp: a, issuer: b}}`: "line 6",
		`artifact: {type: p, signedBy: {cosign: {identityRegexp: a, issuer: b}}}`:   "identityRegexp",

		`attestation: {predicateType: "http://slsa.dev/verification_summary/v1", signedBy: {key: a}}`:  `another spelling of "https://slsa.dev/verification_summary/v1"`,
		`attestation: {predicateType: "https://spdx.dev/document", signedBy: {key: a}}`:                "another spelling",
		`buildkit: {predicateType: "https://slsa.dev/Provenance/v1", signedBy: {cosign: {key: a}}}`:    "another spelling",
		`attestation: {predicateType: "https://slsa.dev/verification_summary/v1", signedBy: {key: a}}`: "",
		`attestation: {predicateType: spdx, signedBy: {key: a}}`:                                       "",
	} {
		p, err := policy.Parse("p", []byte(onlyRule("    "+require+"\n")), "")
		if err != nil {
			t.Fatal(err)
		}
		if w := strings.Join(p.Warnings(), "\n"); (w == "") != (warn == "") || !strings.Contains(w, warn) {
			t.Errorf("%s: %q, want %q", require, w, warn)
		}
	}
	for pattern, warn := range map[string]string{
		"**": "", "reg.example/**": "", "reg.example/*:v1": "", "*/team/*": "", "*.example/**": "", "localhost/app": "", "reg:5000/app": "", "**/app": "", "REG/app": "",
		"docker.io/library/busybox": "", "docker.io/*/*": "",
		"team/*": "no registry", "alpine": "no registry", "*": "no registry", "reg.example": "no registry", "reg.example/Team/*": "lower case",
		"reg.example//app": "empty", "reg.example/app/": "empty", "/app": "empty", "docker.io/busybox": "docker.io/library/busybox", "index.docker.io/library/busybox": "docker.io",
	} {
		p, err := policy.Parse("p", []byte(head+"- name: r\n  match: [\""+pattern+"\"]\n  require: {reject: true}\n"), "")
		if err != nil {
			t.Fatal(err)
		}
		if w := strings.Join(p.Warnings(), "\n"); (w == "") != (warn == "") || !strings.Contains(w, warn) {
			t.Errorf("%s: %q, want %q", pattern, w, warn)
		}
	}
	for scope, warn := range map[string]string{"reg.example": "", "docker.io/library/busybox": "", "*.example": "", "busybox": "no registry", "library/busybox:v1": "no registry", "index.docker.io": "docker.io"} {
		p := containers(t, `{"default":[{"type":"reject"}],"transports":{"docker":{"`+scope+`":[{"type":"reject"}]}}}`)
		if w := strings.Join(p.Warnings(), "\n"); (w == "") != (warn == "") || !strings.Contains(w, warn) {
			t.Errorf("scope %s: %q, want %q", scope, w, warn)
		}
	}
	if _, err := policy.Parse("p", []byte(head+"- name: r\n  match: [\"reg.example/app:\"]\n  require: {reject: true}\n"), ""); err == nil {
		t.Error("a pattern that ends in a colon is for every tag")
	}
}
