// Package verify decides whether images may enter.
//
// A [Judge] holds what is pinned on the isolated side (a trust directory, see
// [airgap/verify/trust]) and what may enter (a policy, see
// [airgap/verify/policy]). Given a graph and the source that has its bytes, it
// reads what is attached to each image and gives a [Report] with a [Verdict] for
// every root. There is no network, and no clock but the one that certificates and
// ages are held against.
//
// # What it guarantees
//
//   - A verdict is [Refused] until evidence has turned it; an error on the way, a
//     kind that is not known, and an empty list never do. An image that no rule is
//     for is refused.
//   - "No" and "could not be checked" are two things, in types and words: a
//     verdict is [Undecided] only if what could not be checked would have been
//     enough. Neither lets anything pass.
//   - Every piece of evidence is tried. Nothing that is attached can hide another
//     piece, be it damaged, unknown or by a stranger.
//   - What passes names the digest of the manifest that was its evidence, the
//     signer, and the clock by which the time of signing is known.
//   - Everything is bound to the digest of the manifest that it is attached to.
//
// # What it does not
//
// It does not read layers, and does not know whether what was signed is any good.
// What a source hides cannot be missed: the export record says what it was asked.
package verify
