package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"airgap/bundle"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

func TestHumanSize(t *testing.T) {
	for _, c := range []struct {
		n    int64
		want string
	}{
		{0, "0 B"}, {999, "999 B"}, {1000, "1.0 kB"}, {1499, "1.5 kB"}, {999_949, "999.9 kB"}, {999_950, "1.0 MB"},
		{4_700_000_000, "4.7 GB"}, {999_949_999_999, "999.9 GB"}, {25_000_000_000_000, "25.0 TB"}, {1 << 62, "4611686.0 TB"},
	} {
		if got := humanSize(c.n); got != c.want {
			t.Errorf("humanSize(%d) = %q, want %q", c.n, got, c.want)
		}
	}
}

func TestExactSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 999: "999 bytes", 1000: "1,000 bytes", 1234567: "1,234,567 bytes"} {
		if got := exactSize(n); got != want {
			t.Errorf("exactSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain text, ünïcödé, 日本語": "plain text, ünïcödé, 日本語",
		"\x1b[2J":                  `\x1b[2J`,
		"a\nb\r\tc":                `a\nb\r\tc`,
		"x\u202egnp.exe":           `x\u202egnp.exe`,
		"zero\u200bwidth":          `zero\u200bwidth`,
		"\u2066isolate\u2069":      `\u2066isolate\u2069`,
		"\u2028line":               `\u2028line`,
		"c1 \u009b31m":             `c1 \u009b31m`,
		"del\x7f":                  `del\x7f`,
		"bad \xff utf8":            `bad \xff utf8`,
		"tag \U000e0041":           `tag \U000e0041`,
		"\u00a0":                   `\u00a0`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("\x1b[2J\u202e\n\xff")
	f.Fuzz(func(t *testing.T, s string) {
		got := escape(s)
		if !utf8.ValidString(got) || strings.IndexFunc(got, unprintable) >= 0 {
			t.Errorf("escape(%q) = %q", s, got)
		}
		if escape(got) != got {
			t.Errorf("escape(%q) changes when escaped again", s)
		}
	})
}

func TestEscapeJSON(t *testing.T) {
	in := map[string]string{"a": escName + bidiName + lineName + "\U000e0041"}
	doc, err := document("X", in)
	if err != nil {
		t.Fatal(err)
	}
	if i := strings.IndexFunc(string(doc), func(r rune) bool { return r != '\n' && unprintable(r) }); i >= 0 {
		t.Errorf("%q", doc)
	}
	for _, want := range []string{`\u001b[2J`, `\u202egnp`, `\udb40\udc41`, `"kind": "X"`} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("%s is not in %s", want, doc)
		}
	}
}

func TestEmptyDocument(t *testing.T) {
	doc, err := document("X", struct{}{})
	if err != nil || !strings.Contains(string(doc), `"kind": "X"`) {
		t.Errorf("%s %v", doc, err)
	}
}

// A table is as wide as what it shows, and a hostile cell stays in its cell.
func TestTable(t *testing.T) {
	var b strings.Builder
	table(&b, [][]string{{"NAME", "SIZE"}, {"a\tb\n", "1"}, {"日本", "22"}})
	want := "NAME    SIZE\na\\tb\\n  1\n日本      22\n"
	if b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
}

func TestKindCounts(t *testing.T) {
	got := kindCounts(map[layout.Kind]int{"b": 1, "a": 1, "c": 7})
	if got != "7 × c, 1 × a, 1 × b" {
		t.Error(got)
	}
	if got := kindCounts(nil); got != "none" {
		t.Error(got)
	}
}

func TestWriteTrees(t *testing.T) {
	d := digest.FromString
	tree := &bundle.Tree{
		Reference: "reg.example/app:1", Digest: d("root"), Kind: layout.KindIndex, Size: 100,
		Nodes: []*bundle.Tree{
			{Digest: d("child"), Kind: layout.KindImage, Platform: "linux/amd64", Size: 5_000_000, Nodes: []*bundle.Tree{
				{Digest: d("sig"), Kind: "Notary signature", Size: 900, By: []layout.Form{layout.FormReferrers, layout.FormReferrersTag}},
			}},
			{Digest: d("gone"), Platform: "linux/arm64", LeftOut: layout.ReasonPlatform},
			{Digest: d("sig"), Kind: "Notary signature", Size: 900, By: []layout.Form{"new"}, Above: true},
			{Digest: d("x"), Kind: layout.KindArtifact, ArtifactType: "application/x\x1b", Size: 1},
		},
	}
	var b strings.Builder
	writeTrees(&b, []*bundle.Tree{tree, {Reference: "r:2", Digest: "odd", Kind: layout.KindImage}})
	want := `reg.example/app:1
index  sha256:4813494d137e  100 B
├─ image  sha256:ddc9e6691942  linux/amd64  5.0 MB
│  └─ Notary signature  sha256:a543997d84f1  900 B  [by referrers API, referrers tag]
├─ (left out)  sha256:283bb9deef02  linux/arm64  [another platform was chosen]
├─ Notary signature  sha256:a543997d84f1  900 B  [by new; drawn above]
└─ artifact application/x\x1b  sha256:2d711642b726  1 B

r:2
image  odd  0 B
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
