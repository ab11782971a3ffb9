package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify/policy"
)

func TestPattern(t *testing.T) {
	for pattern, fits := range map[string]string{
		"**":                      "docker.io/library/nginx:1 ghcr.io/acme/app:v1 ghcr.io/acme/deep/app:v2",
		"ghcr.io/*/app":           "ghcr.io/acme/app:v1",
		"ghcr.io/**":              "ghcr.io/acme/app:v1 ghcr.io/acme/deep/app:v2",
		"ghcr.io/**:v2":           "ghcr.io/acme/deep/app:v2",
		"**:v*":                   "ghcr.io/acme/app:v1 ghcr.io/acme/deep/app:v2",
		"GHCR.io:443/acme/*":      "ghcr.io/acme/app:v1",
		"docker.io/library/nginx": "docker.io/library/nginx:1",
		"nothing.example/**":      "",
	} {
		p, err := policy.ParsePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range []string{"docker.io/library/nginx:1", "ghcr.io/acme/app:v1", "ghcr.io/acme/deep/app:v2"} {
			ref, err := layout.ParseReference(s)
			if err != nil {
				t.Fatal(err)
			}
			if p.Fits(ref) {
				got = append(got, s)
			}
		}
		if strings.Join(got, " ") != fits {
			t.Errorf("%s fits %q, want %q", pattern, got, fits)
		}
	}
	for _, bad := range []string{"", "***", "a b*", "repo:", "x\x1b*", strings.Repeat("a*", 300)} {
		if _, err := policy.ParsePattern(bad); err == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
}

// written is a policy with a rule for each pattern; "own " before one puts it into the
// environment prod, which extends test.
func written(patterns ...string) string {
	var top, own strings.Builder
	for _, p := range patterns {
		b := &top
		if rest, ok := strings.CutPrefix(p, "own "); ok {
			b, p = &own, rest
		}
		fmt.Fprintf(b, "    - {name: %q, match: [%q], require: {reject: true}}\n", p, p)
	}
	text := "version: airgap.policy/v1\nenvironments:\n  test:\n    rules:\n" + top.String() + "  prod:\n    extends: test\n"
	if own.Len() > 0 {
		text += "    rules:\n" + own.String()
	}
	return text
}

// Which rule decides follows from the patterns, whatever the order of the file, and
// however a registry is spelled.
func TestWhichRuleDecides(t *testing.T) {
	for _, c := range []struct {
		image, want string // of the patterns
		others      []string
	}{
		{"reg.example/a/app:1", "own reg.example/a/*", []string{"reg.example/a/**"}},
		{"reg.example/a/app:1", "own reg.example/a/**", []string{"reg.example/a/*"}},
		{"reg.example/a/app:1", "own reg.example/a/app", []string{"reg.example/a/app*"}},
		{"reg.example/a/app:1", "reg.example/a/*", []string{"reg.example/a/**", "reg.example/**", "**"}},
		{"reg.example/a/app:1", "reg.example/a/*", []string{"reg.example:443/**", "own reg.example:0443/**"}},
		{"reg.example/a/app:1", "reg.example/a/app", []string{"own reg.example/a/*", "own reg.example:443/a/*p"}},
		{"reg.example/a/app:1", "**:1", []string{"own reg.example/a/app"}},
		{"reg.example/a/app:1", "**:*", []string{"reg.example/a/app"}},
		{"reg.example/a/app:1", "own reg.example/a/ap*", []string{"reg.example/a/*p*p", "reg.example/a/a*"}},
		{"reg.example:443/a/app:1", "reg.example/a/*", []string{"reg.example/**"}},
		{"reg.example:5000/a/app:1", "reg.example:5000/**", []string{"reg.example/a/*", "**"}},
	} {
		slices.Sort(c.others)
		for range 2 {
			for at := range len(c.others) + 1 {
				p, err := policy.Parse("p.yaml", []byte(written(slices.Insert(slices.Clone(c.others), at, c.want)...)), "prod")
				if err != nil {
					t.Fatalf("%s: %v", c.want, err)
				}
				ref, err := layout.ParseReference(c.image)
				if err != nil {
					t.Fatal(err)
				}
				if r := p.For(ref); r == nil || r.Name != strings.TrimPrefix(c.want, "own ") {
					t.Errorf("%s of %v: %v decides", c.want, c.others, r)
				}
				if first := p.Sorted()[0].Name; first != strings.TrimPrefix(c.want, "own ") && !strings.Contains(c.image, ":5000") {
					t.Errorf("%s of %v: %s is listed first", c.want, c.others, first)
				}
			}
			slices.Reverse(c.others)
		}
	}
}

// Two patterns for the same images with nothing to choose between them make a policy
// unusable.
func TestTies(t *testing.T) {
	for _, tied := range [][]string{
		{"reg.example/a/app", "reg.example:443/a/app"},
		{"reg.example/a/app:1", "REG.EXAMPLE:80/a/app:1"},
		{"own reg.example/a/app", "own reg.example:443/a/app"},
		{"reg.example/a/x*", "reg.example/a/*x"},
		{"reg.example/*/app", "reg.example/app/*"},
		{"reg.example/**x", "reg.example/x*"},
		{"**:v*", "**:*v"},
		{"r.example/a*:1", "r.example/*a:1"},
		{"r.example/*:1*", "*.example/a:*1"},
		{"own reg.example/*b", "own reg.example/b*", "reg.example/**"},
	} {
		for range 2 {
			_, err := policy.Parse("p.yaml", []byte(written(tied...)), "prod")
			if err == nil || !errors.Is(err, policy.ErrPolicy) {
				t.Errorf("%v: %v", tied, err)
			}
			slices.Reverse(tied)
		}
	}
	for _, fine := range [][]string{
		{"reg.example/a/app", "own reg.example:443/a/app"},
		{"reg.example/a/x*", "reg.example/b/*x"},
		{"reg.example/x*", "reg.example/y*"},
		{"**/app", "**/bpp"},
		{"reg.example/a/*x", "reg.example/a/*y"},
		{"reg.example/*", "reg.example/**"},
		{"reg.example/a/x*", "own reg.example/a/*x"},
		{"reg.example:5000/a/*", "reg.example:6000/a/*"},
		{"**:v1*", "**:v2*"},
	} {
		if _, err := policy.Parse("p.yaml", []byte(written(fine...)), "prod"); err != nil {
			t.Errorf("%v: %v", fine, err)
		}
	}
	one := "version: airgap.policy/v1\nrules:\n- {name: r, match: [\"r.example/a*\", \"r.example/*a\", \"R.example:443/a*\"], require: {reject: true}}\n"
	if _, err := policy.Parse("p.yaml", []byte(one), ""); err != nil {
		t.Error("the patterns of one rule need nothing to choose between them:", err)
	}
}

// A wide pattern of an environment that hides a narrow one is pointed out.
func TestHidden(t *testing.T) {
	for text, want := range map[string]int{
		written("reg.example/a/*", "own reg.example/a/**"):   1,
		written("reg.example/a/**", "own reg.example/a/*"):   0,
		written("reg.example/a/app", "own reg.example/a/**"): 0,
	} {
		p, err := policy.Parse("p.yaml", []byte(text), "prod")
		if err != nil {
			t.Fatal(err)
		}
		if w := p.Warnings(); len(w) != want {
			t.Errorf("%q, want %d", w, want)
		}
	}
}

// all lists every text of up to n letters.
func all(letters string, n int) []string {
	out := []string{""}
	for from := 0; len(out[from]) < n; from++ {
		for _, c := range letters {
			out = append(out, out[from]+string(c))
		}
	}
	return out
}

// The two questions that decide between patterns, held against every short text.
func TestPatternsAgainstTexts(t *testing.T) {
	texts := all("abc/", 4) // no pattern has a c
	var patterns []string
	fits := map[string][]bool{}
	for _, p := range all("ab/*", 4) {
		if strings.Contains(p, "***") {
			continue
		}
		patterns = append(patterns, p)
		re := layout.Glob(p)
		for _, s := range texts {
			fits[p] = append(fits[p], re.MatchString(s))
		}
	}
	short := func(p string) int { return len(strings.ReplaceAll(p, "*", "")) }
	for _, a := range patterns {
		for _, b := range patterns {
			every, some := true, false
			for i := range texts {
				every = every && (!fits[a][i] || fits[b][i])
				some = some || fits[a][i] && fits[b][i]
			}
			within, overlap := policy.Within(a, b), policy.Overlap(a, b)
			if within && !every || some && !overlap {
				t.Fatalf("%q, %q: within %t (%t), overlap %t (%t)", a, b, within, every, overlap, some)
			}
			if short(a)+short(b) <= 4 && overlap != some {
				t.Fatalf("%q, %q: overlap %t, and of the texts %t", a, b, overlap, some)
			}
			if every && !within && !strings.Contains(a, "**") && short(b) < 3 && !strings.Contains(b, "**") {
				t.Fatalf("%q, %q: not within", a, b)
			}
		}
	}
}
