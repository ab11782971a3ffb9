package notary

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
)

// Reason sorts failures.
type Reason string

// The reasons.
const (
	Malformed      Reason = "malformed"             // it cannot be read as a signature
	BadSignature   Reason = "bad signature"         // it does not verify, or not for this manifest
	Untrusted      Reason = "untrusted"             // no pinned certificate is above it
	WrongIdentity  Reason = "wrong identity"        // trusted, but not who is wanted
	Expired        Reason = "expired"               // the signature's own expiry has passed
	WrongTime      Reason = "certificate not valid" // at the time that counts
	Revoked        Reason = "revoked"
	UnknownRevoked Reason = "revocation unknown" // no list says whether it is revoked
	NotPinned      Reason = "not pinned"         // what should be trusted is not there
	Unsupported    Reason = "not supported"
)

// Failure says why an envelope does not count. Claimed is whose it says it is,
// which is not believed.
type Failure struct {
	Reason  Reason
	Claimed Signer
	Err     error
}

func (f *Failure) Error() string { return fmt.Sprintf("%s: %v", f.Reason, f.Err) }
func (f *Failure) Unwrap() error { return f.Err }

// Undecided says whether it could not be checked, rather than that it was and the
// answer is no.
func (f *Failure) Undecided() bool {
	switch f.Reason {
	case UnknownRevoked, NotPinned, Unsupported:
		return true
	}
	return false
}

// failure sorts what notation-go refused.
func (j *judgement) failure(ctx context.Context, out *notation.VerificationOutcome, err error) *Failure {
	f := &Failure{Reason: BadSignature, Claimed: j.claimed(), Err: err}
	var inconclusive notation.VerificationInconclusiveError
	if errors.As(err, &inconclusive) {
		f.Reason = Unsupported
		return f
	}
	if out == nil {
		return f
	}
	for _, r := range out.VerificationResults {
		if r.Error == nil || r.Action != trustpolicy.ActionEnforce {
			continue
		}
		f.Err = r.Error
		switch r.Type {
		case trustpolicy.TypeAuthenticity:
			f.Reason = Untrusted
			if out.EnvelopeContent != nil && j.trusted(ctx, &out.EnvelopeContent.SignerInfo) {
				f.Reason = WrongIdentity
			}
		case trustpolicy.TypeExpiry:
			f.Reason = Expired
		case trustpolicy.TypeAuthenticTimestamp:
			f.Reason = WrongTime
			if j.revoked.unknown {
				f.Reason, f.Err = UnknownRevoked, j.revoked.explain(r.Error)
			}
		case trustpolicy.TypeRevocation:
			f.Reason = Revoked
			if j.revoked.unknown {
				f.Reason, f.Err = UnknownRevoked, j.revoked.explain(r.Error)
			}
		}
		return f
	}
	return f
}

// trusted says whether a pinned certificate is above the signer, so that it is the
// identity that is wrong.
func (j *judgement) trusted(ctx context.Context, info *signature.SignerInfo) bool {
	typ := truststore.TypeCA
	if info.SignedAttributes.SigningScheme == signature.SigningSchemeX509SigningAuthority {
		typ = truststore.TypeSigningAuthority
	}
	var pinned []*x509.Certificate
	for _, s := range j.doc.TrustPolicies[0].TrustStores {
		if t, name, _ := strings.Cut(s, ":"); t == string(typ) {
			certs, _ := j.trust.Store.GetCertificates(ctx, typ, name)
			pinned = append(pinned, certs...)
		}
	}
	_, err := signature.VerifyAuthenticity(info, pinned)
	return err == nil
}
