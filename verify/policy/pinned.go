package policy

import (
	"cmp"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Pinned is what a policy of another tool brings along itself, where ours names
// what is in the trust directory. It comes from this side, as the policy does.
type Pinned struct {
	// Keys are those of which any may have signed.
	Keys []crypto.PublicKey
	// Roots are asked instead of those of the trust directory, if there are any.
	Roots []*root.TrustedRoot
	// Authority and Log are addresses: of the pinned certificate authorities and
	// logs, only those with that address count. Empty for any.
	Authority, Log string
	// InsecureNoSCT takes certificates that no certificate log knows of.
	InsecureNoSCT bool
	// CarriedChain takes the certificates between a signer's and a root from beside
	// the signature.
	CarriedChain bool
	// ByEmail takes no identity but an address of mail.
	ByEmail bool
	// ExactPayload takes no simple signing payload with a field that its format does
	// not have.
	ExactPayload bool
}

// Fingerprints name the keys: "sha256:" and the SHA-256 of each key's PKIX form.
func (p *Pinned) Fingerprints() []string {
	var out []string
	for _, k := range p.Keys {
		if fp, err := fingerprint(k); err == nil {
			out = append(out, fp)
		}
	}
	return out
}

func (p *Pinned) text() string {
	return "key " + strings.Join(p.Fingerprints(), " or ")
}

func fingerprint(key crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// maxKeyBytes is how large a file with a key may be, and maxKeys how many keys one
// requirement may name.
const (
	maxKeyBytes = 64 << 10
	maxKeys     = 64
)

// parseKey reads the one public key that is in PEM data.
func parseKey(data []byte) (crypto.PublicKey, error) {
	if len(data) > maxKeyBytes {
		return nil, fmt.Errorf("more than %d bytes", maxKeyBytes)
	}
	if _, rest := pem.Decode(data); len(strings.TrimSpace(string(rest))) > 0 && len(rest) < len(data) {
		return nil, errors.New("something stands behind the key; one public key in PEM form is wanted")
	}
	key, err := cryptoutils.UnmarshalPEMToPublicKey(data)
	if err != nil {
		return nil, errors.New("no public key in PEM form")
	}
	if _, err := fingerprint(key); err != nil {
		return nil, errors.New("no public key that can be used")
	}
	return key, nil
}

// readKeyFile reads a file that a policy names. A path that is not absolute is
// taken from the working directory, as containers/image does.
func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKeyBytes+1))
}

// keySource reads the keys of the fields stem+Path, …Paths, …Data and …Datas, of
// which at most one may be there (containers-policy.json(5)).
func (r *containersReader) keySource(n *node, stem string) ([]crypto.PublicKey, error) {
	var from []string
	for _, suffix := range []string{"Path", "Paths", "Data", "Datas"} {
		if n.fields[stem+suffix] != nil {
			from = append(from, suffix)
		}
	}
	switch len(from) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, n.fail("both %s and %s are given; want one", stem+from[0], stem+from[1])
	}
	f := n.fields[stem+from[0]]
	items := []*node{f}
	if strings.HasSuffix(from[0], "s") {
		var err error
		if items, err = f.list(); err != nil {
			return nil, err
		}
	}
	if len(items) > maxKeys {
		return nil, f.fail("%d keys, at most %d are accepted", len(items), maxKeys)
	}
	var keys []crypto.PublicKey
	for _, item := range items {
		key, err := r.key(item, strings.HasPrefix(from[0], "Path"))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func (r *containersReader) key(n *node, isPath bool) (crypto.PublicKey, error) {
	data, err := r.bytes(n, isPath)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, n.fail("%w", err)
	}
	return key, nil
}

// bytes is what a path leads to, or what is there in base64.
func (r *containersReader) bytes(n *node, isPath bool) ([]byte, error) {
	if err := n.is(kindText); err != nil {
		return nil, err
	}
	if isPath {
		data, err := r.readFile(n.text)
		if err != nil {
			return nil, n.fail("%w", err)
		}
		return data, nil
	}
	data, err := base64.StdEncoding.DecodeString(n.text)
	if err != nil {
		return nil, n.fail("no base64")
	}
	return data, nil
}

// materialOf is a root of certificate authorities and of logs with these keys. A log
// is known by the SHA-256 of its key (RFC 6962, 3.2). They have no beginning and no
// end but those in the certificates.
func materialOf(authorities []*x509.Certificate, logKeys []crypto.PublicKey) (*root.TrustedRoot, error) {
	var cas []root.CertificateAuthority
	for _, c := range authorities {
		cas = append(cas, &root.FulcioCertificateAuthority{Root: c})
	}
	logs := map[string]*root.TransparencyLog{}
	for _, key := range logKeys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, err
		}
		id := sha256.Sum256(der)
		logs[hex.EncodeToString(id[:])] = &root.TransparencyLog{
			ID: id[:], PublicKey: key, ValidityPeriodStart: time.Unix(0, 0),
			HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256,
		}
	}
	return root.NewTrustedRoot(root.TrustedRootMediaType01, cas, nil, nil, logs)
}

// authorities reads the certificates of fulcio's caPath or caData.
func (r *containersReader) authorities(n *node) ([]*x509.Certificate, error) {
	path, data := n.fields["caPath"], n.fields["caData"]
	switch {
	case path != nil && data != nil:
		return nil, n.fail("both caPath and caData are given; want one")
	case path == nil && data == nil:
		return nil, n.fail("no certificates: want caPath or caData")
	}
	f := cmp.Or(path, data)
	raw, err := r.bytes(f, path != nil)
	if err != nil {
		return nil, err
	}
	certs, err := cryptoutils.UnmarshalCertificatesFromPEM(raw)
	if err != nil || len(certs) == 0 || len(certs) > maxKeys || len(raw) > maxKeyBytes {
		return nil, f.fail("want 1 to %d certificates in PEM form", maxKeys)
	}
	return certs, nil
}
