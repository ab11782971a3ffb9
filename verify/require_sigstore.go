package verify

import (
	"context"
	"errors"
	"fmt"

	"airgap/verify/policy"
	"airgap/verify/predicate"
	"airgap/verify/sigstore"
)

// wants lists whose signatures would do: the one that the policy names, or each
// who met the requirement that it refers to. sameLog demands a log entry because that
// requirement did.
func (s *scene) wants(want policy.Signer, same []signer, sameLog bool) ([]sigstore.Want, error) {
	if want != (policy.Signer{}) {
		want.Log = want.Log || sameLog
		w := sigstore.Want{
			Identity: want.Identity, IdentityRegexp: want.IdentityRegexp, Issuer: want.Issuer, IssuerRegexp: want.IssuerRegexp, RequireLog: want.Log, NoLog: want.Key != "" && !want.Log,
		}
		if want.Pinned != nil {
			return pinnedWants(w, want.Pinned), nil
		}
		if want.Key != "" {
			k, err := s.bench.judge.key(want.Key)
			if err != nil {
				return nil, err
			}
			w.Key = k
		}
		return []sigstore.Want{w}, nil
	}
	var out []sigstore.Want
	for _, who := range same {
		if who.key != nil {
			out = append(out, sigstore.Want{Key: who.key, RequireLog: sameLog, NoLog: !sameLog})
		} else {
			out = append(out, sigstore.Want{Identity: who.identity, Issuer: who.issuer})
		}
	}
	return out, nil
}

// pinnedWants is w, with each of the keys that the policy brings, if it brings any.
func pinnedWants(w sigstore.Want, p *policy.Pinned) []sigstore.Want {
	w.AuthorityURL, w.LogURL = p.Authority, p.Log
	w.InsecureNoSCT, w.CarriedChain, w.ByEmail = p.InsecureNoSCT, p.CarriedChain, p.ByEmail
	// The tools whose policies bring keys along hash with SHA-256 alone.
	w.ExactPayload, w.OnlySHA256 = p.ExactPayload, true
	if len(p.Keys) == 0 {
		return []sigstore.Want{w}
	}
	var out []sigstore.Want
	for _, k := range p.Keys {
		w.Key, w.NoLog = k, !w.RequireLog
		out = append(out, w)
	}
	return out
}

func (s *scene) cosign(ctx context.Context, o *Outcome, want *policy.Cosign) error {
	same := sameSigner{want.SameSignerAs, want.SameLog}
	return s.sigstore(ctx, o, want.Signer, same, func(signed *sigstore.Signed) error {
		if !signed.IsSignature {
			return fmt.Errorf("it is no signature but an attestation of type %s", signed.PredicateType)
		}
		if want.Reference != nil {
			return want.Reference.Accepts(signed.Reference)
		}
		return nil
	})
}

func (s *scene) attestation(ctx context.Context, o *Outcome, r *policy.Requirement) error {
	want := r.Attestation
	same := sameSigner{want.SameSignerAs, want.SameLog}
	return s.sigstore(ctx, o, want.SignedBy, same, func(signed *sigstore.Signed) error {
		if signed.PredicateType != want.PredicateType {
			if signed.IsSignature {
				return errors.New("it is a signature and no attestation")
			}
			return fmt.Errorf("it is an attestation of type %s", signed.PredicateType)
		}
		if err := s.age(signed, want); err != nil {
			return err
		}
		return r.Holds(signed.Predicate)
	})
}

// undecided marks an error as one of not being able to check.
type undecided struct{ error }

func (u *undecided) Unwrap() error   { return u.error }
func (u *undecided) Undecided() bool { return true }

// age refuses what is too old, and what may be: without a clock nothing is young.
func (s *scene) age(signed *sigstore.Signed, want *policy.Attestation) error {
	if want.MaxAge == 0 {
		return nil
	}
	if signed.Signer.KeyFingerprint != "" {
		return errors.New("what a key signed long ago can be stamped or logged anew, so its age is not known")
	}
	if signed.Time.IsZero() {
		return errors.New("no trusted clock says when it was signed, and the policy limits its age")
	}
	if age := s.now.Sub(signed.Time); age > want.MaxAge.Age() {
		return fmt.Errorf("signed %s ago, at most %s is accepted", age.Round(1e9), want.MaxAge.Age())
	}
	return nil
}

// sameSigner is whose signature is wanted too: of who met the requirement of a name,
// with a log entry if that asked for one.
type sameSigner struct {
	name string
	log  bool
}

// sigstore tries every piece of Sigstore's forms for every signer that would do;
// accept says whether what a verified one says is what is wanted.
func (s *scene) sigstore(ctx context.Context, o *Outcome, want policy.Signer, sameAs sameSigner, accept func(*sigstore.Signed) error) error {
	var same []signer
	if sameAs.name != "" {
		var err error
		if same, err = s.sameAs(sameAs.name); err != nil {
			o.Reason = err.Error()
			return nil
		}
	}
	p, err := s.of(ctx, s.repo, s.digest)
	if err != nil {
		return err
	}
	if len(p.sigstore) == 0 {
		o.nothing("cosign signature or attestation")
		return nil
	}
	wants, err := s.wants(want, same, sameAs.log)
	if err != nil {
		o.State, o.Reason = Undecided, err.Error()
		return nil
	}
	for _, x := range p.sigstore {
		if err := x.load(ctx, s.collector); err != nil {
			return err
		}
		s.sigstorePiece(o, x, s.material(want), wants, sameAs.name, same, accept)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// material is what is pinned: by the policy itself, if it is one of another tool's
// that does, else in the trust directory.
func (s *scene) material(want policy.Signer) sigstore.Material {
	if want.Pinned != nil && len(want.Pinned.Roots) > 0 {
		return sigstore.Material{Roots: want.Pinned.Roots}
	}
	return sigstore.Material{Roots: s.roots}
}

func (s *scene) sigstorePiece(o *Outcome, x *piece, m sigstore.Material, wants []sigstore.Want, sameAs string, same []signer, accept func(*sigstore.Signed) error) {
	a := Attempt{Manifest: x.manifest, Kind: x.kind, State: Refused}
	if x.err != nil {
		a.State, a.Reason, a.Claims = decide(x.err), x.err.Error(), claims(x.err)
		o.missed(a)
		return
	}
	for i, w := range wants {
		signed, err := x.envelope.Verify(s.digest, m, w)
		if err == nil {
			if err = s.clock(signed.Time); err == nil {
				err = accept(signed)
			}
			who := signerOf(signed, w)
			if err == nil && sameAs != "" && !among(who, same) {
				err = fmt.Errorf("not signed by who met %s", sameAs)
			}
			if err == nil {
				o.met(Evidence{
					Manifest: x.manifest, Kind: x.kind, Signer: signed.Signer.String(),
					SignedAt: at(signed.Time), Clock: signed.TimeSource, Says: signed.PredicateType, Summary: predicate.Describe(signed.PredicateType, signed.Predicate),
				}, who)
				return
			}
			a.Claims = signed.Signer.String()
		} else {
			a.Claims = claims(err)
		}
		if i == 0 || decide(err) == Undecided {
			a.State, a.Reason = decide(err), err.Error()
		}
	}
	o.missed(a)
}

func signerOf(signed *sigstore.Signed, w sigstore.Want) signer {
	if w.Key != nil {
		return signer{fingerprint: signed.Signer.KeyFingerprint, key: w.Key}
	}
	return signer{identity: signed.Signer.Identity, issuer: signed.Signer.Issuer}
}
