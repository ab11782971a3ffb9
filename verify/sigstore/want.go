package sigstore

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Material is what is pinned on this side. Nothing else is ever trusted.
type Material struct {
	// Roots name certificate authorities, logs and timestamp authorities. Each
	// is tried by itself.
	Roots []*root.TrustedRoot
}

// Want says whose signature is wanted: either Key, or an identity and its issuer.
// Where both the text and its expression are given, both must fit.
type Want struct {
	Key crypto.PublicKey

	Identity, IdentityRegexp string
	Issuer, IssuerRegexp     string

	// NoLog takes a signature that is in no transparency log. It is so by
	// default for a key if no root is pinned, and for an identity under a root
	// that names no log, but timestamp authorities. A certificate's still needs
	// a timestamp then.
	NoLog bool
	// RequireLog demands a log entry. It is so by default for identities under
	// any other root, and for a key if a root is pinned.
	RequireLog bool
	// InsecureNoSCT takes certificates that no certificate transparency log
	// knows of. A private CA may have no such log.
	InsecureNoSCT bool

	// AuthorityURL and LogURL are addresses, as a trusted root gives them: of the
	// pinned certificate authorities and logs, only those with that address count.
	AuthorityURL, LogURL string
	// CarriedChain takes the certificates between the signer's and a pinned root
	// from beside the signature, where cosign's older forms have them, with a root at
	// the end that is not looked at. They are not trusted for that: they must lead to
	// the pinned root.
	CarriedChain bool
	// ByEmail takes no identity but a certificate's address of mail.
	ByEmail bool
	// ExactPayload takes a simple signing payload only if containers/image would read
	// it: with every field of the format and no other.
	ExactPayload bool
	// OnlySHA256 takes no signature of a key over another digest than SHA-256, as
	// tools do that have no option for it.
	OnlySHA256 bool
}

// Sources of a trusted time.
const (
	TimeLogged  = "transparency log"
	TimeStamped = "timestamp authority"
)

// Signed is what an envelope that verified says, and who says it.
type Signed struct {
	Signer Signer
	// Time is when it was signed at the latest, by a clock that is trusted, and
	// TimeSource which; both empty if there is none.
	Time       time.Time
	TimeSource string
	// StatementType, PredicateType and Predicate are those of the signed
	// statement, if it is one.
	StatementType, PredicateType string
	Predicate                    json.RawMessage
	// IsSignature says that it is a plain signature of the image, and not some
	// statement about it.
	IsSignature bool
	// Annotations were signed with a simple signing payload, where they are
	// strings, and Reference is what it says the image is called.
	Annotations map[string]string
	Reference   string
}

// Check says whether w makes sense; the error matches ErrWant.
func (w Want) Check() error {
	_, err := w.policy()
	return err
}

func (w Want) byKey() bool { return w.Key != nil }

// policy is w as sigstore-go wants it.
func (w Want) policy() (verify.PolicyOption, error) {
	named := w.Identity != "" || w.IdentityRegexp != "" || w.Issuer != "" || w.IssuerRegexp != ""
	switch {
	case w.NoLog && w.RequireLog:
		return nil, fmt.Errorf("a log entry is both demanded and not: %w", ErrWant)
	case w.byKey() && named:
		return nil, fmt.Errorf("both a key and an identity: %w", ErrWant)
	case w.byKey():
		if _, err := verifierOf(w.Key, w.OnlySHA256); err != nil {
			return nil, fmt.Errorf("%w: %w", err, ErrWant)
		}
		return verify.WithKey(), nil
	}
	id, err := w.identity()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrWant)
	}
	return verify.WithCertificateIdentity(id), nil
}

func (w Want) identity() (verify.CertificateIdentity, error) {
	return verify.NewShortCertificateIdentity(w.Issuer, w.IssuerRegexp, w.Identity, w.IdentityRegexp)
}

// attempt is one way of judging: what must be there.
type attempt struct {
	log  bool // a log entry
	time bool // a trusted time
	sct  bool // a certificate log's promise
}

// pinnedRoot is one root, and what to try with it, in order: the strictest, which tells
// most, first; the last is what must hold.
type pinnedRoot struct {
	material root.TrustedMaterial
	attempts []attempt
}

// plan is what to try, in order.
type plan struct {
	want    Want
	policy  verify.PolicyOption
	trusted []pinnedRoot
}

func newPlan(m Material, w Want) (*plan, error) {
	policy, err := w.policy()
	if err != nil {
		return nil, &Failure{Reason: Unsupported, Err: err}
	}
	if len(m.Roots) > MaxRoots {
		return nil, failf(Unsupported, "%d roots, at most %d can be pinned", len(m.Roots), MaxRoots)
	}
	p := &plan{want: w, policy: policy}
	for _, r := range m.Roots {
		if r == nil {
			return nil, &Failure{Reason: NotPinned, Err: errors.New("an empty root")}
		}
		p.trusted = append(p.trusted, pinnedRoot{w.some(r), p.attempts(r)})
	}
	if len(p.trusted) == 0 {
		return p, p.withoutRoots()
	}
	if w.byKey() {
		return p, p.addKey()
	}
	return p, nil
}

// withoutRoots plans for a key alone.
func (p *plan) withoutRoots() error {
	switch {
	case !p.want.byKey():
		return &Failure{Reason: NotPinned, Err: errors.New("no root is pinned, which an identity needs")}
	case p.want.RequireLog:
		return &Failure{Reason: NotPinned, Err: errors.New("no root is pinned, which a log entry needs")}
	}
	p.trusted = []pinnedRoot{{&root.BaseTrustedMaterial{}, []attempt{{}}}}
	return p.addKey()
}

// attempts lists what to try under a root.
func (p *plan) attempts(r *root.TrustedRoot) []attempt {
	if p.want.byKey() {
		out := []attempt{{log: true, time: true}}
		if p.want.NoLog {
			out = append(out, attempt{time: true})
		}
		// A key, unlike a certificate, needs no time. Entries of the second
		// version of the log have none.
		return append(out, attempt{log: !p.want.NoLog})
	}
	sct := !p.want.InsecureNoSCT
	if !p.want.RequireLog && p.want.LogURL == "" && stampsAlone(r) {
		return []attempt{{time: true}}
	}
	out := []attempt{{log: true, time: true, sct: sct}}
	if p.want.NoLog {
		out = append(out, attempt{time: true, sct: sct})
	}
	return out
}

// stampsAlone says whether a root is of a deployment without any log, where a timestamp
// says when a certificate was used: GitHub's own, for private repositories, is one.
func stampsAlone(r *root.TrustedRoot) bool {
	return len(r.RekorLogs()) == 0 && len(r.CTLogs()) == 0 && len(r.TimestampingAuthorities()) > 0
}

// addKey puts the key beside each root. Which key a bundle hints at is ignored.
func (p *plan) addKey() error {
	v, err := verifierOf(p.want.Key, p.want.OnlySHA256)
	if err != nil {
		return &Failure{Reason: Unsupported, Err: fmt.Errorf("%w: %w", err, ErrWant)}
	}
	key := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
		return root.NewExpiringKey(v, time.Time{}, time.Time{}), nil
	})
	for i, tr := range p.trusted {
		p.trusted[i].material = root.TrustedMaterialCollection{key, tr.material}
	}
	return nil
}
