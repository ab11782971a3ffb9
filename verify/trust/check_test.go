package trust_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/verify/signing"
	"airgap/verify/trust"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// found says what Check finds as "code file", with an exclamation mark for
// problems.
func found(t *testing.T, files map[string][]byte, at time.Time, within time.Duration) []string {
	t.Helper()
	tr, err := open(t, files)
	must(t, err)
	var out []string
	for _, f := range tr.Check(at, within) {
		mark := ""
		if f.Problem {
			mark = "!"
		}
		if f.Message == "" {
			t.Errorf("%s: nothing is said of %s", f.Code, f.File)
		}
		out = append(out, mark+f.Code+" "+f.File)
	}
	return out
}

func certFile(name string) string { return "truststore/x509/ca/" + name + "/x.pem" }

// Each end is exact, and the time before it is the caller's to choose.
func TestCheckTimes(t *testing.T) {
	ca := newCA(t, "acme") // valid until ends
	cert := map[string][]byte{certFile("acme"): signing.CertificatesPEM(ca.Certs...)}
	withCRL := maps.Clone(cert)
	withCRL["crl/c.crl"] = newCRL(t, ca, 1, now.Add(month))
	roots := map[string][]byte{"trusted_root.json": newRoot(t, ends)}
	for _, c := range []struct {
		what   string
		files  map[string][]byte
		at     time.Time
		within time.Duration
		want   []string
	}{
		{"valid", cert, now, month, nil},
		{"a second before the time", cert, ends.Add(-month - time.Second), month, nil},
		{"in time", cert, ends.Add(-month), month, []string{"expires " + certFile("acme")}},
		{"nobody wants to know", cert, ends.Add(-time.Second), 0, nil},
		{"the last second", cert, ends.Add(-time.Second), month, []string{"expires " + certFile("acme")}},
		{"the end", cert, ends, month, []string{"!expired " + certFile("acme")}},
		{"long after", cert, ends.AddDate(5, 0, 0), 0, []string{"!expired " + certFile("acme")}},
		{"too early", cert, now.AddDate(-2, 0, 0), month, []string{"not-yet " + certFile("acme")}},
		{"a CRL that is fresh", withCRL, now.Add(time.Second), month - 2*time.Second, nil},
		{"a CRL with an end in sight", withCRL, now, month, []string{"expires crl/c.crl"}},
		{"a stale CRL", withCRL, now.Add(month), 0, []string{"!stale crl/c.crl"}},
		{"a CRL of the future", withCRL, now.Add(-2 * time.Hour), 0, []string{"not-yet crl/c.crl"}},
		{"a root", roots, now, month, nil},
		{"a root about to end", roots, ends.Add(-time.Hour), month, slices.Repeat([]string{"expires trusted_root.json"}, 4)},
		{"a root that has ended", roots, ends, month, slices.Repeat([]string{"!expired trusted_root.json"}, 4)},
	} {
		if got := found(t, c.files, c.at, c.within); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.what, got, c.want)
		}
	}
}

func TestCheckFull(t *testing.T) {
	got := found(t, full(t), now, month)
	if want := []string{"superseded crl/acme-old.crl"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	if got := found(t, map[string][]byte{"keys/README": nil}, now, month); !slices.Equal(got, []string{"trusts-nobody "}) {
		t.Errorf("of nothing, found %q", got)
	}
}

// An authority that has ended is kept for what it signed: it is no problem as long
// as another of its kind goes on, in whatever order they stand.
func TestCheckOldAuthority(t *testing.T) {
	authority := func(name string, end time.Time) root.CertificateAuthority {
		return &root.FulcioCertificateAuthority{Root: newCA(t, name).Certs[0], ValidityPeriodStart: now.AddDate(-1, 0, 0), ValidityPeriodEnd: end}
	}
	old, current, lasting := authority("old", now.AddDate(0, -1, 0)), authority("current", ends.AddDate(0, -1, 0)), authority("lasting", time.Time{})
	for _, c := range []struct {
		list []root.CertificateAuthority
		at   time.Time
		want []string
	}{
		{[]root.CertificateAuthority{old, current}, now, nil},
		{[]root.CertificateAuthority{current, old}, now, nil},
		{[]root.CertificateAuthority{old}, now, []string{"!expired trusted_root.json"}},
		{[]root.CertificateAuthority{current, lasting, old}, ends.Add(-time.Hour), nil}, // until its certificate ends
		{[]root.CertificateAuthority{current, lasting, old}, ends, []string{"!expired trusted_root.json"}},
		{[]root.CertificateAuthority{current, old}, ends.Add(-time.Hour), []string{"!expired trusted_root.json"}},
	} {
		tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, c.list, nil, nil, nil)
		must(t, err)
		data, err := tr.MarshalJSON()
		must(t, err)
		if got := found(t, map[string][]byte{"trusted_root.json": data}, c.at, 0); !slices.Equal(got, c.want) {
			t.Errorf("of %d authorities on %s, found %q, want %q", len(c.list), c.at.Format(time.DateOnly), got, c.want)
		}
	}
}

