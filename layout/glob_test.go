package layout_test

import (
	"testing"

	"airgap/layout"
)

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"ghcr.io/acme/app", "ghcr.io/acme/app", true},
		{"ghcr.io/acme/app", "ghcr.io/acme/app2", false},
		{"ghcr.io/acme/app", "x.ghcr.io/acme/app", false},
		{"ghcr.io/acme/app", "ghcrxio/acme/app", false}, // a dot is a dot
		{"ghcr.io/acme/*", "ghcr.io/acme/app", true},
		{"ghcr.io/acme/*", "ghcr.io/acme/app/db", false},
		{"ghcr.io/acme/*", "ghcr.io/acme", false},
		{"ghcr.io/acme/**", "ghcr.io/acme/app/db", true},
		{"ghcr.io/acme/**", "ghcr.io/acme", false},
		{"*.io/**/app", "ghcr.io/a/b/app", true},
		{"*.io/**/app", "a/ghcr.io/b/app", false},
		{"**", "anything/at/all", true},
		{"", "", true},
		{"", "x", false},
		{"\xff", "x", false}, // no panic
		{"a***b", "a/b", true},
	} {
		if got := layout.Glob(c.pattern).MatchString(c.name); got != c.want {
			t.Errorf("%q for %q: %v", c.pattern, c.name, got)
		}
	}
}
