package bundle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/layouttest"
)

// selected is a source that holds content, and a selection of all its roots.
func selected(t *testing.T, content layouttest.Content) bundle.Selection {
	t.Helper()
	m := layout.NewMemory()
	if err := content.Load(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return bundle.Selection{Source: m, References: content.Roots()}
}

// Everything that is attached arrives, in a form in which it is found, whether the
// registry has the referrers API or not; once more sends nothing.
func TestPushBringsTheWholeGraph(t *testing.T) {
	content := layouttest.Everything(repo)
	want := withoutFallback(renamed(content, repo, "far.example/mirror/team/app"))
	for _, referrers := range []bool{true, false} {
		dst := newServer(t, referrers)
		o := bundle.PushOptions{Mapping: bundle.Mapping{To: "far.example/mirror"}}
		first, err := bundle.Push(t.Context(), selected(t, content), dst.client(t), o)
		if err != nil {
			t.Fatalf("referrers API %v: %v", referrers, err)
		}
		layouttest.CheckSource(t, dst.client(t), want, layouttest.Traits{OneNamespace: true})
		for _, n := range first.Names {
			if n.Present || !strings.HasPrefix(n.Destination, "far.example/mirror/team/app") {
				t.Errorf("the first push says of %s: %+v", n.Source, n)
			}
		}
		again, err := bundle.Push(t.Context(), selected(t, content), dst.client(t), o)
		if err != nil {
			t.Fatal(err)
		}
		if again.Sent != 0 || again.Present != first.Contents.Bytes {
			t.Errorf("referrers API %v: the second push sent %d bytes, found %d of %d", referrers, again.Sent, again.Present, first.Contents.Bytes)
		}
		if i := slices.IndexFunc(again.Names, func(n bundle.PushedName) bool { return !n.Present }); i >= 0 {
			t.Errorf("the second push says that %s was not there", again.Names[i].Source)
		}
		layouttest.CheckSource(t, dst.client(t), want, layouttest.Traits{OneNamespace: true})
	}
}

// One that was stopped before it came to the names is ended by the next: what was put
// and never made to be found from its subject is found then.
func TestPushGoesOn(t *testing.T) {
	content := layouttest.Everything(repo)
	dst := newServer(t, false)
	stop := errors.New("stopped")
	o := bundle.PushOptions{BeforeNames: func(context.Context, []bundle.PushedName, []bundle.SparseIndex) error { return stop }}
	if _, err := bundle.Push(t.Context(), selected(t, content), dst.client(t), o); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	if _, err := dst.client(t).Resolve(t.Context(), content.Roots()[0]); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("a name was written before BeforeNames agreed: %v", err)
	}
	res, err := bundle.Push(t.Context(), selected(t, content), dst.client(t), bundle.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range res.Names {
		if n.Present && !strings.Contains(n.Source, "@") {
			t.Errorf("%s had no name there", n.Source)
		}
	}
	layouttest.CheckSource(t, dst.client(t), withoutFallback(content), layouttest.Traits{OneNamespace: true})
}

// A push of several images says of each whether anything of it was new.
func TestPushTellsWhatIsNew(t *testing.T) {
	b := layouttest.New(repo)
	one, two := b.Image("one"), b.Image("two")
	b.Tag("one", one)
	b.Tag("two", two)
	dst := layout.NewMemory()
	if _, err := bundle.Push(t.Context(), selected(t, b.Content()), dst, bundle.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Notary(two, "later")
	res, err := bundle.Push(t.Context(), selected(t, b.Content()), dst, bundle.PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range res.Names {
		if want := strings.HasSuffix(n.Source, ":one"); n.Present != want {
			t.Errorf("%s was there: %v, want %v", n.Source, n.Present, want)
		}
	}
}

// A tag that stands for something else is refused before anything is written.
func TestPushMovesNoTag(t *testing.T) {
	before, after := layouttest.New(repo), layouttest.New(repo)
	was := before.Image("before")
	before.Tag("v1", was)
	after.Tag("v1", after.Image("after"))
	after.Tag("v2", after.Image("another"))
	dst := &counted{Memory: layout.NewMemory()}
	if err := before.Content().Load(t.Context(), dst.Memory); err != nil {
		t.Fatal(err)
	}
	entered := 0
	o := bundle.PushOptions{BeforeNames: func(context.Context, []bundle.PushedName, []bundle.SparseIndex) error { entered++; return nil }}
	_, err := bundle.Push(t.Context(), selected(t, after.Content()), dst, o)
	if !errors.Is(err, bundle.ErrMoves) || !strings.Contains(err.Error(), repo+":v1 is "+string(was.Digest)) || dst.puts > 0 || entered > 0 {
		t.Errorf("Push = %v, %d puts, %d times before names", err, dst.puts, entered)
	}
	o.Overwrite = true
	res, err := bundle.Push(t.Context(), selected(t, after.Content()), dst, o)
	if err != nil || entered != 1 {
		t.Fatalf("%v, %d times before names", err, entered)
	}
	for _, n := range res.Names {
		if moved := strings.HasSuffix(n.Source, ":v1"); (n.Was == was.Digest) != moved || n.Present {
			t.Errorf("%+v", n)
		}
	}
	arrived(t, after.Content(), dst)
}

// One that somebody sets while the push runs is not moved either.
func TestPushMovesNoTagLate(t *testing.T) {
	ours, theirs := layouttest.New(repo), layouttest.New(repo)
	ours.Tag("v1", ours.Image("ours"))
	theirs.Tag("v1", theirs.Image("theirs"))
	dst := &meddled{Memory: layout.NewMemory(), with: theirs.Content()}
	_, err := bundle.Push(t.Context(), selected(t, ours.Content()), dst, bundle.PushOptions{})
	if !errors.Is(err, bundle.ErrMoves) {
		t.Errorf("Push = %v, want ErrMoves", err)
	}
}

// mounter counts what is mounted, and can only do it from one repository.
type mounter struct {
	*counted
	from    string
	mounted int
}

func (m *mounter) Mount(ctx context.Context, repo string, d layout.Descriptor, from string) (bool, error) {
	if from != m.from {
		return false, nil
	}
	rc, err := m.Open(ctx, from, d)
	if errors.Is(err, layout.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer rc.Close()
	m.mounted++
	return true, m.Memory.Put(ctx, repo, d, rc)
}

// What another repository of the destination has is mounted and not sent.
func TestPushMounts(t *testing.T) {
	b, base := layouttest.New(repo), layouttest.New("far.example/base")
	layer := b.Layer("application/vnd.oci.image.layer.v1.tar", "shared")
	b.Tag("v1", b.Image("app", layer))
	base.Tag("v1", base.Image("base", base.Layer("application/vnd.oci.image.layer.v1.tar", "shared")))
	for from, want := range map[string]int{"far.example/base": 1, "far.example/other": 0} {
		dst := &mounter{counted: &counted{Memory: layout.NewMemory()}, from: "far.example/base"}
		if err := base.Content().Load(t.Context(), dst.Memory); err != nil {
			t.Fatal(err)
		}
		res, err := bundle.Push(t.Context(), selected(t, b.Content()), dst, bundle.PushOptions{MountFrom: []string{from}})
		if err != nil {
			t.Fatal(err)
		}
		if dst.mounted != want || (res.Present >= layer.Size) != (want > 0) {
			t.Errorf("from %s: %d mounted, want %d; %d bytes were there", from, dst.mounted, want, res.Present)
		}
		arrived(t, b.Content(), dst)
	}
}

func TestPushOfNothing(t *testing.T) {
	if _, err := bundle.Push(t.Context(), bundle.Selection{Source: layout.NewMemory()}, layout.NewMemory(), bundle.PushOptions{}); !errors.Is(err, bundle.ErrUsage) {
		t.Error(err)
	}
}
