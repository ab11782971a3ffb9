package policy_test

import (
	"errors"
	"testing"

	"airgap/verify/policy"
	"airgap/verify/predicate"
)

// A policy that asks for a verification summary in another spelling is not met by one that
// says FAILED, and none can ask for one as an artifact, whose content is not read.
func TestSummaryInEverySpelling(t *testing.T) {
	for _, typ := range []string{"https://slsa.dev/verification_summary/v1", "http://slsa.dev/verification_summary/v1", "https://slsa.dev/Verification_Summary/v1", "https://slsa.dev//verification-summary/v1/"} {
		for _, require := range []string{`attestation: {predicateType: "` + typ + `", signedBy: {key: a}}`, `buildkit: {predicateType: "` + typ + `", signedBy: {cosign: {key: a}}}`} {
			p, err := policy.Parse("p", []byte(onlyRule("    "+require+"\n")), "")
			if err != nil {
				t.Fatal(err)
			}
			r := &p.Rules[0].Require
			if err := r.Holds([]byte(`{"verificationResult":"FAILED"}`)); !errors.Is(err, predicate.ErrNotPassed) {
				t.Errorf("%s is met by FAILED: %v", require, err)
			}
			if err := r.Holds([]byte(`{"verificationResult":"PASSED"}`)); err != nil {
				t.Errorf("%s: %v", require, err)
			}
		}
		if _, err := policy.Parse("p", []byte(onlyRule("    artifact: {type: \""+typ+"\", signedBy: {cosign: {key: a}}}\n")), ""); !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("an artifact of type %s: %v", typ, err)
		}
	}
}
