package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

const password = "correct horse"

// Written by openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 2, and with -scrypt: the
// key that InsecureKey makes of "a".
const (
	opensslPBKDF2 = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHrMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAjAkWwXet2f5QIBAjAM
BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQregwujod7XWLUsHhOvoaLASBkOgl
rTIZglybISvHmMMmJKRrM8yHUS/gKhEiDA88VpseA9HrUEUrxnV6J/lTRr886gtK
Q9fM4oDfQ0wAJ39dZb3TK/q9rVD14pUY1EoK6Uw/hJK2tuAO1iNfhzxbzMq6M9ag
S8x36Gns1C0JE7C9tTEqsX94fXzc0Za19NYI2z5LuAk7H7gvhNcqqtShhxB8NA==
-----END ENCRYPTED PRIVATE KEY-----
`
	opensslScrypt = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCAGCSsGAQQB2kcECzATBAjT/PgqM9q4UwIBAgIB
CAIBATAdBglghkgBZQMEASoEEHlFs1A2vuzKIOsFHQtkEsMEgZCQJEMs+xm+mPGM
TSI5y7fdfRGUWOphLrxyFvmR/lhBhViNElyv/roJtqhqdMB1tZBv3v9M5iOP4FYO
T0hT3/QEpRmVdH8YvgeR2OMB2rz+1y2C2hNXZKPN2/ewVW1LalYmHyHaQtBi0s7B
ERvgJwSg/JVOyiGr5eV/pLk7n66UHsjQ1iJIx3dpkUmOPc9Fucc=
-----END ENCRYPTED PRIVATE KEY-----
`
)

func pemOf(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// keyFiles are all the forms a key comes in, by name; the encrypted ones have the
// password.
func keyFiles(t *testing.T, ec *ecdsa.PrivateKey, rs *rsa.PrivateKey) (plain, locked map[string][]byte) {
	t.Helper()
	pkcs8DER, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	plain = map[string][]byte{
		"PKCS #8":             pemOf(t, "PRIVATE KEY", pkcs8DER, nil),
		"SEC 1":               pemOf(t, "EC PRIVATE KEY", sec1, err),
		"PKCS #1":             pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs), nil),
		"OpenSSL's EC output": append(pemOf(t, "EC PARAMETERS", []byte{6, 0}, nil), pemOf(t, "EC PRIVATE KEY", sec1, err)...),
	}
	locked = map[string][]byte{"PKCS #8, PBKDF2": []byte(opensslPBKDF2), "PKCS #8, scrypt": []byte(opensslScrypt)}
	der, err := encrypted.Encrypt(pkcs8DER, []byte(password))
	locked["cosign"] = pemOf(t, "ENCRYPTED SIGSTORE PRIVATE KEY", der, err)
	locked["cosign, before 2"] = pemOf(t, "ENCRYPTED COSIGN PRIVATE KEY", der, err)
	//lint:ignore SA1019 keys of this form exist
	old, err := x509.EncryptPEMBlock(rand.Reader, "EC PRIVATE KEY", sec1, []byte(password), x509.PEMCipherAES256)
	if err != nil {
		t.Fatal(err)
	}
	locked["OpenSSL's older form"] = pem.EncodeToMemory(old)
	return plain, locked
}

