package verify

import (
	"context"

	"airgap/layout"
	"airgap/verify/notary"
	"airgap/verify/policy"
	"airgap/verify/sigstore"
)

// A rule that asks under which reference an image was signed is judged for each reference of
// the image. Whether a signature verifies does not depend on the reference, and is found out
// once for each signer that is wanted.

// maxVerifiedBytes is how large a piece may be for what its verification said to be kept.
const maxVerifiedBytes = 64 << 10

// verified is what the verification of a piece said, by whose signature was wanted.
type verified struct {
	sigstore map[wantKey]sigstoreResult
	notary   map[*policy.Notary]notaryResult
}

// wantKey stands for all that a [sigstore.Want] of a judgement, and the material it is
// verified with, are made of.
type wantKey struct {
	want         policy.Signer
	n            int // of the wants for that signer
	log, stamped bool
	// Whose signature is wanted where the policy names no signer.
	fingerprint, identity, issuer string
}

type sigstoreResult struct {
	signed *sigstore.Signed
	err    error
}

type notaryResult struct {
	signed *notary.Signed
	err    error
}

// verifying is called for each verification, for tests.
var verifying = func() {}

// keepsVerified reports whether what a verification says is kept: for pieces that are
// kept themselves, and are small.
func (x *piece) keepsVerified() bool { return x.ready && x.layer.Size <= maxVerifiedBytes }

// key is what the n-th want is known by; ok is false if it is known by nothing.
func (a *asking) key(n int) (k wantKey, ok bool) {
	k = wantKey{want: a.want, n: n, log: a.sameAs.log, stamped: a.sameAs.stamped}
	if a.want != (policy.Signer{}) {
		return k, true
	}
	who := a.same[n]
	k.n, k.fingerprint, k.identity, k.issuer = 0, who.fingerprint, who.identity, who.issuer
	return k, who.fingerprint != "" || who.key == nil
}

// verifyOnce verifies a piece for the n-th of the wants.
func (s *scene) verifyOnce(x *piece, ask asking, n int) (*sigstore.Signed, error) {
	k, ok := ask.key(n)
	if r, known := x.verified.sigstore[k]; known && ok {
		return r.signed, r.err
	}
	verifying()
	signed, err := x.envelope.Verify(s.digest, s.material(ask.want), ask.wants[n])
	if ok && x.keepsVerified() {
		if x.verified.sigstore == nil {
			x.verified.sigstore = map[wantKey]sigstoreResult{}
		}
		x.verified.sigstore[k] = sigstoreResult{signed, err}
	}
	return signed, err
}

// verifyNotaryOnce verifies a piece for a requirement.
func (s *scene) verifyNotaryOnce(ctx context.Context, x *piece, subject layout.Descriptor, want *policy.Notary) (*notary.Signed, error) {
	if r, known := x.verified.notary[want]; known {
		return r.signed, r.err
	}
	verifying()
	signed, err := notary.Verify(ctx, x.data, x.layer.MediaType, subject, want.Want(s.bench.judge.Policy.StrictRevocation),
		notary.Trust{Store: s.bench.judge.Trust, CRLs: s.crls})
	if cerr := ctx.Err(); cerr != nil {
		return nil, cerr
	}
	if x.keepsVerified() {
		if x.verified.notary == nil {
			x.verified.notary = map[*policy.Notary]notaryResult{}
		}
		x.verified.notary[want] = notaryResult{signed, err}
	}
	return signed, err
}
