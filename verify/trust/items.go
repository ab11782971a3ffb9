package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// What an Item is.
const (
	KindCertificate = "certificate"           // of a store; Name is "ca:<store>" and so on, as in a policy
	KindKey         = "public key"            // Name is what a policy calls it
	KindCRL         = "CRL"                   // Subject is who issued it
	KindFulcio      = "certificate authority" // of a trusted root, as are the following
	KindTSA         = "timestamping authority"
	KindRekor       = "transparency log"
	KindCTLog       = "certificate log"
)

// Item is one thing that gives trust, or takes it.
type Item struct {
	Kind string `json:"kind"`
	// Name is the store with its type, the key's name, or the file's without
	// its suffix.
	Name string `json:"name"`
	// File is slash-separated, in the trust directory.
	File string `json:"file"`
	// Subject is whose it is: a certificate's subject, a CRL's issuer, a log's
	// address. Keys have none.
	Subject string `json:"subject,omitempty"`
	// Fingerprint is the hex SHA-256 of the certificate or CRL in DER, of a
	// key's PKIX form, or the ID that a log goes by.
	Fingerprint string `json:"fingerprint"`
	// Key says which kind of key it is and how long: "RSA 2048", "ECDSA P-256".
	Key string `json:"key,omitempty"`
	// NotBefore and NotAfter limit its use; zero means no limit. Of a CRL they
	// are when it was made and when the next was due.
	NotBefore time.Time `json:"notBefore,omitzero"`
	NotAfter  time.Time `json:"notAfter,omitzero"`
	// Number and Revoked are a CRL's own number, decimal, and how many
	// certificates it revokes.
	Number  string `json:"number,omitempty"`
	Revoked int    `json:"revoked,omitempty"`
}

// Items returns all there is: certificates, keys, the parts of trusted roots,
// CRLs.
func (t *Trust) Items() []Item {
	var out []Item
	for _, s := range t.stores {
		for _, c := range s.Certificates {
			out = append(out, certificateItem(s, c))
		}
	}
	for _, k := range t.keys {
		out = append(out, keyItem(k))
	}
	for _, r := range t.roots {
		out = append(out, r.items()...)
	}
	for _, c := range t.crls {
		out = append(out, c.item())
	}
	return out
}

func certificateItem(s Store, c Certificate) Item {
	return Item{
		Kind: KindCertificate, Name: string(s.Type) + ":" + s.Name, File: c.File,
		Subject: c.Subject.String(), Fingerprint: fingerprint(c.Raw), Key: keyText(c.PublicKey),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
	}
}

func keyItem(k Key) Item {
	return Item{Kind: KindKey, Name: k.Name, File: k.File, Fingerprint: k.Fingerprint, Key: keyText(k.Public)}
}

func (c crlFile) item() Item {
	i := Item{
		Kind: KindCRL, Name: c.name, File: c.file, Subject: c.Issuer.String(), Fingerprint: fingerprint(c.Raw),
		NotBefore: c.ThisUpdate.UTC(), Revoked: len(c.RevokedCertificateEntries),
	}
	if !c.NextUpdate.IsZero() {
		i.NotAfter = c.NextUpdate.UTC()
	}
	if c.Number != nil {
		i.Number = c.Number.String()
	}
	return i
}

func (r rootFile) items() []Item {
	parts := rootParts(r.TrustedRoot)
	for i := range parts {
		parts[i].Name, parts[i].File = r.name, r.file
	}
	return parts
}

// rootParts are what a trusted root trusts.
func rootParts(tr *root.TrustedRoot) []Item {
	var out []Item
	for _, ca := range tr.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); ok {
			out = append(out, authority(KindFulcio, f.URI, f.ValidityPeriodStart, f.ValidityPeriodEnd, f.Root, f.Intermediates))
		}
	}
	for _, ca := range tr.TimestampingAuthorities() {
		if a, ok := ca.(*root.SigstoreTimestampingAuthority); ok {
			chain := a.Intermediates
			if a.Leaf != nil {
				chain = append(slices.Clone(chain), a.Leaf)
			}
			out = append(out, authority(KindTSA, a.URI, a.ValidityPeriodStart, a.ValidityPeriodEnd, a.Root, chain))
		}
	}
	out = append(out, logs(KindRekor, tr.RekorLogs())...)
	return append(out, logs(KindCTLog, tr.CTLogs())...)
}

// authority describes a chain, which is good as long as every part of it is.
func authority(kind, uri string, from, to time.Time, top *x509.Certificate, others []*x509.Certificate) Item {
	i := Item{Kind: kind, Subject: uri, NotBefore: utc(from), NotAfter: utc(to)}
	if top != nil {
		i.Fingerprint, i.Key = fingerprint(top.Raw), keyText(top.PublicKey)
		i.Subject = top.Subject.String()
		others = append(slices.Clone(others), top)
	}
	for _, c := range others {
		if c.NotBefore.After(i.NotBefore) {
			i.NotBefore = c.NotBefore.UTC()
		}
		if i.NotAfter.IsZero() || c.NotAfter.Before(i.NotAfter) {
			i.NotAfter = c.NotAfter.UTC()
		}
	}
	return i
}

func logs(kind string, byID map[string]*root.TransparencyLog) []Item {
	var out []Item
	for _, l := range byID {
		out = append(out, Item{
			Kind: kind, Subject: l.BaseURL, Fingerprint: hex.EncodeToString(l.ID), Key: keyText(l.PublicKey),
			NotBefore: utc(l.ValidityPeriodStart), NotAfter: utc(l.ValidityPeriodEnd),
		})
	}
	slices.SortFunc(out, func(a, b Item) int { return strings.Compare(a.Fingerprint, b.Fingerprint) })
	return out
}

// utc leaves the zero time what it is.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC()
}

func keyText(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}
