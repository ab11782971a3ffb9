package layout_test

import (
	"strings"
	"testing"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

func TestTagSubject(t *testing.T) {
	short, long := digest.FromString("x"), digest.SHA512.FromString("x")
	for tag, want := range map[string]struct {
		subject digest.Digest
		derived bool
	}{
		"v1":                                         {"", false},
		"sha256-" + short.Encoded():                  {short, true},
		"sha256-" + short.Encoded() + ".sig":         {short, true},
		"sha256-" + short.Encoded() + ".att":         {short, true},
		"sha256-" + short.Encoded() + ".sbom":        {short, true},
		"sha256-" + short.Encoded() + ".other":       {"", false},
		"sha256-" + short.Encoded()[1:]:              {"", false},
		"sha512-" + long.Encoded()[:64]:              {"", true}, // all that a tag has room for
		"sha256-" + strings.ToUpper(short.Encoded()): {"", false},
	} {
		if subject, derived := layout.TagSubject(tag); subject != want.subject || derived != want.derived {
			t.Errorf("%s: %q, %v; want %q, %v", tag, subject, derived, want.subject, want.derived)
		}
		if _, derived := layout.TagSubject(tag); derived != layout.IsDerivedTag(tag) {
			t.Errorf("%s: TagSubject and IsDerivedTag disagree", tag)
		}
	}
}
