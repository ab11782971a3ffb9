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

// Pattern is a pattern as rules have it, to be held against many names.
type Pattern struct{ repo, tag *regexp.Regexp }

// ParsePattern reads a pattern, and refuses what can fit nothing.
func ParsePattern(pattern string) (Pattern, error) {
	if err := checkPattern(pattern); err != nil {
		return Pattern{}, err
	}
	return newPattern(pattern), nil
}

func newPattern(pattern string) Pattern {
	repo, tag := splitTag(pattern)
	p := Pattern{repo: layout.Glob(layout.SameHost(repo))}
	if tag != "" {
		p.tag = layout.Glob(tag)
	}
	return p
}

// Fits says whether a name is one of those that the pattern is for.
func (p Pattern) Fits(ref layout.Reference) bool {
	return p.repo.MatchString(layout.SameHost(ref.Repository)) && (p.tag == nil || ref.Tag != "" && p.tag.MatchString(ref.Tag))
}

func fits(pattern string, ref layout.Reference) bool { return newPattern(pattern).Fits(ref) }

var patternGrammar = regexp.MustCompile(`^[A-Za-z0-9._:/*-]+$`)

// maxPatternBytes is far more than a repository's name can have.
const maxPatternBytes = 512

func checkPattern(pattern string) error {
	if !patternGrammar.MatchString(pattern) || len(pattern) > maxPatternBytes || strings.Contains(pattern, "***") || strings.HasSuffix(pattern, ":") {
		return fmt.Errorf("pattern %.200q: a repository is wanted, with * and **, and perhaps a tag", pattern)
	}
	return nil
}

// checkPatterns refuses patterns that can fit nothing, and equal ones of two
// rules, between which nothing would decide.
func checkPatterns(rules []Rule) error {
	seen := map[string]string{}
	for _, r := range rules {
		for _, m := range r.Match {
			if err := checkPattern(m); err != nil {
				return fmt.Errorf("rule %q: %w", r.Name, err)
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
