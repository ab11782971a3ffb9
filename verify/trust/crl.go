package trust

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Extensions of revocation lists (RFC 5280, 5.2.4 and 5.2.5).
var (
	oidDelta = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidScope = asn1.ObjectIdentifier{2, 5, 29, 28}
)

func extension(crl *x509.RevocationList, oid asn1.ObjectIdentifier) []byte {
	for _, e := range crl.Extensions {
		if e.Id.Equal(oid) {
			return e.Value
		}
	}
	return nil
}

func hasExtension(crl *x509.RevocationList, oid asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(crl.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oid) })
}

// sameList says whether one of two can take the place of the other: they are by the
// same key of the same issuer, and about the same part of what that has issued.
func sameList(a, b crlFile) bool {
	return bytes.Equal(a.RawIssuer, b.RawIssuer) && bytes.Equal(a.AuthorityKeyId, b.AuthorityKeyId) &&
		bytes.Equal(extension(a.RevocationList, oidScope), extension(b.RevocationList, oidScope))
}

// compareAge is positive if a is newer: by the number, which grows (RFC 5280,
// 5.2.3), or by the time where neither has one.
func compareAge(a, b crlFile) int {
	if a.Number == nil && b.Number == nil {
		return a.ThisUpdate.Compare(b.ThisUpdate)
	}
	return number(a).Cmp(number(b))
}

func number(l crlFile) *big.Int {
	if l.Number == nil {
		return big.NewInt(-1)
	}
	return l.Number
}

// age is a list's number in words, or its time.
func (c crlFile) age() string {
	if c.Number == nil {
		return "made on " + c.ThisUpdate.UTC().Format(time.RFC3339)
	}
	return "number " + c.Number.String()
}

// replaces returns the files whose place c takes, and the file that is c already.
// An older list than one that is there is an error: whoever brings that wants
// something revoked to be forgotten.
func (t *Trust) replaces(c crlFile, now time.Time) (older []string, already string, err error) {
	for _, have := range t.crls {
		if !sameList(c, have) {
			continue
		}
		switch age := compareAge(c, have); {
		case bytes.Equal(c.Raw, have.Raw):
			already = cmp.Or(already, have.file)
		case age < 0:
			return nil, "", fmt.Errorf("%w: it is %s, and %s is %s of the same issuer", ErrOlder, c.age(), have.file, have.age())
		case age == 0:
			return nil, "", hint(fmt.Errorf("%w: %s is by the same issuer, also %s, and says something else", ErrExists, have.file, have.age()),
				"if this one is the right one, take the other away with airgap trust remove "+have.file)
		default:
			older = append(older, have.file)
		}
	}
	if len(older) == 0 || already != "" {
		return nil, already, nil
	}
	// One that is not what it says to be must not put away one that may be. That
	// no certificate is here to tell is no such sign: then neither of them counts
	// without a signature that brings it.
	if c.ThisUpdate.After(now) {
		return nil, "", fmt.Errorf("%w: it was made on %s, which is yet to come, and would replace %s", ErrInvalid, day(c.ThisUpdate.UTC()), older[0])
	}
	if signed, namesakes := t.vouched(c); !signed && namesakes > 0 {
		return nil, "", fmt.Errorf("%w: a certificate here has its issuer's name, but did not sign it; it would replace %s", ErrInvalid, strings.Join(older, ", "))
	}
	return older, "", nil
}

// vouched says whether a certificate here has signed c, and how many others only
// have its issuer's name.
func (t *Trust) vouched(c crlFile) (signed bool, namesakes int) {
	for _, s := range t.stores {
		for _, cert := range s.Certificates {
			if !bytes.Equal(cert.RawSubject, c.RawIssuer) {
				continue
			}
			if c.CheckSignatureFrom(cert.Certificate) == nil {
				return true, namesakes
			}
			namesakes++
		}
	}
	return false, namesakes
}
