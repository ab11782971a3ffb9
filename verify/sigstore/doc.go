// Package sigstore judges one Sigstore signature or attestation, with no network.
//
// It reads the three forms that are found beside images and makes one thing of
// them, an [Envelope]:
//
//   - [ParseBundle]: a Sigstore bundle, versions 0.1 to 0.3, the default of cosign 3;
//   - [ParseSimpleSigning]: a layer under cosign's tag "sha256-<hex>.sig", or of
//     its OCI 1.1 referrer;
//   - [ParseDSSE]: a layer under cosign's tag "sha256-<hex>.att".
//
// [Envelope.Verify] then takes what it should be about (a digest), what is pinned
// ([Material]) and whose signature is wanted ([Want]: a key, or an identity and
// who vouched for it). It is sigstore-go that verifies; this package gives it
// pinned roots and nothing else, checks what that library cannot know, and sorts
// the answers:
//
//   - a [Signed] says who signed, when by which trusted clock, and what was said;
//   - a [*Failure] says why not, whether that is a "no" or could not be checked,
//     and whose signature it claims to be.
//
// # What it guarantees
//
// Nothing here opens a connection, a file, or reads the clock: the same input
// gives the same answer today and in ten years. A certificate counts if it was
// valid at a time that a pinned transparency log or timestamp authority signed;
// that it has expired since does not matter, and that it says so itself does not
// help. The digest that was signed equals the digest that was asked about, the
// log entry is about that signature, and the types in [Signed] are the signed ones.
// Input that would make a library panic is malformed.
//
// # Rules it chose
//
// A statement with several subjects is about each of them: any may be the one
// asked about. A DSSE envelope with several signatures (only cosign's .att form may
// have them) counts if any one of them does. With several pinned roots, one of them
// must account for everything: a certificate of one and a log of another do not add
// up. A [Want] can narrow a root to the authority or the log of an address, and take the
// certificates between a signer's and a root from beside the signature; those lead to
// the root or count for nothing. An entry of the log's first kind for attestations names
// no signature, but a hash of the envelope as it was written: a bundle does not have
// that, so the usual ways of writing it are tried, and of any other nobody knows.
// Regular expressions are not anchored, as in cosign; write ^ and $.
//
// # What it does not
//
// It does not say whether a predicate is true, nor judge its type: whoever wants a
// signature looks at [Signed.IsSignature], and whoever wants an attestation at
// [Signed.PredicateType]. A certificate cannot be revoked here; Sigstore has no such
// thing. A log entry is proven to be promised by, or part of, a pinned log, not
// that the log shows everyone the same.
package sigstore
