package sigstore

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Fingerprint names a key: "sha256:" and the hex SHA-256 of its PKIX form.
func Fingerprint(key crypto.PublicKey) (string, error) { return fingerprint(key) }

// fingerprint names a key; a certificate's is that of the key in it.
func fingerprint(key any) (string, error) {
	if cert, ok := key.(*x509.Certificate); ok {
		key = cert.PublicKey
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// loggedKey is the key or certificate that a log entry names, or nil.
func loggedKey(entry *tlog.Entry) (key any) {
	var err error
	defer recovered(&err)
	return entry.PublicKey()
}

// anyHash verifies with one key and whichever of several hashes: cosign takes
// SHA-256 whatever the key unless told otherwise (--signature-digest-algorithm), other
// signers the hash that fits it, and a key held by a device the one it was made for.
type anyHash struct {
	key       crypto.PublicKey
	verifiers []signature.Verifier
}

// signedHashes are those over which signatures count.
var signedHashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// verifierOf returns what verifies signatures made with key.
func verifierOf(key crypto.PublicKey, onlySHA256 bool) (*anyHash, error) {
	a := &anyHash{key: key}
	hashes := signedHashes
	if _, ok := key.(ed25519.PublicKey); ok || onlySHA256 {
		hashes = hashes[:1] // Ed25519 signs what it is given
	}
	for _, h := range hashes {
		v, err := signature.LoadVerifier(key, h)
		if err != nil {
			return nil, fmt.Errorf("a key of type %T: %w", key, err)
		}
		a.verifiers = append(a.verifiers, v)
	}
	return a, nil
}

func (a *anyHash) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return a.key, nil
}

func (a *anyHash) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	s, err := io.ReadAll(sig)
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range a.verifiers {
		err := v.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), opts...)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// needsMessage says whether signatures by key are over the message itself, so
// that its digest is not enough. The library would take an empty message then.
func needsMessage(key crypto.PublicKey) bool {
	switch key.(type) {
	case ed25519.PublicKey, *ed25519.PublicKey:
		return true
	}
	return false
}
