package serve_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/store/serve"
	"airgap/store/serve/reload"
)

// newPair is a certificate that signs itself, and its key.
func newPair(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// Whoever connects gets the pair that lies there now; half of a new one, or no pair
// at all, changes nothing.
func TestCertificateIsRead(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls.key")
	write := func(path string, data []byte) {
		if err := os.WriteFile(path+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := newPair(t, 1)
	write(certFile, cert)
	write(keyFile, key)
	now := time.Now()
	var reports []error
	config, err := serve.LoadTLS(certFile, keyFile, reload.Options{
		Now:    func() time.Time { now = now.Add(reload.Every); return now },
		Failed: func(err error) { reports = append(reports, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if config.MinVersion < tls.VersionTLS12 {
		t.Error("an old TLS will do")
	}
	r := run(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), serve.RunOptions{TLS: config})
	presents := func(want int64) {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "http://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
			t.Errorf("certificate %d, want %d", got, want)
		}
	}
	presents(1)
	cert, key = newPair(t, 2)
	write(certFile, cert)
	presents(1) // it does not fit the key
	write(keyFile, key)
	presents(2)
	write(keyFile, []byte("-----BEGIN PRIVATE KEY-----\n"))
	presents(2)
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	presents(2)
	presents(2)
	if len(reports) != 3 {
		t.Errorf("reported %v", reports)
	}
	for _, err := range reports {
		if strings.Contains(err.Error(), "PRIVATE") {
			t.Error(err)
		}
	}
	if _, err := serve.LoadTLS(certFile, keyFile, reload.Options{}); err == nil {
		t.Error("no certificate, and no error")
	}
	r.stop()
	<-r.done
}
