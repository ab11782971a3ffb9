package registry

import (
	"net/http"
	"net/url"
	"strings"
)

const challengeHeader = "Www-Authenticate"

// keepAnswerable reduces the challenges of a 401 to the one that this client
// answers, for the auth client reads only the first: a registry behind SPNEGO
// offers Negotiate first and Basic second, in one header line or in two. Bearer
// comes before Basic, as its token service also serves clients without a
// credential. Challenges that this client cannot answer stay as they are.
func keepAnswerable(h http.Header) {
	best := ""
	for _, line := range h.Values(challengeHeader) {
		for _, c := range splitChallenges(line) {
			switch scheme, _, _ := strings.Cut(c, " "); {
			case strings.EqualFold(scheme, "Bearer") && hasRealm(c):
				h.Set(challengeHeader, c)
				return
			case strings.EqualFold(scheme, "Basic") && best == "":
				best = c
			}
		}
	}
	if best != "" {
		h.Set(challengeHeader, best)
	}
}

// splitChallenges splits a header line into its challenges (RFC 9110, section
// 11.6.1). A comma separates challenges as well as the parameters of one; a new
// challenge begins with a token that is not followed by "=".
func splitChallenges(line string) []string {
	var out []string
	for _, part := range splitUnquoted(line, ',') {
		part = strings.Trim(part, " \t")
		switch {
		case part == "":
		case len(out) > 0 && isParameter(part):
			out[len(out)-1] += ", " + part
		default:
			out = append(out, part)
		}
	}
	return out
}

// isParameter says whether part is name=value, and so belongs to the challenge
// before it: `Basic realm="x"` is none, for a space comes before its "=".
func isParameter(part string) bool {
	name, _, ok := strings.Cut(part, "=")
	return ok && !strings.ContainsAny(strings.TrimRight(name, " \t"), " \t\"")
}

// splitUnquoted splits s at sep, where that is not in a quoted string.
func splitUnquoted(s string, sep byte) []string {
	var out []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// hasRealm says whether a Bearer challenge names a token service that can be
// asked.
func hasRealm(challenge string) bool {
	_, params, _ := strings.Cut(challenge, " ")
	for _, p := range splitUnquoted(params, ',') {
		name, value, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.Trim(name, " \t"), "realm") {
			u, err := url.Parse(strings.Trim(value, " \t\""))
			return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
		}
	}
	return false
}
