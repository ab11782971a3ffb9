package bundle_test

import (
	"errors"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/verifytest"
)

// An image without a name is refused with how to name it, whether a policy is asked or not;
// and with a name it comes in.
func TestUnnamedImage(t *testing.T) {
	b := layouttest.New(repo)
	dir := folderOf(t, b, b.Image("one"))
	judge := &verify.Judge{Policy: verifytest.Policy(t, "insecureAcceptAnything: true"), Trust: verifytest.Trust(t, verifytest.Pins{})}
	for what, o := range map[string]bundle.ImportOptions{
		"without a policy": {InsecureSkipVerify: true},
		"under a policy":   {Judge: judge},
		"mapped":           {Judge: judge, Mapping: bundle.Mapping{To: "far.example"}},
		"in part":          {Judge: judge, Partial: true},
	} {
		b := open(t, dir)
		if _, err := bundle.Import(t.Context(), b, layout.NewMemory(), o); !errors.Is(err, bundle.ErrUsage) || !strings.Contains(err.Error(), "does not say which repository") || !strings.Contains(layout.Hint(err), "--as") {
			t.Errorf("%s: %v (hint %q)", what, err, layout.Hint(err))
		}
		named, err := bundle.Open(t.Context(), dir, bundle.OpenOptions{As: repo + ":v1"})
		if err != nil {
			t.Fatal(err)
		}
		defer named.Close()
		if _, err := bundle.Import(t.Context(), named, layout.NewMemory(), o); err != nil {
			t.Errorf("%s, with --as: %v", what, err)
		}
	}
}

// A name that cannot be used is a caveat.
func TestUnusableNameIsACaveat(t *testing.T) {
	b := layouttest.New(repo)
	one := b.Image("one")
	named := func(name string) layout.Descriptor {
		d := one
		d.Annotations = map[string]string{layout.AnnotationRefName: name}
		return d
	}
	for what, test := range map[string]struct {
		list []layout.Descriptor
		want string
	}{
		"all good": {[]layout.Descriptor{named(repo + ":v1"), named(repo + ":v2")}, ""},
		"no name":  {[]layout.Descriptor{named(repo + ":v1"), named("Not/A name")}, `1 of the names, which are no references or have the digest of something else: "Not/A name"`},
	} {
		in, err := bundle.Inspect(t.Context(), open(t, folderOf(t, b, test.list...)))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(in.Caveats, "\n")
		if test.want == "" && strings.Contains(text, "of the names") || !strings.Contains(text, test.want) {
			t.Errorf("%s: %q", what, text)
		}
	}
}
