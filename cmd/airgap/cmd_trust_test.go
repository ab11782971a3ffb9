package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/verify/signing"
)

// trustNow is when the trust commands are run here.
var trustNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func trustUI() *ui {
	u := testUI()
	u.now = func() time.Time { return trustNow }
	u.getenv = func(name string) string { return map[string]string{"AIRGAP_TRUST": "T"}[name] }
	return u
}

// writeTrustFiles writes what there is to add, the same bytes in every run.
func writeTrustFiles(t *testing.T) {
	t.Helper()
	issue := func(name string, end time.Time) *signing.TestCA {
		ca, err := signing.NewTestCA(name, signing.TestOptions{InsecureSeed: "trust", NotAfter: end})
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	acme, old := issue("acme", trustNow.AddDate(0, 0, 20)), issue("old", trustNow.AddDate(0, 0, -1))
	crl, err := x509.CreateRevocationList(nil, &x509.RevocationList{
		Number: big.NewInt(5), ThisUpdate: trustNow.AddDate(0, -1, 0), NextUpdate: trustNow.AddDate(0, 0, -2),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: trustNow.AddDate(0, -2, 0)}},
	}, acme.Certs[0], acme.Key)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.PublicKeyPEM(signing.InsecureKey("trust"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"acme.pem": signing.CertificatesPEM(acme.Certs...), "old.pem": signing.CertificatesPEM(old.Certs...),
		"acme.crl": crl, "key.pub": key,
	} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The JSON of the trust commands is as it was.
func TestTrustGolden(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "golden", "trust"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	writeTrustFiles(t)
	lines := []struct {
		file, args string
		code       int
	}{
		{"init.json", "init T", 0},
		{"check-empty.json", "check", 0},
		{"add.json", "add --ca acme acme.pem old.pem", 0},
		{"add-again.json", "add --ca acme acme.pem", 0},
		{"add-key.json", "add --key release key.pub", 0},
		{"add-crl.json", "add --crl acme.crl", 0},
		{"list.json", "list", 0},
		{"check.json", "check", 1},
		{"remove.json", "remove crl/acme.crl truststore/x509/ca/acme/old.pem", 0},
		{"check-mended.json", "check --within 10d", 0},
		{"confirm.json", "confirm T", 0},
	}
	for _, c := range lines {
		stdout, stderr, code := runLine(t, trustUI(), append(append([]string{"trust"}, strings.Fields(c.args)...), "--format", "json")...)
		if code != c.code {
			t.Fatalf("airgap trust %s: exit code %d\n%s", c.args, code, stderr)
		}
		compareGolden(t, filepath.Join(golden, c.file), stdout)
	}
	files, err := filepath.Glob(filepath.Join(golden, "*.json"))
	if err != nil || len(files) != len(lines) {
		t.Errorf("%d golden files, want %d", len(files), len(lines))
	}
}

// A newer revocation list takes the place of the older one, whatever it is called,
// and that is told; an older one and a delta are refused.
func TestTrustNewerList(t *testing.T) {
	t.Chdir(t.TempDir())
	ca, err := signing.NewTestCA("acme", signing.TestOptions{InsecureSeed: "trust", NotAfter: trustNow.AddDate(1, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		number int64
		delta  bool
	}{"five.crl": {5, false}, "six.crl": {6, false}, "delta.crl": {7, true}} {
		l := &x509.RevocationList{Number: big.NewInt(c.number), ThisUpdate: trustNow.AddDate(0, 0, -1), NextUpdate: trustNow.AddDate(0, 1, 0)}
		if c.delta {
			l.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 5}}}
		}
		der, err := x509.CreateRevocationList(nil, l, ca.Certs[0], ca.Key)
		if err == nil {
			err = os.WriteFile(name, der, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		line           string
		code           int
		stdout, stderr string
	}{
		{"init T", 0, "", ""},
		{"add --crl five.crl", 0, "added crl/five.crl\n\n", ""},
		{"add --crl six.crl", 0, "added crl/six.crl\n   in place of an older list: crl/five.crl\n", ""},
		{"add --crl six.crl --format json", 0, `"already": true`, ""},
		{"add --crl five.crl", 1, "", "there is a newer one: it is number 5, and crl/six.crl is number 6 of the same issuer"},
		{"add --crl delta.crl", 2, "", "delta.crl: invalid: it is a delta CRL"},
		{"list", 0, ": 1 item, ", ""},
	} {
		stdout, stderr, code := runLine(t, trustUI(), append([]string{"trust"}, strings.Fields(c.line)...)...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
			t.Errorf("trust %s: exit code %d\n%s%s", c.line, code, stdout, stderr)
		}
	}
}

func TestTrustDefault(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"AIRGAP_TRUST": "/etc/t", "AIRGAP_STORE": "/srv/s", "HOME": "/home/me"}, "/etc/t"},
		{map[string]string{"AIRGAP_STORE": "/srv/airgap/", "HOME": "/home/me"}, "/srv/trust"},
		{map[string]string{"XDG_DATA_HOME": "/data", "HOME": "/home/me"}, "/data/airgap/trust"},
		{map[string]string{"HOME": "/home/me"}, "/home/me/.local/share/airgap/trust"},
		{nil, ""},
	} {
		u := testUI()
		u.getenv = func(name string) string { return c.env[name] }
		got, err := u.trustDir("")
		if got != filepath.FromSlash(c.want) || (err == nil) != (c.want != "") {
			t.Errorf("%v: %q, %v", c.env, got, err)
		}
		if named, err := u.trustDir("here"); named != "here" || err != nil {
			t.Errorf("%v: --trust here is %q, %v", c.env, named, err)
		}
	}
}

