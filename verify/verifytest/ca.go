package verifytest

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"

	"airgap/verify/signing"
)

// Root makes a self-signed authority. Two of the same name have different keys.
func Root(t testing.TB, name string) *signing.TestCA {
	t.Helper()
	return got(signing.NewTestCA(name, signing.TestOptions{}))(t)
}

// Below makes an authority below ca.
func Below(t testing.TB, ca *signing.TestCA, name string, o signing.TestOptions) *signing.TestCA {
	t.Helper()
	return got(ca.IssueCA(name, o))(t)
}

// Issue makes a code-signing key and certificate.
func Issue(t testing.TB, ca *signing.TestCA, name string, o signing.TestOptions) signing.Chain {
	t.Helper()
	return got(ca.Issue(name, o))(t)
}

// Identity is how a policy names the holder of a certificate called name.
func Identity(name string) string {
	return "x509.subject: C=XX, ST=Test, O=airgap test, CN=" + name
}

// got is the value, or the end of the test.
func got[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// List says what is in a revocation list. The zero value is number 0, made an hour
// ago, good for another, and revokes nothing.
type List struct {
	Number     int64
	ThisUpdate time.Time
	NextUpdate time.Time
	Revoked    []*x509.Certificate
	// RevokedAt is when; zero means a minute ago.
	RevokedAt time.Time
	// Scope limits the list; see OnlyFor.
	Scope []pkix.Extension
}

// CRL makes a revocation list of ca's. Its bytes are in Raw.
func CRL(t testing.TB, ca *signing.TestCA, l List) *x509.RevocationList {
	t.Helper()
	now := time.Now()
	template := &x509.RevocationList{
		Number: big.NewInt(l.Number), ThisUpdate: or(l.ThisUpdate, now.Add(-time.Hour)), NextUpdate: or(l.NextUpdate, now.Add(time.Hour)),
		ExtraExtensions: l.Scope,
	}
	if !l.NextUpdate.IsZero() && l.ThisUpdate.IsZero() && !template.ThisUpdate.Before(l.NextUpdate) {
		template.ThisUpdate = l.NextUpdate.Add(-time.Hour) // one that is stale
	}
	for _, c := range l.Revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.SerialNumber, RevocationTime: or(l.RevokedAt, now.Add(-time.Minute)),
		})
	}
	der := got(x509.CreateRevocationList(rand.Reader, template, ca.Certs[0], ca.Key))(t)
	return got(x509.ParseRevocationList(der))(t)
}

func or(t, otherwise time.Time) time.Time {
	if t.IsZero() {
		return otherwise
	}
	return t
}

// Flags of an Issuing Distribution Point (RFC 5280, 5.2.5).
const (
	OnlyUsers      = 1
	OnlyCAs        = 2
	SomeReasons    = 3
	Indirect       = 4
	OnlyAttributes = 5
)

// OnlyFor limits a list to one distribution point, and by flags further.
func OnlyFor(t testing.TB, url string, flags ...int) []pkix.Extension {
	t.Helper()
	tag := func(n int, compound bool, b []byte) []byte {
		return got(asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: n, IsCompound: compound, Bytes: b}))(t)
	}
	body := tag(0, true, tag(0, true, tag(6, false, []byte(url))))
	for _, f := range flags {
		body = append(body, tag(f, false, []byte{0xff})...)
	}
	value := got(asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: body}))(t)
	return Critical(asn1.ObjectIdentifier{2, 5, 29, 28}, value)
}

// Delta marks a list that only says what changed since number base (5.2.4).
func Delta(t testing.TB, base int64) []pkix.Extension {
	t.Helper()
	return Critical(asn1.ObjectIdentifier{2, 5, 29, 27}, got(asn1.Marshal(big.NewInt(base)))(t))
}

// Critical is an extension that whoever does not know it must not pass over.
func Critical(id asn1.ObjectIdentifier, value []byte) []pkix.Extension {
	return []pkix.Extension{{Id: id, Critical: true, Value: value}}
}
