package main

import (
	"os"
	"strings"
	"testing"

	"airgap/layout"
)

// After a rebuild it is known still which children an index came without, from where, and to
// which registry: a late child is judged by the index's rule.
func TestRebuildRemembersAbsentChildren(t *testing.T) {
	const (
		judged = " --policy policy.yaml --trust T"
		team   = " --map reg.example=corp.example"
		mirror = " --map mirror.example=corp.example"
	)
	for what, test := range map[string]struct {
		before []string
		late   string
		served bool // the late child
	}{
		"from another place":          {[]string{"import index --store d" + judged + team}, "import mirror --store d" + judged + mirror, false},
		"from another place, it does": {[]string{"import index --store d" + judged + team}, "import signed --store d" + judged + team, true},
		"nobody judged the index":     {[]string{"import index --store d --insecure-skip-verify" + team}, "import mirror --store d" + judged + mirror, true},
		"in a registry":               {[]string{"import index --memory d --to HOST" + judged}, "import dev --memory d --to HOST" + judged, false},
		"in a registry, it does":      {[]string{"import index --memory d --to HOST" + judged}, "import signed --memory d --to HOST" + judged, true},
		"in a registry, mapped":       {[]string{"import index --memory d --to HOST --map reg.example=HOST/x" + judged}, "import mirror --memory d --to HOST --map mirror.example=HOST/x" + judged, false},
		"by store push": {[]string{
			"import index --store d" + judged, "import mirror --store d" + judged, "store push " + reverifyRepo + ":v1 --store d --to HOST",
		}, "store push mirror.example/team/app:v9 --store d --to HOST", false},
		"by store push, it does": {[]string{
			"import index --store d" + judged, "import signed --store d" + judged, "store push " + reverifyRepo + ":v1 --store d --to HOST",
		}, "store push " + reverifyRepo + ":v2 --store d --to HOST", true},
		"by store push of what was there": {[]string{
			"import index --store e" + judged, "store push --all --store e --to HOST",
			"import index --store d" + judged, "import mirror --store d" + judged, "store push " + reverifyRepo + ":v1 --store d --to HOST",
		}, "store push mirror.example/team/app:v9 --store d --to HOST", false},
	} {
		t.Run(what, func(t *testing.T) {
			newSparse(t)
			_, host := registryOf(t)
			for _, line := range test.before {
				mustRun(t, exitDone, strings.ReplaceAll(line, "HOST", host))
			}
			want := exitRefused
			if test.served {
				want = exitDone
			}
			rebuilt(t)
			rebuilt(t)
			mustRun(t, want, strings.ReplaceAll(test.late, "HOST", host))
			rebuilt(t)
		})
	}
}

// A late child that is in quarantine takes its index away after a rebuild no more than
// before.
func TestRebuildThenReverifyLateChild(t *testing.T) {
	const line = " --store d --policy policy.yaml --trust T"
	s := newSparse(t)
	mustRun(t, exitDone, "import index"+line)
	pushing(t, func(a *admitting) { a.push(201, a.b.Image("amd"), "dev") })
	for range 2 {
		rebuilt(t)
		runLine(t, testUI(), strings.Fields("reverify"+line)...)
		if !serves(t, "d", layout.Reference{Repository: reverifyRepo, Tag: "v1"}) || serves(t, "d", layout.Reference{Repository: reverifyRepo, Digest: s.amd.Digest}) {
			t.Fatal("the index is not served, or its late child is")
		}
	}
}

// A client completes no index that came from another place, after a rebuild either.
func TestRebuildThenPushChild(t *testing.T) {
	s := newSparse(t)
	mustRun(t, exitDone, "import index --store d --policy policy.yaml --trust T --map reg.example=corp.example")
	policy := childrenPolicy + `- {name: corp, match: ["corp.example/**"], require: {insecureAcceptAnything: true}}` + "\n"
	if err := os.WriteFile("policy.yaml", []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	rebuilt(t)
	pushing(t, func(a *admitting) {
		a.url = strings.TrimSuffix(a.url, reverifyRepo) + "corp.example/team/app"
		amd := a.b.Image("amd")
		a.push(201, amd, "dev")
		a.open(false, "dev", string(amd.Digest))
		a.open(true, "v1", string(s.arm.Digest))
		other := a.b.Image("another")
		a.push(201, other, "dev")
		a.open(true, "dev", string(other.Digest))
	})
}
