package main

import (
	"os"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// What is served stays so when a client pushes it again, and by the ledger, too: nothing is
// damaged, and a rebuild serves the same.
func TestReplayOfPushedAgain(t *testing.T) {
	s := newSparse(t)
	mustRun(t, exitDone, "import whole --store d --policy policy.yaml --trust T")
	pushing(t, func(a *admitting) {
		arm, amd := a.b.Image("arm"), a.b.Image("amd")
		index := a.b.Index(layouttest.ForPlatform(arm, "linux", "arm64"), layouttest.ForPlatform(amd, "linux", "amd64"))
		a.push(201, arm, "")
		a.push(201, amd, "")
		a.push(201, index, "v1")
		a.push(201, index, "")
	})
	mustRun(t, exitDone, "store check --store d")
	// A judge has served it, so that the repository is one with admitted content.
	mustRun(t, exitDone, "store rm "+reverifyRepo+":v1 --store d")
	pushing(t, func(a *admitting) { a.push(201, a.b.Image("arm"), "") })
	for range 2 {
		mustRun(t, exitDone, "store check --store d")
		if !serves(t, "d", layout.Reference{Repository: reverifyRepo, Digest: s.arm.Digest}) {
			t.Error("it is not served")
		}
		rebuilt(t)
	}
}

// A child of an index in quarantine, pushed again, is in quarantine.
func TestReplayOfPushedHeld(t *testing.T) {
	s := newSparse(t)
	mustRun(t, exitDone, "import whole --store d --policy policy.yaml --trust T")
	none := "version: airgap.policy/v1\nrules:\n- {name: none, match: [\"**\"], require: {reject: true}}\n"
	if err := os.WriteFile("none.yaml", []byte(none), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, exitRefused, "reverify --store d --policy none.yaml --trust T")
	if err := os.WriteFile("policy.yaml", []byte(none), 0o600); err != nil {
		t.Fatal(err)
	}
	pushing(t, func(a *admitting) { a.push(201, a.b.Image("arm"), "") })
	for range 2 {
		if serves(t, "d", layout.Reference{Repository: reverifyRepo, Digest: s.arm.Digest}) {
			t.Fatal("it is served")
		}
		rebuilt(t)
	}
}

// Whoever releases what was quarantined by its digest says so of the digest, whatever name
// it passes by.
func TestReplayOfReleasedAttachment(t *testing.T) {
	for _, how := range []string{"by a push", "by reverify"} {
		t.Run(how, func(t *testing.T) {
			newSparse(t)
			line := " --store d --policy policy.yaml --trust T"
			child := layout.Reference{Repository: reverifyRepo, Digest: attachedChild(t)}
			mustRun(t, exitDone, "import attached"+line)
			tag := "dev"
			if how == "by reverify" {
				tag = "v8" // the rule for it is not met
			}
			pushing(t, func(a *admitting) {
				a.push(201, a.b.ReferrerIndex(a.b.Image("arm"), a.b.Image("amd")), tag)
			})
			if how == "by reverify" {
				lax := strings.Replace(childrenPolicy, ":dev\"", ":v8\"", 1)
				if err := os.WriteFile("policy.yaml", []byte(lax), 0o600); err != nil {
					t.Fatal(err)
				}
				runLine(t, testUI(), strings.Fields("reverify"+line)...)
			}
			for range 2 {
				if !serves(t, "d", child) {
					t.Fatal("it is not served")
				}
				mustRun(t, exitDone, "store check --store d")
				rebuilt(t)
			}
		})
	}
}
