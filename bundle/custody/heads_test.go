package custody_test

import (
	"fmt"
	"slices"
	"testing"

	"airgap/bundle/custody"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// standing is what found makes, as one that stands so.
func standing(s custody.Standing, manifest string, previous ...string) custody.Found {
	f := found(manifest, 0, previous...)
	f.Standing = s
	return f
}

// Whoever needs no pinned key to write a record cannot take others off the heads with
// it: the next signed record would not name what was taken away.
func TestHeadsAreTakenOffByVerifiedRecordsOnly(t *testing.T) {
	for _, s := range []custody.Standing{custody.Claimed, custody.Unknown} {
		all := []custody.Found{standing(custody.Verified, "first"), standing(s, "second", "first")}
		for range 2 {
			heads := custody.Heads(all)
			if len(heads) != 2 || heads[0] != digest.FromString("first") || heads[1] != digest.FromString("second") {
				t.Errorf("%s: %v, want the verified record, and then the other", s, heads)
			}
			slices.Reverse(all)
		}
	}
	all := []custody.Found{standing(custody.Claimed, "first"), standing(custody.Verified, "second", "first")}
	if heads := custody.Heads(all); !slices.Equal(heads, []digest.Digest{digest.FromString("second")}) {
		t.Errorf("%v", heads)
	}
	// By verdicts alike.
	v := verdict()
	v.InputAttestations = []signing.Resource{signing.NewResource("", digest.FromString("first"))}
	for s, want := range map[custody.Standing]int{custody.Verified: 1, custody.Unknown: 2} {
		all := []custody.Found{standing(custody.Verified, "first"), {Act: custody.Import, Manifest: digest.FromString("verdict"), Standing: s, Summary: &v}}
		if heads := custody.Heads(all); len(heads) != want {
			t.Errorf("verdict %s: %v", s, heads)
		}
	}
}

// However many claims hang on an image, what is verified is named, and the record can
// be written.
func TestHeadsOfMoreThanARecordNames(t *testing.T) {
	var all []custody.Found
	for i := range 3000 {
		all = append(all, standing(custody.Claimed, fmt.Sprint("claim ", i)))
	}
	all = append(all, standing(custody.Verified, "override"), standing(custody.Unknown, "stranger"))
	heads := custody.Heads(all)
	if len(heads) >= len(all) || !slices.Contains(heads, digest.FromString("override")) || !slices.IsSorted(heads[1:]) {
		t.Errorf("%d heads, the first of them %s", len(heads), heads[0])
	}
	slices.Reverse(all)
	if again := custody.Heads(all); !slices.Equal(again, heads) {
		t.Error("other heads in another order")
	}
	r := custody.Record{At: then, Clock: custody.ClockHost, Tool: custody.Tool{Name: "airgap"}, Reference: "reg.example/app:v1", Previous: heads, From: &custody.Place{Kind: custody.InRegistry}}
	if _, err := r.Attestation(custody.Receive, "reg.example/app:v1"); err != nil {
		t.Error(err)
	}
}
