package notary

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"airgap/layout"

	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/notaryproject/tspclient-go"
)

// MaxEnvelopeBytes is how large a signature envelope may be. Real ones have some
// kilobytes; a chain of certificates and a timestamp are in them.
const MaxEnvelopeBytes = 512 << 10

// MediaTypes of the envelopes that can be judged.
var MediaTypes = []string{jws.MediaTypeEnvelope, cose.MediaTypeEnvelope}

// Trust is what is pinned on this side.
type Trust struct {
	Store truststore.X509TrustStore
	// CRLs may come from anywhere: each has to be signed by an issuer in the
	// chain that is judged.
	CRLs []*x509.RevocationList
}

// Want says whose signature is wanted, and how strictly it is judged. Its fields
// are those of a statement of notation's trust policy.
type Want struct {
	Level           string // strict, permissive or audit; "" is strict
	Override        map[string]string
	VerifyTimestamp string   // always or afterCertExpiry; "" is always
	Stores          []string // type:name
	Identities      []string // "x509.subject: …" or "*"
}

// Signer is the holder of a certificate.
type Signer struct {
	Subject     string // distinguished name, RFC 4514
	Fingerprint string // "sha256:" and the SHA-256 of the public key's PKIX form, hex
	Issuer      string
	NotAfter    time.Time
	Key         crypto.PublicKey
}

// Sources of a trusted time.
const (
	TimeStamped   = "timestamp authority"
	TimeAuthority = "signing authority"
)

// Signed is what a signature that verified says.
type Signed struct {
	Signer Signer
	// Time is when it was signed by a clock that is trusted, and TimeSource
	// which; both empty if there is none, and the certificates were valid when
	// it was judged.
	Time       time.Time
	TimeSource string
	// Claimed is when the signer says that it was.
	Claimed  time.Time
	Expiry   time.Time // zero for never
	Metadata map[string]string
	// Lists are the revocation lists that answered.
	Lists []List
	// LetThrough lists what was found wrong and is, by the level, only to be
	// told.
	LetThrough []string
}

// ErrWant says that a Want makes no sense.
var ErrWant = errors.New("not a statement of a Notary trust policy")

// document writes w as the policy that notation-go asks for. Its scope is
// everything: which images a statement is for was decided before.
func (w Want) document() (*trustpolicy.Document, error) {
	p := trustpolicy.TrustPolicy{
		Name: "policy", RegistryScopes: []string{"*"}, TrustStores: w.Stores, TrustedIdentities: w.Identities,
		SignatureVerification: trustpolicy.SignatureVerification{
			VerificationLevel: w.Level, VerifyTimestamp: trustpolicy.TimestampOption(w.VerifyTimestamp),
		},
	}
	v := &p.SignatureVerification
	if v.VerificationLevel == "" {
		v.VerificationLevel = trustpolicy.LevelStrict.Name
	}
	if v.VerificationLevel == trustpolicy.LevelSkip.Name {
		return nil, fmt.Errorf("level skip verifies nothing: %w", ErrWant)
	}
	for typ, action := range w.Override {
		if v.Override == nil {
			v.Override = map[trustpolicy.ValidationType]trustpolicy.ValidationAction{}
		}
		v.Override[trustpolicy.ValidationType(typ)] = trustpolicy.ValidationAction(action)
	}
	doc := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{p}}
	if err := doc.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrWant)
	}
	return doc, nil
}

// Check says whether w makes sense; the error matches ErrWant.
func (w Want) Check() error {
	_, err := w.document()
	return err
}

// anyReference stands where notation-go wants to know which image it is about,
// which only matters for scopes.
const anyReference = "airgap.invalid/any@"

// Verify judges an envelope. Its error is a *Failure, or the context's.
func Verify(ctx context.Context, envelope []byte, mediaType string, subject layout.Descriptor, w Want, t Trust) (s *Signed, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	doc, err := w.document()
	if err != nil {
		return nil, &Failure{Reason: Unsupported, Err: err}
	}
	if !slices.Contains(MediaTypes, mediaType) {
		return nil, &Failure{Reason: Unsupported, Err: fmt.Errorf("envelope of type %.100q", mediaType)}
	}
	if len(envelope) > MaxEnvelopeBytes {
		return nil, &Failure{Reason: Malformed, Err: fmt.Errorf("%d bytes, at most %d are accepted: %w", len(envelope), MaxEnvelopeBytes, layout.ErrLimit)}
	}
	defer func() {
		if r := recover(); r != nil {
			s, err = nil, &Failure{Reason: Malformed, Err: fmt.Errorf("the parser gave up: %v", r)}
		}
	}()
	if err := checkCost(envelope, mediaType); err != nil {
		return nil, &Failure{Reason: Malformed, Err: err}
	}
	j := &judgement{envelope: envelope, mediaType: mediaType, subject: subject, doc: doc, trust: t}
	return j.run(ctx)
}

// judgement is one envelope under one statement.
type judgement struct {
	envelope  []byte
	mediaType string
	subject   layout.Descriptor
	doc       *trustpolicy.Document
	trust     Trust
	revoked   revocations
}

