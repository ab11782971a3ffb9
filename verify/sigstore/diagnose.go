package sigstore

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// progress orders reasons by how far it went before: of several failures, that
// which went furthest tells most. What could not be checked comes last, for then
// the whole could not.
var progress = []Reason{
	Malformed, WrongSubject, WrongIdentity, WrongKey, NoLogEntry, NoTimestamp, Untrusted, Expired, BadSignature, NotPinned, Unsupported,
}

func further(a, b *Failure) *Failure {
	if a == nil || slices.Index(progress, b.Reason) > slices.Index(progress, a.Reason) {
		return b
	}
	return a
}

// diagnose finds out why the library refused, which it only tells in words: the
// steps again, one by one. The verdict stands; cause is what the library said.
func (c *candidate) diagnose(tm root.TrustedMaterial, a attempt, cause error) *Failure {
	if c.want.byKey() {
		if _, err := c.try(tm, attempt{}); err != nil {
			return c.badKey(err)
		}
	}
	if a.log && oldEntryOf(c.bundle) != nil {
		var f *Failure
		if errors.As(cause, &f) {
			return f
		}
	}
	var times []time.Time
	if a.log {
		stamps, f := c.diagnoseLog(tm)
		if f != nil {
			return f
		}
		times = stamps
	}
	if a.time {
		stamps, _, err := verify.VerifySignedTimestamp(c.bundle, tm)
		if err != nil {
			return &Failure{Reason: NoTimestamp, Err: err}
		}
		for _, s := range stamps {
			times = append(times, s.Time)
		}
		if len(times) == 0 {
			return c.noTime(cause)
		}
	}
	if c.leaf != nil {
		if _, f := c.checkLeaf(tm, times, a.sct); f != nil {
			return f
		}
		return c.badSignature(c.leaf.PublicKey, cause)
	}
	return &Failure{Reason: BadSignature, Err: cause}
}

// badSignature tells a signature that is broken from one that key made in a way that
// does not count.
func (c *candidate) badSignature(key crypto.PublicKey, cause error) *Failure {
	if how := c.otherwise(key); how != "" {
		return failf(BadSignature, "the key signed it %s; %s", how, c.counted())
	}
	return &Failure{Reason: BadSignature, Err: cause}
}

// badKey tells a signature by another key from one that was changed, as far as
// the envelope says by which it is.
func (c *candidate) badKey(cause error) *Failure {
	wanted, err := fingerprint(c.want.Key)
	if s, e := claimed(c.bundle); err == nil && e == nil && s.KeyFingerprint == wanted {
		return c.badSignature(c.want.Key, cause)
	}
	if f := c.badSignature(c.want.Key, cause); f.Err != cause {
		return f
	}
	return &Failure{Reason: WrongKey, Err: cause}
}

// diagnoseLog says what is wrong with the log entries, or their times.
func (c *candidate) diagnoseLog(tm root.TrustedMaterial) ([]time.Time, *Failure) {
	entries, err := c.bundle.TlogEntries()
	if err != nil {
		return nil, &Failure{Reason: Malformed, Err: err}
	}
	if len(entries) == 0 {
		return nil, failf(NoLogEntry, "it has none")
	}
	stamps, err := verify.VerifyTlogEntry(c.bundle, tm, 1, true)
	if err != nil {
		switch {
		case !slices.ContainsFunc(entries, func(e *tlog.Entry) bool { return knownLog(e, tm) }):
			return nil, failf(Untrusted, "no log it has an entry of is pinned")
		case c.leaf != nil && slices.ContainsFunc(entries, func(e *tlog.Entry) bool {
			return !e.IntegratedTime().IsZero() && outside(c.leaf, e.IntegratedTime())
		}):
			return nil, &Failure{Reason: Expired, Err: err}
		}
		return nil, &Failure{Reason: NoLogEntry, Err: err}
	}
	var times []time.Time
	for _, s := range stamps {
		times = append(times, s.Time)
	}
	return times, nil
}

func knownLog(e *tlog.Entry, tm root.TrustedMaterial) bool {
	return tm.RekorLogs()[hex.EncodeToString([]byte(e.LogKeyID()))] != nil
}

func outside(cert *x509.Certificate, t time.Time) bool {
	return t.Before(cert.NotBefore) || t.After(cert.NotAfter)
}

// noTime tells a timestamp by an authority that is not pinned from none for this
// signature.
func (c *candidate) noTime(cause error) *Failure {
	stamps, err := c.bundle.Timestamps()
	content, e := c.bundle.SignatureContent()
	if err != nil || e != nil {
		return &Failure{Reason: NoTimestamp, Err: cause}
	}
	if len(stamps) == 0 {
		return failf(NoTimestamp, "it has no timestamp, and no log entry that tells the time")
	}
	for _, raw := range stamps {
		ts, err := timestamp.ParseResponse(raw)
		if err != nil || !ts.HashAlgorithm.Available() {
			continue
		}
		h := ts.HashAlgorithm.New()
		h.Write(content.Signature())
		if bytes.Equal(h.Sum(nil), ts.HashedMessage) {
			return &Failure{Reason: Untrusted, Err: cause}
		}
	}
	return &Failure{Reason: NoTimestamp, Err: cause}
}

// checkLeaf checks the certificate at each time and, if sct is wanted, that it was made
// public.
func (c *candidate) checkLeaf(tm root.TrustedMaterial, times []time.Time, sct bool) ([][]*x509.Certificate, *Failure) {
	leaf := *c.leaf
	// Fulcio's form of name that the standard library does not know is read by
	// the library instead, and is critical.
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), isSAN)
	var chains [][]*x509.Certificate
	for _, t := range times {
		found, err := verify.VerifyLeafCertificate(t, &leaf, tm)
		switch {
		case err == nil:
			chains = found
		case outside(&leaf, t):
			return nil, failf(Expired, "the certificate is valid from %s to %s, and it was signed at %s",
				stamp(leaf.NotBefore), stamp(leaf.NotAfter), stamp(t))
		default:
			return nil, failf(Untrusted, "no pinned authority issued the certificate: %w", err)
		}
	}
	if sct {
		if err := verify.VerifySignedCertificateTimestamp(chains, 1, tm); err != nil {
			return nil, failf(Untrusted, "no pinned certificate log knows the certificate: %w", err)
		}
	}
	return chains, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// matches says whether the certificate is for id.
func matches(id verify.CertificateIdentity, leaf *x509.Certificate) error {
	sum, err := certificate.SummarizeCertificate(leaf)
	if err != nil {
		return err
	}
	return id.Verify(sum)
}
