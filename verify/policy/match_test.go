package policy_test

import (
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
