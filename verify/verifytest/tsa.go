package verifytest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"math/big"
	"testing"
	"time"

	"airgap/verify/signing"

	"github.com/digitorus/timestamp"
	"github.com/notaryproject/tspclient-go"
)

// TSA is a timestamp authority.
type TSA struct {
	// Clock is what it says the time is.
	Clock time.Time
	// Chain is its certificate and those above it, root last.
	Chain signing.Chain
}

var _ tspclient.Timestamper = (*TSA)(nil)

// oidTimestamps is the extended key usage of timestamping (RFC 5280, 4.2.1.12).
var (
	oidUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidTimestamps = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
)

// NewTSA makes a timestamp authority below ca. Of o, RSA and seeds are passed over.
func NewTSA(t testing.TB, ca *signing.TestCA, name string, o signing.TestOptions) *TSA {
	t.Helper()
	key := got(signing.GenerateKey())(t)
	// Timestamping alone, and critical (RFC 3161, 2.3); notation refuses others.
	usage := got(asn1.Marshal([]asn1.ObjectIdentifier{oidTimestamps}))(t)
	template := &x509.Certificate{
		SerialNumber: got(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)))(t), Subject: signing.TestSubject(name),
		NotBefore: or(o.NotBefore, ca.Certs[0].NotBefore), NotAfter: or(o.NotAfter, ca.Certs[0].NotAfter),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: Critical(oidUsage, usage),
	}
	if o.CRL != "" {
		template.CRLDistributionPoints = []string{o.CRL}
	}
	if o.OCSP != "" {
		template.OCSPServer = []string{o.OCSP}
	}
	der := got(x509.CreateCertificate(rand.Reader, template, ca.Certs[0], key.Public(), ca.Key))(t)
	cert := got(x509.ParseCertificate(der))(t)
	return &TSA{Chain: signing.Chain{Key: key, Certs: append([]*x509.Certificate{cert}, ca.Certs...)}}
}

// Root is what to pin.
func (s *TSA) Root() *x509.Certificate { return s.Chain.Root() }

// At is the same authority at another time.
func (s *TSA) At(clock time.Time) *TSA { return &TSA{clock, s.Chain} }

// Timestamp implements [tspclient.Timestamper].
func (s *TSA) Timestamp(_ context.Context, r *tspclient.Request) (*tspclient.Response, error) {
	if s.Clock.IsZero() {
		return nil, errors.New("this timestamp authority was told no time; see At")
	}
	// Notation hashes with SHA-256 where the key has 256 bits.
	raw, err := (&timestamp.Timestamp{
		HashAlgorithm: crypto.SHA256, HashedMessage: r.MessageImprint.HashedMessage, Time: s.Clock.UTC(), Nonce: r.Nonce,
		Policy: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}, AddTSACertificate: true, Certificates: s.Chain.Certs[1:],
	}).CreateResponseWithOpts(s.Chain.Certs[0], s.Chain.Key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	out := &tspclient.Response{}
	return out, out.UnmarshalBinary(raw)
}
