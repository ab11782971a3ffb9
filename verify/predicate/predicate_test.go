package predicate_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"airgap/verify/predicate"
)

func TestBuild(t *testing.T) {
	source := &predicate.Material{URI: "git+https://git.example/acme/app@refs/tags/v1", Digest: map[string]string{"gitCommit": "abc"}}
	base := predicate.Material{URI: "pkg:docker/debian@12", Digest: map[string]string{"sha256": "def"}}
	for what, test := range map[string]struct {
		typ, raw string
		want     *predicate.Build
	}{
		"v0.2": {predicate.SLSAProvenance02, `{"builder":{"id":"https://b.example"},"buildType":"https://t.example",
			"invocation":{"configSource":{"uri":"git+https://git.example/acme/app@refs/tags/v1","digest":{"gitCommit":"abc"}}},
			"materials":[{"uri":"pkg:docker/debian@12","digest":{"sha256":"def"}}]}`,
			&predicate.Build{Builder: "https://b.example", Type: "https://t.example", Source: source, Materials: []predicate.Material{base}}},
		"v1, a workflow": {predicate.SLSAProvenance1, `{"buildDefinition":{"buildType":"https://t.example",
			"externalParameters":{"workflow":{"repository":"https://git.example/acme/app","ref":"refs/tags/v1"}},
			"resolvedDependencies":[{"uri":"pkg:docker/debian@12","digest":{"sha256":"def"}},{"uri":"git+https://git.example/acme/app@refs/tags/v1","digest":{"gitCommit":"abc"}}]},
			"runDetails":{"builder":{"id":"https://b.example"}}}`,
			&predicate.Build{Builder: "https://b.example", Type: "https://t.example", Source: source, Materials: []predicate.Material{base, *source}}},
		"v1, a workflow at another ref": {predicate.SLSAProvenance1, `{"buildDefinition":{
			"externalParameters":{"workflow":{"repository":"https://git.example/acme/app","ref":"refs/tags/v2"}},
			"resolvedDependencies":[{"uri":"git+https://git.example/acme/app@refs/tags/v1","digest":{"gitCommit":"abc"}}]}}`,
			&predicate.Build{Source: &predicate.Material{URI: "git+https://git.example/acme/app@refs/tags/v2"}, Materials: []predicate.Material{*source}}},
		"v1, BuildKit": {predicate.SLSAProvenance1, `{"buildDefinition":{"externalParameters":{"configSource":{"uri":"git+https://git.example/acme/app@refs/tags/v1","digest":{"gitCommit":"abc"}}}}}`,
			&predicate.Build{Source: source}},
		"v1, container-based": {predicate.SLSAProvenance1, `{"buildDefinition":{"externalParameters":{"source":{"uri":"git+https://git.example/acme/app@refs/tags/v1","digest":{"gitCommit":"abc"}}}}}`,
			&predicate.Build{Source: source}},
		"v1, the source is a word": {predicate.SLSAProvenance1, `{"buildDefinition":{"externalParameters":{"source":"everything"}}}`, &predicate.Build{}},
		"other shapes":             {predicate.SLSAProvenance1, `{"buildDefinition":[],"runDetails":{"builder":{"id":7}}}`, &predicate.Build{}},
		"other spelling":           {predicate.SLSAProvenance02, `{"Builder":{"ID":"https://b.example"}}`, &predicate.Build{}},
		"a list":                   {predicate.SLSAProvenance02, `[1]`, &predicate.Build{}},
		"no JSON":                  {predicate.SLSAProvenance02, `{`, nil},
		"another type":             {predicate.SPDX, `{}`, nil},
		"too many":                 {predicate.SLSAProvenance02, `{"materials":[` + strings.Repeat(`{"uri":"a"},`, 10_000) + `{"uri":"a"}]}`, nil},
	} {
		if got := predicate.ParseBuild(test.typ, []byte(test.raw)); !reflect.DeepEqual(got, test.want) {
			g, _ := json.Marshal(got)
			w, _ := json.Marshal(test.want)
			t.Errorf("%s:\n%s, want\n%s", what, g, w)
		}
	}
}

