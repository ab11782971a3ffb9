package trust_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/verify/signing"
	"airgap/verify/trust"
)

// at is an editor of dir whose clock stands still.
func at(dir string, t time.Time) trust.Editor {
	return trust.Editor{Dir: dir, Now: func() time.Time { return t }}
}

func wantConfirmed(t *testing.T, what, dir string, want time.Time) {
	t.Helper()
	got, ok := mustOpen(t, dir).Confirmed()
	if ok == want.IsZero() || !got.Equal(want) {
		t.Errorf("%s: confirmed %s (%v), want %s", what, got, ok, want)
	}
}

// Making and changing a directory confirms it, and so does saying so. It has no
// part in the digest, which names what is trusted.
func TestConfirmed(t *testing.T) {
	dir := filepath.Join(tempDir(t), "trust")
	day := func(n int) time.Time { return now.AddDate(0, 0, n) }
	must(t, at(dir, now).Init())
	wantConfirmed(t, "made", dir, now)
	_, err := at(dir, day(1)).AddKey("k", keyPEM(t, "k"))
	must(t, err)
	wantConfirmed(t, "added", dir, day(1))
	_, err = at(dir, day(2)).AddKey("k", keyPEM(t, "k"))
	must(t, err)
	wantConfirmed(t, "added again", dir, day(2))
	before := mustOpen(t, dir).Digest()
	confirmed, err := at(dir, day(3).Add(time.Millisecond)).Confirm()
	must(t, err)
	wantConfirmed(t, "confirmed", dir, day(3))
	if got := mustOpen(t, dir).Digest(); got != before || confirmed.Digest() != before {
		t.Errorf("the digest was %s, is %s, and %s was confirmed", before, got, confirmed.Digest())
	}
	must(t, at(dir, day(4)).Remove("keys/k.pub"))
	wantConfirmed(t, "removed", dir, day(4))
	if _, err := at(dir, day(5)).AddKey("../k", keyPEM(t, "k")); err == nil {
		t.Error("added")
	}
	wantConfirmed(t, "refused", dir, day(4))
}

// What nobody confirmed does not become so by some other change: not what notation
// or an older airgap made, and not what came by other ways.
func TestUnconfirmedStaysSo(t *testing.T) {
	foreign := tempDir(t)
	write(t, foreign, map[string][]byte{"truststore/x509/ca/acme/x.pem": caPEM(t, "acme")})
	changed := tempDir(t)
	must(t, at(changed, now).Init())
	write(t, changed, map[string][]byte{"keys/sneaked.pub": keyPEM(t, "sneaked")})
	for what, dir := range map[string]string{"a foreign one": foreign, "a changed one": changed} {
		wantConfirmed(t, what, dir, time.Time{})
		_, err := at(dir, now).AddKey("k", keyPEM(t, "k"))
		must(t, err)
		wantConfirmed(t, what+", added to", dir, time.Time{})
		must(t, at(dir, now).Remove("keys/k.pub"))
		must(t, at(dir, now).Init())
		wantConfirmed(t, what+", made again", dir, time.Time{})
		_, err = at(dir, now).Confirm()
		must(t, err)
		wantConfirmed(t, what+", looked over", dir, now)
	}
	// What was changed back is what was confirmed.
	write(t, changed, map[string][]byte{"keys/more.pub": keyPEM(t, "more")})
	wantConfirmed(t, "changed", changed, time.Time{})
	must(t, os.Remove(filepath.Join(changed, "keys", "more.pub")))
	wantConfirmed(t, "changed back", changed, now)
}

func TestCheckConfirmed(t *testing.T) {
	dir := tempDir(t)
	must(t, at(dir, now).Init())
	_, err := at(dir, now).AddKey("k", keyPEM(t, "k"))
	must(t, err)
	codes := func(when time.Time) (out []string) {
		for _, f := range mustOpen(t, dir).Check(when, 0) {
			if f.Problem {
				f.Code += "!"
			}
			out = append(out, f.Code)
		}
		return out
	}
	if got := codes(now); len(got) != 0 {
		t.Errorf("confirmed now: %v", got)
	}
	if got := codes(now.Add(-time.Second)); !slices.Equal(got, []string{trust.FindFuture + "!"}) {
		t.Errorf("confirmed at a time to come: %v", got)
	}
	write(t, dir, map[string][]byte{"keys/sneaked.pub": keyPEM(t, "sneaked")})
	if got := codes(now); !slices.Equal(got, []string{trust.FindChanged}) {
		t.Errorf("changed: %v", got)
	}
}

