package main

import (
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/custody"
)

// What is signed by nobody who is known is told apart from what is not signed.
func TestWriteRecords(t *testing.T) {
	for want, all := range map[string][]bundle.RecordMade{
		"":                        nil,
		"recorded: 1 × receive\n": {{Act: custody.Receive, Signed: true, Standing: custody.Verified}},
		"recorded: 1 × receive; 1 of them not signed, and so claims\n":               {{Act: custody.Receive, Standing: custody.Claimed}},
		"recorded: 1 × export, 1 × receive; 1 of them by a key that is not pinned\n": {{Act: custody.Export, Signed: true, Standing: custody.Unknown}, {Act: custody.Receive, Signed: true, Standing: custody.Verified}},
	} {
		var out strings.Builder
		if writeRecords(&out, all); out.String() != want {
			t.Errorf("%q, want %q", out.String(), want)
		}
	}
}
