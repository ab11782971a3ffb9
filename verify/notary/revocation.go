package notary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/notaryproject/notation-core-go/revocation"
	"github.com/notaryproject/notation-core-go/revocation/crl"
	"github.com/notaryproject/notation-core-go/revocation/purpose"
	"github.com/notaryproject/notation-core-go/revocation/result"
	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/tspclient-go"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	codeSigning  = purpose.CodeSigning
	timestamping = purpose.Timestamping
)

// revocations answers from lists in memory, and keeps in mind what was answered.
type revocations struct {
	mu      sync.Mutex
	lists   []*x509.RevocationList
	used    []List
	stamped bool // a chain of a timestamp authority came up to be checked
	unknown bool // and the last chain's status was unknown
	why     []string
}

// use notes a list; certificates of a chain are checked side by side.
func (r *revocations) use(l List) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used = append(r.used, l)
}

// missed notes why a list could not be had: the library does not pass that on.
func (r *revocations) missed(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = append(r.why, err.Error())
	return err
}

// explain adds why lists could not be had to an error that says what came of it.
func (r *revocations) explain(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.why)
	if why := strings.Join(slices.Compact(r.why), "; "); why != "" {
		return fmt.Errorf("%w: %s", err, why)
	}
	return err
}

func (r *revocations) validator(p purpose.Purpose) revocation.Validator {
	return &validator{r, p}
}

type validator struct {
	all     *revocations
	purpose purpose.Purpose
}

// ValidateContext implements [revocation.Validator].
func (v *validator) ValidateContext(ctx context.Context, o revocation.ValidateContextOptions) ([]*result.CertRevocationResult, error) {
	v.all.stamped = v.all.stamped || v.purpose == timestamping
	inner, err := revocation.NewWithOptions(revocation.Options{
		OCSPHTTPClient: &http.Client{Transport: noNetwork{}}, CertChainPurpose: v.purpose,
		CRLFetcher: &lists{v.all, o.CertChain},
	})
	if err != nil {
		return nil, err
	}
	results, err := inner.ValidateContext(ctx, o)
	v.all.unknown = err == nil && unknown(results)
	return results, err
}

// errOffline is what everything gets that would leave this machine.
var errOffline = errors.New("there is no network here")

type noNetwork struct{}

func (noNetwork) RoundTrip(*http.Request) (*http.Response, error) { return nil, errOffline }

// List is a revocation list that an issuer of a judged chain signed. Issuer tells
// the issuer's key, and the list's scope if it is not all of that issuer's: of two
// lists with one Issuer the one with the higher number replaces the other.
type List struct {
	Issuer string
	CRL    *x509.RevocationList
}

func newList(crl *x509.RevocationList, issuer *x509.Certificate) List {
	sum := sha256.New()
	sum.Write(issuer.RawSubjectPublicKeyInfo)
	for _, e := range crl.Extensions {
		if e.Id.Equal(oidDistributionPoint) {
			sum.Write(e.Value)
		}
	}
	return List{hex.EncodeToString(sum.Sum(nil)), crl}
}

// ClockSkew is how far clocks may differ before one of them is called wrong.
const ClockSkew = 10 * time.Minute

// lists finds the list for a chain. Only the URL is asked for; who has to have
// signed the list is known from the chain.
type lists struct {
	all   *revocations
	chain []*x509.Certificate
}

// Fetch implements [crl.Fetcher].
func (l *lists) Fetch(_ context.Context, url string) (*crl.Bundle, error) {
	var best *x509.RevocationList
	var issuer *x509.Certificate
	ahead := false
	for i, c := range l.chain {
		if i+1 == len(l.chain) || !slices.Contains(c.CRLDistributionPoints, url) {
			continue
		}
		for _, list := range l.all.lists {
			if covers(list, c, url) && bytes.Equal(list.RawIssuer, l.chain[i+1].RawSubject) &&
				list.CheckSignatureFrom(l.chain[i+1]) == nil && newer(list, best) {
				best, issuer = list, l.chain[i+1]
				ahead = list.ThisUpdate.After(time.Now().Add(ClockSkew))
			}
		}
	}
	if best == nil {
		return nil, l.all.missed(fmt.Errorf("no revocation list for %.200q is here", url))
	}
	if ahead {
		return nil, l.all.missed(fmt.Errorf("the revocation list for %.200q was made at %s: the clock of this machine is behind", url, best.ThisUpdate.UTC().Format(time.RFC3339)))
	}
	l.all.use(newList(best, issuer))
	return &crl.Bundle{BaseCRL: best}, nil
}

// newer says whether a has a higher number than b, or is the first.
func newer(a, b *x509.RevocationList) bool {
	number := func(l *x509.RevocationList) *big.Int {
		if l.Number == nil {
			return new(big.Int)
		}
		return l.Number
	}
	return b == nil || number(a).Cmp(number(b)) > 0
}

