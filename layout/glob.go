package layout

import (
	"regexp"
	"strings"
)

// Glob makes an expression of a pattern for names: "*" is any run of characters but
// "/", "**" any at all, and everything else stands for itself.
func Glob(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("^")
	for len(pattern) > 0 {
		i := strings.IndexByte(pattern, '*')
		if i < 0 {
			i = len(pattern)
		}
		b.WriteString(regexp.QuoteMeta(strings.ToValidUTF8(pattern[:i], "\uFFFD")))
		pattern = pattern[i:]
		if rest, ok := strings.CutPrefix(pattern, "**"); ok {
			b.WriteString(".*")
			pattern = rest
		} else if rest, ok := strings.CutPrefix(pattern, "*"); ok {
			b.WriteString("[^/]*")
			pattern = rest
		}
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String())
}
