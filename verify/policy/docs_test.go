package policy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/sigstore/sigstoretest"
	"airgap/verify/verifytest"
)

// example is the first block of a language behind a heading of docs/policy.md, with the
// names of this test's parties in it.
func example(t *testing.T, heading, language string, names map[string]string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(page), "\n### "+heading+"\n")
	block := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(text)
	if !ok || block == nil {
		t.Fatalf("docs/policy.md has no %s under %q", language, heading)
	}
	out := block[1]
	for from, to := range names {
		if !strings.Contains(out, from) {
			t.Fatalf("%s is not in it", from)
		}
		out = strings.ReplaceAll(out, from, to)
	}
	return out
}

// What the page says a policy.json does, it does.
func TestContainersExample(t *testing.T) {
	path := filepath.Join(t.TempDir(), "release.pub")
	if err := os.WriteFile(path, keyPEM(t, "a"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := containers(t, example(t, "policy.json of containers/image", "json", map[string]string{
		"/etc/pki/containers/release.pub": path, "registry.example/team": "reg.example/team",
	}))
	checkVerdicts(t, verifytest.Trust(t, verifytest.Pins{}), map[string]verdictCase{
		"signed":             {p, []sign{tagged(verifytest.Name, "a")}, verify.Passed, ""},
		"by another":         {p, []sign{tagged(verifytest.Name, "b")}, verify.Refused, "wrong key"},
		"under another name": {p, []sign{tagged("reg.example/other", "a")}, verify.Refused, "signed as"},
	})
	for image, want := range map[string]string{"eu.vendor.example/x": "*.vendor.example", "reg.example/other": "**"} {
		if r := p.For(layout.Reference{Repository: image, Tag: "v1"}); r.Match[0] != want {
			t.Errorf("%s: %v, want %s", image, r.Match, want)
		}
	}
	if w := strings.Join(p.Warnings(), ""); !strings.Contains(w, "docker-daemon") {
		t.Errorf("warnings %q", w)
	}
}

// And its ClusterImagePolicies.
func TestClusterExample(t *testing.T) {
	s := newSigstore(t)
	p := clusterPolicies(t, example(t, "ClusterImagePolicy of policy-controller", "yaml", map[string]string{
		"registry.example/team": "reg.example/team", "https://fulcio.sigstore.dev": "https://fulcio.test", "https://rekor.sigstore.dev": "https://rekor.test",
	}))
	tr := verifytest.Trust(t, verifytest.Pins{Roots: map[string][]byte{"": s.json}})
	by := sigstoretest.Signing{Identity: testIdentity, Issuer: testIssuer}
	signed, scanned := logged(s.Sigstore, verifytest.Name, by, nil), stated(s.Sigstore, "https://cosign.sigstore.dev/attestation/vuln/v1", by)
	checkVerdicts(t, tr, map[string]verdictCase{
		"both":         {p, []sign{signed, scanned}, verify.Passed, "built-by-the-team and scanned"},
		"not scanned":  {p, []sign{signed}, verify.Refused, "scanned/authority-0"},
		"only scanned": {p, []sign{scanned}, verify.Refused, "built-by-the-team/workflow"},
	})
	if w := p.Warnings(); len(w) > 0 {
		t.Errorf("warnings %q", w)
	}
}
