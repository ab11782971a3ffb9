package verify_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
	"airgap/verify/trust"
)

// By what nobody has looked at for longer than the policy allows, nothing passes; and
// nothing is refused for that either.
func TestMaxTrustAge(t *testing.T) {
	key := signing.InsecureKey("key")
	dir := filepath.Join(t.TempDir(), "trust")
	if err := trust.Init(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.AddKey(dir, "release", must(signing.PublicKeyPEM(key))); err != nil {
		t.Fatal(err)
	}
	confirmed := must(trust.Open(dir))
	if err := os.Remove(filepath.Join(dir, "confirmed.json")); err != nil {
		t.Fatal(err)
	}
	never := must(trust.Open(dir))
	f := newFixture(t)
	f.attach(must(signing.BundleSignature(f.image("v1"), key)))
	const day = 24 * time.Hour
	for what, test := range map[string]struct {
		trust *trust.Trust
		limit time.Duration
		after time.Duration
		state verify.State
		why   string
	}{
		"fresh":               {confirmed, 30 * day, day, verify.Passed, ""},
		"too old":             {confirmed, 30 * day, 31 * day, verify.Undecided, "last confirmed at"},
		"no limit":            {confirmed, 0, 3650 * day, verify.Passed, ""},
		"never":               {never, 30 * day, 0, verify.Undecided, "nobody has confirmed"},
		"never, and no limit": {never, 0, 0, verify.Passed, ""},
		"clock behind":        {confirmed, 30 * day, -day, verify.Undecided, "clock"},
	} {
		p := ruled(t, "cosign: {key: release}")
		p.MaxTrustAge = policy.Duration(test.limit)
		j := &verify.Judge{Policy: p, Trust: test.trust, Now: func() time.Time { return time.Now().Add(test.after) }}
		if v := f.judge(j, "v1"); v.State != test.state || !strings.Contains(v.Reason, test.why) {
			t.Errorf("%s: %s because %q, want %s because %q", what, v.State, v.Reason, test.state, test.why)
		}
	}
}
