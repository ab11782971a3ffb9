package sigstore

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Verify judges the envelope: is it about subject, by whom w wants, as far as m
// can tell? Its error is a [*Failure].
func (e *Envelope) Verify(subject digest.Digest, m Material, w Want) (*Signed, error) {
	s, err := e.verify(subject, m, w)
	if err != nil {
		var f *Failure
		if !errors.As(err, &f) {
			f = &Failure{Reason: Malformed, Err: err}
		}
		f.Claimed = e.Claimed()
		return nil, f
	}
	return s, nil
}

func (e *Envelope) verify(subject digest.Digest, m Material, w Want) (s *Signed, err error) {
	defer recovered(&err)
	if e.record != nil {
		return e.verifyRecord(subject, m, w)
	}
	p, err := newPlan(m, w)
	if err != nil {
		return nil, err
	}
	if err := e.checkSubject(subject, w); err != nil {
		return nil, err
	}
	var worst *Failure
	for _, b := range e.signed {
		c, err := newCandidate(e, b, subject, p)
		if err != nil {
			return nil, err
		}
		s, f := c.judge()
		if f == nil {
			return s, nil
		}
		worst = further(worst, f)
	}
	return nil, worst
}

// checkSubject says whether the envelope claims to be about subject. For what has
// a payload of its own, the library cannot know.
func (e *Envelope) checkSubject(subject digest.Digest, w Want) error {
	if err := subject.Validate(); err != nil {
		return failf(Unsupported, "%q: %w", subject, err)
	}
	switch {
	case e.simple != nil:
		if e.simple.digest != subject {
			return failf(WrongSubject, "it is about %.100q", e.simple.digest)
		}
		if w.ExactPayload && e.simple.inexact != nil {
			return failf(Malformed, "payload, as containers/image reads it: %w", e.simple.inexact)
		}
		return nil
	case e.stmt != nil:
		if !e.stmt.about(subject) {
			return failf(WrongSubject, "none of its %d subjects is %s", len(e.stmt.subjects), subject)
		}
		return nil
	case e.other != "":
		return failf(Unsupported, "signed payload of type %.100q", e.other)
	}
	return e.checkMessage(subject, w)
}

// checkMessage says whether a bundle that signs the artifact itself can be judged
// by the artifact's digest, and is about it.
func (e *Envelope) checkMessage(subject digest.Digest, w Want) error {
	d := e.signed[0].GetMessageSignature().GetMessageDigest()
	algorithm := map[string]digest.Algorithm{
		"SHA2_256": digest.SHA256, "SHA2_384": digest.SHA384, "SHA2_512": digest.SHA512,
	}[d.GetAlgorithm().String()]
	if algorithm != subject.Algorithm() {
		return failf(Unsupported, "a signature by %s of something known by its %s", d.GetAlgorithm(), subject.Algorithm())
	}
	if hex.EncodeToString(d.GetDigest()) != subject.Encoded() {
		return failf(WrongSubject, "it is about %s:%x", algorithm, d.GetDigest())
	}
	if w.byKey() && needsMessage(w.Key) {
		return failf(Unsupported, "an Ed25519 signature is over all of the artifact, not its digest")
	}
	return nil
}

// candidate is one signature, and what it is judged by.
type candidate struct {
	*Envelope
	bundle  *sgbundle.Bundle
	leaf    *x509.Certificate // nil for a key's
	subject digest.Digest
	sum     []byte
	*plan
}

func newCandidate(e *Envelope, b *sgbundle.Bundle, subject digest.Digest, p *plan) (*candidate, error) {
	// A copy: reading the log entries of a bundle writes to it.
	own := *b
	content, err := own.VerificationContent()
	if err != nil {
		return nil, &Failure{Reason: Malformed, Err: err}
	}
	sum, err := hex.DecodeString(subject.Encoded())
	if err != nil {
		return nil, &Failure{Reason: Unsupported, Err: err}
	}
	return &candidate{Envelope: e, bundle: &own, leaf: content.Certificate(), subject: subject, sum: sum, plan: p}, nil
}

