package policy

import (
	"strings"

	"airgap/layout"
)

// token is a part of a pattern: a wildcard, or one byte that stands for itself.
type token struct {
	wild wildcard
	lit  byte
}

type wildcard int

const (
	literal    wildcard = iota
	inElement           // "*": any run of characters but "/"
	inAnything          // "**": any run of characters
)

// takes reports whether the wildcard w can stand for what t stands for.
func (w wildcard) takes(t token) bool {
	switch w {
	case inAnything:
		return true
	case inElement:
		return t.wild == inElement || t.wild == literal && t.lit != '/'
	}
	return false
}

// tokens reads a pattern as [layout.Glob] does.
func tokens(pattern string) []token {
	var out []token
	for i := 0; i < len(pattern); i++ {
		switch {
		case strings.HasPrefix(pattern[i:], "**"):
			out = append(out, token{wild: inAnything})
			i++
		case pattern[i] == '*':
			out = append(out, token{wild: inElement})
		default:
			out = append(out, token{lit: pattern[i]})
		}
	}
	return out
}

// within reports whether every text that a fits is one that b fits. It may miss that
// two patterns fit the same where both have "*" beside "**"; it never says so of two
// that do not.
func within(a, b []token) bool {
	// A wildcard of a stands for texts that only a wildcard of b can fit, so a is
	// matched against b as if each of its wildcards were one more character.
	reached := make([]bool, len(b)+1)
	reached[0] = true
	skip := func(at []bool) {
		for j := range b {
			at[j+1] = at[j+1] || at[j] && b[j].wild != literal
		}
	}
	skip(reached)
	for _, t := range a {
		next := make([]bool, len(b)+1)
		for j := range b {
			if !reached[j] {
				continue
			}
			switch {
			case b[j].wild.takes(t):
				next[j] = true
			case b[j] == t:
				next[j+1] = true
			}
		}
		skip(next)
		reached = next
	}
	return reached[len(b)]
}

// overlap reports whether some text fits both.
func overlap(a, b []token) bool {
	// at[j]: the beginning of a that was read, and the first j of b, fit some text.
	at := make([]bool, len(b)+1)
	at[0] = true
	stay := func(t token, at []bool) {
		// What b has next: nothing for its wildcards, or what t can stand for.
		for j := range b {
			if at[j] && (b[j].wild != literal || t.wild.takes(b[j])) {
				at[j+1] = true
			}
		}
	}
	stay(token{}, at)
	for _, t := range a {
		next := make([]bool, len(b)+1)
		for j := range at {
			if !at[j] {
				continue
			}
			if t.wild != literal {
				next[j] = true
			} else if j < len(b) && b[j].wild.takes(t) {
				next[j] = true
			} else if j < len(b) && b[j] == t {
				next[j+1] = true
			}
		}
		stay(t, next)
		at = next
	}
	return at[len(b)]
}

// compared is a pattern as it is held against others: without what only spells its
// registry differently.
type compared struct {
	text      string // normalised
	repo, tag []token
	tagged    bool
	literals  int
}

func newCompared(pattern string) compared {
	repo, tag := splitTag(pattern)
	repo = layout.SameHost(repo)
	c := compared{text: repo, repo: tokens(repo), tag: tokens(tag), tagged: tag != ""}
	if c.tagged {
		c.text += ":" + tag
	}
	for _, t := range append(c.repo, c.tag...) {
		if t.wild == literal {
			c.literals++
		}
	}
	return c
}

// narrower reports whether c is for less than o: for nothing that o is not for.
func (c *compared) narrower(o *compared) bool { return c.inside(o) && !o.inside(c) }

func (c *compared) inside(o *compared) bool {
	return within(c.repo, o.repo) && (!o.tagged || c.tagged && within(c.tag, o.tag))
}

// meets reports whether some image is one that both are for.
func (c *compared) meets(o *compared) bool {
	return c.edge(o) && overlap(c.repo, o.repo) && (!c.tagged || !o.tagged || overlap(c.tag, o.tag))
}

// edge is the cheap part of meets: it compares what comes before the first wildcard.
func (c *compared) edge(o *compared) bool {
	for i := range min(len(c.repo), len(o.repo)) {
		if c.repo[i].wild != literal || o.repo[i].wild != literal {
			return true
		}
		if c.repo[i] != o.repo[i] {
			return false
		}
	}
	return len(c.repo) == len(o.repo) || wildNext(c.repo, o.repo) || wildNext(o.repo, c.repo)
}

// wildNext reports whether long begins with as much as short has, and has a wildcard
// there.
func wildNext(short, long []token) bool {
	return len(long) > len(short) && long[len(short)].wild != literal
}
