package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"airgap/layout"
)

// For returns the rule for an image, found by its source reference, or nil. What the
// rule demands of names is about that image.
//
// In our own policies a pattern is a repository with "*" for any run of characters
// within a path element and "**" for any at all, and may end in a tag. Of several
// that fit, the one with the most characters that are no wildcard decides; a pattern
// with a tag is more specific than any without. Policies of other tools choose as
// those tools do.
func (p *Policy) For(ref layout.Reference) *Rule {
	choose := p.choose
	if choose == nil {
		choose = p.mostSpecific
	}
	found := choose(ref)
	if found == nil {
		return nil
	}
	rule := *found
	rule.Require = rule.Require.forImage(ref)
	return &rule
}

func (p *Policy) mostSpecific(ref layout.Reference) *Rule {
	var best *Rule
	score := -1
	for i := range p.Rules {
		for _, m := range p.Rules[i].Match {
			if s := specific(m); s > score && fits(m, ref) {
				best, score = &p.Rules[i], s
			}
		}
	}
	return best
}

// splitTag cuts a pattern into repository and tag.
func splitTag(pattern string) (repo, tag string) {
	if i := strings.LastIndex(pattern, ":"); i > strings.LastIndex(pattern, "/") {
		return pattern[:i], pattern[i+1:]
	}
	return pattern, ""
}

// specific orders patterns.
func specific(pattern string) int {
	repo, tag := splitTag(pattern)
	n := len(strings.ReplaceAll(repo, "*", ""))
	if tag != "" {
		n += 10_000 + len(strings.ReplaceAll(tag, "*", ""))
	}
	return n
}

func fits(pattern string, ref layout.Reference) bool {
	repo, tag := splitTag(pattern)
	return layout.Glob(layout.SameHost(repo)).MatchString(layout.SameHost(ref.Repository)) && (tag == "" || ref.Tag != "" && layout.Glob(tag).MatchString(ref.Tag))
}

var patternGrammar = regexp.MustCompile(`^[A-Za-z0-9._:/*-]+$`)

// checkPatterns refuses patterns that can fit nothing, and equal ones of two
// rules, between which nothing would decide.
func checkPatterns(rules []Rule) error {
	seen := map[string]string{}
	for _, r := range rules {
		for _, m := range r.Match {
			if !patternGrammar.MatchString(m) || len(m) > 512 || strings.Contains(m, "***") || strings.HasSuffix(m, ":") {
				return fmt.Errorf("rule %q: pattern %.200q: a repository is wanted, with * and **, and perhaps a tag", r.Name, m)
			}
			if other, ok := seen[m]; ok {
				return fmt.Errorf("rules %q and %q both have the pattern %s", other, r.Name, m)
			}
			seen[m] = r.Name
		}
	}
	return nil
}

// Sorted returns the rules with the most specific first, as they are tried.
func (p *Policy) Sorted() []Rule {
	if p.choose != nil {
		return p.Rules // in order already
	}
	return slices.SortedStableFunc(slices.Values(p.Rules), func(a, b Rule) int {
		return cmp.Compare(highest(b), highest(a))
	})
}

func highest(r Rule) int {
	n := -1
	for _, m := range r.Match {
		n = max(n, specific(m))
	}
	return n
}
