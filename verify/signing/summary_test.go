package signing

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func summary() VerificationSummary {
	s := NewVerificationSummary(true)
	s.Verifier = Verifier{ID: "https://corp.example/import", Version: map[string]string{"airgap": "1"}}
	s.TimeVerified = time.Date(2026, 6, 1, 14, 0, 0, 5, time.FixedZone("", 2*60*60))
	s.ResourceURI = ImageURI("reg.corp/team/app:v1")
	s.Policy = PolicyResource("policy.yaml", digest.FromString("policy"), "prod", string(digest.FromString("trust")))
	s.InputAttestations = []Resource{NewResource(ImageURI("src.example/app@sha256:1"), digest.FromString("in"))}
	return s
}

// The predicate is just this: fields, their order, and the time in UTC seconds are
// what others read.
func TestSummaryPredicate(t *testing.T) {
	att, err := summary().Attestation("src.example/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	hex := func(s string) string { return digest.FromString(s).Encoded() }
	want := `{"verifier":{"id":"https://corp.example/import","version":{"airgap":"1"}},"timeVerified":"2026-06-01T12:00:00Z",` +
		`"resourceUri":"oci://reg.corp/team/app:v1","policy":{"uri":"policy.yaml","digest":{"sha256":"` + hex("policy") + `"},` +
		`"annotations":{"environment":"prod","trust":"sha256:` + hex("trust") + `"}},` +
		`"inputAttestations":[{"uri":"oci://src.example/app@sha256:1","digest":{"sha256":"` + hex("in") + `"}}],` +
		`"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_UNEVALUATED"],"slsaVersion":"1.1"}`
	if string(att.Predicate) != want || att.PredicateType != "https://slsa.dev/verification_summary/v1" || att.SubjectName != "src.example/app:v1" {
		t.Errorf("%s, %s:\n%s\nwant\n%s", att.PredicateType, att.SubjectName, att.Predicate, want)
	}
	// Unknown fields are let be (slsa.dev, "Parsing rules").
	back, err := ParseVerificationSummary([]byte(strings.Replace(want, "{", `{"https://example.com/more":1,`, 1)))
	if err != nil || !back.Same(summary()) {
		t.Errorf("read back: %+v, %v", back, err)
	}
	if failed := NewVerificationSummary(false); failed.VerificationResult != "FAILED" || len(failed.VerifiedLevels) != 1 || failed.VerifiedLevels[0] != "FAILED" {
		t.Errorf("of what failed: %+v", failed)
	}
}

// What the specification requires has to be there, written or read.
func TestSummaryRefuses(t *testing.T) {
	for what, change := range map[string]func(*VerificationSummary){
		"no verifier":          func(s *VerificationSummary) { s.Verifier.ID = "" },
		"a verifier by name":   func(s *VerificationSummary) { s.Verifier.ID = "corp" },
		"no time":              func(s *VerificationSummary) { s.TimeVerified = time.Time{} },
		"no resource":          func(s *VerificationSummary) { s.ResourceURI = "" },
		"no policy":            func(s *VerificationSummary) { s.Policy.URI = "" },
		"no result":            func(s *VerificationSummary) { s.VerificationResult = "" },
		"another result":       func(s *VerificationSummary) { s.VerificationResult = "passed" },
		"no levels":            func(s *VerificationSummary) { s.VerifiedLevels = nil },
		"evidence of nothing":  func(s *VerificationSummary) { s.InputAttestations[0].Digest = nil },
		"a time beyond RFC's":  func(s *VerificationSummary) { s.TimeVerified = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"a very long verifier": func(s *VerificationSummary) { s.Verifier.ID = "https://" + strings.Repeat("x", maxURI) },
	} {
		s := summary()
		change(&s)
		if _, err := s.Attestation(""); !errors.Is(err, ErrContent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, bad := range []string{"", "null", "[]", "{}", `{"verifier":1}`} {
		if _, err := ParseVerificationSummary([]byte(bad)); !errors.Is(err, ErrContent) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Two summaries say the same if only the run differs.
func TestSummarySame(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*VerificationSummary)
		same   bool
	}{
		"nothing":     {func(*VerificationSummary) {}, true},
		"the time":    {func(s *VerificationSummary) { s.TimeVerified = s.TimeVerified.AddDate(1, 0, 0) }, true},
		"the version": {func(s *VerificationSummary) { s.Verifier.Version = nil }, true},
		"the trust": {func(s *VerificationSummary) {
			s.Policy = PolicyResource("policy.yaml", digest.FromString("policy"), "prod", "")
		}, true},
		"the verifier": {func(s *VerificationSummary) { s.Verifier.ID += "x" }, false},
		"the resource": {func(s *VerificationSummary) { s.ResourceURI += "x" }, false},
		"the policy": {func(s *VerificationSummary) {
			s.Policy = PolicyResource("policy.yaml", digest.FromString("x"), "prod", "")
		}, false},
		"the environment": {func(s *VerificationSummary) {
			s.Policy = PolicyResource("policy.yaml", digest.FromString("policy"), "test", "")
		}, false},
		"the evidence": {func(s *VerificationSummary) { s.InputAttestations = nil }, false},
		"more evidence": {func(s *VerificationSummary) {
			s.InputAttestations = append(s.InputAttestations, s.InputAttestations[0])
		}, false},
		"the result": {func(s *VerificationSummary) { s.VerificationResult = SummaryFailed }, false},
		"the levels": {func(s *VerificationSummary) { s.VerifiedLevels = []string{SummaryFailed} }, false},
	} {
		s, o := summary(), summary()
		c.change(&o)
		if s.Same(o) != c.same || o.Same(s) != c.same {
			t.Errorf("%s differs: same %v", what, s.Same(o))
		}
	}
}

func TestCheckURI(t *testing.T) {
	for _, good := range []string{"https://corp.example/import", "urn:example:import", KeyURI(strings.Repeat("a", 64)), "mailto:a@example.com", "https://corp.example/a%20b?x=1#y"} {
		if err := CheckURI(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "corp", "/import", "//corp.example", "https:", "https://corp example", "https://corp.example/\x1b[2J", "https://corp.example/ü", "https://a/<b>", ":x", "1:x"} {
		if CheckURI(bad) == nil {
			t.Errorf("%q is a URI", bad)
		}
	}
}
