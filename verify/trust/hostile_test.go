package trust_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/verify/signing"
	"airgap/verify/trust"

	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"golang.org/x/sys/unix"
)

const (
	store   = "truststore/x509/ca/acme/"
	tsaFile = "truststore/x509/tsa/clock/x.pem"
)

// hostileFiles are files that must not be read as what gives trust, by name.
func hostileFiles(t *testing.T) []hostile {
	t.Helper()
	ca := newCA(t, "acme")
	leaf, err := ca.Issue("leaf", signing.TestOptions{})
	must(t, err)
	self, err := new(signing.TestCA).Issue("self", signing.TestOptions{})
	must(t, err)
	mid, err := ca.IssueCA("middle", signing.TestOptions{})
	must(t, err)
	cert, crl, key, root := signing.CertificatesPEM(ca.Certs...), newCRL(t, ca, 1, ends), keyPEM(t, "k"), newRoot(t, ends)
	flipped := bytes.Clone(self.Certs[0].Raw)
	flipped[len(flipped)-1] ^= 1
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	must(t, err)
	agreement, err := x509.MarshalPKIXPublicKey(x25519.PublicKey())
	must(t, err)
	block := func(typ string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der})
	}
	return []hostile{
		{"empty", store + "x.pem", nil, trust.ErrInvalid},
		{"text", store + "x.pem", []byte("not a certificate"), trust.ErrInvalid},
		{"half of DER", store + "x.crt", ca.Certs[0].Raw[:100], trust.ErrInvalid},
		{"DER and more", store + "x.crt", append(bytes.Clone(ca.Certs[0].Raw), 0), trust.ErrInvalid},
		{"half of PEM", store + "x.pem", cert[:len(cert)/2], trust.ErrInvalid},
		{"one and a half", store + "x.pem", append(bytes.Clone(cert), cert[:len(cert)/2]...), trust.ErrInvalid},
		{"half and one", store + "x.pem", append(bytes.Clone(cert[:len(cert)/2]), cert...), trust.ErrInvalid},
		{"a damaged one before a good one", store + "x.pem", append(bytes.Replace(cert, []byte("MII"), []byte("!!!"), 1), cert...), trust.ErrInvalid},
		{"a leaf", store + "x.pem", signing.CertificatesPEM(leaf.Certs[0]), trust.ErrInvalid},
		{"a leaf behind its CA", store + "x.pem", append(bytes.Clone(cert), signing.CertificatesPEM(leaf.Certs[0])...), trust.ErrInvalid},
		{"a leaf whose own signature is wrong", store + "x.crt", flipped, trust.ErrInvalid},
		{"a public key", store + "x.pem", key, trust.ErrInvalid},
		{"a CRL", store + "x.pem", crlPEM(crl), trust.ErrInvalid},
		{"a certificate called a key", store + "x.pem", block("PUBLIC KEY", ca.Certs[0].Raw), trust.ErrInvalid},
		{"too large", store + "x.pem", append(bytes.Clone(cert), make([]byte, trust.MaxCertificateBytes)...), trust.ErrLimit},
		{"too many", store + "x.pem", bytes.Repeat([]byte("-----BEGIN X-----\n-----END X-----\n"), trust.MaxCertificates+1), trust.ErrLimit},
		{"a README", store + "README", []byte("read me"), trust.ErrInvalid},
		{"a hidden file", store + ".x.swp", []byte("swap"), trust.ErrInvalid},
		{"a name that moves the cursor", store + "x\x1b[2J.pem", cert, trust.ErrInvalid},
		{"a name of two lines", store + "x\ny.pem", cert, trust.ErrInvalid},
		{"a name with a backslash", store + `x\y.pem`, cert, trust.ErrInvalid},
		{"a name that is no UTF-8", store + "x\xff.pem", cert, trust.ErrInvalid},
		{"a folder in a store", store + "more/x.pem", cert, disk.ErrNotRegular},
		{"a store that cannot be asked for", "truststore/x509/ca/a b/x.pem", cert, trust.ErrInvalid},
		{"a certificate beside stores", "truststore/x509/ca/x.pem", cert, trust.ErrUnknownFile},
		{"an intermediate for timestamps", tsaFile, signing.CertificatesPEM(mid.Certs[0]), trust.ErrInvalid},
		{"a self-signed leaf for timestamps", tsaFile, signing.CertificatesPEM(self.Certs[0]), trust.ErrInvalid},
		{"an unknown type", "truststore/x509/CA/acme/x.pem", cert, trust.ErrUnknownFile},
		{"no type", "truststore/x509/x.pem", cert, trust.ErrUnknownFile},
		{"another trust store", "truststore/pgp/x", cert, trust.ErrUnknownFile},
		{"a stray file", "x.pem", cert, trust.ErrUnknownFile},
		{"a stray folder", "stuff/x.pem", cert, trust.ErrUnknownFile},
		{"a large stray file", "x.bin", make([]byte, trust.MaxKeyBytes+1), trust.ErrUnknownFile},
		{"another spelling", "Keys/x.pub", key, trust.ErrUnknownFile},
		{"a half-written file of another tool", "keys/x.pub.tmp", key, trust.ErrUnknownFile},
		{"an empty key", "keys/x.pub", nil, trust.ErrInvalid},
		{"half of a key", "keys/x.pub", key[:len(key)/2], trust.ErrInvalid},
		{"two keys", "keys/x.pub", append(bytes.Clone(key), key...), trust.ErrInvalid},
		{"text before a key", "keys/x.pub", append([]byte("mine:\n"), key...), trust.ErrInvalid},
		{"a certificate for a key", "keys/x.pem", cert, trust.ErrInvalid},
		{"a key in DER", "keys/x.pub", agreement, trust.ErrInvalid},
		{"a key that signs nothing", "keys/x.pub", block("PUBLIC KEY", agreement), trust.ErrInvalid},
		{"an ssh key", "keys/x.pub", []byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI key"), trust.ErrInvalid},
		{"a key too large", "keys/x.pub", append(bytes.Clone(key), bytes.Repeat([]byte{'\n'}, trust.MaxKeyBytes)...), trust.ErrLimit},
		{"a key without a name", "keys/.pub", key, trust.ErrUnknownFile},
		{"a key that cannot be asked for", "keys/a b.pub", key, trust.ErrUnknownFile},
		{"a key in a folder", "keys/more/x.pub", key, trust.ErrUnknownFile},
		{"a key in place of a folder", "keys/x.pub/y", key, disk.ErrNotRegular},
		{"an empty CRL", "crl/x.crl", nil, trust.ErrInvalid},
		{"half of a CRL", "crl/x.crl", crl[:len(crl)/2], trust.ErrInvalid},
		{"a CRL and more", "crl/x.crl", append(bytes.Clone(crl), 0), trust.ErrInvalid},
		{"two CRLs", "crl/x.crl", append(crlPEM(crl), crlPEM(crl)...), trust.ErrInvalid},
		{"a certificate for a CRL", "crl/x.crl", cert, trust.ErrInvalid},
		{"a CRL by another name", "crl/x.pem", crlPEM(crl), trust.ErrUnknownFile},
		{"an empty root", "trusted_root.json", nil, trust.ErrInvalid},
		{"a root of nothing", "trusted_root.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), trust.ErrInvalid},
		{"a root of no type", "trusted_root.json", []byte(`{}`), trust.ErrInvalid},
		{"several roots", "trusted_root.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}` + "\n" + `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`), trust.ErrInvalid},
		{"a root with a null", "trusted_root.json", []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[null]}`), trust.ErrInvalid},
		{"a root with an unknown field", "trusted_root-x.json", append([]byte(`{"x":1,`), root[1:]...), trust.ErrInvalid},
		{"a root with a field twice", "trusted_root-x.json", append([]byte(`{"mediaType":"x",`), root[1:]...), trust.ErrInvalid},
		{"a root and more", "trusted_root-x.json", append(bytes.Clone(root), '{'), trust.ErrInvalid},
		{"half of a root", "trusted_root-x.json", root[:len(root)/2], trust.ErrInvalid},
		{"a root of deep lists", "trusted_root.json", bytes.Repeat([]byte(`[`), trust.MaxRootBytes), trust.ErrInvalid},
		{"a root too large", "trusted_root.json", append(bytes.Clone(root), bytes.Repeat([]byte{' '}, trust.MaxRootBytes)...), trust.ErrLimit},
	}
}

type hostile struct {
	what, file string
	data       []byte
	want       error
}

// Each hostile file is refused by its name, and whatever else there is does not
// make up for it.
func TestHostileFiles(t *testing.T) {
	good := full(t)
	for _, h := range hostileFiles(t) {
		files := maps.Clone(good)
		files[h.file] = h.data
		tr, err := open(t, files)
		if tr != nil || !errors.Is(err, h.want) {
			t.Errorf("%s: %v, want %v", h.what, err, h.want)
			continue
		}
		// Its name, or the nearest folder's.
		if base, _, _ := strings.Cut(h.file, "/"); !strings.Contains(err.Error(), base) {
			t.Errorf("%s: the error does not say where: %v", h.what, err)
		}
	}
}

// What notation refuses is refused here.
func TestNoLaxerThanNotation(t *testing.T) {
	asked := 0
	for _, h := range hostileFiles(t) {
		parts := strings.Split(h.file, "/")
		if len(parts) < 5 || parts[3] == "a b" || parts[2] == "CA" {
			continue
		}
		base := tempDir(t)
		write(t, base, map[string][]byte{h.file: h.data})
		_, err := truststore.NewX509TrustStore(dir.NewSysFS(base)).GetCertificates(t.Context(), truststore.Type(parts[2]), parts[3])
		if _, ours := trust.Open(base); ours == nil {
			t.Errorf("%s: opened, notation says: %v", h.what, err)
		}
		if err != nil {
			asked++
		}
	}
	if asked < 10 {
		t.Errorf("notation has refused %d only", asked)
	}
}

func TestPrivateKeys(t *testing.T) {
	key := signing.InsecureKey("k")
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	sec1, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	cert := caPEM(t, "acme")
	block := func(typ string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: pkcs8})
	}
	secrets := map[string][]byte{
		"PKCS #8": block("PRIVATE KEY"), "encrypted": block("ENCRYPTED PRIVATE KEY"), "SEC 1": block("EC PRIVATE KEY"),
		"ssh": block("OPENSSH PRIVATE KEY"), "cosign": block("ENCRYPTED SIGSTORE PRIVATE KEY"), "old cosign": block("ENCRYPTED COSIGN PRIVATE KEY"),
		"pgp": block("PGP PRIVATE KEY BLOCK"), "PKCS #8 in DER": pkcs8, "SEC 1 in DER": sec1, "PKCS #1 in DER": x509.MarshalPKCS1PrivateKey(rsaKey),
		"behind a certificate": append(bytes.Clone(cert), block("PRIVATE KEY")...), "before one": append(block("PRIVATE KEY"), cert...),
		"behind a public key": append(keyPEM(t, "k"), block("PRIVATE KEY")...), "cut": block("PRIVATE KEY")[:60],
	}
	for what, secret := range secrets {
		for _, file := range []string{store + "x.pem", "keys/x.pub", "keys/x.pem", "crl/x.crl", "trusted_root.json", "keys/x.key", "stray", "crl/x.pem", "truststore/x"} {
			_, err := open(t, map[string][]byte{"keys/good.pub": keyPEM(t, "good"), file: secret})
			wantErr(t, what+" as "+file, err, trust.ErrPrivateKey)
			if err == nil || !strings.Contains(err.Error(), file) {
				t.Errorf("%s as %s: the error does not name it: %v", what, file, err)
			}
		}
		base := tempDir(t)
		must(t, trust.Init(base))
		for how, add := range map[string]func() (trust.Added, error){
			"certificate": func() (trust.Added, error) { return trust.AddCertificate(base, trust.TypeCA, "acme", secret, "x.pem") },
			"key":         func() (trust.Added, error) { return trust.AddKey(base, "x", secret) },
			"root":        func() (trust.Added, error) { return trust.AddRoot(base, "", secret) },
			"CRL":         func() (trust.Added, error) { return trust.AddCRL(base, secret, "x.crl") },
		} {
			_, err := add()
			wantErr(t, what+" added as "+how, err, trust.ErrPrivateKey)
		}
		if n := len(mustOpen(t, base).Items()); n != 0 {
			t.Errorf("%s: %d items were added", what, n)
		}
	}
}

// Links, pipes and folders in the place of a file, and files in the place of a
// folder.
func TestNotRegular(t *testing.T) {
	outside := tempDir(t)
	write(t, outside, full(t))
	places := []string{
		"truststore", "truststore/x509", "truststore/x509/ca", "truststore/x509/ca/acme", "truststore/x509/ca/acme/root.pem",
		"keys", "keys/release.pub", "crl", "crl/acme.crl", "trusted_root.json",
	}
	for _, place := range places {
		target := filepath.Join(outside, filepath.FromSlash(place))
		for what, put := range map[string]func(path string) error{
			"a link outside": func(path string) error { return os.Symlink(target, path) },
			"a link inside":  func(path string) error { return os.Symlink("elsewhere", path) },
			"a link to nothing": func(path string) error {
				return errors.Join(os.RemoveAll(filepath.Join(filepath.Dir(path), "elsewhere")), os.Symlink("nothing", path))
			},
			"a pipe": func(path string) error { return unix.Mkfifo(path, 0o644) },
		} {
			base := tempDir(t)
			write(t, base, full(t))
			path := filepath.Join(base, filepath.FromSlash(place))
			must(t, os.Rename(path, filepath.Join(filepath.Dir(path), "elsewhere")))
			must(t, put(path))
			if filepath.Dir(path) == base || place != "truststore/x509/ca/acme/root.pem" {
				must(t, os.RemoveAll(filepath.Join(filepath.Dir(path), "elsewhere")))
			}
			tr, err := trust.Open(base)
			if tr != nil || !errors.Is(err, disk.ErrNotRegular) && !errors.Is(err, trust.ErrInvalid) {
				t.Errorf("%s: %s: %v", place, what, err)
			}
		}
	}
	for _, place := range places {
		base := tempDir(t)
		write(t, base, full(t))
		path := filepath.Join(base, filepath.FromSlash(place))
		info, err := os.Stat(path)
		must(t, err)
		must(t, os.RemoveAll(path))
		if info.IsDir() {
			must(t, os.WriteFile(path, keyPEM(t, "k"), 0o644))
		} else {
			must(t, os.Mkdir(path, 0o755))
		}
		if tr, err := trust.Open(base); tr != nil || err == nil {
			t.Errorf("%s, a file for a folder or the other way round, is opened", place)
		}
	}
}

// Whatever cannot be read, there is no trust, rather than less of it.
func TestUnreadable(t *testing.T) {
	base := tempDir(t)
	write(t, base, full(t))
	d, err := disk.Open(base)
	must(t, err)
	defer d.Close()
	whole := disktest.Wrap(d)
	_, err = trust.Load(whole, base)
	must(t, err)
	faults := 0
	for n, call := range whole.Ops() {
		if !disktest.EIO.Applies(call.Op) || call.Op == disktest.OpClose {
			continue
		}
		fsys := disktest.Wrap(d)
		fsys.Inject(n+1, disktest.EIO)
		tr, err := trust.Load(fsys, base)
		if tr != nil || !errors.Is(err, syscall.EIO) || !fsys.Fired() {
			t.Errorf("%s fails: %v", call, err)
		}
		faults++
	}
	if faults < 40 {
		t.Errorf("%d faults only", faults)
	}
}

func TestTwoFilesOneKey(t *testing.T) {
	_, err := open(t, map[string][]byte{"keys/x.pub": keyPEM(t, "x"), "keys/x.pem": keyPEM(t, "x")})
	wantErr(t, "x.pub and x.pem", err, trust.ErrInvalid)
}

func TestTooManyFiles(t *testing.T) {
	base := tempDir(t)
	must(t, trust.Init(base))
	for i := range trust.MaxFiles + 1 {
		must(t, os.WriteFile(filepath.Join(base, "crl", fmt.Sprintf("%d.crl", i)), nil, 0o644))
	}
	_, err := trust.Open(base)
	wantErr(t, "one CRL too many", err, trust.ErrLimit)
}

// The bound holds for all files together.
func TestTooManyBytes(t *testing.T) {
	base := tempDir(t)
	cert := caPEM(t, "acme")
	must(t, trust.Init(base))
	path := filepath.Join(base, "truststore/x509/ca/acme")
	must(t, os.Mkdir(path, 0o755))
	large := append(bytes.Repeat([]byte{'\n'}, trust.MaxCertificateBytes-len(cert)), cert...)
	must(t, os.WriteFile(filepath.Join(path, "0"), large, 0o644))
	for i := range trust.MaxBytes / trust.MaxCertificateBytes {
		must(t, os.Link(filepath.Join(path, "0"), filepath.Join(path, fmt.Sprint(i+1))))
	}
	_, err := trust.Open(base)
	wantErr(t, "one file too many", err, trust.ErrLimit)
	must(t, os.Remove(filepath.Join(path, "0")))
	if n := len(mustOpen(t, base).Items()); n != trust.MaxBytes/trust.MaxCertificateBytes {
		t.Errorf("%d items", n)
	}
	_, err = trust.AddKey(base, "more", keyPEM(t, "k"))
	wantErr(t, "adding beyond the bound", err, trust.ErrLimit)
}

// Every cut of a good file, and every flipped byte of its PEM frame, gives an
// error or the same trust as the whole.
func TestEveryCut(t *testing.T) {
	for name, data := range map[string][]byte{
		"certificates": append(caPEM(t, "a"), caPEM(t, "b")...), "key": keyPEM(t, "k"), "CRL": newCRL(t, newCA(t, "a"), 1, ends),
		"CRL in PEM": crlPEM(newCRL(t, newCA(t, "a"), 1, ends)), "root": newRoot(t, ends), "DER": newCA(t, "a").Certs[0].Raw,
	} {
		whole := strings.Join(trust.Parse(data), " ")
		if whole == "" {
			t.Fatalf("%s is refused", name)
		}
		first := len(caPEM(t, "a"))
		for n := range data {
			// A file may well end without its last line end, or after its first
			// certificate.
			end := data[:n]
			if n == len(data)-1 && data[n] == '\n' || name == "certificates" && (n == first || n == first-1) {
				continue
			}
			if got := trust.Parse(end); got != nil {
				t.Errorf("%s: cut to %d of %d bytes, accepted as %v", name, n, len(data), got)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	ca, err := signing.NewTestCA("fuzz", signing.TestOptions{InsecureSeed: "fuzz"})
	if err != nil {
		f.Fatal(err)
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(weak.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.Certs[0].Raw)
	f.Add(signing.CertificatesPEM(ca.Certs...))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := trust.Parse(data)
		for _, what := range got {
			if what == "root" && len(got) > 1 {
				t.Errorf("one file is %v", got)
			}
		}
	})
}
