package trust

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"io/fs"
	"slices"

	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// StoreType is a kind of certificate store, as notation names them.
type StoreType = truststore.Type

// The types.
const (
	TypeCA               = truststore.TypeCA
	TypeSigningAuthority = truststore.TypeSigningAuthority
	TypeTSA              = truststore.TypeTSA
)

// Trust is what a trust directory held when it was opened. It never changes, and
// any number of goroutines may use it. What it returns must not be modified.
type Trust struct {
	stores []Store
	keys   []Key
	roots  []rootFile
	crls   []crlFile
	// privateKeys are the files of notation's localkeys folder, which are not
	// read and should not be here.
	privateKeys []string

	confirmation confirmation // the zero value if there is none
	digest       string
	files        int
	bytes        int64
}

// Store is a named store of certificates.
type Store struct {
	Type         StoreType
	Name         string
	Certificates []Certificate // in the order of files, and within each of them
}

// Certificate is one of a store.
type Certificate struct {
	File string // slash-separated, in the trust directory
	*x509.Certificate
}

// Key is a public key.
type Key struct {
	Name        string
	File        string // slash-separated, in the trust directory
	Public      crypto.PublicKey
	Fingerprint string // hex SHA-256 of the PKIX form, in DER
}

type rootFile struct {
	file, name string
	*root.TrustedRoot
}

type crlFile struct {
	file, name string
	*x509.RevocationList
}

var _ truststore.X509TrustStore = (*Trust)(nil)

// GetCertificates implements notation's X509TrustStore: the certificates of one
// store, of which there is at least one.
func (t *Trust) GetCertificates(_ context.Context, storeType truststore.Type, namedStore string) ([]*x509.Certificate, error) {
	if !slices.Contains(truststore.Types, storeType) {
		return nil, truststore.TrustStoreError{Msg: fmt.Sprintf("there is no type of trust store %q", storeType)}
	}
	for _, s := range t.stores {
		if s.Type != storeType || s.Name != namedStore {
			continue
		}
		if len(s.Certificates) == 0 {
			return nil, truststore.CertificateError{InnerError: fs.ErrNotExist, Msg: fmt.Sprintf("trust store %s:%s is empty", storeType, namedStore)}
		}
		certs := make([]*x509.Certificate, len(s.Certificates))
		for i, c := range s.Certificates {
			certs[i] = c.Certificate
		}
		return certs, nil
	}
	return nil, truststore.TrustStoreError{InnerError: fs.ErrNotExist, Msg: fmt.Sprintf("there is no trust store %s:%.100q", storeType, namedStore)}
}

// Stores returns all certificate stores, by type and name.
func (t *Trust) Stores() []Store {
	out := slices.Clone(t.stores)
	for i := range out {
		out[i].Certificates = slices.Clone(out[i].Certificates)
	}
	return out
}

// Key returns the public key of that name.
func (t *Trust) Key(name string) (crypto.PublicKey, bool) {
	for _, k := range t.keys {
		if k.Name == name {
			return k.Public, true
		}
	}
	return nil, false
}

// Keys returns all public keys, by name.
func (t *Trust) Keys() []Key { return slices.Clone(t.keys) }

// Roots returns the Sigstore trusted roots, by file name.
func (t *Trust) Roots() []*root.TrustedRoot {
	out := make([]*root.TrustedRoot, len(t.roots))
	for i, r := range t.roots {
		out[i] = r.TrustedRoot
	}
	return out
}

// CRLs returns the revocation lists, by file name. Nobody has checked who signed
// them, or when.
func (t *Trust) CRLs() []*x509.RevocationList {
	out := make([]*x509.RevocationList, len(t.crls))
	for i, c := range t.crls {
		out[i] = c.RevocationList
	}
	return out
}

// Digest names this trust: two with the same digest hold the same files. It is
// "sha256:" and the hex SHA-256 of one line per file, "<hex SHA-256 of the
// content>  <name>\n", sorted by the bytes of the name; what gives no trust, such as a
// README, a policy or the time of the last confirmation, does not count. sha256sum
// makes the same lines.
func (t *Trust) Digest() string { return t.digest }
