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
// who met the requirement that it refers to, on its terms.
func (s *scene) wants(want policy.Signer, same []signer, as sameSigner) ([]sigstore.Want, error) {
	if want != (policy.Signer{}) {
		want.Log = want.Log || as.log
		w := sigstore.Want{
			Identity: want.Identity, IdentityRegexp: want.IdentityRegexp, Issuer: want.Issuer, IssuerRegexp: want.IssuerRegexp, RequireLog: want.Log, NoLog: (want.Key != "" || want.Stamped) && !want.Log,
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
			out = append(out, sigstore.Want{Key: who.key, RequireLog: as.log, NoLog: !as.log})
		} else {
			out = append(out, sigstore.Want{Identity: who.identity, Issuer: who.issuer, RequireLog: as.log, NoLog: as.stamped})
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
		w.RequireLog, w.NoLog = true, false // as those tools do, whatever the root
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
	same := sameSigner{want.SameSignerAs, want.SameLog, want.SameStamped}
	return s.sigstore(ctx, o, want.Signer, same, wanted{what: "cosign signature"}, func(signed *sigstore.Signed) error {
		if !signed.IsSignature {
			return notSignature(signed.PredicateType)
		}
		if want.Reference != nil {
			return want.Reference.Accepts(signed.Reference)
		}
		return nil
	})
}

func (s *scene) attestation(ctx context.Context, o *Outcome, r *policy.Requirement) error {
	want := r.Attestation
	same := sameSigner{want.SameSignerAs, want.SameLog, want.SameStamped}
	kind := wanted{"attestation of type " + want.PredicateType, want.PredicateType}
	return s.sigstore(ctx, o, want.SignedBy, same, kind, func(signed *sigstore.Signed) error {
		if err := kind.check(signed.IsSignature, signed.PredicateType); err != nil {
			return err
		}
		if err := s.age(signed, want); err != nil {
			return err
		}
		return r.Holds(signed.Predicate)
	})
}

// wanted is what a requirement of Sigstore's forms looks for: a plain signature, or a
// statement of a predicate type.
type wanted struct{ what, predicateType string }

func notSignature(predicateType string) error {
	return fmt.Errorf("it is no signature but an attestation of type %s", predicateType)
}

// check says why what is of that type is not wanted, whoever signed it.
func (w wanted) check(isSignature bool, predicateType string) error {
	switch {
	case w.predicateType == "" && !isSignature:
		return notSignature(predicateType)
	case w.predicateType == "" || w.predicateType == predicateType:
		return nil
	case isSignature:
		return errors.New("it is a signature and no attestation")
	}
	return fmt.Errorf("it is an attestation of type %s", predicateType)
}

// other says why an envelope that is not verified yet cannot be what is wanted; nil if
// it can. What it says then is what would be verified.
func (w wanted) other(e *sigstore.Envelope) error {
	isSignature, predicateType, ok := e.Kind()
	if !ok {
		return nil // why it cannot be judged is for Verify to say
	}
	return w.check(isSignature, predicateType)
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
// with a log entry if that asked for one, or a timestamp if that took one.
type sameSigner struct {
	name         string
	log, stamped bool
}

// sigstore tries every piece of Sigstore's forms for every signer that would do;
// accept says whether what a verified one says is what is wanted. A piece of another
// kind is not verified: who signed it is not why it does not count.
func (s *scene) sigstore(ctx context.Context, o *Outcome, want policy.Signer, sameAs sameSigner, kind wanted, accept func(*sigstore.Signed) error) error {
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
		if kind.predicateType == "" {
			o.nothing("cosign signature or attestation")
		} else {
			o.nothing(kind.what)
		}
		return nil
	}
	var wants []sigstore.Want
	found := false
	for _, x := range p.sigstore {
		done, err := x.load(ctx, s.collector)
		if err != nil {
			return err
		}
		if !o.otherKind(x, kind, want.Pinned != nil) {
			if !found {
				found = true
				wants, err = s.wants(want, same, sameAs)
			}
			if err == nil {
				s.sigstorePiece(o, x, asking{want, wants, sameAs, same}, accept)
			}
		}
		done()
		if err != nil {
			o.State, o.Reason = Undecided, err.Error()
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if !found {
		o.Reason = "no " + kind.what + " is attached"
	}
	return nil
}

// errForeignRecord says why a custody record does not count under the policy of
// another tool.
var errForeignRecord = errors.New("it is a custody record, which the tool whose policy this is does not read")

// otherKind notes a piece that cannot be what is wanted. foreign says that the policy is
// another tool's.
func (o *Outcome) otherKind(x *piece, kind wanted, foreign bool) bool {
	if x.err != nil {
		return false
	}
	err := kind.other(x.envelope)
	if err == nil && foreign && x.kind == kindRecord {
		err = errForeignRecord
	}
	if err == nil {
		return false
	}
	a := Attempt{Manifest: x.manifest, Kind: x.kind, State: Refused, Reason: err.Error()}
	if who := x.envelope.Claimed(); who != (sigstore.Signer{}) {
		a.Claims = who.String()
	}
	o.missed(a)
	return true
}

// material is what is pinned: by the policy itself, if it is one of another tool's
// that does, else in the trust directory.
func (s *scene) material(want policy.Signer) sigstore.Material {
	if want.Pinned != nil && len(want.Pinned.Roots) > 0 {
		return sigstore.Material{Roots: want.Pinned.Roots}
	}
	return sigstore.Material{Roots: s.roots}
}

// asking is whose signature is wanted: of the signer that the policy names, or of those of
// same. wants is one for each that would do.
type asking struct {
	want   policy.Signer
	wants  []sigstore.Want
	sameAs sameSigner
	same   []signer
}

func (s *scene) sigstorePiece(o *Outcome, x *piece, ask asking, accept func(*sigstore.Signed) error) {
	a := Attempt{Manifest: x.manifest, Kind: x.kind, State: Refused}
	if x.err != nil {
		a.State, a.Reason, a.Claims = decide(x.err), x.err.Error(), claims(x.err)
		o.missed(a)
		return
	}
	for i, w := range ask.wants {
		signed, err := s.verifyOnce(x, ask, i)
		if err == nil {
			if err = s.clock(signed.Time); err == nil {
				err = accept(signed)
			}
			who := signerOf(signed, w)
			if err == nil && ask.sameAs.name != "" && !among(who, ask.same) {
				err = fmt.Errorf("not signed by who met %s", ask.sameAs.name)
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
