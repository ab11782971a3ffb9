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
// within a path element and "**" for any at all, and may end in a tag. [Policy.Sorted]
// says which of several decides. Policies of other tools choose as those tools do.
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
	var by compared
	for i := range p.Rules {
		r := &p.Rules[i]
		for _, m := range r.Match {
			if !fits(m, ref) {
				continue
			}
			if c := newCompared(m); best == nil || before(r, &c, best, &by) < 0 {
				best, by = r, c
			}
		}
	}
	return best
}

// before orders two patterns that are for one image: below 0 if a, the pattern of rule
// ra, decides. It is 0 only where checkPatterns refuses the policy.
//
//   - A pattern with a tag comes before one without.
//   - More characters that are no wildcard come before fewer. What only spells a
//     registry differently does not count.
//   - A rule of the environment comes before one of the environment it extends.
//   - A pattern comes before one that is for all the same images and for more.
func before(ra *Rule, a *compared, rb *Rule, b *compared) int {
	if n := rank(ra, a, rb, b); n != 0 {
		return n
	}
	switch {
	case a.narrower(b):
		return -1
	case b.narrower(a):
		return 1
	}
	return 0
}

// rank is the part of before that does not look into wildcards.
func rank(ra *Rule, a *compared, rb *Rule, b *compared) int {
	tagged := 0
	if a.tagged != b.tagged {
		tagged = 1
		if a.tagged {
			tagged = -1
		}
	}
	return cmp.Or(tagged, cmp.Compare(b.literals, a.literals), cmp.Compare(rb.level, ra.level))
}

// splitTag cuts a pattern into repository and tag.
func splitTag(pattern string) (repo, tag string) {
	if i := strings.LastIndex(pattern, ":"); i > strings.LastIndex(pattern, "/") {
		return pattern[:i], pattern[i+1:]
	}
	return pattern, ""
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
	if p.tag != nil && (ref.Tag == "" || !p.tag.MatchString(ref.Tag)) {
		return false
	}
	return p.repo.MatchString(layout.SameHost(ref.Repository)) || p.repo.MatchString(layout.SameRepository(ref.Repository))
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

// ruled is a pattern of a rule.
type ruled struct {
	compared
	rule    *Rule
	pattern string
}

// maxComparisons is how many pairs of patterns a policy may have between which only
// their wildcards decide: about a second's work.
const maxComparisons = 20_000_000

// checkPatterns refuses patterns that can fit nothing, and two that are for the same
// image where nothing says which of their rules decides.
func checkPatterns(rules []Rule) error {
	type kind struct {
		tagged          bool
		literals, level int
	}
	groups := map[kind][]ruled{}
	for i := range rules {
		r := &rules[i]
		for _, m := range r.Match {
			if err := checkPattern(m); err != nil {
				return fmt.Errorf("rule %q: %w", r.Name, err)
			}
			c := newCompared(m)
			k := kind{c.tagged, c.literals, r.level}
			groups[k] = append(groups[k], ruled{c, r, m})
		}
	}
	left := maxComparisons
	for i := range rules { // in the order of the file, so that it is always the same error
		for _, m := range rules[i].Match {
			c := newCompared(m)
			k := kind{c.tagged, c.literals, rules[i].level}
			if group := groups[k]; group != nil {
				delete(groups, k)
				if err := checkGroup(group, &left); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkGroup compares patterns that only their wildcards can tell apart.
func checkGroup(group []ruled, left *int) error {
	same := map[string]*ruled{}
	var wild []*ruled
	for i := range group {
		p := &group[i]
		if other := same[p.text]; other != nil && other.rule != p.rule {
			return tie(other, p)
		}
		same[p.text] = p
		if strings.Contains(p.text, "*") {
			wild = append(wild, p)
		}
	}
	for i, a := range wild {
		for _, b := range wild[i+1:] {
			if *left--; *left < 0 {
				return fmt.Errorf("more than %d pairs of patterns to compare; use fewer patterns", maxComparisons)
			}
			if a.rule != b.rule && a.meets(&b.compared) && before(a.rule, &a.compared, b.rule, &b.compared) == 0 {
				return tie(a, b)
			}
		}
	}
	return nil
}

func tie(a, b *ruled) error {
	if a.text == b.text {
		return fmt.Errorf("rules %q and %q both have the pattern %s; put what they require into one rule", a.rule.Name, b.rule.Name, b.pattern)
	}
	return fmt.Errorf("rules %q and %q match the same images by the patterns %s and %s, and neither pattern is narrower; make one more specific, or put what they require into one rule",
		a.rule.Name, b.rule.Name, a.pattern, b.pattern)
}

// Sorted returns the rules with the most specific first, as they are tried: by the
// pattern of each that comes first. Of the patterns that are for one image, one with a
// tag comes before one without; then the one with more characters that are no wildcard,
// however its registry is spelled; then the one of the environment before that of the
// environment it extends; then the narrower before the wider.
func (p *Policy) Sorted() []Rule {
	if p.choose != nil {
		return p.Rules // in order already
	}
	return slices.SortedStableFunc(slices.Values(p.Rules), func(a, b Rule) int {
		ca, cb := first(&a), first(&b)
		if n := rank(&a, &ca, &b, &cb); n != 0 {
			return n
		}
		return cmp.Compare(breadth(&ca), breadth(&cb))
	})
}

// first is the pattern of a rule that comes before its others.
func first(r *Rule) compared {
	var best compared
	for i, m := range r.Match {
		if c := newCompared(m); i == 0 || rank(r, &c, r, &best) < 0 || rank(r, &c, r, &best) == 0 && breadth(&c) < breadth(&best) {
			best = c
		}
	}
	return best
}

// breadth orders patterns for people: a narrower one never has more of it.
func breadth(c *compared) int {
	n := 0
	for _, t := range append(slices.Clone(c.repo), c.tag...) {
		n += int(t.wild)
	}
	return n
}
