package layout

import "strings"

// Kind is what a manifest is, in the field's words, for people: "image",
// "Notary signature", "SPDX SBOM". It decides nothing: it is read off media
// types and annotations, which anybody can write.
type Kind string

// The kinds with a meaning to the code.
const (
	KindIndex    Kind = "index"
	KindImage    Kind = "image"
	KindBuildKit Kind = "BuildKit attestation"
	KindArtifact Kind = "artifact"
)

// byArtifactType names artifacts by artifactType, or the config's media type.
var byArtifactType = map[string]Kind{
	"application/vnd.cncf.notary.signature":                      "Notary signature",
	"application/vnd.dev.cosign.artifact.sig.v1+json":            "cosign signature",
	"application/vnd.dev.cosign.artifact.sbom.v1+json":           "cosign SBOM",
	"application/vnd.airgap.export.v1+json":                      "airgap export record",
	"application/vnd.cncf.helm.config.v1+json":                   "Helm chart",
	"application/vnd.wasm.config.v0+json":                        "WASM module",
	"application/vnd.cncf.model.config.v1+json":                  "model",
	"application/vnd.docker.plugin.v1+json":                      "docker plugin",
	"application/vnd.goharbor.harbor.sbom.v1":                    "Harbor SBOM",
	"application/vnd.security.vulnerability.report; version=1.1": "vulnerability report",
	"application/vnd.aquasec.trivy.report.sarif.v1":              "SARIF scan result",
	"application/vnd.in-toto+json":                               "in-toto attestation",
	"application/vnd.dsse.envelope.v1+json":                      "DSSE attestation",
	"application/vnd.oras.artifact.manifest.v1+json":             "artifact",
	"application/vnd.microsoft.artifact.lifecycle":               "lifecycle mark",
	"application/vnd.dev.sigstore.bundle.v0.1+json":              "Sigstore bundle",
	"application/vnd.dev.sigstore.bundle+json;version=0.1":       "Sigstore bundle",
	"application/vnd.openvex+json":                               "VEX statement",
	"application/vnd.cyclonedx.vex+json":                         "VEX statement",
	"application/vnd.org.cncf.notary.v2.signature":               "Notary signature",
	"application/vnd.docker.container.image.v1+json":             KindImage,
	"application/vnd.oci.image.config.v1+json":                   KindImage,
	"application/vnd.in-toto.provenance+json":                    "SLSA provenance",
	"application/vnd.dev.cosign.simplesigning.v1+json":           "cosign signature",
	"application/vnd.cncf.flux.config.v1+json":                   "Flux artifact",
	"application/vnd.cncf.openpolicyagent.config.v1+json":        "OPA policy",
	"application/vnd.cncf.kubernetes.manifest.bundle.v1+json":    "Kubernetes manifests",
	"application/vnd.unknown.config.v1+json":                     KindArtifact,
	"application/vnd.oci.empty.v1+json":                          KindArtifact,
	"application/vnd.airgap.claim.v1+json":                       "custody claim",
	"application/vnd.airgap.record.v1+json":                      "custody record",
	"application/vnd.cyclonedx":                                  "CycloneDX SBOM",
	"application/vnd.cyclonedx+json":                             "CycloneDX SBOM",
	"application/vnd.cyclonedx+xml":                              "CycloneDX SBOM",
	"application/spdx+json":                                      "SPDX SBOM",
	"text/spdx":                                                  "SPDX SBOM",
	"text/spdx+json":                                             "SPDX SBOM",
	"application/sarif+json":                                     "SARIF scan result",
	"application/vnd.syft+json":                                  "Syft SBOM",
}

// byPredicate names attestations by the start of their predicate type.
var byPredicate = []struct {
	prefix string
	kind   Kind
}{
	{"https://sigstore.dev/cosign/sign/", "cosign signature"},
	{"https://slsa.dev/provenance/", "SLSA provenance"},
	{"https://slsa.dev/verification_summary/", "SLSA verification summary"},
	{"https://spdx.dev/", "SPDX SBOM attestation"},
	{"https://cyclonedx.org/", "CycloneDX SBOM attestation"},
	{"https://openvex.dev/", "VEX attestation"},
	{"https://cosign.sigstore.dev/attestation/vuln/", "vulnerability scan attestation"},
	{"https://in-toto.io/attestation/vulns", "vulnerability scan attestation"},
	{"https://in-toto.io/attestation/test-result", "test result attestation"},
	{"urn:airgap:custody:", "custody record"},
}

// predicateOf finds a predicate type where the tools write one: on the manifest
// (Sigstore bundles, custody records), or on a layer (cosign .att, BuildKit).
func predicateOf(m *Manifest) string {
	for _, key := range []string{"dev.sigstore.bundle.predicateType", "in-toto.io/predicate-type"} {
		if p := m.Annotations[key]; p != "" {
			return p
		}
	}
	for _, l := range m.Layers {
		for _, key := range []string{"predicateType", "in-toto.io/predicate-type"} {
			if p := l.Annotations[key]; p != "" {
				return p
			}
		}
	}
	return ""
}

func predicateKind(predicate string) (Kind, bool) {
	for _, p := range byPredicate {
		if strings.HasPrefix(predicate, p.prefix) {
			return p.kind, true
		}
	}
	return "in-toto attestation", predicate != ""
}

// KindOf names a manifest.
func KindOf(m *Manifest) Kind {
	if IsIndex(m.MediaType) {
		return KindIndex
	}
	if HasImageTypes(m) {
		return KindImage
	}
	if k, ok := predicateKind(predicateOf(m)); ok {
		return k
	}
	if strings.HasPrefix(m.ArtifactType, "application/vnd.dev.sigstore.bundle") {
		return "Sigstore bundle"
	}
	image := m.ArtifactType == MediaTypeImageConfig || m.ArtifactType == MediaTypeDockerConfig
	for _, l := range m.Layers {
		// cosign's tag forms pose as images; their layers tell.
		if k, ok := byArtifactType[l.MediaType]; ok && (image || m.ArtifactType == MediaTypeEmpty) {
			return k
		}
	}
	if k, ok := byArtifactType[m.ArtifactType]; ok {
		return k
	}
	return KindArtifact
}
