// Package signing makes the signatures, attestations and attached documents
// that airgap has to carry: real ones, that the real tools accept.
//
// Container images are signed in several incompatible ways, and a repository
// often holds more than one of them. Each function here makes one form:
//
//   - [Notary] makes a Notary Project signature, as `notation sign` does.
//   - [CosignSignature], [CosignAttestation] and [CosignSBOM] make the tag
//     forms of cosign before version 3 ("sha256-<hex>.sig", ".att", ".sbom").
//   - [CosignSignatureReferrer] makes the form cosign calls its OCI 1.1 mode.
//   - [BundleSignature] and [BundleAttestation] make Sigstore bundles, the
//     default of cosign 3.
//   - [VerificationSummary] is the statement for BundleAttestation that says what a
//     verification came to, for whoever relies on the one who verified.
//   - [Referrer] attaches any document, unsigned: an SBOM, a scan result.
//
// If in doubt: BundleSignature for a key, Notary for an X.509 certificate.
//
// [SealEnvelope] signs any bytes of a stated type, for no image in particular, and
// [OpenEnvelope] reads them back.
//
// Every other function returns an [Artifact]: a manifest and the blobs it names. To
// publish one, put the blobs first, then Artifact.Raw, under Artifact.Tag where
// there is one and untagged otherwise; the registry finds the latter through
// the manifest's subject.
//
// # What it guarantees
//
// Nothing here opens a file or a connection, and nothing reads the clock but
// [Notary] when it is not told the time. The same input gives the same bytes:
// ECDSA signatures are the deterministic ones of RFC 6979, JSON has one
// spelling, and no creation time is recorded that was not asked for. RSA
// signatures are the exception, as RSASSA-PSS, the only RSA scheme that Notary
// allows, is salted at random.
//
// # What it does not
//
// There is no transparency log, no timestamp authority and no Fulcio
// certificate: those need a network. Verifiers must therefore be told to accept
// a key without a log (cosign: --insecure-ignore-tlog; sigstore-go:
// WithNoObserverTimestamps). Nor does it check whether the subject exists, or
// whether a predicate is true: a signature says who said something, and this
// package says whatever it is given.
package signing