// judge tries each root, and each way that is allowed.
func (c *candidate) judge() (*Signed, *Failure) {
	if f := c.otherSigner(); f != nil {
		return nil, f
	}
	var worst *Failure
	chain, f := c.carried()
	if f != nil {
		return nil, f
	}
	for _, tr := range c.trusted {
		tm := tr.material
		if len(chain) > 0 {
			tm = &throughChain{tm, chain}
		}
		var cause error
		for _, a := range tr.attempts {
			stamps, err := c.try(tm, a)
			if err == nil {
				return c.report(stamps)
			}
			cause = err
		}
		worst = further(worst, c.diagnose(tm, tr.attempts[len(tr.attempts)-1], cause))
	}
	return nil, worst
}

// otherSigner refuses, before any arithmetic, what says that it is by somebody
// else.
func (c *candidate) otherSigner() *Failure {
	if c.want.byKey() {
		if c.leaf != nil {
			return failf(WrongKey, "it is signed with a certificate")
		}
		return nil
	}
	if c.leaf == nil {
		return failf(WrongIdentity, "it is signed with a key")
	}
	id, err := c.want.identity()
	if err != nil {
		return &Failure{Reason: Unsupported, Err: err}
	}
	if err := matches(id, c.leaf); err != nil {
		return &Failure{Reason: WrongIdentity, Err: err}
	}
	if c.want.ByEmail && !slices.Contains(c.leaf.EmailAddresses, c.want.Identity) {
		return failf(WrongIdentity, "the certificate is for no address of mail like that")
	}
	return nil
}

// try asks the library.
func (c *candidate) try(tm root.TrustedMaterial, a attempt) ([]verify.TimestampVerificationResult, error) {
	if a.log && oldEntryOf(c.bundle) != nil {
		return c.tryOld(tm, a)
	}
	v, err := verify.NewVerifier(tm, c.options(a)...)
	if err != nil {
		return nil, err
	}
	artifact := verify.WithArtifactDigest(c.subject.Algorithm().String(), c.sum)
	if c.artifact != nil {
		artifact = verify.WithArtifact(bytes.NewReader(c.artifact))
	}
	res, err := v.Verify(c.bundle, verify.NewPolicy(artifact, c.policy))
	if err != nil {
		return nil, err
	}
	return res.VerifiedTimestamps, nil
}

func (c *candidate) options(a attempt) []verify.VerifierOption {
	opts := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	if a.log {
		opts = append(opts, verify.WithTransparencyLog(1))
	}
	switch {
	case a.time && a.log:
		opts = append(opts, verify.WithObserverTimestamps(1))
	case a.time:
		opts = append(opts, verify.WithSignedTimestamps(1))
	default:
		opts = append(opts, verify.WithNoObserverTimestamps())
	}
	if a.sct {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	return opts
}

// report says what was verified.
func (c *candidate) report(stamps []verify.TimestampVerificationResult) (*Signed, *Failure) {
	s := &Signed{IsSignature: true}
	var err error
	if c.leaf != nil {
		s.Signer, err = certified(c.leaf)
	} else {
		s.Signer.KeyFingerprint, err = fingerprint(c.want.Key)
	}
	if err != nil {
		return nil, &Failure{Reason: Malformed, Err: err}
	}
	// The earliest says most: by then it was there.
	slices.SortStableFunc(stamps, func(a, b verify.TimestampVerificationResult) int { return a.Timestamp.Compare(b.Timestamp) })
	if len(stamps) > 0 {
		s.Time, s.TimeSource = stamps[0].Timestamp.UTC(), TimeStamped
		if stamps[0].Type == stampLog {
			s.TimeSource = TimeLogged
		}
	}
	if c.simple != nil {
		s.Annotations, s.Reference = c.simple.annotations, c.simple.reference
	}
	if st := c.stmt; st != nil {
		if err := checkUnique(st.raw); err != nil {
			return nil, failf(Malformed, "statement: %w", err)
		}
		s.StatementType, s.PredicateType, s.Predicate = st.typ, st.predicateType, json.RawMessage(st.predicate)
		s.IsSignature = st.predicateType == PredicateCosignSign
	}
	return s, nil
}

// What sigstore-go calls the sources of its times.
const (
	stampLog = "Tlog"
	stampTSA = "TimestampAuthority"
)
