package signing

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// ErrPassword says that a password does not open an encrypted key. A wrong
// password and a damaged file look alike.
var ErrPassword = errors.New("wrong password, or the key is damaged")

// Limits of what is read as PEM. A key has some kilobytes, a chain a few times
// that.
const (
	MaxKeyBytes   = 64 << 10
	MaxChainBytes = 1 << 20
)

// PEM types of keys (RFC 7468, and what OpenSSL and cosign add to it).
const (
	pemKeySuffix       = "PRIVATE KEY"
	pemEncryptedPKCS8  = "ENCRYPTED PRIVATE KEY"
	pemEncryptedCosign = "ENCRYPTED COSIGN PRIVATE KEY"
	pemEncryptedStore  = "ENCRYPTED SIGSTORE PRIVATE KEY"
)

// ParsePrivateKey reads the one private key in data, which is PEM: PKCS #8, SEC 1
// or PKCS #1, as it is or encrypted with a password (PKCS #8 with PBES2, or
// OpenSSL's older headers), or in the form cosign encrypts it. Other blocks, such
// as EC PARAMETERS or a certificate, may stand beside it.
//
// password is called at most once, and only for a key that is encrypted, where
// the empty password does not open it. It may be nil. An error matches ErrKey, and
// also ErrPassword if it is about the password, or is what password returned; it
// holds nothing of the key or the password.
//
// How long it takes to try a password is for the file to say, so data has to be
// the caller's own and not come out of a registry or a bundle.
func ParsePrivateKey(data []byte, password func() ([]byte, error)) (crypto.Signer, error) {
	block, err := keyBlock(data)
	if err != nil {
		return nil, err
	}
	var key crypto.PrivateKey
	if isEncrypted(block) {
		key, err = decrypt(block, password)
	} else if key, err = unmarshalKey(block, nil); err != nil {
		err = fmt.Errorf("%w: the block %q holds none that can be read", ErrKey, block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a key of type %T does not sign", ErrKey, key)
	}
	return signer, nil
}

// keyBlock finds the private key among the blocks of a file.
func keyBlock(data []byte) (*pem.Block, error) {
	if len(data) > MaxKeyBytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrKey, MaxKeyBytes)
	}
	var found *pem.Block
	other := ""
	for rest := data; ; {
		var b *pem.Block
		switch b, rest = pem.Decode(rest); {
		case b == nil && found == nil:
			return nil, noKey(other)
		case b == nil:
			return found, nil
		case !strings.HasSuffix(b.Type, pemKeySuffix):
			other = b.Type
		case found != nil:
			return nil, fmt.Errorf("%w: there is more than one private key", ErrKey)
		default:
			found = b
		}
	}
}

func noKey(other string) error {
	switch other {
	case "":
		return fmt.Errorf("%w: it is not in PEM form", ErrKey)
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return fmt.Errorf("%w: it is a public key, and signing takes the private one", ErrKey)
	}
	return fmt.Errorf("%w: it holds a %.40q and no private key", ErrKey, other)
}

func isEncrypted(b *pem.Block) bool {
	switch b.Type {
	case pemEncryptedPKCS8, pemEncryptedCosign, pemEncryptedStore:
		return true
	}
	return x509.IsEncryptedPEMBlock(b) //lint:ignore SA1019 many keys that exist have this form
}

// decrypt tries the empty password, which cosign allows, before it asks for one.
func decrypt(b *pem.Block, password func() ([]byte, error)) (crypto.PrivateKey, error) {
	if key, err := unmarshalKey(b, []byte{}); err == nil {
		return key, nil
	}
	if password == nil {
		return nil, fmt.Errorf("%w: it is encrypted: %w", ErrKey, ErrPassword)
	}
	given, err := password()
	if err != nil {
		return nil, err
	}
	key, err := unmarshalKey(b, given)
	if err != nil {
		// What the libraries say tells these apart no better.
		return nil, fmt.Errorf("%w: %w", ErrKey, ErrPassword)
	}
	return key, nil
}

// unmarshalKey has the library read one block. A damaged one makes the decryption
// beneath it panic.
func unmarshalKey(b *pem.Block, password []byte) (key crypto.PrivateKey, err error) {
	defer func() {
		if recover() != nil {
			key, err = nil, ErrKey
		}
	}()
	return cryptoutils.UnmarshalPEMToPrivateKey(pem.EncodeToMemory(b), func(bool) ([]byte, error) { return password, nil })
}

// ParseCertificates reads a chain: PEM with certificates and nothing else, in the
// order of the file. See [Chain] for the order that it has to have.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	if len(data) > MaxChainBytes {
		return nil, fmt.Errorf("%w: certificates of more than %d bytes", ErrKey, MaxChainBytes)
	}
	var out []*x509.Certificate
	rest := data
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: a %.40q stands among the certificates", ErrKey, b.Type)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %w", ErrKey, len(out)+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: not certificates in PEM form", ErrKey)
	}
	return out, nil
}
