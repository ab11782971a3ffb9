// Package custody holds the records of an image's way: who exported it, who took it
// in, who let it enter and by which policy, who promoted, overrode or deleted it.
//
// A record is an in-toto statement about the image, attached to it as an OCI
// artifact, so that it travels with the image over any number of hops and through
// any registry. One that is signed is a Sigstore bundle with a DSSE envelope, as any
// attestation is; one that is not is a claim, and is shown as such. The verdict of an
// import is a SLSA verification summary; all other acts have a predicate of their
// own, [Record], described in docs/custody.md.
//
// Each record names those that were there before it ([Record.Previous]), so that one
// that is missing shows. That nothing was added later, or left out at the end, is for
// the ledger of the store to show, whose lines are [Entry].
package custody
