package predicate

import (
	"maps"
	"slices"
	"strings"
)

// Predicate types of well-known statements.
const (
	// SLSAProvenance02 and SLSAProvenance1 say how an artifact was built
	// (slsa.dev/spec/v0.2/provenance and slsa.dev/spec/v1.0/provenance).
	SLSAProvenance02 = "https://slsa.dev/provenance/v0.2"
	SLSAProvenance1  = "https://slsa.dev/provenance/v1"
	// SLSAVerificationSummary says that somebody verified an artifact, and by what
	// policy (slsa.dev/spec/v1.0/verification_summary).
	SLSAVerificationSummary = "https://slsa.dev/verification_summary/v1"
	verificationSummary01   = "https://slsa.dev/verification_summary/v0.1"
	verificationSummary02   = "https://slsa.dev/verification_summary/v0.2"
	// SPDX and CycloneDX say what is in it.
	SPDX      = "https://spdx.dev/Document"
	CycloneDX = "https://cyclonedx.org/bom"
	// CosignVuln carries the result of a scan (sigstore/cosign,
	// specs/COSIGN_VULN_ATTESTATION_SPEC.md).
	CosignVuln = "https://cosign.sigstore.dev/attestation/vuln/v1"
	// OpenVEX says which vulnerabilities do matter (openvex/spec).
	OpenVEX = "https://openvex.dev/ns"
	// Link is in-toto's record of one step.
	Link = "https://in-toto.io/Link/v1"
	// CosignSign is what cosign 3 makes of a plain signature.
	CosignSign = "https://sigstore.dev/cosign/sign/v1"
)

// Kind is what a predicate is about, whatever its type and version.
type Kind string

// Kinds of predicates.
const (
	Provenance Kind = "provenance"
	SBOM       Kind = "SBOM"
	Scan       Kind = "scan result"
	VEX        Kind = "VEX"
	Summary    Kind = "verification summary"
	Signature  Kind = "signature"
	Other      Kind = "statement"
)

// kinds are by the beginning of the predicate type: versions follow it.
var kinds = []struct {
	prefix string
	kind   Kind
}{
	{"https://slsa.dev/provenance/", Provenance},
	{SPDX, SBOM},
	{CycloneDX, SBOM},
	{CosignVuln, Scan},
	{"https://in-toto.io/attestation/vulns", Scan},
	{"https://in-toto.io/attestation/scai", Other},
	{"https://sarifweb.azurewebsites.net", Scan},
	{OpenVEX, VEX},
	{CosignSign, Signature},
}

// KindOf is the kind of a predicate type. One of a verification summary is that in any
// spelling.
func KindOf(predicateType string) Kind {
	if isSummary(predicateType) {
		return Summary
	}
	for _, k := range kinds {
		if rest, ok := strings.CutPrefix(predicateType, k.prefix); ok && (rest == "" || strings.HasSuffix(k.prefix, "/") || strings.ContainsAny(rest[:1], "/.@")) {
			return k.kind
		}
	}
	return Other
}

// short are cosign's names for predicate types (cosign attest --type).
var short = map[string]string{
	"slsaprovenance":   SLSAProvenance02,
	"slsaprovenance02": SLSAProvenance02,
	"slsaprovenance1":  SLSAProvenance1,
	"spdx":             SPDX,
	"spdxjson":         SPDX,
	"cyclonedx":        CycloneDX,
	"vuln":             CosignVuln,
	"openvex":          OpenVEX,
	"link":             Link,
}

// Type is the predicate type that one of cosign's names stands for; anything else
// is returned as it is.
func Type(name string) string {
	if t, ok := short[name]; ok {
		return t
	}
	return name
}

// Names lists cosign's names, sorted.
func Names() []string { return slices.Sorted(maps.Keys(short)) }
