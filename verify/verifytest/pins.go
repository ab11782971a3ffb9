package verifytest

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/trust"

	"github.com/notaryproject/notation-go/verifier/truststore"
)

// Pins is what to trust.
type Pins struct {
	CA, TSA map[string]*x509.Certificate // by the store's name
	Keys    map[string]crypto.Signer
	Roots   map[string][]byte // Sigstore trusted roots; "" is a name
	CRLs    []*x509.RevocationList
}

// Trust makes a trust directory and opens it.
func Trust(t testing.TB, p Pins) *trust.Trust {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "trust")
	if err := trust.Init(dir); err != nil {
		t.Fatal(err)
	}
	for typ, stores := range map[trust.StoreType]map[string]*x509.Certificate{"ca": p.CA, "tsa": p.TSA} {
		for name, c := range stores {
			got(trust.AddCertificate(dir, typ, name, signing.CertificatesPEM(c), "root.pem"))(t)
		}
	}
	for name, k := range p.Keys {
		got(trust.AddKey(dir, name, got(signing.PublicKeyPEM(k))(t)))(t)
	}
	for name, data := range p.Roots {
		got(trust.AddRoot(dir, name, data))(t)
	}
	for i, l := range p.CRLs {
		got(trust.AddCRL(dir, l.Raw, "list"+string(rune('a'+i))+".crl"))(t)
	}
	return got(trust.Open(dir))(t)
}

// Policy makes a policy of one rule for everything, which asks for require.
func Policy(t testing.TB, require string) *policy.Policy {
	t.Helper()
	text := "version: airgap.policy/v1\nrules:\n- name: rule\n  match: [\"**\"]\n  require:\n"
	for line := range strings.Lines(require) {
		text += "    " + line
	}
	return got(policy.Parse("policy.yaml", []byte(text+"\n"), ""))(t)
}

// Stores are pinned certificates by "type:name", for tests of notation's verifier
// alone.
type Stores map[string][]*x509.Certificate

// GetCertificates implements [truststore.X509TrustStore].
func (s Stores) GetCertificates(_ context.Context, t truststore.Type, name string) ([]*x509.Certificate, error) {
	if certs, ok := s[string(t)+":"+name]; ok {
		return certs, nil
	}
	return nil, errors.New("no such store")
}

// Offline fails the test if anything is dialled by net/http's default.
func Offline(t testing.TB) {
	before := http.DefaultTransport
	http.DefaultTransport = dialler{t}
	t.Cleanup(func() { http.DefaultTransport = before })
}

type dialler struct{ t testing.TB }

func (d dialler) RoundTrip(r *http.Request) (*http.Response, error) {
	d.t.Errorf("dialled %s", r.URL)
	return nil, errors.New("no network")
}