func TestDescribe(t *testing.T) {
	for what, test := range map[string]struct{ typ, raw, want string }{
		"build":               {predicate.SLSAProvenance02, `{"builder":{"id":"https://b.example"},"invocation":{"configSource":{"uri":"git+x","digest":{"sha1":"1"}}},"materials":[{"uri":"a"}]}`, "built by https://b.example from git+x (sha1:1) of 1 materials"},
		"SPDX":                {predicate.SPDX, `{"spdxVersion":"SPDX-2.3","packages":[{},{}]}`, "SPDX-2.3, 2 packages"},
		"SPDX, wrapped":       {predicate.SPDX, `{"Data":{"spdxVersion":"SPDX-2.3","packages":[{}]}}`, "SPDX-2.3, 1 packages"},
		"SPDX by version":     {predicate.SPDX + "/v2.3", `{"spdxVersion":"SPDX-2.3"}`, "SPDX-2.3, 0 packages"},
		"CycloneDX":           {predicate.CycloneDX, `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{}]}`, "CycloneDX 1.6, 1 components"},
		"Trivy":               {predicate.CosignVuln, `{"scanner":{"uri":"pkg:x/trivy","version":"0.60","result":{"Results":[{"Vulnerabilities":[{"Severity":"HIGH"},{"Severity":"LOW"},{"Severity":"HIGH"}]},{}]}}}`, "pkg:x/trivy 0.60 2 high, 1 low"},
		"SARIF":               {"https://sarifweb.azurewebsites.net/v2", `{"runs":[{"results":[{"level":"error"}]}]}`, "1 error"},
		"SARIF inside cosign": {predicate.CosignVuln, `{"scanner":{"uri":"u","result":{"runs":[{"results":[]}]}}}`, "u nothing found"},
		"unknown scanner":     {predicate.CosignVuln, `{"scanner":{"uri":"u","result":{"x":1}}}`, "u"},
		"VEX":                 {predicate.OpenVEX + "/v0.2.0", `{"statements":[{"status":"fixed"},{"status":"not_affected"},{"status":"fixed"}]}`, "2 fixed, 1 not_affected"},
		"summary":             {predicate.SLSAVerificationSummary, `{"verifier":{"id":"https://corp.example"},"verificationResult":"PASSED"}`, "PASSED by https://corp.example"},
		"another":             {"https://corp.example/approval", `{"a":1}`, ""},
		"not what it says":    {predicate.SPDX, `[]`, ""},
	} {
		if got := predicate.Describe(test.typ, []byte(test.raw)); got != test.want {
			t.Errorf("%s: %q, want %q", what, got, test.want)
		}
	}
}

func TestKind(t *testing.T) {
	for typ, want := range map[string]predicate.Kind{
		predicate.SLSAProvenance02: predicate.Provenance, predicate.SLSAProvenance1: predicate.Provenance,
		predicate.SPDX: predicate.SBOM, predicate.CycloneDX + "/v1.5": predicate.SBOM, predicate.CosignVuln: predicate.Scan,
		"https://in-toto.io/attestation/vulns/v0.1": predicate.Scan, predicate.OpenVEX + "/v0.2.0": predicate.VEX,
		predicate.CosignSign: predicate.Signature, "https://spdx.dev/Documentary": predicate.Other, "": predicate.Other,
	} {
		if got := predicate.KindOf(typ); got != want {
			t.Errorf("%s is %s, want %s", typ, got, want)
		}
	}
	for _, name := range predicate.Names() {
		if predicate.Type(name) == name {
			t.Errorf("%s stands for nothing", name)
		}
	}
	if predicate.Type("https://x.example") != "https://x.example" {
		t.Error("a URI is changed")
	}
}

// Whatever somebody signs, it is described or not, and no more than that.
func FuzzPredicate(f *testing.F) {
	f.Add(`{"builder":{"id":"x"},"materials":[{"uri":"a","digest":{"sha1":"b"}}]}`)
	f.Add(`{"Data":{"Data":{}}}`)
	f.Fuzz(func(t *testing.T, raw string) {
		for _, typ := range append(predicate.Names(), predicate.SLSAVerificationSummary) {
			predicate.Describe(predicate.Type(typ), []byte(raw))
		}
	})
}
