package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
)

// GenerateKey makes a new ECDSA P-256 key, the kind `cosign generate-key-pair`
// makes and every cosign and Sigstore form here takes.
func GenerateKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// InsecureKey derives an ECDSA P-256 key from a seed. Whoever knows the seed
// has the key: it is for fixtures whose bytes must not change between runs, and
// must never sign anything that someone relies on.
func InsecureKey(seed string) *ecdsa.PrivateKey {
	// Roughly one hash in 2^32 is not a valid scalar, hence the counter.
	for n := 0; ; n++ {
		scalar := sha256.Sum256(fmt.Appendf(nil, "airgap insecure key %d\x00%s", n, seed))
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:]); err == nil {
			return key
		}
	}
}

// PublicKeyPEM writes the public half of key as `cosign verify --key` reads it.
func PublicKeyPEM(key crypto.Signer) ([]byte, error) {
	der, err := publicDER(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// PrivateKeyPEM writes key as unencrypted PKCS #8, which `cosign
// import-key-pair` and `openssl` read. Keep the result as one keeps a password.
func PrivateKeyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; a key held by a device cannot be exported", ErrKey, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// KeyHint is the name a Sigstore bundle gives the key that made it: the base64
// SHA-256 of the public key in DER form. It helps to pick a key and proves
// nothing.
func KeyHint(key crypto.Signer) (string, error) {
	der, err := publicDER(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// Fingerprint names the public half of key: "sha256:" and the hex SHA-256 of its PKIX
// form.
func Fingerprint(key crypto.Signer) (string, error) {
	der, err := publicDER(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

func publicDER(key crypto.Signer) ([]byte, error) {
	if key == nil {
		return nil, fmt.Errorf("%w: none given", ErrKey)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return der, nil
}

// signP256 signs the SHA-256 of message and returns an ASN.1 signature.
//
// Other curves are refused, not merely untested: cosign hashes with SHA-256
// whatever the curve, sigstore-go with the hash that fits the curve, and a
// signature that only one of them accepts helps nobody.
func signP256(key crypto.Signer, message []byte) ([]byte, error) {
	if err := CheckP256(key); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(message)
	sig, err := key.Sign(entropy(key), sum[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return sig, nil
}

// signMessage signs a message with a key that CheckKey accepts.
func signMessage(key crypto.Signer, message []byte) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		sig, err := key.Sign(rand.Reader, message, crypto.Hash(0))
		if err != nil {
			return nil, fmt.Errorf("signing: %w", err)
		}
		return sig, nil
	}
	return signP256(key, message)
}

// CheckKey says whether key can sign statements (DSSE envelopes, in Sigstore
// bundles): ECDSA on curve P-256, or Ed25519.
func CheckKey(key crypto.Signer) error {
	if key == nil {
		return fmt.Errorf("%w: none given", ErrKey)
	}
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		return nil
	}
	if CheckP256(key) != nil {
		return fmt.Errorf("%w: statements are signed with ECDSA on curve P-256 or Ed25519, this is %T", ErrKey, key.Public())
	}
	return nil
}

// entropy is the randomness to sign with. For a key in memory on a curve that
// is none, which selects RFC 6979; a device is given some, as it may insist.
func entropy(key crypto.Signer) io.Reader {
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		return nil
	}
	return rand.Reader
}

// CheckP256 says whether key can sign in cosign's and Sigstore's forms, so that it
// can be said before there is anything to sign.
func CheckP256(key crypto.Signer) error {
	if key == nil {
		return fmt.Errorf("%w: none given", ErrKey)
	}
	pub, ok := key.Public().(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return fmt.Errorf("%w: cosign and Sigstore forms need ECDSA on curve P-256, this is %T; make one with GenerateKey",
			ErrKey, key.Public())
	}
	return nil
}
