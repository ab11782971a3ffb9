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
	} {
		err := predicate.Passed(c.typ, []byte(c.predicate))
		if (err == nil) != c.passed || err != nil && !errors.Is(err, predicate.ErrNotPassed) {
			t.Errorf("%s %s: %v", c.typ, c.predicate, err)
		}
	}
}
