// Package verifytest has what tests of verification need, but for Sigstore: a
// certificate authority with revocation lists and a timestamp authority, Notary
// signatures with timestamps, a trust directory, and a repository in memory to
// judge.
//
// Where things are:
//
//   - [Root], [Below] and [Issue] make certificates. The authority itself is
//     [signing.TestCA], which demos and `airgap cert` share.
//   - [CRL] makes revocation lists, of any number, age and scope.
//   - [TSA] is a timestamp authority (RFC 3161) whose clock says what a test wants.
//   - [Notary] signs with notation-core-go's own signer, and so is a check on the
//     one in package signing.
//   - [Repository] holds images and what is attached to them; [Trust] and [Policy]
//     are what to judge them by.
//   - Sigstore (certificates by identity, logs, timestamps) is next door, in
//     airgap/verify/sigstore/sigstoretest; [FromLayers] attaches what that signs.
//   - Images, indexes and registries of every form are in airgap/layout/layouttest.
//
// Every function ends the test that calls it if it cannot do its work. For tests
// only: nothing made here proves anything to anyone.
package verifytest
