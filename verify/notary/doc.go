// Package notary judges one Notary Project signature, with no network.
//
// [Verify] takes an envelope (JWS or COSE) as it travelled, what it should be
// about, whom a policy wants it from, and what is pinned. It is notation-go that
// verifies, by the rules of the Notary Project's trust store and trust policy
// specification, version 1.0; this package gives it trust and revocation lists
// from memory, never a way out, and sorts its answers:
//
//   - a [Signed] says who signed, and when by which clock; and what a lenient
//     level let through, which callers must show;
//   - a [*Failure] says why not, whether that is a "no" or could not be checked,
//     and whose signature it claims to be.
//
// Revocation is answered from lists in memory alone. One is used if the issuer of
// the certificate in question, in a chain that ends in a pinned certificate, signed
// it; among several the one with the highest number. OCSP cannot be had offline: a
// certificate that offers nothing else has an unknown status.
package notary
