package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// escape makes a text of unknown origin fit for a terminal. Whatever is not
// plainly printable is spelled out: control characters and ESC (which move the
// cursor or rewrite what stands above), bidi overrides and other invisible
// characters (which make a name look like another), line ends, broken UTF-8.
func escape(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unprintable(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
		i += n
	}
	return b.String()
}

// unprintable leans on Unicode's own classes: letters, marks, numbers,
// punctuation, symbols and the plain space are printable, nothing else is.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// escapeJSON does the same to a JSON text, where such a character can only stand
// inside a string: the document means what it meant, and is safe to look at. The
// line ends between its tokens stay.
func escapeJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || !unprintable(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			hi, lo := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, hi, lo)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
