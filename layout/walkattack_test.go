package layout_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

const repo = "reg.example/team/app"

func tag(tag string) layout.Reference { return layout.Reference{Repository: repo, Tag: tag} }

func walk(t testing.TB, src layout.Source, refs ...layout.Reference) *layout.Graph {
	t.Helper()
	g, err := layout.Walk(context.Background(), src, refs, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// chain attaches n manifests, each to the one before.
func chain(b *layouttest.Builder, n int) (last layout.Descriptor) {
	last = b.Image("end of the chain")
	b.Tag("v1", last)
	for i := range n {
		last = b.Notary(last, fmt.Sprint(i))
	}
	return last
}

func TestWalkDepth(t *testing.T) {
	for n, want := range map[int]error{0: nil, 10: nil, layout.MaxDepth: nil, layout.MaxDepth + 1: layout.ErrLimit, 3 * layout.MaxDepth: layout.ErrLimit} {
		b := layouttest.New(repo)
		chain(b, n)
		g, err := layout.Walk(t.Context(), load(t, b.Content()), []layout.Reference{tag("v1")}, layout.WalkOptions{})
		if !errors.Is(err, want) || err == nil && len(g.Nodes) != n+1 {
			t.Errorf("%d attachments, each on the one before: %v, want %v", n, err, want)
		}
		b = layouttest.New(repo)
		index := b.Image("innermost")
		for range n {
			index = b.Index(index)
		}
		b.Tag("v1", index)
		_, err = layout.Walk(t.Context(), load(t, b.Content()), []layout.Reference{tag("v1")}, layout.WalkOptions{})
		if !errors.Is(err, want) {
			t.Errorf("%d indexes, each in the next: %v, want %v", n, err, want)
		}
	}
}

func TestWalkWide(t *testing.T) {
	b := layouttest.New(repo)
	var children []layout.Descriptor
	layer := b.Blob(layerType, []byte("shared"))
	for i := range 500 {
		children = append(children, b.Image(fmt.Sprint(i), layer))
	}
	index := b.Index(append(children, children...)...) // each listed twice
	b.Tag("v1", index)
	for i := range 500 {
		b.Notary(index, fmt.Sprint(i))
	}
	src, calls := counted(t, load(t, b.Content()))
	g := walk(t, src, tag("v1"), tag("v1"))
	if len(g.Nodes) != 1001 || calls() != 1+2*1001 {
		t.Errorf("%d manifests in %d calls", len(g.Nodes), calls())
	}
	if p, ok := g.Place(repo, index.Digest); !ok || len(p.Attached) != 500 {
		t.Errorf("%d are attached", len(p.Attached))
	}
}

// A cosign tag of X leads to Y, and that of Y to X.
func TestWalkCycle(t *testing.T) {
	b := layouttest.New(repo)
	x, y, z := b.Image("x"), b.Image("y"), b.Image("z")
	b.Tag("v1", x)
	for _, pair := range [][2]layout.Descriptor{{x, y}, {y, x}, {y, z}, {z, x}} {
		form := layout.FormCosignSig
		if pair[1].Digest == z.Digest {
			form = layout.FormCosignAtt
		}
		name, _ := form.Tag(pair[0].Digest)
		b.Tag(name, pair[1])
	}
	src, _ := counted(t, load(t, b.Content()))
	g := walk(t, src, tag("v1"))
	if len(g.Nodes) != 3 || len(g.Tags) != 4 {
		t.Errorf("%d manifests and %d tags in the circle", len(g.Nodes), len(g.Tags))
	}
	// It can be copied and bundled all the same.
	dst := layout.NewMemory()
	if err := layout.Copy(t.Context(), dst, load(t, b.Content()), g, layout.CopyOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := layout.NewPlan(g, nil); err != nil {
		t.Error(err)
	}
}

// What is listed as attached and is not: the manifest itself (a registry that
// answers the fallback tag with the image), another's signature, one with no
// subject. It is set aside, on record, and nothing else is.
func TestWalkRejects(t *testing.T) {
	b := layouttest.New(repo)
	x, other := b.Image("x"), b.Image("other")
	b.Tag("v1", x)
	mine, others := b.Notary(x, "mine"), b.Notary(other, "another's")
	for _, form := range append([]layout.Form{layout.FormReferrers, layout.FormReferrersTag, layout.FormLayout}, layout.CosignForms...) {
		cosign := slices.Contains(layout.CosignForms, form)
		for what, test := range map[string]struct {
			claimed layout.Descriptor
			taken   bool
		}{
			"its own": {mine, true}, "itself": {x, false}, "another's": {others, false}, "without subject": {other, cosign},
		} {
			src := claiming{load(t, b.Content()), map[digest.Digest]layout.Attachments{x.Digest: found(form, test.claimed)}}
			g := walk(t, src, tag("v1"))
			p, _ := g.Place(repo, x.Digest)
			taken := len(p.Attached) == 1 && p.Attached[0].Digest == test.claimed.Digest
			if taken != test.taken || len(g.Rejected) == 1 == test.taken {
				t.Errorf("%s by %s: attached %v, rejected %v", what, form, p.Attached, g.Rejected)
			}
			if !test.taken && (g.Rejected[0].Subject != x.Digest || g.Rejected[0].Digest != test.claimed.Digest || g.Rejected[0].Form != form || g.Rejected[0].Reason == "") {
				t.Errorf("%s by %s: on record as %+v", what, form, g.Rejected[0])
			}
			if what == "another's" && g.Nodes[others.Digest] != nil {
				t.Errorf("%s by %s: it is in the graph", what, form)
			}
		}
	}
}

// Every manifest in turn cannot be fetched: the walk fails, naming it, and for an
// attachment saying of what.
func TestWalkUnfetchable(t *testing.T) {
	t.Parallel()
	content := layouttest.Everything(repo)
	mem := load(t, content)
	whole := walk(t, mem, content.Roots()...)
	subjects := map[digest.Digest]digest.Digest{}
	for _, p := range whole.Places {
		for _, e := range p.Attached {
			subjects[e.Digest] = p.Digest
		}
	}
	broken := errors.New("broken")
	for d := range whole.Nodes {
		src := hooks{Source: mem, open: func(_ string, o layout.Descriptor) error {
			if o.Digest == d {
				return broken
			}
			return nil
		}}
		_, err := layout.Walk(t.Context(), src, content.Roots(), layout.WalkOptions{MayMiss: mayMiss})
		if !errors.Is(err, broken) || !strings.Contains(fmt.Sprint(err), string(d)) {
			t.Errorf("%s cannot be fetched: %v", d, err)
			continue
		}
		if s, ok := subjects[d]; ok && (!strings.Contains(err.Error(), "attached to "+string(s)) || layout.Hint(err) == "") {
			t.Errorf("%s, attached to %s, cannot be fetched: %v, hint %q", d, s, err, layout.Hint(err))
		}
		src = hooks{Source: mem, attached: func(_ string, o layout.Descriptor) error {
			if o.Digest == d {
				return broken
			}
			return nil
		}}
		if _, err := layout.Walk(t.Context(), src, content.Roots(), layout.WalkOptions{}); !errors.Is(err, broken) || !strings.Contains(fmt.Sprint(err), string(d)) {
			t.Errorf("%s cannot be asked for attachments: %v", d, err)
		}
	}
	for d := range subjects {
		src := hooks{Source: mem, open: func(_ string, o layout.Descriptor) error {
			if o.Digest == d {
				return layout.ErrNotFound
			}
			return nil
		}}
		if _, err := layout.Walk(t.Context(), src, content.Roots(), layout.WalkOptions{MayMiss: mayMiss}); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("%s is listed as attached and is not there, where indexes may be sparse: %v, want ErrNotFound", d, err)
		}
	}
}

func TestWalkLimits(t *testing.T) {
	content := layouttest.Everything(repo)
	mem := load(t, content)
	whole := walk(t, mem, content.Roots()...)
	n := len(whole.Nodes)
	most := 0
	for _, p := range whole.Places {
		forms := map[layout.Form]int{}
		for _, e := range p.Attached {
			for _, f := range e.Forms {
				forms[f]++
				most = max(most, forms[f])
			}
		}
	}
	for _, test := range []struct {
		manifests, attached int
		want                error
	}{{n, most, nil}, {n - 1, most, layout.ErrLimit}, {n, most - 1, layout.ErrLimit}, {1, most, layout.ErrLimit}} {
		_, err := layout.Walk(t.Context(), mem, content.Roots(), layout.WalkOptions{}.WithLimits(test.manifests, test.attached))
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("limits of %d manifests and %d attachments: %v, want %v", test.manifests, test.attached, err, test.want)
		}
	}
}

// A source that never runs out of manifests is given up on, soon.
func TestWalkEndless(t *testing.T) {
	deep := &inventor{n: 1}
	if _, err := layout.Walk(t.Context(), deep, []layout.Reference{tag("v1")}, layout.WalkOptions{}); !errors.Is(err, layout.ErrLimit) {
		t.Errorf("one more attached to each: %v, want ErrLimit", err)
	}
	if deep.asked > layout.MaxDepth+1 {
		t.Errorf("asked %d times", deep.asked)
	}
	wide := &inventor{n: 20}
	if _, err := layout.Walk(t.Context(), wide, []layout.Reference{tag("v1")}, layout.WalkOptions{}.WithLimits(2000, 100)); !errors.Is(err, layout.ErrLimit) {
		t.Errorf("twenty more attached to each: %v, want ErrLimit", err)
	}
	if wide.asked > 2000+layout.DefaultWalkJobs {
		t.Errorf("asked %d times", wide.asked)
	}
}

// A million attachments are refused before one of them is looked at.
func TestWalkMillionAttachments(t *testing.T) {
	b := layouttest.New(repo)
	x := b.Image("x")
	b.Tag("v1", x)
	list := make([]layout.Descriptor, 1_000_000)
	for i := range list {
		list[i] = x
	}
	src := hooks{Source: claiming{load(t, b.Content()), map[digest.Digest]layout.Attachments{x.Digest: found(layout.FormReferrers, list...)}}}
	opened := 0
	src.open = func(string, layout.Descriptor) error { opened++; return nil }
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := layout.Walk(t.Context(), src, []layout.Reference{tag("v1")}, layout.WalkOptions{})
	runtime.ReadMemStats(&after)
	if !errors.Is(err, layout.ErrLimit) || !strings.Contains(fmt.Sprint(err), string(x.Digest)) {
		t.Errorf("%v, want ErrLimit and the subject", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; opened != 1 || got > 1<<20 {
		t.Errorf("%d manifests were opened, %d bytes allocated", opened, got)
	}
}

// The same graph, whatever the order in which answers come.
func TestWalkIsDeterministic(t *testing.T) {
	t.Parallel()
	a, b := layouttest.Everything("a.example/x"), layouttest.Everything("b.example/y")
	content := layouttest.Merge(a, b, layouttest.SHA512("c.example/z"))
	mem := load(t, content)
	platforms := []layout.Platform{{OS: "linux", Architecture: "arm64"}}
	for what, o := range map[string]layout.WalkOptions{"all": {}, "arm64": {Platforms: platforms, MayMiss: mayMiss}} {
		var refs []layout.Reference
		for _, r := range content.Roots() {
			if what == "all" || r.Tag == "v1" || r.Tag == "docker" || r.Tag == "nested" {
				refs = append(refs, r)
			}
		}
		first, err := layout.Walk(t.Context(), mem, refs, o)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(20) {
			src, _ := counted(t, jittery(mem, seed))
			got, err := layout.Walk(t.Context(), src, refs, o)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, first) {
				t.Fatalf("%s, order %d: another graph: %s", what, seed, differ(got, first))
			}
		}
	}
}

func differ(a, b *layout.Graph) string {
	for d, n := range a.Nodes {
		if !reflect.DeepEqual(n, b.Nodes[d]) {
			return fmt.Sprintf("%+v and %+v", n, b.Nodes[d])
		}
	}
	return fmt.Sprint(len(a.Nodes), len(b.Nodes), reflect.DeepEqual(a.Places, b.Places), reflect.DeepEqual(a.Tags, b.Tags), reflect.DeepEqual(a.Omitted, b.Omitted),
		reflect.DeepEqual(a.Rejected, b.Rejected), reflect.DeepEqual(slices.Sorted(maps.Keys(a.Nodes)), slices.Sorted(maps.Keys(b.Nodes))))
}

// Cancelled at any call, the walk ends with the context's error and asks no more.
func TestWalkCancelled(t *testing.T) {
	content := layouttest.Everything(repo)
	mem := load(t, content)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := layout.Walk(ctx, mem, content.Roots(), layout.WalkOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	for at := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex // the call that cancels does so before any other is counted
		calls := 0
		hook := func(string, layout.Descriptor) error {
			mu.Lock()
			defer mu.Unlock()
			if calls++; calls == at*3+1 {
				cancel()
			}
			return nil
		}
		_, err := layout.Walk(ctx, hooks{Source: mem, open: hook, attached: hook}, content.Roots(), layout.WalkOptions{Jobs: 2})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled at call %d: %v", at*3+1, err)
		}
		if calls > at*3+1+3 {
			t.Errorf("cancelled at call %d, and asked until call %d", at*3+1, calls)
		}
		cancel()
	}
}
