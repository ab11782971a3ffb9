// Package sigstoretest is a Sigstore in memory, for tests: a certificate
// authority, a transparency log of both versions, a certificate log and a timestamp
// authority, and what can be signed with them, in every form that
// airgap/verify/sigstore reads.
//
// Everything happens at a time of the caller's, so that certificates have long
// expired when a test looks at them, as real ones have. Nothing is sent anywhere.
// Its signatures prove nothing to anyone: keys are made for each [Sigstore] and
// forgotten with it.
package sigstoretest