func TestParseWithin(t *testing.T) {
	for s, want := range map[string]time.Duration{"30d": 720 * time.Hour, "0d": 0, "12h": 12 * time.Hour, "36500d": 36500 * 24 * time.Hour} {
		if got, err := parseWithin(s); got != want || err != nil {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "d", "-1d", "-1h", "36501d", "99999999999999999999d", "1.5d", "month", "30"} {
		if got, err := parseWithin(s); err == nil {
			t.Errorf("%q: %s", s, got)
		}
	}
}

// What a certificate says of itself cannot play with the terminal.
func TestTrustEscapes(t *testing.T) {
	t.Chdir(t.TempDir())
	ca, err := signing.NewTestCA(escName, signing.TestOptions{InsecureSeed: "trust", NotAfter: trustNow.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("ca.pem", signing.CertificatesPEM(ca.Certs...), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"init T", "add --ca acme ca.pem", "list", "check", "list --format json", "check --format json"} {
		stdout, stderr, _ := runLine(t, trustUI(), append([]string{"trust"}, strings.Fields(line)...)...)
		if i := strings.IndexFunc(stdout+stderr, func(r rune) bool { return r != '\n' && unprintable(r) }); i >= 0 {
			t.Errorf("trust %s: %q", line, (stdout + stderr)[i:])
		}
		if line != "init T" && !strings.Contains(stdout, "x1b") && !strings.Contains(stdout, "u001b") && !strings.Contains(stdout, "1B") {
			t.Errorf("trust %s does not show the name: %s", line, stdout)
		}
	}
}

func TestCertGenerateTest(t *testing.T) {
	t.Chdir(t.TempDir())
	stdout, stderr, code := runLine(t, trustUI(), "cert", "generate-test", "demo", "-o", "it's", "--format", "json")
	if code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var res testCertificate
	if err := json.Unmarshal([]byte(stdout), &res); err != nil {
		t.Fatal(err)
	}
	if res.TrustWith != `airgap trust add --ca demo 'it'\''s/demo-ca.crt'` || !strings.Contains(stdout, `"kind": "TestCertificate"`) {
		t.Errorf("result %s", stdout)
	}
	if want := trustNow.AddDate(0, 0, testCertificateDays); !res.NotAfter.Equal(want) {
		t.Errorf("valid until %s, want %s", res.NotAfter, want)
	}
	for path, perm := range map[string]os.FileMode{res.Key: 0o600, res.Certificate: 0o644, res.CA: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != perm {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// If one of the files is there, none is written.
func TestCertReplacesNothing(t *testing.T) {
	for _, there := range []string{"demo.key", "demo.crt", "demo-ca.crt"} {
		t.Chdir(t.TempDir())
		if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := runLine(t, trustUI(), "cert", "generate-test", "demo")
		if code != exitFailed || !strings.Contains(stderr, there+" is there already") {
			t.Errorf("%s: exit code %d: %s", there, code, stderr)
		}
		entries, err := os.ReadDir(".")
		if data, rerr := os.ReadFile(there); err != nil || rerr != nil || len(entries) != 1 || string(data) != "mine" {
			t.Errorf("%s: %d files, %q (%v, %v)", there, len(entries), data, err, rerr)
		}
	}
}
