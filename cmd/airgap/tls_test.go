package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/layout/layouttest"
)

// strictRegistry wants https, a client certificate and a password, and holds one
// image as team/app:v1. In dir it leaves ca.pem, cert.pem and key.pem.
func strictRegistry(t *testing.T, dir string) (host string) {
	t.Helper()
	r, plain := newTestRegistry(false)
	t.Cleanup(plain.Close)
	b := layouttest.New(r.host + "/team/app")
	b.Tag("v1", b.Image("strict"))
	load(t, r, b.Content())
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if name, password, ok := req.BasicAuth(); !ok || name != "me" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		r.ServeHTTP(w, req)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	pool := x509.NewCertPool()
	pool.AddCert(clientCertificate(t, dir))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	writePEM(t, filepath.Join(dir, "ca.pem"), "CERTIFICATE", srv.Certificate().Raw)
	return strings.TrimPrefix(srv.URL, "https://")
}

// clientCertificate makes a certificate that signs itself.
func clientCertificate(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, "cert.pem"), "CERTIFICATE", raw)
	writePEM(t, filepath.Join(dir, "key.pem"), "PRIVATE KEY", keyDER)
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Each of the flags about registries gets where it is meant to: with one of them
// missing, nothing goes.
func TestRegistryFlags(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	host := strictRegistry(t, dir)
	config := `{"auths":{"` + host + `":{"auth":"bWU6c2VjcmV0"}}}`
	if err := os.WriteFile(filepath.Join(dir, "auth.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	const cert, login = " --cert-file cert.pem --key-file key.pem", " --username me --password-stdin"
	for _, c := range []struct {
		flags, stdin string
		code         int
		says         string // on stderr
	}{
		{"--ca-file ca.pem" + cert + login, "secret\n", exitDone, ""},
		{"--insecure" + cert + login, "secret\n", exitDone, ""},
		{"--ca-file ca.pem" + cert + " --registry-config auth.json", "", exitDone, ""},
		{"--ca-file ca.pem" + cert + login, "wrong\n", exitRegistry, "hint: log in to " + host},
		{"--ca-file ca.pem" + cert, "", exitRegistry, "hint: log in to " + host},
		{"--ca-file ca.pem" + login, "secret\n", exitRegistry, ""},
		{cert + login, "secret\n", exitRegistry, "hint: if the registry has a certificate of your own authority, give it with --ca-file"},
		{"--plain-http" + login, "secret\n", exitRegistry, ""},
		{"--ca-file ca.pem --cert-file cert.pem --key-file ca.pem" + login, "secret\n", exitUsage, ""},
		{"--registry-config missing.json", "", exitUsage, "missing.json"},
	} {
		u := testUI()
		u.stdin = strings.NewReader(c.stdin)
		_, stderr, code := runLine(t, u, append([]string{"tree", host + "/team/app:v1"}, strings.Fields(c.flags)...)...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit code %d, want %d: %s", c.flags, code, c.code, stderr)
		}
		if strings.Contains(stderr, "secret") || strings.Contains(stderr, "bWU6") {
			t.Errorf("%s: a password is on stderr: %s", c.flags, stderr)
		}
	}
}
