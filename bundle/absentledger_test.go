package bundle

import (
	"slices"
	"strconv"
	"testing"

	"airgap/bundle/custody"

	"github.com/opencontainers/go-digest"
)

// The marks that a ledger gives are those of what was judged and of what was pushed, by the
// references that rules are for.
func TestAbsentMarks(t *testing.T) {
	const repo = "reg.example/team/app"
	index, child, more := digest.FromString("index"), digest.FromString("child"), digest.FromString("more")
	many := []digest.Digest{child}
	for i := range custody.MaxAbsent - 1 {
		many = append(many, digest.FromString(strconv.Itoa(i)))
	}
	slices.Sort(many)
	imported := custody.Entry{Act: custody.Import, Reference: repo + ":v1", Digest: index, Result: "passed", Absent: []digest.Digest{child}}
	change := func(fn func(e *custody.Entry)) custody.Entry {
		e := imported
		fn(&e)
		return e
	}
	inRegistry := &custody.Place{Kind: custody.InRegistry}
	for what, test := range map[string]struct {
		lines []custody.Entry
		want  []string // references
		more  bool     // that may have been absent
	}{
		"an import":           {[]custody.Entry{imported}, []string{repo + ":v1"}, false},
		"two names":           {[]custody.Entry{imported, imported, change(func(e *custody.Entry) { e.Reference = repo + ":v2" })}, []string{repo + ":v1", repo + ":v2"}, false},
		"from elsewhere":      {[]custody.Entry{change(func(e *custody.Entry) { e.Source = "src.example/a:v1" })}, []string{"src.example/a:v1"}, false},
		"into a registry":     {[]custody.Entry{change(func(e *custody.Entry) { e.To = inRegistry })}, []string{repo + ":v1"}, false},
		"nobody judged it":    {[]custody.Entry{change(func(e *custody.Entry) { e.Result = "" })}, nil, false},
		"it was whole":        {[]custody.Entry{change(func(e *custody.Entry) { e.Absent = []digest.Digest{} })}, nil, false},
		"an earlier version":  {[]custody.Entry{change(func(e *custody.Entry) { e.Absent = nil })}, nil, false},
		"it was released":     {[]custody.Entry{change(func(e *custody.Entry) { e.Act = custody.Release })}, nil, false},
		"the list may be cut": {[]custody.Entry{change(func(e *custody.Entry) { e.Absent = many })}, []string{repo + ":v1"}, true},
		"a push": {[]custody.Entry{change(func(e *custody.Entry) {
			e.Act, e.Reference, e.To = custody.Export, "here/a:v1", &custody.Place{Kind: custody.InRegistry, Name: repo}
		})}, []string{"here/a:v1"}, false},
		"an odd name is none":  {[]custody.Entry{change(func(e *custody.Entry) { e.Reference = ":" })}, nil, false},
		"one that is exported": {[]custody.Entry{change(func(e *custody.Entry) { e.Act, e.To = custody.Export, &custody.Place{Kind: custody.InBundle} })}, nil, false},
	} {
		marks, err := AbsentMarks(test.lines, func(digest.Digest) []digest.Digest { return []digest.Digest{child, more} })
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		for d, want := range map[digest.Digest][]string{child: test.want, more: nil} {
			if d == more && test.more {
				want = test.want
			}
			all, err := newAbsentMarks(markMap(marks)).of(repo, d)
			var got []string
			for _, a := range all {
				got = append(got, a.References...)
			}
			if err != nil || !slices.Equal(got, want) || len(all) > 1 {
				t.Errorf("%s: %v, %v, want %v", what, all, err, want)
			}
		}
	}
	// What an import was refused for is no reason against a rebuild.
	var lines []custody.Entry
	for i := range maxAbsentReferences + 1 {
		lines = append(lines, change(func(e *custody.Entry) { e.Reference += strconv.Itoa(i) }))
	}
	if _, err := AbsentMarks(lines, func(digest.Digest) []digest.Digest { return nil }); err != nil {
		t.Error(err)
	}
}
