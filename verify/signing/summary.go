package signing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"

	"airgap/verify/predicate"

	"github.com/opencontainers/go-digest"
)

// PredicateVerificationSummary says that somebody verified the image, by which
// policy, and what came of it (https://slsa.dev/verification_summary/v1).
const PredicateVerificationSummary = predicate.SLSAVerificationSummary

// Results and levels of a verification summary.
const (
	SummaryPassed = "PASSED"
	SummaryFailed = "FAILED"

	// levelUnevaluated stands where a level is required and none was looked
	// for: a policy asks who signed, and not how something was built.
	levelUnevaluated = "SLSA_BUILD_LEVEL_UNEVALUATED"
	// slsaVersion is the first that knows levelUnevaluated.
	slsaVersion = "1.1"
)

// VerificationSummary is the predicate of type [PredicateVerificationSummary].
// The order of fields is that of its specification.
type VerificationSummary struct {
	Verifier Verifier `json:"verifier"`
	// TimeVerified is by the verifier's clock.
	TimeVerified time.Time `json:"timeVerified"`
	// ResourceURI is what the image is called where the summary is for; see
	// [ImageURI].
	ResourceURI string   `json:"resourceUri"`
	Policy      Resource `json:"policy"`
	// InputAttestations are all that the result rests on.
	InputAttestations  []Resource `json:"inputAttestations,omitempty"`
	VerificationResult string     `json:"verificationResult"`
	VerifiedLevels     []string   `json:"verifiedLevels"`
	SLSAVersion        string     `json:"slsaVersion,omitempty"`
}

// Verifier is who verified.
type Verifier struct {
	ID      string            `json:"id"`                // a URI
	Version map[string]string `json:"version,omitempty"` // of each tool
}

// Resource is an in-toto resource descriptor, as far as summaries need it
// (in-toto/attestation, spec/v1/resource_descriptor.md).
type Resource struct {
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"` // hex by algorithm
	Annotations map[string]string `json:"annotations,omitempty"`
}

// NewResource describes what has that digest.
func NewResource(uri string, d digest.Digest) Resource {
	return Resource{URI: uri, Digest: map[string]string{d.Algorithm().String(): d.Encoded()}}
}

// ImageURI is the URI of an image or of what is attached to one: a reference as
// registries know it, after "oci://".
func ImageURI(reference string) string { return "oci://" + reference }

// KeyURI names the holder of a key, where there is no other name: the SHA-256 of
// the public key in DER form (RFC 6920, section 7).
func KeyURI(fingerprint string) string { return "nih:sha-256;" + fingerprint }

// NewVerificationSummary is a summary that says whether the policy was met, and
// makes no claim about SLSA levels. What else it says is for the caller to fill in.
func NewVerificationSummary(passed bool) VerificationSummary {
	s := VerificationSummary{VerificationResult: SummaryFailed, VerifiedLevels: []string{SummaryFailed}, SLSAVersion: slsaVersion}
	if passed {
		s.VerificationResult, s.VerifiedLevels = SummaryPassed, []string{levelUnevaluated}
	}
	return s
}

// Attestation is the summary as it is signed; subjectName is what the image was
// called when it was verified. A summary that lacks what the specification
// requires is refused, with an error that matches ErrContent.
func (s VerificationSummary) Attestation(subjectName string) (Attestation, error) {
	if err := s.check(); err != nil {
		return Attestation{}, err
	}
	s.TimeVerified = s.TimeVerified.UTC().Truncate(time.Second)
	predicate, err := marshal(s)
	if err != nil {
		return Attestation{}, err
	}
	return Attestation{PredicateType: PredicateVerificationSummary, Predicate: predicate, SubjectName: subjectName}, nil
}

func (s VerificationSummary) check() error {
	missing := ""
	switch {
	case CheckURI(s.Verifier.ID) != nil:
		return CheckURI(s.Verifier.ID)
	case s.TimeVerified.IsZero():
		missing = "time"
	case s.ResourceURI == "":
		missing = "resource"
	case s.Policy.URI == "":
		missing = "policy"
	case s.VerificationResult != SummaryPassed && s.VerificationResult != SummaryFailed:
		missing = "result"
	case len(s.VerifiedLevels) == 0:
		missing = "levels"
	}
	if missing != "" {
		return fmt.Errorf("%w: the verification summary has no %s", ErrContent, missing)
	}
	for _, in := range s.InputAttestations {
		if len(in.Digest) == 0 {
			return fmt.Errorf("%w: the verification summary names an input (%.100q) without its digest", ErrContent, in.URI)
		}
	}
	return nil
}

// maxURI is more than any honest name of a verifier has.
const maxURI = 2048

// CheckURI says whether s can name a verifier: an absolute URI (RFC 3986).
func CheckURI(s string) error {
	u, err := url.Parse(s)
	// What url.Parse lets pass, but no URI may hold.
	odd := strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\^`{|}", r) })
	if err != nil || u.Scheme == "" || u.Opaque+u.Host+u.Path == "" || odd || len(s) > maxURI {
		return fmt.Errorf("%w: %.100q is no URI with a scheme", ErrContent, s)
	}
	return nil
}

// ParseVerificationSummary reads a predicate. Fields that it does not know are let
// be, as the specification asks.
func ParseVerificationSummary(predicate []byte) (VerificationSummary, error) {
	var s VerificationSummary
	dec := json.NewDecoder(bytes.NewReader(predicate))
	if err := dec.Decode(&s); err != nil {
		return s, fmt.Errorf("%w: verification summary: %w", ErrContent, err)
	}
	return s, s.check()
}

// annotationTrust names what was trusted, beside the policy.
const annotationTrust = "trust"

// Same says whether two summaries say the same of the same. The time, the
// version of the tool, and the state of what was trusted may differ: they do
// with each run, and a later run that comes to the same result adds nothing.
func (s VerificationSummary) Same(o VerificationSummary) bool {
	return reflect.DeepEqual(s.timeless(), o.timeless())
}

// timeless is s without what differs from run to run.
func (s VerificationSummary) timeless() VerificationSummary {
	s.TimeVerified, s.Verifier.Version = time.Time{}, nil
	s.Policy = s.Policy.without(annotationTrust)
	if len(s.InputAttestations) == 0 {
		s.InputAttestations = nil
	}
	return s
}

// without is r without an annotation.
func (r Resource) without(annotation string) Resource {
	var left map[string]string
	for k, v := range r.Annotations {
		if k == annotation {
			continue
		}
		if left == nil {
			left = map[string]string{}
		}
		left[k] = v
	}
	r.Annotations = left
	return r
}

// PolicyResource describes the policy of a verdict: its file, which need not be
// there for whoever reads the summary, its digest, the environment that was
// chosen, and the digest of what was trusted; the latter two may be empty.
func PolicyResource(uri string, d digest.Digest, environment, trust string) Resource {
	r := NewResource(uri, d)
	for k, v := range map[string]string{"environment": environment, annotationTrust: trust} {
		if v == "" {
			continue
		}
		if r.Annotations == nil {
			r.Annotations = map[string]string{}
		}
		r.Annotations[k] = v
	}
	return r
}
