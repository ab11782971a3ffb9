package bundle_test

import (
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
)

// An old image does not come back under its old name by another spelling of the host,
// by another name outside that leads to the same one here, inside an index, or without
// the one that it was in.
func TestOldImageInDisguise(t *testing.T) {
	under := func(repo string, tagged func(b *layouttest.Builder) layout.Descriptor) string {
		b := layouttest.New(repo)
		b.Tag("v1", tagged(b))
		return export(t, b.Content(), bundle.ExportOptions{})
	}
	image := func(label string) func(*layouttest.Builder) layout.Descriptor {
		return func(b *layouttest.Builder) layout.Descriptor { return b.Image(label) }
	}
	index := func(labels ...string) func(*layouttest.Builder) layout.Descriptor {
		return func(b *layouttest.Builder) layout.Descriptor {
			var children []layout.Descriptor
			for i, l := range labels {
				children = append(children, layouttest.ForPlatform(b.Image(l), "linux", []string{"amd64", "arm64"}[i]))
			}
			return b.Index(children...)
		}
	}
	onto := func(from string) bundle.ImportOptions {
		return bundle.ImportOptions{InsecureSkipVerify: true, Overwrite: true, Mapping: bundle.Mapping{Rules: []bundle.Rule{{From: from, To: "corp.example/app"}}}}
	}
	here := bundle.ImportOptions{InsecureSkipVerify: true, Overwrite: true}
	for what, test := range map[string]struct {
		old, now, back string
		o              []bundle.ImportOptions // of each; one for all
		refused        bool
	}{
		"as it was":         {under(repo, image("old")), under(repo, image("new")), under(repo, image("old")), nil, true},
		"with a port":       {under(repo, image("old")), under(repo, image("new")), under("reg.example:443/team/app", image("old")), nil, true},
		"another Hub host":  {under("docker.io/library/app", image("old")), under("docker.io/library/app", image("new")), under("registry-1.docker.io/library/app", image("old")), nil, true},
		"from elsewhere":    {under(repo, image("old")), under(repo, image("new")), under("other.example/app", image("old")), []bundle.ImportOptions{onto(repo), onto(repo), onto("other.example/app")}, true},
		"inside an index":   {under(repo, image("old")), under(repo, image("new")), under(repo, index("old")), nil, true},
		"out of its index":  {under(repo, index("old", "two")), under(repo, index("new", "two")), under(repo, image("old")), nil, true},
		"in another index":  {under(repo, index("old", "two")), under(repo, index("new", "two")), under(repo, index("new", "old")), nil, true},
		"one that stayed":   {under(repo, index("one", "two")), under(repo, index("new", "two")), under(repo, index("newer", "two")), nil, false},
		"something new":     {under(repo, image("old")), under(repo, image("new")), under(repo, image("newer")), nil, false},
		"of another's name": {under(repo, image("old")), under(repo, image("new")), under("reg.example/team/other", image("old")), nil, false},
	} {
		i := newIsle(t, "")
		option := func(n int) bundle.ImportOptions {
			if test.o == nil {
				return here
			}
			return test.o[n]
		}
		i.takes(test.old, option(0))
		i.takes(test.now, option(1))
		if test.refused {
			i.refuses(test.back, option(2), bundle.ErrRollback, "before, and since then")
		} else {
			i.takes(test.back, option(2))
		}
		if t.Failed() {
			t.Fatalf("that was: %s", what)
		}
	}
}
