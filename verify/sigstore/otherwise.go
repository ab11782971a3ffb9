package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1" // to name what does not count
	_ "crypto/sha512"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// weakHashes are those over which no signature counts: cosign takes SHA-224 on
// request, and nothing here needs it.
var weakHashes = []crypto.Hash{crypto.SHA224, crypto.SHA1}

// otherwise says in which way key did sign what c is about, if it did so in one that
// does not count; else it returns "". It is for messages: "wrong key" would be untrue.
func (c *candidate) otherwise(key crypto.PublicKey) string {
	content, err := c.bundle.SignatureContent()
	if err != nil {
		return ""
	}
	message := c.artifact
	if env := c.bundle.GetDsseEnvelope(); env != nil {
		message = dsse.PAE(env.GetPayloadType(), env.GetPayload())
	}
	if message == nil {
		return ""
	}
	hashes := append(weakHashes[:len(weakHashes):len(weakHashes)], signedHashes...)
	for _, h := range hashes {
		w := h.New()
		w.Write(message)
		if how := signedDigest(key, h, w.Sum(nil), content.Signature()); how != "" {
			return how
		}
	}
	return ""
}

// signedDigest says how key signed a digest, if it did.
func signedDigest(key crypto.PublicKey, h crypto.Hash, sum, sig []byte) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if ecdsa.VerifyASN1(key, sum, sig) {
			return fmt.Sprintf("over its %s", h)
		}
	case *rsa.PublicKey:
		if rsa.VerifyPKCS1v15(key, h, sum, sig) == nil {
			return fmt.Sprintf("over its %s", h)
		}
		if rsa.VerifyPSS(key, h, sum, sig, nil) == nil {
			return fmt.Sprintf("over its %s with RSA-PSS", h)
		}
	}
	return ""
}

// counted says over what signatures count.
func (c *candidate) counted() string {
	if c.want.OnlySHA256 {
		return "SHA-256 alone counts, with RSA PKCS #1 v1.5 for RSA keys"
	}
	return "SHA-256, SHA-384 and SHA-512 count, with RSA PKCS #1 v1.5 for RSA keys"
}
