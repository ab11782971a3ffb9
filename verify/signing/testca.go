package signing

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// Certificates of a TestCA are valid between these two unless told otherwise.
// The start is where the clock of a testing/synctest bubble starts; the end is
// the last moment that X.509 writes with a two-digit year.
var (
	testNotBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	testNotAfter  = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
)

// testRSABits is the smallest RSA key that Notary takes; larger ones only make
// tests slow.
const testRSABits = 2048

// A TestCA issues code-signing certificates that Notary accepts. It is for
// tests and demos: it keeps its key in memory, remembers nothing it issued and
// asks nobody's name. Do not put its certificate into a trust store you rely on.
type TestCA struct {
	// Certs is the CA's own certificate and those above it, root last.
	Certs []*x509.Certificate
	// Key is the CA's key, which can also sign a revocation list, with
	// x509.CreateRevocationList.
	Key crypto.Signer
}

// TestOptions vary a test certificate. The zero value is a fresh ECDSA P-256
// key and a certificate that is valid from 2000 to 2049 without revocation
// information.
type TestOptions struct {
	// RSA makes an RSA key of 2048 bits instead.
	RSA bool
	// InsecureSeed derives the key from this and the certificate's name, so
	// that every run gives the same bytes. Anyone else can derive it, too. Not
	// with RSA.
	InsecureSeed string
	// NotBefore and NotAfter limit the certificate's validity.
	NotBefore, NotAfter time.Time
	// CRL and OCSP say where the issuer publishes what it revoked.
	CRL, OCSP string
}

// NewTestChain makes a root and a code-signing certificate under it, with fresh
// ECDSA keys. For tests and demos; see [TestCA].
func NewTestChain(name string) (Chain, error) {
	ca, err := NewTestCA(name+" root", TestOptions{})
	if err != nil {
		return Chain{}, err
	}
	return ca.Issue(name, TestOptions{})
}

// NewTestCA makes a self-signed root.
func NewTestCA(name string, opts TestOptions) (*TestCA, error) {
	return new(TestCA).IssueCA(name, opts)
}

// IssueCA makes a CA below ca; below the zero TestCA, a root.
func (ca *TestCA) IssueCA(name string, opts TestOptions) (*TestCA, error) {
	c, err := ca.issue(name, true, opts)
	if err != nil {
		return nil, err
	}
	return &TestCA{Certs: c.Certs, Key: c.Key}, nil
}

// Issue makes a code-signing key and certificate; from the zero TestCA, a
// self-signed one, which Notary accepts as well.
func (ca *TestCA) Issue(name string, opts TestOptions) (Chain, error) {
	return ca.issue(name, false, opts)
}

func (ca *TestCA) issue(name string, isCA bool, opts TestOptions) (Chain, error) {
	key, err := testKey(name, opts)
	if err != nil {
		return Chain{}, err
	}
	template, err := testTemplate(name, key, isCA, opts)
	if err != nil {
		return Chain{}, err
	}
	parent, signer := template, key
	if len(ca.Certs) > 0 {
		parent, signer = ca.Certs[0], ca.Key
	}
	der, err := x509.CreateCertificate(entropy(signer), template, parent, key.Public(), signer)
	if err != nil {
		return Chain{}, fmt.Errorf("test certificate %q: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Chain{}, fmt.Errorf("test certificate %q: %w", name, err)
	}
	return Chain{Key: key, Certs: append([]*x509.Certificate{cert}, ca.Certs...)}, nil
}

func testKey(name string, opts TestOptions) (crypto.Signer, error) {
	switch {
	case opts.RSA && opts.InsecureSeed != "":
		return nil, fmt.Errorf("%w: test certificate %q: an RSA key cannot come from a seed; drop one of the two", ErrKey, name)
	case opts.RSA:
		return rsa.GenerateKey(rand.Reader, testRSABits)
	case opts.InsecureSeed != "":
		return InsecureKey(opts.InsecureSeed + "\x00" + name), nil
	}
	return GenerateKey()
}

// testTemplate says what goes into the certificate. Notary wants a leaf that
// may sign and do nothing else, a critical key usage in each certificate (Go
// sees to that) and, where a policy pins a subject, a country, state and
// organization.
func testTemplate(name string, key crypto.Signer, isCA bool, opts TestOptions) (*x509.Certificate, error) {
	der, err := publicDER(key)
	if err != nil {
		return nil, err
	}
	// A serial number must not repeat under an issuer; keys do not.
	sum := sha256.Sum256(append(der, name...))
	t := &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(sum[:16]),
		Subject:               TestSubject(name),
		NotBefore:             testNotBefore,
		NotAfter:              testNotAfter,
		BasicConstraintsValid: true,
		IsCA:                  isCA,
		KeyUsage:              x509.KeyUsageDigitalSignature,
	}
	if isCA {
		t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	} else {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	}
	if !opts.NotBefore.IsZero() {
		t.NotBefore = opts.NotBefore
	}
	if !opts.NotAfter.IsZero() {
		t.NotAfter = opts.NotAfter
	}
	if opts.CRL != "" {
		t.CRLDistributionPoints = []string{opts.CRL}
	}
	if opts.OCSP != "" {
		t.OCSPServer = []string{opts.OCSP}
	}
	return t, nil
}

// TestSubject is the subject that a TestCA gives the certificate called name.
// In a notation policy it is "x509.subject: C=XX, ST=Test, O=airgap test, CN=<name>".
func TestSubject(name string) pkix.Name {
	return pkix.Name{
		Country:      []string{"XX"},
		Province:     []string{"Test"},
		Organization: []string{"airgap test"},
		CommonName:   name,
	}
}
