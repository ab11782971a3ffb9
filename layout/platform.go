package layout

import (
	"fmt"
	"slices"
	"strings"
)

// ParsePlatform reads os/arch[/variant].
func ParsePlatform(s string) (Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return Platform{}, fmt.Errorf("platform %.100q: want os/arch or os/arch/variant, as in linux/arm64", s)
	}
	p := Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// FormatPlatform is the inverse of ParsePlatform.
func FormatPlatform(p Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// MatchPlatform says whether got is what want asks for. A wish without a variant
// takes every variant; a platform without one has its architecture's usual one,
// as for containerd.
func MatchPlatform(want, got Platform) bool {
	return want.OS == got.OS && want.Architecture == got.Architecture &&
		(want.Variant == "" || variant(want) == variant(got))
}

func variant(p Platform) string {
	usual := map[string]string{"arm64": "v8", "arm": "v7", "amd64": "v1"}
	if p.Variant == "" {
		return usual[p.Architecture]
	}
	return p.Variant
}

func platformList(ps []Platform) string {
	var out []string
	for _, p := range ps {
		out = append(out, FormatPlatform(p))
	}
	return strings.Join(out, ", ")
}