func TestCheckCRLs(t *testing.T) {
	acme, other := newCA(t, "acme"), newCA(t, "other")
	// It has acme's name, but not its key.
	impostor, err := signing.NewTestCA("acme", signing.TestOptions{NotAfter: ends})
	must(t, err)
	// It says all that acme says.
	forger := &signing.TestCA{Certs: acme.Certs, Key: impostor.Key}
	stale := now.Add(-time.Minute)
	none, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: ends}, acme.Certs[0], acme.Key)
	must(t, err)
	cert := map[string][]byte{certFile("acme"): signing.CertificatesPEM(acme.Certs...)}
	for _, c := range []struct {
		what string
		crls map[string][]byte
		want []string
	}{
		{"signed", map[string][]byte{"crl/a.crl": none}, nil},
		{"of somebody else", map[string][]byte{"crl/a.crl": newCRL(t, other, 1, ends)}, []string{"unsigned crl/a.crl"}},
		{"forged", map[string][]byte{"crl/a.crl": newCRL(t, impostor, 1, ends)}, []string{"unsigned crl/a.crl"}},
		{"stale and replaced", map[string][]byte{"crl/a.crl": newCRL(t, acme, 1, stale), "crl/b.crl": newCRL(t, acme, 2, ends)}, []string{"superseded crl/a.crl"}},
		{"stale, beside an older one", map[string][]byte{"crl/a.crl": newCRL(t, acme, 2, stale), "crl/b.crl": newCRL(t, acme, 1, ends)}, []string{"!stale crl/a.crl", "superseded crl/b.crl"}},
		{"both stale", map[string][]byte{"crl/a.crl": newCRL(t, acme, 1, stale), "crl/b.crl": newCRL(t, acme, 2, stale)}, []string{"!stale crl/b.crl", "superseded crl/a.crl"}},
		// A forged one with a high number does not hide that the real one is stale.
		{"stale, beside a forged one", map[string][]byte{"crl/a.crl": newCRL(t, acme, 1, stale), "crl/b.crl": newCRL(t, forger, 99, ends)}, []string{"!stale crl/a.crl", "unsigned crl/b.crl"}},
		{"stale, beside another's", map[string][]byte{"crl/a.crl": newCRL(t, acme, 1, stale), "crl/b.crl": newCRL(t, other, 99, ends)}, []string{"!stale crl/a.crl", "unsigned crl/b.crl"}},
	} {
		files := maps.Clone(cert)
		maps.Copy(files, c.crls)
		if got := found(t, files, now, 0); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.what, got, c.want)
		}
	}
}

// A CRL that names no next update is never known to be fresh.
func TestCheckCRLWithoutEnd(t *testing.T) {
	var list, tbs []asn1.RawValue
	_, err := asn1.Unmarshal(newCRL(t, newCA(t, "acme"), 1, ends), &list)
	must(t, err)
	_, err = asn1.Unmarshal(list[0].FullBytes, &tbs)
	must(t, err)
	// Version, algorithm, issuer, this update, next update (RFC 5280, 5.1).
	list[0].FullBytes, err = asn1.Marshal(slices.Delete(tbs, 4, 5))
	must(t, err)
	der, err := asn1.Marshal(list)
	must(t, err)
	files := map[string][]byte{"crl/c.crl": der, "keys/k.pub": keyPEM(t, "k")}
	if got, want := found(t, files, now, 0), []string{"!stale crl/c.crl", "unsigned crl/c.crl"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestCheckKeys(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	good, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	must(t, err)
	encode := func(key any) []byte {
		der, err := x509.MarshalPKIXPublicKey(key)
		must(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	self, err := new(signing.TestCA).Issue("self", signing.TestOptions{NotAfter: ends})
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: ends, IsCA: true, BasicConstraintsValid: true}
	weakCA, err := x509.CreateCertificate(rand.Reader, template, template, p224.Public(), p224)
	must(t, err)
	got := found(t, map[string][]byte{
		"keys/short.pub": encode(short.Public()), "keys/good.pub": encode(good.Public()), "keys/p224.pub": encode(p224.Public()), "keys/p256.pub": keyPEM(t, "k"),
		certFile("self"): signing.CertificatesPEM(self.Certs...), certFile("weak"): weakCA,
	}, now, 0)
	want := []string{"weak-key keys/p224.pub", "weak-key keys/short.pub", "not-a-ca " + certFile("self"), "weak-key " + certFile("weak")}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func ExampleTrust_Check() {
	dir := exampleDir()
	defer os.RemoveAll(filepath.Dir(dir))
	t, err := trust.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range t.Check(time.Date(2049, 12, 1, 0, 0, 0, 0, time.UTC), 90*24*time.Hour) {
		fmt.Println(f.Code, f.File+":", f.Message)
	}
	fmt.Println(strings.HasPrefix(t.Digest(), "sha256:"))
	// Output:
	// expires truststore/x509/ca/acme/root.pem: it expires on 2049-12-31
	// true
}
