package notary

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"airgap/layout"

	"github.com/fxamacker/cbor/v2"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/tspclient-go"
)

// Limits of the certificates in an envelope. Anybody can put any chain into one, and
// the libraries follow its signatures before they ask whether it is trusted: the
// time that takes grows with more than the square of a key's size.
const (
	maxCertificates     = 16
	maxCertificateBytes = 32 << 10
	maxRSABits          = 8192
)

// checkCost refuses an envelope whose certificates would take long to look at. What
// cannot be read here is for the libraries to refuse.
func checkCost(envelope []byte, mediaType string) error {
	chain, token := chainOf(envelope, mediaType)
	if len(chain) > maxCertificates {
		return fmt.Errorf("%d certificates, at most %d are accepted: %w", len(chain), maxCertificates, layout.ErrLimit)
	}
	for _, der := range chain {
		if len(der) > maxCertificateBytes {
			return fmt.Errorf("a certificate of %d bytes, at most %d are accepted: %w", len(der), maxCertificateBytes, layout.ErrLimit)
		}
		if c, err := x509.ParseCertificate(der); err == nil {
			if err := checkKey(c); err != nil {
				return err
			}
		}
	}
	if len(token) == 0 {
		return nil
	}
	t, err := tspclient.ParseSignedToken(token)
	if err != nil {
		return nil
	}
	if len(t.Certificates) > maxCertificates {
		return fmt.Errorf("%d certificates in the timestamp, at most %d are accepted: %w", len(t.Certificates), maxCertificates, layout.ErrLimit)
	}
	errs := make([]error, 0, len(t.Certificates))
	for _, c := range t.Certificates {
		errs = append(errs, checkKey(c))
	}
	return errors.Join(errs...)
}

func checkKey(c *x509.Certificate) error {
	if k, ok := c.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
		return fmt.Errorf("an RSA key of %d bits, at most %d are accepted: %w", k.N.BitLen(), maxRSABits, layout.ErrLimit)
	}
	return nil
}

// chainOf finds the certificates and the timestamp token of an envelope, where the
// signature specification of the Notary Project puts them.
func chainOf(envelope []byte, mediaType string) (chain [][]byte, token []byte) {
	if mediaType == jws.MediaTypeEnvelope {
		var e struct {
			Header struct {
				Chain [][]byte `json:"x5c"`
				Token []byte   `json:"io.cncf.notary.timestampSignature"`
			} `json:"header"`
		}
		_ = json.Unmarshal(envelope, &e)
		return e.Header.Chain, e.Header.Token
	}
	var tag cbor.RawTag
	var parts []cbor.RawMessage
	var header map[any]cbor.RawMessage
	if cbor.Unmarshal(envelope, &tag) != nil || cbor.Unmarshal(tag.Content, &parts) != nil || len(parts) < 2 || cbor.Unmarshal(parts[1], &header) != nil {
		return nil, nil
	}
	_ = cbor.Unmarshal(header["io.cncf.notary.timestampSignature"], &token)
	raw := header[uint64(33)] // x5chain, RFC 9360
	if cbor.Unmarshal(raw, &chain) != nil {
		var one []byte
		if cbor.Unmarshal(raw, &one) == nil {
			chain = [][]byte{one}
		}
	}
	return chain, token
}
