package sigstore

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"airgap/layout"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
)

// Envelope is one thing that was signed, of whatever form, parsed but not
// believed. It does not change and may be used by several goroutines.
type Envelope struct {
	// signed has one bundle for each signature, all over the same content.
	signed []*sgbundle.Bundle
	// At most one of these is set; none for a bundle that signs the artifact
	// itself.
	simple *simplePayload
	stmt   *statement
	other  string // payload type of a DSSE envelope that is no statement
	// record is set instead of signed for a custody record, stmt being what it says.
	record *record
	// artifact is what a message signature is over, if it is here: the payload
	// of simple signing.
	artifact []byte
	// logged is the DSSE envelope as it went to the log, if that is known.
	logged []byte
	// chain is the certificates that stand beside the signer's, in PEM form and not
	// read, if there are any.
	chain string
}

// Signer is who signed: the holder of a key, or whom an issuer vouched for in a
// certificate.
type Signer struct {
	KeyFingerprint      string // "sha256:" and the SHA-256 of the key's PKIX form, in hex
	Identity, Issuer    string
	NotBefore, NotAfter time.Time // the certificate's validity
}

func (s Signer) String() string {
	switch {
	case s.Identity != "":
		return fmt.Sprintf("%s (vouched for by %s)", s.Identity, s.Issuer)
	case s.KeyFingerprint != "":
		return "key " + s.KeyFingerprint
	}
	return "unknown"
}

// bundleTypes start the media type of every bundle (sigstore/protobuf-specs,
// protos/sigstore_bundle.proto).
const bundleTypes = "application/vnd.dev.sigstore.bundle"

// ParseBundle reads a Sigstore bundle. Its error is a [*Failure].
func ParseBundle(data []byte) (e *Envelope, err error) {
	defer recovered(&err)
	if len(data) > MaxEnvelopeBytes {
		return nil, tooLarge("bundle", len(data), MaxEnvelopeBytes)
	}
	// Strict: it takes no field twice, and none it does not know.
	var b protobundle.Bundle
	if err := protojson.Unmarshal(data, &b); err != nil {
		return nil, badBundle(data, err)
	}
	if err := checkSizes(b.GetVerificationMaterial()); err != nil {
		return nil, err
	}
	out, err := sgbundle.NewBundle(&b)
	if err != nil {
		return nil, badBundle(data, err)
	}
	return newEnvelope(out)
}

// badBundle tells a bundle that is broken from one that is only too new.
func badBundle(data []byte, err error) *Failure {
	if newerBundle(data) {
		return failf(Unsupported, "bundle: %w", err)
	}
	return failf(Malformed, "bundle: %w", err)
}

// newerBundle says whether data is a bundle of a version that is not known here.
func newerBundle(data []byte) bool {
	var head struct {
		MediaType string `json:"mediaType"`
	}
	if json.Unmarshal(data, &head) != nil || !strings.HasPrefix(head.MediaType, bundleTypes) {
		return false
	}
	switch strings.TrimPrefix(head.MediaType, bundleTypes) {
	case "+json;version=0.1", "+json;version=0.2", "+json;version=0.3", ".v0.1+json", ".v0.2+json", ".v0.3+json":
		return false
	}
	return true
}

// newEnvelope reads what a bundle signs.
func newEnvelope(b *sgbundle.Bundle) (*Envelope, error) {
	e := &Envelope{signed: []*sgbundle.Bundle{b}}
	if _, err := b.VerificationContent(); err != nil {
		return nil, failf(Malformed, "certificate or key: %w", err)
	}
	if _, err := b.SignatureContent(); err != nil {
		return nil, failf(Malformed, "signature: %w", err)
	}
	content, ok := b.Content.(*protobundle.Bundle_DsseEnvelope)
	if !ok {
		return e, nil
	}
	env := content.DsseEnvelope
	if n := len(env.GetSignatures()); n != 1 {
		return nil, failf(Malformed, "a bundle has one signature, this has %d", n)
	}
	if err := e.read(env.GetPayloadType(), env.GetPayload()); err != nil {
		return nil, err
	}
	return e, nil
}

// read parses the payload of a DSSE envelope.
func (e *Envelope) read(payloadType string, payload []byte) error {
	if payloadType != sgbundle.IntotoMediaType {
		e.other = payloadType
		return nil
	}
	stmt, err := parseStatement(payload)
	e.stmt = stmt
	return err
}

// checkUnique refuses JSON that two parsers could read differently. It is
// [layout.CheckJSON] without the rules for the fields of manifests, which do not
// hold here: a scan result may well have a field "OS".
func checkUnique(raw []byte) error {
	// A value that is complete by itself cannot end the object early.
	if !json.Valid(raw) {
		return fmt.Errorf("not JSON: %w", layout.ErrCorrupt)
	}
	return layout.CheckJSON(bytes.Join([][]byte{[]byte(`{"annotations":`), raw, []byte(`}`)}, nil))
}

// Claimed says whose signature it claims to be. Nothing of it is verified: it is
// for messages such as "signed by X, the policy wants Y".
func (e *Envelope) Claimed() Signer {
	if e.record != nil {
		return e.record.claimed()
	}
	s, err := claimed(e.signed[0])
	if err != nil {
		return Signer{}
	}
	return s
}

func claimed(b *sgbundle.Bundle) (s Signer, err error) {
	defer recovered(&err)
	own := *b // reading the log entries of a bundle writes to it
	b = &own
	content, err := b.VerificationContent()
	if err != nil {
		return Signer{}, err
	}
	if leaf := content.Certificate(); leaf != nil {
		return certified(leaf)
	}
	if pk := content.PublicKey(); pk != nil {
		return Signer{KeyFingerprint: hinted(pk, b)}, nil
	}
	return Signer{}, errors.New("neither certificate nor key")
}

// hinted is the fingerprint a bundle gives of its key: in the hint, as cosign
// writes it, or by the key that a log entry names.
func hinted(pk verify.PublicKeyProvider, b *sgbundle.Bundle) string {
	if sum, err := base64.StdEncoding.DecodeString(pk.Hint()); err == nil && len(sum) == sha256.Size {
		return "sha256:" + hex.EncodeToString(sum)
	}
	if old := oldEntryOf(b); old != nil {
		return old.key()
	}
	entries, err := b.TlogEntries()
	if err != nil {
		return ""
	}
	for _, entry := range entries {
		if fp, err := fingerprint(loggedKey(entry)); err == nil {
			return fp
		}
	}
	return ""
}

// certified is whom a certificate is for.
func certified(leaf *x509.Certificate) (Signer, error) {
	sum, err := certificate.SummarizeCertificate(leaf)
	if err != nil {
		return Signer{}, err
	}
	return Signer{
		Identity: sum.SubjectAlternativeName, Issuer: sum.Issuer,
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}, nil
}
