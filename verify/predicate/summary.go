package predicate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrNotPassed says that a verification summary is no approval.
var ErrNotPassed = errors.New("a verification summary counts only if it says PASSED")

// resultPassed is what a summary says of what met the verifier's policy.
const resultPassed = "PASSED"

// Passed fails with an error that matches ErrNotPassed for a verification summary that
// does not say PASSED, in exactly that word, and for one of a version that is not known
// here. Versions are v0.1, v0.2 and v1 (slsa.dev/spec, verification_summary). The type may
// be spelled in any way, as with another scheme. For predicates of any other type it
// returns nil. predicate is JSON without a key twice.
func Passed(predicateType string, predicate []byte) error {
	if KindOf(predicateType) != Summary {
		return nil
	}
	field := ""
	switch cmp.Or(MeantType(predicateType), predicateType) {
	case SLSAVerificationSummary:
		field = "verificationResult"
	case verificationSummary01, verificationSummary02:
		field = "verification_result"
	default:
		return fmt.Errorf("a verification summary of a version that is not known: %w", ErrNotPassed)
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(predicate, &fields); err != nil {
		return fmt.Errorf("it is not an object: %w", ErrNotPassed)
	}
	for name := range fields {
		if name != field && strings.EqualFold(strings.ReplaceAll(name, "_", ""), "verificationResult") {
			return fmt.Errorf("field %.100q should be %s: %w", name, field, ErrNotPassed)
		}
	}
	var result string
	switch err := json.Unmarshal(fields[field], &result); {
	case fields[field] == nil || err != nil:
		return fmt.Errorf("it has no %s: %w", field, ErrNotPassed)
	case result != resultPassed:
		return fmt.Errorf("it says %.100q: %w", result, ErrNotPassed)
	}
	return nil
}
