package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"

	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// pemMark begins every PEM block.
var pemMark = []byte("-----BEGIN ")

const keepPrivate = "keep private keys elsewhere; what is trusted is the public key or the certificate"

// parseCertificates reads a file of a notation store: PEM blocks with any text
// around them, or DER. It refuses what notation refuses, and besides a PEM file
// of which a part is damaged, which notation passes over in silence.
func parseCertificates(typ StoreType, data []byte) ([]*x509.Certificate, error) {
	if err := refusePrivateKey(data); err != nil {
		return nil, err
	}
	certs, err := readCertificates(data)
	if err != nil {
		return nil, err
	}
	if len(certs) > MaxCertificates {
		return nil, fmt.Errorf("%d certificates, at most %d are accepted: %w", len(certs), MaxCertificates, ErrLimit)
	}
	// CA certificates, and certificates that signed themselves.
	if err := truststore.ValidateCertificates(certs); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if typ != TypeTSA {
		return certs, nil
	}
	for _, c := range certs {
		if err := c.CheckSignatureFrom(c); err != nil || !bytes.Equal(c.RawSubject, c.RawIssuer) {
			return nil, hint(fmt.Errorf("%w: the certificate of %q is no root", ErrInvalid, c.Subject),
				"a tsa store takes the self-signed root of a timestamping authority only")
		}
	}
	return certs, nil
}

func readCertificates(data []byte) ([]*x509.Certificate, error) {
	if !bytes.Contains(data, pemMark) {
		certs, err := x509.ParseCertificates(data)
		if err != nil || len(certs) == 0 {
			return nil, fmt.Errorf("%w: no certificate in PEM or DER: %w", ErrInvalid, orNothing(err))
		}
		return certs, nil
	}
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	certs := make([]*x509.Certificate, 0, len(blocks))
	for i, b := range blocks {
		if b.Type != "CERTIFICATE" && b.Type != "X509 CERTIFICATE" {
			return nil, fmt.Errorf("%w: PEM block %d is a %.40q, want CERTIFICATE", ErrInvalid, i+1, b.Type)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrInvalid, i+1, err)
		}
		certs = append(certs, c)
	}
	return certs, nil
}

// pemBlocks returns all PEM blocks. pem.Decode skips those it cannot read, so
// they are counted: a file cut in the middle must not pass for a shorter one.
func pemBlocks(data []byte) ([]*pem.Block, error) {
	want := bytes.Count(data, pemMark)
	if want > MaxCertificates {
		return nil, fmt.Errorf("%d PEM blocks, at most %d are accepted: %w", want, MaxCertificates, ErrLimit)
	}
	var blocks []*pem.Block
	rest := data
	for {
		block, after := pem.Decode(rest)
		if block == nil {
			break
		}
		blocks, rest = append(blocks, block), after
	}
	if len(blocks) != want {
		return nil, fmt.Errorf("%w: of %d PEM blocks, %d can be read", ErrInvalid, want, len(blocks))
	}
	if bytes.HasPrefix(rest, []byte("-")) || bytes.Contains(rest, []byte("\n-")) {
		return nil, fmt.Errorf("%w: after %d PEM blocks, another begins and is cut off", ErrInvalid, want)
	}
	return blocks, nil
}

// parseKey reads one public key in PEM, as cosign and openssl write it.
func parseKey(data []byte) (crypto.PublicKey, error) {
	if err := refusePrivateKey(data); err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(bytes.TrimSpace(data), pemMark) {
		return nil, hint(fmt.Errorf("%w: want one PEM block, PUBLIC KEY, and nothing else", ErrInvalid),
			"openssl pkey -pubin -in FILE makes one from other forms, openssl x509 -pubkey -noout -in FILE from a certificate")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: public key: %w", ErrInvalid, err)
	}
	switch key.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return key, nil
	}
	return nil, fmt.Errorf("%w: nothing is signed with a key of type %T; want RSA, ECDSA or Ed25519", ErrInvalid, key)
}

// parseCRL reads one revocation list, in PEM or DER.
func parseCRL(data []byte) (*x509.RevocationList, error) {
	if err := refusePrivateKey(data); err != nil {
		return nil, err
	}
	der := data
	if bytes.Contains(data, pemMark) {
		blocks, err := pemBlocks(data)
		if err != nil {
			return nil, err
		}
		if len(blocks) != 1 || blocks[0].Type != "X509 CRL" {
			return nil, fmt.Errorf("%w: want one PEM block, X509 CRL", ErrInvalid)
		}
		der = blocks[0].Bytes
	}
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("%w: no revocation list in PEM or DER: %w", ErrInvalid, err)
	}
	if len(crl.Raw) != len(der) {
		return nil, fmt.Errorf("%w: %d bytes after the revocation list", ErrInvalid, len(der)-len(crl.Raw))
	}
	if hasExtension(crl, oidDelta) {
		return nil, hint(fmt.Errorf("%w: it is a delta CRL, which lists only what changed since another one, and nothing is decided by it", ErrInvalid),
			"get the complete list of the same issuer")
	}
	return crl, nil
}

// parseRoot reads a Sigstore trusted root.
func parseRoot(data []byte) (tr *root.TrustedRoot, err error) {
	if err := refusePrivateKey(data); err != nil {
		return nil, err
	}
	// The library is not ours, and a panic over a strange file is no verdict.
	defer func() {
		if p := recover(); p != nil {
			tr, err = nil, fmt.Errorf("%w: trusted root: %v", ErrInvalid, p)
		}
	}()
	if dec := json.NewDecoder(bytes.NewReader(data)); dec.Decode(new(json.RawMessage)) == nil && dec.More() {
		return nil, hint(fmt.Errorf("%w: trusted root: several in one file", ErrInvalid),
			"put each into a file of its own; gh attestation trusted-root prints one a line")
	}
	if tr, err = root.NewTrustedRootFromJSON(data); err != nil {
		return nil, fmt.Errorf("%w: trusted root: %w", ErrInvalid, err)
	}
	if len(rootParts(tr)) == 0 {
		return nil, fmt.Errorf("%w: trusted root: there is nothing in it", ErrInvalid)
	}
	return tr, nil
}

// refusePrivateKey finds private keys so that they are named as what they are;
// they would be refused anyway, as nothing that belongs here.
func refusePrivateKey(data []byte) error {
	found := bytes.Contains(data, []byte("PRIVATE KEY"))
	if !found && len(data) <= MaxKeyBytes {
		_, err8 := x509.ParsePKCS8PrivateKey(data)
		_, err1 := x509.ParsePKCS1PrivateKey(data)
		_, errEC := x509.ParseECPrivateKey(data)
		found = err8 == nil || err1 == nil || errEC == nil
	}
	if found {
		return hint(ErrPrivateKey, keepPrivate)
	}
	return nil
}

func orNothing(err error) error {
	if err == nil {
		return fmt.Errorf("it is empty")
	}
	return err
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// keyFingerprint is the SHA-256 of a public key's PKIX form, or "" for a key that
// has none.
func keyFingerprint(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return ""
	}
	return fingerprint(der)
}
