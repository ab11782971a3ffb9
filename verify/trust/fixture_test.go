package trust_test

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"airgap/verify/signing"
	"airgap/verify/trust"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// The fixtures' time, and when what they make ends.
var (
	now  = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	ends = now.AddDate(1, 0, 0)
)

const month = 30 * 24 * time.Hour

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newCA(t *testing.T, name string) *signing.TestCA {
	t.Helper()
	return newCAUntil(t, name, ends)
}

func newCAUntil(t *testing.T, name string, end time.Time) *signing.TestCA {
	t.Helper()
	ca, err := signing.NewTestCA(name, signing.TestOptions{InsecureSeed: "trust", NotBefore: now.AddDate(-1, 0, 0), NotAfter: end})
	must(t, err)
	return ca
}

func caPEM(t *testing.T, name string) []byte {
	t.Helper()
	return signing.CertificatesPEM(newCA(t, name).Certs...)
}

func keyPEM(t *testing.T, seed string) []byte {
	t.Helper()
	data, err := signing.PublicKeyPEM(signing.InsecureKey(seed))
	must(t, err)
	return data
}

// newCRL makes a revocation list of ca's, in DER.
func newCRL(t *testing.T, ca *signing.TestCA, number int64, next time.Time) []byte {
	t.Helper()
	// Without randomness, ECDSA is the deterministic one of RFC 6979.
	der, err := x509.CreateRevocationList(nil, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: now.Add(-time.Hour), NextUpdate: next,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: now.Add(-2 * time.Hour)}},
	}, ca.Certs[0], ca.Key)
	must(t, err)
	return der
}

func crlPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// newRoot makes a Sigstore trusted root with one of everything, which ends then.
func newRoot(t *testing.T, end time.Time) []byte {
	t.Helper()
	log := func(seed string) map[string]*root.TransparencyLog {
		id := sha256.Sum256([]byte(seed))
		l := &root.TransparencyLog{
			BaseURL: "https://" + seed + ".example", ID: id[:], HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256,
			PublicKey: signing.InsecureKey(seed).Public(), ValidityPeriodStart: now.AddDate(-1, 0, 0), ValidityPeriodEnd: end,
		}
		return map[string]*root.TransparencyLog{string(id[:]): l}
	}
	fulcio, tsa := newCAUntil(t, "fulcio", end), newCAUntil(t, "tsa", end)
	leaf, err := tsa.Issue("stamper", signing.TestOptions{InsecureSeed: "trust", NotAfter: end})
	must(t, err)
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01,
		[]root.CertificateAuthority{&root.FulcioCertificateAuthority{Root: fulcio.Certs[0], URI: "https://fulcio.example", ValidityPeriodStart: now.AddDate(-1, 0, 0)}},
		log("ctlog"),
		[]root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{Root: tsa.Certs[0], Leaf: leaf.Certs[0], URI: "https://tsa.example", ValidityPeriodStart: now.AddDate(-1, 0, 0)}},
		log("rekor"))
	must(t, err)
	data, err := tr.MarshalJSON()
	must(t, err)
	var out bytes.Buffer
	must(t, json.Compact(&out, data)) // its spaces are random
	return out.Bytes()
}

// write puts files into a folder, by hand.
func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, data, 0o644))
	}
}

// full is a trust directory with one of everything.
func full(t *testing.T) map[string][]byte {
	t.Helper()
	ca := newCA(t, "acme")
	return map[string][]byte{
		"truststore/x509/ca/acme/root.pem":               signing.CertificatesPEM(ca.Certs...),
		"truststore/x509/ca/acme/two.pem":                append(caPEM(t, "second"), caPEM(t, "third")...),
		"truststore/x509/ca/other/GlobalThing Root.crt":  newCA(t, "other").Certs[0].Raw,
		"truststore/x509/signingAuthority/wabbit/sa.crt": caPEM(t, "wabbit"),
		"truststore/x509/tsa/clock/tsa.crt":              caPEM(t, "clock"),
		"keys/release.pub":                               keyPEM(t, "release"),
		"keys/build.pem":                                 keyPEM(t, "build"),
		"trusted_root.json":                              newRoot(t, ends),
		"trusted_root-two.json":                          newRoot(t, ends.AddDate(1, 0, 0)),
		"crl/acme.crl":                                   newCRL(t, ca, 1, ends),
		"crl/acme-old.crl":                               crlPEM(newCRL(t, ca, 0, now.Add(-time.Minute))),
		"README.md":                                      []byte("for people"),
		"keys/README":                                    []byte("for people"),
		".gitignore":                                     []byte("*.tmp"),
	}
}

// open opens a folder of these files.
func open(t *testing.T, files map[string][]byte) (*trust.Trust, error) {
	t.Helper()
	dir := tempDir(t)
	write(t, dir, files)
	return trust.Open(dir)
}

func mustOpen(t *testing.T, dir string) *trust.Trust {
	t.Helper()
	tr, err := trust.Open(dir)
	must(t, err)
	return tr
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// tempDir is a folder in memory where there is one: every change is synced, and a
// disk takes its time.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "airgap-trust-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