// Extensions of lists (RFC 5280, 5.2).
var (
	oidDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28} // Issuing Distribution Point
	oidListNumber        = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidAuthorityKey      = asn1.ObjectIdentifier{2, 5, 29, 35}
)

// covers says whether a list is a complete one for a certificate and a distribution
// point of that: no delta, no list of another point or of another kind of
// certificate, and nothing about it that is critical and not known here.
func covers(list *x509.RevocationList, cert *x509.Certificate, url string) bool {
	for _, e := range list.Extensions {
		switch {
		case e.Id.Equal(oidDistributionPoint):
			p, err := parsePoint(e.Value)
			if err != nil || !p.covers(cert, url) {
				return false
			}
		case e.Id.Equal(oidListNumber), e.Id.Equal(oidAuthorityKey):
		case e.Id.Equal(oidDelta), e.Critical:
			return false
		}
	}
	return true
}

// oidDelta marks a list that only says what changed (5.2.4).
var oidDelta = asn1.ObjectIdentifier{2, 5, 29, 27}

// point is an Issuing Distribution Point (RFC 5280, 5.2.5): which certificates a
// list is about.
type point struct {
	named     bool // it names a distribution point
	urls      []string
	onlyUsers bool
	onlyCAs   bool
	partial   bool // only some reasons, other issuers, or attribute certificates
}

func (p *point) covers(cert *x509.Certificate, url string) bool {
	return !p.partial && !(p.onlyUsers && cert.IsCA) && !(p.onlyCAs && !cert.IsCA) && (!p.named || slices.Contains(p.urls, url))
}

var errPoint = errors.New("malformed Issuing Distribution Point")

func parsePoint(der []byte) (*point, error) {
	context := func(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific() }
	in := cryptobyte.String(der)
	var seq, name cryptobyte.String
	p := &point{}
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !in.Empty() || !seq.ReadOptionalASN1(&name, &p.named, context(0).Constructed()) {
		return nil, errPoint
	}
	if p.named && !p.names(name, context) {
		return nil, errPoint
	}
	for n := uint8(1); n <= 5; n++ {
		var value cryptobyte.String
		there := false
		if !seq.ReadOptionalASN1(&value, &there, context(n)) {
			return nil, errPoint
		}
		set := there && !(len(value) == 1 && value[0] == 0)
		switch n {
		case 1:
			p.onlyUsers = set
		case 2:
			p.onlyCAs = set
		default:
			p.partial = p.partial || set
		}
	}
	if !seq.Empty() {
		return nil, errPoint
	}
	return p, nil
}

// names reads the URLs of a DistributionPointName; other names stay unknown, and so
// fit nothing.
func (p *point) names(in cryptobyte.String, context func(uint8) cbasn1.Tag) bool {
	var full cryptobyte.String
	there := false
	if !in.ReadOptionalASN1(&full, &there, context(0).Constructed()) || !there {
		return !in.Empty() // a relative name
	}
	for !full.Empty() {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !full.ReadAnyASN1(&value, &tag) {
			return false
		}
		if tag == context(6) {
			p.urls = append(p.urls, string(value))
		}
	}
	return in.Empty()
}

// maxPoints is how many distribution points of one envelope are looked at.
const maxPoints = 32

// Points lists where the certificates of an envelope, those of its timestamp
// included, say that revocation lists are to be had: http and https URLs, each
// once. Nothing of it is verified. An envelope that cannot be read names none.
func Points(envelope []byte, mediaType string) (urls []string) {
	defer func() {
		if recover() != nil {
			urls = nil
		}
	}()
	if len(envelope) > MaxEnvelopeBytes || !slices.Contains(MediaTypes, mediaType) {
		return nil
	}
	if checkCost(envelope, mediaType) != nil {
		return nil
	}
	env, err := signature.ParseEnvelope(mediaType, envelope)
	if err != nil {
		return nil
	}
	c, err := env.Content()
	if err != nil {
		return nil
	}
	certs := slices.Clone(c.SignerInfo.CertificateChain)
	if token, err := tspclient.ParseSignedToken(c.SignerInfo.UnsignedAttributes.TimestampSignature); err == nil {
		certs = append(certs, token.Certificates...)
	}
	for _, c := range certs {
		for _, u := range c.CRLDistributionPoints {
			if web(u) && !slices.Contains(urls, u) && len(urls) < maxPoints {
				urls = append(urls, u)
			}
		}
	}
	return urls
}

// web says whether a URL is one that can be fetched.
func web(u string) bool {
	return len(u) <= 2048 && (strings.HasPrefix(u, "http://") || strings.HasPrefix(u, "https://"))
}
