package predicate_test

import (
	"errors"
	"testing"

	"airgap/verify/predicate"
)

// A verification summary is an approval only if it says PASSED, in the field of its
// version.
func TestPassed(t *testing.T) {
	const v1, v02, v01, next = predicate.SLSAVerificationSummary, "https://slsa.dev/verification_summary/v0.2", "https://slsa.dev/verification_summary/v0.1", "https://slsa.dev/verification_summary/v2"
	for _, c := range []struct {
		typ, predicate string
		passed         bool
	}{
		{v1, `{"verificationResult":"PASSED"}`, true},
		{v02, `{"verification_result":"PASSED"}`, true},
		{v01, `{"verification_result":"PASSED"}`, true},
		{predicate.CosignVuln, `{"verificationResult":"FAILED"}`, true}, // another type's own business
		{v1, `{"verificationResult":"FAILED"}`, false},
		{v1, `{"verificationResult":"passed"}`, false},
		{v1, `{"verificationResult":"PASSED "}`, false},
		{v1, `{"verificationResult":["PASSED"]}`, false},
		{v1, `{"verificationResult":null}`, false},
		{v1, `{"verification_result":"PASSED"}`, false},
		{v1, `{"verificationResult":"PASSED","verification_result":"FAILED"}`, false},
		{v1, `{"VerificationResult":"PASSED"}`, false},
		{v1, `{"verificationResult":"PASSED","VERIFICATIONRESULT":"FAILED"}`, false},
		{v1, `{}`, false},
		{v1, `null`, false},
		{v1, ``, false},
		{v02, `{"verification_result":"FAILED"}`, false},
		{v02, `{"verificationResult":"PASSED"}`, false},
		{next, `{"verificationResult":"PASSED"}`, false},
		{v1 + ".1", `{"verificationResult":"PASSED"}`, false},
		{"http://slsa.dev/verification_summary/v1", `{"verificationResult":"FAILED"}`, false},
		{"http://slsa.dev/verification_summary/v1", `{"verificationResult":"PASSED"}`, true},
		{"https://slsa.dev/Verification_Summary/v1", `{"verificationResult":"FAILED"}`, false},
		{"https://slsa.dev/Verification_Summary/v1", `{"verificationResult":"PASSED"}`, true},
		{"HTTPS://SLSA.dev/verification_summary/v0.2", `{"verification_result":"FAILED"}`, false},
		{"https://slsa.dev//verification_summary/v1", `{"verificationResult":"FAILED"}`, false},
		{"https://slsa.dev/verification_summary/v1/", `{"verificationResult":"FAILED"}`, false},
		{"https://slsa.dev/verification-summary/v1", `{"verificationResult":"FAILED"}`, false},
		{"https://slsa.dev/verification_summary", `{"verificationResult":"PASSED"}`, false},
		{"https://slsa.dev/%56erification%5fsummary/v1", `{"verificationResult":"FAILED"}`, false},
		{"https://slsa.dev/verification%255Fsummary/v1", `{"verificationResult":"FAILED"}`, false},
		{"https://www.slsa.dev:443/verification_summary/v1", `{"verificationResult":"FAILED"}`, false},
		{"slsa.dev/verification_summary/v1", `{"verificationResult":"FAILED"}`, false},
		{" https://slsa.dev/verification_summary/v1", `{"verificationResult":"FAILED"}`, false},
		{"https://\u017flsa.dev/verification_summary/v1", `{"verificationResult":"FAILED"}`, false},
		{"https://slsa.dev/provenance/v1", `{"verificationResult":"FAILED"}`, true},
	} {
		err := predicate.Passed(c.typ, []byte(c.predicate))
		if (err == nil) != c.passed || err != nil && !errors.Is(err, predicate.ErrNotPassed) {
			t.Errorf("%s %s: %v", c.typ, c.predicate, err)
		}
	}
}

// A well-known type is found by another spelling of it.
func TestMeantType(t *testing.T) {
	for typ, want := range map[string]string{
		"http://slsa.dev/verification_summary/v1": predicate.SLSAVerificationSummary, "https://SLSA.dev/verification-summary/v1/": predicate.SLSAVerificationSummary,
		"https://slsa.dev/verification_summary/v2": "", predicate.SLSAVerificationSummary: "",
		"https://spdx.dev/document": predicate.SPDX, "http://cyclonedx.org/bom": predicate.CycloneDX, "https://cyclonedx.org/bom/v1.4": "",
		"https://slsa.dev/provenance/v02": "", "https://slsa.dev/Provenance/v0.2": predicate.SLSAProvenance02, "": "", "https://corp.example/checked/v1": "",
	} {
		if got := predicate.MeantType(typ); got != want {
			t.Errorf("%s: %q, want %q", typ, got, want)
		}
	}
}
