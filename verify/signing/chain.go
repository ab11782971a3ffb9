package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"

	"github.com/notaryproject/notation-core-go/signature"
)

// A Chain is a signing key and the certificates that say whose it is.
type Chain struct {
	// Key is RSA of 2048, 3072 or 4096 bits, or ECDSA on P-256, P-384 or P-521,
	// in memory or in a device.
	Key crypto.Signer
	// Certs start with the one for Key and end with the self-signed root, each
	// issued by the next. The root is part of it: Notary signatures carry it.
	Certs []*x509.Certificate
}

// Root is the certificate to put into a trust store, or nil without any.
func (c Chain) Root() *x509.Certificate {
	if len(c.Certs) == 0 {
		return nil
	}
	return c.Certs[len(c.Certs)-1]
}

// CertificatesPEM writes certificates as trust stores and notation read them.
func CertificatesPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// notarySigner is a Chain as the Notary library wants it. The library would
// take a key in memory as well, but then draws random numbers for ECDSA and
// knows no devices.
type notarySigner struct {
	chain Chain
	spec  signature.KeySpec
}

var _ signature.Signer = notarySigner{}

// newNotarySigner checks that the key is the one in the leaf certificate.
func newNotarySigner(chain Chain) (notarySigner, error) {
	if chain.Key == nil || len(chain.Certs) == 0 {
		return notarySigner{}, fmt.Errorf("%w: a Notary signature needs a key and its certificates, up to the root", ErrKey)
	}
	leaf := chain.Certs[0]
	spec, err := signature.ExtractKeySpec(leaf)
	if err != nil {
		return notarySigner{}, fmt.Errorf("%w: certificate %q: %w", ErrKey, leaf.Subject, err)
	}
	pub, ok := chain.Key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(leaf.PublicKey) {
		return notarySigner{}, fmt.Errorf("%w: it is not the key of the first certificate, %q; put the signing certificate first", ErrKey, leaf.Subject)
	}
	return notarySigner{chain: chain, spec: spec}, nil
}

// KeySpec implements signature.Signer.
func (s notarySigner) KeySpec() (signature.KeySpec, error) { return s.spec, nil }

// Sign implements signature.Signer.
func (s notarySigner) Sign(payload []byte) ([]byte, []*x509.Certificate, error) {
	hash := s.spec.SignatureAlgorithm().Hash()
	h := hash.New()
	h.Write(payload)
	sum := h.Sum(nil)
	if pub, ok := s.chain.Key.Public().(*ecdsa.PublicKey); ok {
		der, err := s.chain.Key.Sign(entropy(s.chain.Key), sum, hash)
		if err != nil {
			return nil, nil, err
		}
		sig, err := fixedWidth(der, (pub.Curve.Params().BitSize+7)/8)
		return sig, s.chain.Certs, err
	}
	sig, err := s.chain.Key.Sign(rand.Reader, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	return sig, s.chain.Certs, err
}

// fixedWidth turns an ASN.1 ECDSA signature into the two numbers side by side,
// n bytes each, that JOSE (RFC 7518, 3.4) and COSE (RFC 9053, 2.1) want.
func fixedWidth(der []byte, n int) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 || sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 8*n || sig.S.BitLen() > 8*n {
		return nil, fmt.Errorf("%w: it returned something that is no ECDSA signature", ErrKey)
	}
	out := make([]byte, 2*n)
	sig.R.FillBytes(out[:n])
	sig.S.FillBytes(out[n:])
	return out, nil
}
