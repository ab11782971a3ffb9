package main

import "testing"

// Foreign layers of what lies here are fetched only if the user asks for that.
func TestForeignLayersFetched(t *testing.T) {
	for _, c := range []struct {
		how  string
		skip bool
		kind targetKind
		want bool
	}{
		{"", false, inRegistry, true}, {"", false, inBundle, false}, {foreignFetch, false, inBundle, true},
		{foreignFetch, true, inRegistry, false}, {foreignRegistry, false, inRegistry, false}, {foreignSkip, false, inBundle, false},
	} {
		o := foreignOptions{how: c.how, skip: c.skip}
		if got := o.fetch([]target{{kind: c.kind}}) != nil; got != c.want {
			t.Errorf("%+v: fetched is %v", c, got)
		}
	}
}