func (j *judgement) run(ctx context.Context) (*Signed, error) {
	if missing := j.missingStore(ctx); missing != nil {
		return nil, &Failure{Reason: NotPinned, Claimed: j.claimed(), Err: missing}
	}
	j.revoked.lists = j.trust.CRLs
	v, err := verifier.NewWithOptions(j.doc, j.trust.Store, nil, verifier.VerifierOptions{
		RevocationCodeSigningValidator:  j.revoked.validator(codeSigning),
		RevocationTimestampingValidator: j.revoked.validator(timestamping),
	})
	if err != nil {
		return nil, &Failure{Reason: Unsupported, Err: err}
	}
	out, err := v.Verify(ctx, j.subject, j.envelope, notation.VerifierVerifyOptions{
		ArtifactReference: anyReference + j.subject.Digest.String(), SignatureMediaType: j.mediaType,
	})
	if cerr := ctx.Err(); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, j.failure(ctx, out, err)
	}
	return j.signed(out)
}

// missingStore says which store of the statement is not there, or is empty.
func (j *judgement) missingStore(ctx context.Context) error {
	for _, s := range j.doc.TrustPolicies[0].TrustStores {
		typ, name, _ := strings.Cut(s, ":")
		certs, err := j.trust.Store.GetCertificates(ctx, truststore.Type(typ), name)
		if err != nil {
			return fmt.Errorf("trust store %s: %w", s, err)
		}
		if len(certs) == 0 {
			return fmt.Errorf("trust store %s holds no certificate", s)
		}
	}
	return nil
}

// claimed reads who the envelope says it is from. Nothing of it is believed.
func (j *judgement) claimed() Signer {
	env, err := signature.ParseEnvelope(j.mediaType, j.envelope)
	if err != nil {
		return Signer{}
	}
	c, err := env.Content()
	if err != nil || len(c.SignerInfo.CertificateChain) == 0 {
		return Signer{}
	}
	return signerOf(c.SignerInfo.CertificateChain[0])
}

func signerOf(leaf *x509.Certificate) Signer {
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return Signer{Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), Fingerprint: "sha256:" + hex.EncodeToString(sum[:]), NotAfter: leaf.NotAfter, Key: leaf.PublicKey}
}

// signed collects what notation-go found good.
func (j *judgement) signed(out *notation.VerificationOutcome) (*Signed, error) {
	info := &out.EnvelopeContent.SignerInfo
	s := &Signed{
		Signer: signerOf(info.CertificateChain[0]), Claimed: info.SignedAttributes.SigningTime, Expiry: info.SignedAttributes.Expiry, Lists: j.revoked.used,
	}
	logged := map[trustpolicy.ValidationType]bool{}
	for _, r := range out.VerificationResults {
		if r.Error == nil {
			continue
		}
		if r.Action != trustpolicy.ActionLog {
			// It says that it passed, and that it did not.
			return nil, &Failure{Reason: BadSignature, Claimed: s.Signer, Err: r.Error}
		}
		logged[r.Type] = true
		s.LetThrough = append(s.LetThrough, fmt.Sprintf("%s: %v", r.Type, r.Error))
	}
	if info.SignedAttributes.SigningScheme == signature.SigningSchemeX509SigningAuthority {
		s.Time, s.TimeSource = s.Claimed, TimeAuthority
	} else if at, ok := j.stamped(info); ok {
		s.Time, s.TimeSource = at, TimeStamped
	}
	if logged[trustpolicy.TypeAuthenticTimestamp] || logged[trustpolicy.TypeAuthenticity] {
		s.Time, s.TimeSource = time.Time{}, ""
	}
	var payload struct {
		Target struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"targetArtifact"`
	}
	if err := json.Unmarshal(out.EnvelopeContent.Payload.Content, &payload); err != nil {
		return nil, &Failure{Reason: Malformed, Claimed: s.Signer, Err: err}
	}
	s.Metadata = payload.Target.Annotations
	return s, nil
}

// stamped reads the time of a timestamp that notation-go has verified, which it
// does if the statement names a store of timestamp authorities and does not say
// that certificates which are still valid need none.
func (j *judgement) stamped(info *signature.SignerInfo) (time.Time, bool) {
	p := &j.doc.TrustPolicies[0]
	named := slices.ContainsFunc(p.TrustStores, func(s string) bool { return strings.HasPrefix(s, string(truststore.TypeTSA)+":") })
	if !named || !j.revoked.stamped {
		return time.Time{}, false
	}
	token, err := tspclient.ParseSignedToken(info.UnsignedAttributes.TimestampSignature)
	if err != nil {
		return time.Time{}, false
	}
	tst, err := token.Info()
	if err != nil {
		return time.Time{}, false
	}
	at, err := tst.Validate(info.Signature)
	if err != nil {
		return time.Time{}, false
	}
	return at.Value, true
}

// unknown says whether every doubt about revocation was for want of a list.
func unknown(results []*result.CertRevocationResult) bool {
	some := false
	for _, r := range results {
		if r == nil {
			continue
		}
		if r.Result == result.ResultRevoked {
			return false
		}
		some = some || r.Result == result.ResultUnknown
	}
	return some
}