// The file is read in one spelling only; whatever is wrong with it, Confirm writes
// it anew.
func TestConfirmedIsStrict(t *testing.T) {
	dir := tempDir(t)
	must(t, at(dir, now).Init())
	path := filepath.Join(dir, "confirmed.json")
	good, err := os.ReadFile(path)
	must(t, err)
	edit := func(old, new string) []byte { return []byte(strings.Replace(string(good), old, new, 1)) }
	for what, data := range map[string][]byte{
		"empty":            nil,
		"half":             good[:len(good)/2],
		"no line end":      good[:len(good)-1],
		"another version":  edit("trust/v1", "trust/v2"),
		"no version":       edit(`  "version": "airgap.trust/v1",`+"\n", ""),
		"no time":          edit(now.Format(time.RFC3339), "0001-01-01T00:00:00Z"),
		"another zone":     edit("00Z", "00+00:00"),
		"not RFC 3339":     edit("T12", " 12"),
		"an unknown field": edit("{", `{"x": 1,`),
		"a field twice":    edit("{\n", "{\n"+`  "version": "airgap.trust/v1",`+"\n"),
		"another spelling": edit("confirmed", "Confirmed"),
		"more behind it":   append(slices.Clone(good), good...),
		"null":             []byte("null\n"),
		"too much":         append(slices.Clone(good), make([]byte, 4096)...),
	} {
		must(t, os.WriteFile(path, data, 0o644))
		if _, err := trust.Open(dir); err == nil || !strings.Contains(err.Error(), "confirmed.json") {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := trust.AddKey(dir, "k", keyPEM(t, "k")); err == nil {
			t.Errorf("%s: something was added", what)
		}
		_, err := at(dir, now).Confirm()
		must(t, err)
		wantConfirmed(t, what+", written anew", dir, now)
	}
	must(t, os.Remove(path))
	must(t, os.Symlink("README", path))
	if _, err := trust.Open(dir); err == nil {
		t.Error("a link was followed")
	}
}

// listOf makes a revocation list with more extensions.
func listOf(t *testing.T, ca *signing.TestCA, number int64, made time.Time, more ...pkix.Extension) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(nil, &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: made, NextUpdate: ends, ExtraExtensions: more,
	}, ca.Certs[0], ca.Key)
	must(t, err)
	return der
}

// A newer list takes the place of the older ones of its issuer, key and scope, and
// of no others; an older one never comes back.
func TestNewerListReplaces(t *testing.T) {
	made := now.Add(-time.Hour)
	acme, other := newCA(t, "acme"), newCA(t, "other")
	part := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0x03, 0x81, 0x01, 0xff}}
	dir := tempDir(t)
	must(t, at(dir, now).Init())
	add := func(der []byte, name string) (trust.Added, error) { return at(dir, now).AddCRL(der, name) }
	for name, der := range map[string][]byte{"acme": listOf(t, acme, 5, made), "part": listOf(t, acme, 5, made, part), "other": listOf(t, other, 1, made)} {
		_, err := add(der, name)
		must(t, err)
	}
	a, err := add(listOf(t, acme, 6, made), "acme") // the same name
	must(t, err)
	if a.Already || !slices.Equal(a.Replaced, []string{"crl/acme.crl"}) || a.Items[0].Number != "6" {
		t.Errorf("added %+v", a)
	}
	a, err = add(listOf(t, acme, 7, made), "acme-7")
	must(t, err)
	if !slices.Equal(a.Replaced, []string{"crl/acme.crl"}) || a.File != "crl/acme-7.crl" {
		t.Errorf("added %+v", a)
	}
	a, err = add(listOf(t, acme, 7, made), "again")
	if err != nil || !a.Already || a.File != "crl/acme-7.crl" || a.Replaced != nil {
		t.Errorf("the same list under another name: %+v, %v", a, err)
	}
	want := []string{"acme-7 7", "other 1", "part 5"}
	there := func() (out []string) {
		for _, i := range mustOpen(t, dir).Items() {
			out = append(out, i.Name+" "+i.Number)
		}
		return out
	}
	for _, c := range []struct {
		what string
		der  []byte
		name string
		want error
	}{
		{"an older one", listOf(t, acme, 6, made), "acme", trust.ErrOlder},
		{"an older one in its place", listOf(t, acme, 6, made), "acme-7", trust.ErrOlder},
		{"one of the same number", listOf(t, acme, 7, made.Add(time.Minute)), "acme", trust.ErrExists},
		{"one that is yet to come", listOf(t, acme, 8, now.Add(time.Hour)), "acme", trust.ErrInvalid},
		{"another issuer's in its place", listOf(t, newCA(t, "third"), 9, made), "acme-7", trust.ErrExists},
		{"a delta", listOf(t, acme, 9, made, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 7}}), "delta", trust.ErrInvalid},
	} {
		_, err := add(c.der, c.name)
		wantErr(t, c.what, err, c.want)
	}
	if got := there(); !slices.Equal(got, want) {
		t.Errorf("there is %v, want %v", got, want)
	}
	_, err = add(listOf(t, acme, 9, made, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 7}}), "delta")
	if err == nil || !strings.Contains(err.Error(), "delta CRL") || !strings.Contains(layout.Hint(err), "complete list") {
		t.Errorf("a delta: %v (%s)", err, layout.Hint(err))
	}
}

// Where the issuer's certificate is here, a list that it did not sign puts nothing
// away, whatever number it claims.
func TestForgedListReplacesNothing(t *testing.T) {
	made := now.Add(-time.Hour)
	acme := newCA(t, "acme")
	forger, err := signing.NewTestCA("acme", signing.TestOptions{InsecureSeed: "forger", NotBefore: now.AddDate(-1, 0, 0), NotAfter: ends})
	must(t, err)
	forger.Certs[0].SubjectKeyId = acme.Certs[0].SubjectKeyId
	dir := tempDir(t)
	must(t, at(dir, now).Init())
	_, err = at(dir, now).AddCertificate(trust.TypeCA, "acme", signing.CertificatesPEM(acme.Certs...), "acme.pem")
	must(t, err)
	_, err = at(dir, now).AddCRL(listOf(t, acme, 5, made), "acme")
	must(t, err)
	_, err = at(dir, now).AddCRL(listOf(t, forger, 99, made), "acme")
	wantErr(t, "a forged list", err, trust.ErrInvalid)
	_, err = at(dir, now).AddCRL(listOf(t, acme, 6, made), "acme")
	must(t, err)
}
