package predicate

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// known are the types that a person may mean by another spelling.
var known = []string{
	SLSAProvenance02, SLSAProvenance1, SLSAVerificationSummary, verificationSummary01, verificationSummary02,
	SPDX, CycloneDX, CosignVuln, OpenVEX, Link, CosignSign,
}

// MeantType returns the well-known type that a predicate type differs from in spelling
// alone: in scheme, case, separators or escapes. It is empty for a well-known type itself,
// and for any other.
func MeantType(predicateType string) string {
	if slices.Contains(known, predicateType) {
		return ""
	}
	s := skeleton(predicateType)
	for _, k := range known {
		if skeleton(k) == s {
			return k
		}
	}
	return ""
}

// maxUnescapes is how often escapes are resolved that may hide others.
const maxUnescapes = 4

// skeleton is what is left of a type without its spelling: letters, digits and dots, in
// lower case, from behind the scheme. Letters that Unicode folds into one of ASCII count
// as that.
func skeleton(predicateType string) string {
	for range maxUnescapes {
		plain, err := url.PathUnescape(predicateType)
		if err != nil || plain == predicateType {
			break
		}
		predicateType = plain
	}
	folded := strings.Map(func(r rune) rune {
		for f := unicode.SimpleFold(r); f != r && r >= unicode.MaxASCII; f = unicode.SimpleFold(f) {
			if f < unicode.MaxASCII {
				r = f
				break
			}
		}
		return unicode.ToLower(r)
	}, predicateType)
	if _, rest, ok := strings.Cut(folded, "://"); ok {
		folded = rest
	}
	return strings.Map(func(r rune) rune {
		if r == '.' || unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, folded)
}

// isSummary reports whether a type is that of a verification summary of SLSA in any
// spelling: who asks for an odd one must not get an approval that says FAILED.
func isSummary(predicateType string) bool {
	s := strings.ReplaceAll(skeleton(predicateType), ".", "")
	return strings.Contains(s, "slsa") && strings.Contains(s, "verificationsummary")
}