func give(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func TestParsePrivateKey(t *testing.T) {
	ec := InsecureKey("a")
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	same := func(name string, key crypto.Signer) {
		t.Helper()
		if !ec.PublicKey.Equal(key.Public()) && !rs.PublicKey.Equal(key.Public()) {
			t.Errorf("%s: another key", name)
		}
	}
	plain, locked := keyFiles(t, ec, rs)
	for name, data := range plain {
		key, err := ParsePrivateKey(data, func() ([]byte, error) {
			t.Errorf("%s: asked for a password", name)
			return nil, nil
		})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		same(name, key)
	}
	for name, data := range locked {
		key, err := ParsePrivateKey(data, give(password))
		if err != nil {
			t.Fatalf("%s, encrypted: %v", name, err)
		}
		same(name, key)
		for _, wrong := range []func() ([]byte, error){give("wrong"), give(""), nil} {
			if _, err := ParsePrivateKey(data, wrong); !errors.Is(err, ErrPassword) || !errors.Is(err, ErrKey) {
				t.Errorf("%s, wrong password: %v", name, err)
			}
		}
		stop := errors.New("stop")
		if _, err := ParsePrivateKey(data, func() ([]byte, error) { return nil, stop }); !errors.Is(err, stop) {
			t.Errorf("%s: the error of who was asked is lost: %v", name, err)
		}
	}
}

// cosign encrypts with the empty password if that is what it is told.
func TestParsePrivateKeyEmptyPassword(t *testing.T) {
	ec := InsecureKey("a")
	der, err := x509.MarshalPKCS8PrivateKey(ec)
	if err == nil {
		der, err = encrypted.Encrypt(der, nil)
	}
	data := pemOf(t, "ENCRYPTED SIGSTORE PRIVATE KEY", der, err)
	if _, err := ParsePrivateKey(data, nil); err != nil {
		t.Error(err)
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	ec := InsecureKey("a")
	private, err := PrivateKeyPEM(ec)
	if err != nil {
		t.Fatal(err)
	}
	public, err := PublicKeyPEM(ec)
	if err != nil {
		t.Fatal(err)
	}
	chain := seededChain(t, "a")
	for name, c := range map[string]struct {
		data []byte
		say  string
	}{
		"nothing":           {nil, "PEM"},
		"text":              {[]byte("secret"), "PEM"},
		"a public key":      {public, "public key"},
		"a certificate":     {CertificatesPEM(chain.Root()), "CERTIFICATE"},
		"two keys":          {append(bytes.Clone(private), private...), "more than one"},
		"damage":            {pemOf(t, "PRIVATE KEY", []byte("secret"), nil), "PRIVATE KEY"},
		"OpenSSH's own":     {pemOf(t, "OPENSSH PRIVATE KEY", []byte("secret"), nil), "OPENSSH"},
		"too much":          {append(bytes.Clone(private), make([]byte, MaxKeyBytes)...), "bytes"},
		"encrypted damage":  {pemOf(t, "ENCRYPTED PRIVATE KEY", []byte("secret"), nil), "damaged"},
		"encrypted nothing": {pemOf(t, "ENCRYPTED SIGSTORE PRIVATE KEY", nil, nil), "damaged"},
	} {
		_, err := ParsePrivateKey(c.data, give(password))
		if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), c.say) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error tells the content: %v", name, err)
		}
	}
}

// A key that agrees keys instead of signing is refused, one that signs is read,
// whether a form takes it or not.
func TestParsePrivateKeyOfOtherKinds(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	data, err := PrivateKeyPEM(ed)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParsePrivateKey(data, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CosignSignature(subjectOf("a"), Claim{Reference: "reg.example/app"}, key); !errors.Is(err, ErrKey) {
		t.Errorf("an Ed25519 key in a form that has none: %v", err)
	}
}

// Whatever was cut off or flipped in an encrypted key is an error, never a panic.
func TestDamagedKey(t *testing.T) {
	b, _ := pem.Decode([]byte(opensslPBKDF2))
	der := b.Bytes
	for n := range der {
		data := pemOf(t, "ENCRYPTED PRIVATE KEY", der[:n], nil)
		if _, err := ParsePrivateKey(data, give(password)); !errors.Is(err, ErrKey) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

func TestParseCertificates(t *testing.T) {
	chain := seededChain(t, "a")
	data := CertificatesPEM(chain.Certs...)
	certs, err := ParseCertificates(data)
	if err != nil || len(certs) != len(chain.Certs) || !certs[0].Equal(chain.Certs[0]) {
		t.Fatalf("%d certificates, %v", len(certs), err)
	}
	private, err := PrivateKeyPEM(chain.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"nothing":     nil,
		"text":        []byte("x"),
		"text behind": append(bytes.Clone(data), "x"...),
		"a key":       append(bytes.Clone(data), private...),
		"damage":      pemOf(t, "CERTIFICATE", []byte("x"), nil),
		"too much":    append(bytes.Clone(data), bytes.Repeat([]byte{'\n'}, MaxChainBytes)...),
	} {
		if _, err := ParseCertificates(bad); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
