package sigstoretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	"github.com/google/certificate-transparency-go/x509util"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// Moment is when things are signed unless told otherwise.
var Moment = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// CertificateLife is how long a certificate is valid, as with the public Sigstore.
const CertificateLife = 10 * time.Minute

// The authorities are valid between these.
var (
	notBefore = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Object identifiers of extensions.
var (
	oidIssuer     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1} // sigstore/fulcio, docs/oid-info.md
	oidSCT        = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
	oidUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidTimestamps = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
)

// authority is a certificate and its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Sigstore is one deployment: what the roots of one have signed means nothing to
// another.
type Sigstore struct {
	root, fulcio, tsa authority
	rekor, rekor2, ct *ecdsa.PrivateKey
}

// New makes a deployment.
func New() (*Sigstore, error) {
	s := &Sigstore{}
	for _, key := range []**ecdsa.PrivateKey{&s.root.key, &s.fulcio.key, &s.tsa.key, &s.rekor, &s.rekor2, &s.ct} {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		*key = k
	}
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{oidTimestamps})
	if err != nil {
		return nil, err
	}
	ca := x509.Certificate{
		Subject: pkix.Name{CommonName: "test root", Organization: []string{"test"}}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	below := ca
	below.Subject.CommonName, below.ExtKeyUsage = "test intermediate", []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	stamps := x509.Certificate{
		Subject: pkix.Name{CommonName: "test timestamps", Organization: []string{"test"}}, KeyUsage: x509.KeyUsageDigitalSignature,
		// Timestamping alone, and critical (RFC 3161, 2.3).
		ExtraExtensions: []pkix.Extension{{Id: oidUsage, Critical: true, Value: usage}},
	}
	for _, c := range []struct {
		of       *authority
		template x509.Certificate
	}{{&s.root, ca}, {&s.fulcio, below}, {&s.tsa, stamps}} {
		c.template.NotBefore, c.template.NotAfter = notBefore, notAfter
		if c.of.cert, err = s.root.issue(&c.template, c.of.key.Public()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// issue makes a certificate; without one of its own, a self-signed one.
func (a *authority) issue(template *x509.Certificate, pub crypto.PublicKey) (*x509.Certificate, error) {
	parent := a.cert
	if parent == nil {
		parent = template
	}
	id, err := keyID(pub)
	if err != nil {
		return nil, err
	}
	template.SerialNumber = new(big.Int).SetBytes(id[:16])
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("test certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// keyID names a key as logs do (RFC 6962, 3.2).
func keyID(pub crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return sum[:], nil
}

// Addresses of the logs. Nothing is there; the second names the log in what it
// signs.
const (
	rekorHost  = "rekor.test"
	rekor2Host = "rekor2.test"
)

// RootJSON is what to pin, as trusted_root.json.
func (s *Sigstore) RootJSON() ([]byte, error) {
	logs, err := logsOf(map[string]*ecdsa.PrivateKey{"https://" + rekorHost: s.rekor, "https://" + rekor2Host: s.rekor2})
	if err != nil {
		return nil, err
	}
	cts, err := logsOf(map[string]*ecdsa.PrivateKey{"https://ct.test": s.ct})
	if err != nil {
		return nil, err
	}
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{
			URI: "https://fulcio.test", Root: s.root.cert, Intermediates: []*x509.Certificate{s.fulcio.cert},
			ValidityPeriodStart: notBefore, ValidityPeriodEnd: notAfter,
		}}, cts,
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			URI: "https://tsa.test", Root: s.root.cert, Leaf: s.tsa.cert,
			ValidityPeriodStart: notBefore, ValidityPeriodEnd: notAfter,
		}}, logs)
	if err != nil {
		return nil, err
	}
	return tr.MarshalJSON()
}

// Root is what to pin.
func (s *Sigstore) Root() (*root.TrustedRoot, error) {
	data, err := s.RootJSON()
	if err != nil {
		return nil, err
	}
	return root.NewTrustedRootFromJSON(data)
}

func logsOf(keys map[string]*ecdsa.PrivateKey) (map[string]*root.TransparencyLog, error) {
	logs := map[string]*root.TransparencyLog{}
	for address, key := range keys {
		id, err := keyID(key.Public())
		if err != nil {
			return nil, err
		}
		logs[hex.EncodeToString(id)] = &root.TransparencyLog{
			BaseURL: address, ID: id, PublicKey: key.Public(),
			HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256,
			ValidityPeriodStart: notBefore, ValidityPeriodEnd: notAfter,
		}
	}
	return logs, nil
}

// certify makes a certificate as Fulcio does.
func (s *Sigstore) certify(o Signing, pub crypto.PublicKey) (*x509.Certificate, error) {
	template := &x509.Certificate{
		NotBefore: o.at(), NotAfter: o.at().Add(CertificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: oidIssuer, Value: []byte(o.Issuer)}},
	}
	if strings.Contains(o.Identity, "://") {
		u, err := url.Parse(o.Identity)
		if err != nil {
			return nil, err
		}
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{o.Identity}
	}
	bare, err := s.fulcio.issue(template, pub)
	if err != nil || o.NoSCT {
		return bare, err
	}
	list, err := s.publish(bare, o.at())
	if err != nil {
		return nil, err
	}
	template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oidSCT, Value: list})
	return s.fulcio.issue(template, pub)
}

// publish is the certificate log: the extension that says it knows the
// certificate (RFC 6962, 3.3).
func (s *Sigstore) publish(bare *x509.Certificate, at time.Time) ([]byte, error) {
	issuer := sha256.Sum256(s.fulcio.cert.RawSubjectPublicKeyInfo)
	id, err := keyID(s.ct.Public())
	if err != nil {
		return nil, err
	}
	sct := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: [32]byte(id)}, Timestamp: uint64(at.UnixMilli())}
	input, err := ct.SerializeSCTSignatureInput(sct, ct.LogEntry{Leaf: ct.MerkleTreeLeaf{
		TimestampedEntry: &ct.TimestampedEntry{
			Timestamp: sct.Timestamp, EntryType: ct.PrecertLogEntryType,
			PrecertEntry: &ct.PreCert{IssuerKeyHash: issuer, TBSCertificate: bare.RawTBSCertificate},
		},
	}})
	if err != nil {
		return nil, err
	}
	sig, err := tls.CreateSignature(*s.ct, tls.SHA256, input)
	if err != nil {
		return nil, err
	}
	sct.Signature = ct.DigitallySigned(sig)
	list, err := x509util.MarshalSCTsIntoSCTList([]*ct.SignedCertificateTimestamp{&sct})
	if err != nil {
		return nil, err
	}
	raw, err := tls.Marshal(*list)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(raw)
}
