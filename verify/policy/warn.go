package policy

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"airgap/layout"
	"airgap/verify/predicate"
)

// Warnings says what of the policy can be used and is probably not what its author
// thinks it is: expressions that fit in the middle of a longer text too, patterns
// that no image has, and what of another tool's policy is not asked.
func (p *Policy) Warnings() []string {
	out := slices.Clone(p.warnings)
	for i := range p.Rules {
		r := &p.Rules[i]
		for _, pattern := range r.Match {
			if why := p.unfit(pattern); why != "" {
				out = append(out, fmt.Sprintf("rule %q: the pattern %s is for no image: %s", r.Name, pattern, why))
			} else if why := p.spelling(pattern); why != "" {
				out = append(out, fmt.Sprintf("rule %q: the pattern %s %s", r.Name, pattern, why))
			}
		}
		r.Require.each(func(req *Requirement) {
			if typ := req.predicateType(); predicate.MeantType(typ) != "" {
				out = append(out, fmt.Sprintf("rule %q: %v", r.Name, req.fail("predicateType %q is another spelling of %q, and only attestations with the spelling that stands here count", typ, predicate.MeantType(typ))))
			}
			s := req.signer()
			if s == nil {
				return
			}
			for _, e := range []struct{ name, text string }{{"identityRegexp", s.IdentityRegexp}, {"issuerRegexp", s.IssuerRegexp}} {
				if e.text != "" && !anchored(e.text) {
					out = append(out, fmt.Sprintf("rule %q: %v", r.Name, req.fail("%s %q also fits a part of a longer text; write ^(…)$", e.name, e.text)))
				}
			}
		})
	}
	return append(out, p.hidden()...)
}

// predicateType is that of the attestations that a requirement is about, or empty.
func (r *Requirement) predicateType() string {
	switch {
	case r.Attestation != nil:
		return r.Attestation.PredicateType
	case r.BuildKit != nil:
		return r.BuildKit.PredicateType
	}
	return ""
}

// maxHiddenPairs is how many pairs of patterns are compared for a warning.
const maxHiddenPairs = 1_000_000

// hidden names patterns of an environment that hide a narrower one of the environment
// it extends: by their characters neither is more specific, so the environment decides.
func (p *Policy) hidden() []string {
	var out []string
	pairs := maxHiddenPairs
	for i := range p.Rules {
		for j := range p.Rules {
			own, base := &p.Rules[i], &p.Rules[j]
			if p.choose != nil || own.level <= base.level {
				continue
			}
			for _, wide := range own.Match {
				for _, narrow := range base.Match {
					if pairs--; pairs < 0 {
						return out
					}
					w, n := newCompared(wide), newCompared(narrow)
					if w.tagged == n.tagged && w.literals == n.literals && n.narrower(&w) {
						out = append(out, fmt.Sprintf("rule %q of this environment decides by %s for all that rule %q of the environment it extends is for by %s; write more of the name if that one should decide", own.Name, wide, base.Name, narrow))
					}
				}
			}
		}
	}
	return out
}

// unfit says why a pattern can be for no image, or nothing.
func (p *Policy) unfit(pattern string) string {
	switch {
	case p.choose == nil:
		return unfitPattern(pattern)
	case p.scoped && pattern != anyScope && !strings.HasPrefix(pattern, "*."):
		repo, _ := splitTag(pattern)
		host, _, _ := strings.Cut(repo, "/")
		return unfitHost(host)
	}
	return ""
}

// unfitPattern is about our own patterns. What source references look like is what
// [layout.ParseReference] makes of them.
func unfitPattern(pattern string) string {
	repo, _ := splitTag(pattern)
	host, path, slash := strings.Cut(repo, "/")
	if strings.Contains(host, "**") {
		return "" // the rest is anywhere
	}
	switch {
	case !slash:
		return "it has no registry, or nothing but that"
	case host == "", strings.Contains(repo, "//"), strings.HasSuffix(repo, "/"):
		return "a part between slashes is empty"
	case path != strings.ToLower(path):
		return "repositories are in lower case"
	case strings.Contains(host, "*"):
		return ""
	case host == "docker.io" && !strings.ContainsAny(path, "/*"):
		return "its full name is docker.io/library/" + path
	}
	return unfitHost(host)
}

func unfitHost(host string) string {
	if !strings.ContainsAny(host, ".:") && host != "localhost" && host == strings.ToLower(host) {
		return host + " is no registry; images of Docker Hub are called docker.io/…"
	}
	return ""
}

// spelling says what becomes of a pattern that is for Docker Hub by another of its hosts.
func (p *Policy) spelling(pattern string) string {
	host, _, slash := strings.Cut(pattern, "/")
	switch {
	case p.choose != nil && !p.scoped: // globs are held against every spelling
		return ""
	case spellsHub(host):
		return "fits another spelling of docker.io and not docker.io, as which images of Docker Hub are looked for; write docker.io"
	case strings.Contains(host, "*") || !slash && !p.scoped:
		return ""
	}
	if same := sameScope(pattern); strings.HasPrefix(same, "docker.io") && !strings.HasPrefix(pattern, "docker.io") {
		return "is read as " + same
	}
	return ""
}

// spellsHub reports whether the host of a pattern has a wildcard, is about Docker, and
// fits a host of Docker Hub but not docker.io, which stands for all of them.
func spellsHub(host string) bool {
	host = strings.ToLower(host)
	if !strings.Contains(host, "*") || !strings.Contains(host, "docker") {
		return false
	}
	glob := layout.Glob(host)
	return slices.ContainsFunc(layout.HubHosts(), glob.MatchString) && !glob.MatchString("docker.io")
}

// anchored says whether an expression only ever fits a whole text.
func anchored(expr string) bool {
	re, err := syntax.Parse(expr, syntax.Perl)
	return err == nil && atEnd(re, syntax.OpBeginText, true) && atEnd(re, syntax.OpEndText, false)
}

// atEnd says whether every way through re starts, or ends, with op.
func atEnd(re *syntax.Regexp, op syntax.Op, first bool) bool {
	switch re.Op {
	case op:
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return atEnd(re.Sub[0], op, first)
	case syntax.OpConcat:
		if first {
			return atEnd(re.Sub[0], op, first)
		}
		return atEnd(re.Sub[len(re.Sub)-1], op, first)
	case syntax.OpAlternate:
		return !slices.ContainsFunc(re.Sub, func(s *syntax.Regexp) bool { return !atEnd(s, op, first) })
	}
	return false
}
