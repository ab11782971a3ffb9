package sigstore

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// some is r, or of it those authorities and logs that have the addresses wanted.
func (w Want) some(r root.TrustedMaterial) root.TrustedMaterial {
	if w.AuthorityURL == "" && w.LogURL == "" {
		return r
	}
	return &atAddress{r, w.AuthorityURL, w.LogURL}
}

// atAddress is material with less in it.
type atAddress struct {
	root.TrustedMaterial
	authority, log string
}

func sameAddress(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

func (a *atAddress) FulcioCertificateAuthorities() []root.CertificateAuthority {
	all := a.TrustedMaterial.FulcioCertificateAuthorities()
	if a.authority == "" {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), func(ca root.CertificateAuthority) bool {
		f, ok := ca.(*root.FulcioCertificateAuthority)
		return !ok || !sameAddress(f.URI, a.authority)
	})
}

func (a *atAddress) RekorLogs() map[string]*root.TransparencyLog {
	all := a.TrustedMaterial.RekorLogs()
	if a.log == "" {
		return all
	}
	out := map[string]*root.TransparencyLog{}
	for id, l := range all {
		if sameAddress(l.BaseURL, a.log) {
			out[id] = l
		}
	}
	return out
}

// throughChain is material whose authorities may be reached through certificates
// that nobody pinned.
type throughChain struct {
	root.TrustedMaterial
	chain []*x509.Certificate
}

func (t *throughChain) FulcioCertificateAuthorities() []root.CertificateAuthority {
	var out []root.CertificateAuthority
	for _, ca := range t.TrustedMaterial.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); ok {
			longer := *f
			longer.Intermediates = slices.Concat(f.Intermediates, t.chain)
			ca = &longer
		}
		out = append(out, ca)
	}
	return out
}

// carried reads the chain beside the signature, if it is wanted.
func (c *candidate) carried() ([]*x509.Certificate, *Failure) {
	if !c.want.CarriedChain || c.leaf == nil {
		return nil, nil
	}
	var out []*x509.Certificate
	for rest := []byte(c.chain); len(strings.TrimSpace(string(rest))) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, failf(Malformed, "annotation %s is no list of certificates in PEM form", annotationChain)
		}
		if len(block.Bytes) > MaxCertificateBytes {
			return nil, tooLarge("certificate", len(block.Bytes), MaxCertificateBytes)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, failf(Malformed, "annotation %s: %w", annotationChain, err)
		}
		if out = append(out, cert); len(out) > MaxChain {
			return nil, failf(Malformed, "more than %d certificates beside the signer's", MaxChain)
		}
	}
	return out[:max(0, len(out)-1)], nil
}
