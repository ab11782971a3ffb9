package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

const repoB = "reg.example/other/copy"

// Two repositories have one image; each has a signature of its own for it, and
// what one lacks the other does not lend.
func TestWalkTwoRepositories(t *testing.T) {
	t.Parallel()
	a, b := layouttest.New(repo), layouttest.New(repoB)
	image := a.Image("shared")
	b.Image("shared")
	a.Tag("v1", image)
	b.Tag("v1", image)
	sigA, sigB := a.Notary(image, "a"), b.Notary(image, "b")
	tagA, tagB := a.Cosign(layout.FormCosignSig, image, "a"), b.Cosign(layout.FormCosignSig, image, "b")
	mem := load(t, layouttest.Merge(a.Content(), b.Content()))
	refs := []layout.Reference{tag("v1"), {Repository: repoB, Tag: "v1"}}
	src, _ := counted(t, mem)
	g := walk(t, src, refs...)
	for r, want := range map[string][]digest.Digest{repo: {sigA.Digest, tagA.Digest}, repoB: {sigB.Digest, tagB.Digest}} {
		p, ok := g.Place(r, image.Digest)
		if !ok || len(p.Attached) != 2 {
			t.Fatalf("%s: attached %v", r, p.Attached)
		}
		for _, e := range p.Attached {
			if e.Digest != want[0] && e.Digest != want[1] {
				t.Errorf("%s: %s is attached", r, e.Digest)
			}
		}
	}
	if len(g.Tags) != 2 || len(g.Nodes) != 5 || len(g.Places) != 6 {
		t.Errorf("%d tags, %d manifests, %d places", len(g.Tags), len(g.Nodes), len(g.Places))
	}
	dst := layout.NewMemory()
	if err := layout.Copy(t.Context(), dst, mem, g, layout.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	again := walk(t, dst, refs...)
	if !reflect.DeepEqual(again, g) {
		t.Error("the copy has another graph")
	}
}

// In one repository a manifest is listed and not there, in the other it is. That
// one repository has it does not make up for the other: the walk says so, in
// whichever order they answer.
func TestWalkDanglingInOneRepository(t *testing.T) {
	t.Parallel()
	a, b := layouttest.New(repo), layouttest.New(repoB)
	image := a.Image("shared")
	b.Image("shared")
	a.Tag("v1", image)
	b.Tag("v1", image)
	sig := a.Notary(image, "only in a")
	a.Fallback(image, sig)
	b.Fallback(image, sig) // dangling
	mem := load(t, layouttest.Merge(a.Content(), b.Content()))
	refs := []layout.Reference{tag("v1"), {Repository: repoB, Tag: "v1"}}
	for seed := range uint64(20) {
		_, err := layout.Walk(t.Context(), jittery(mem, seed), refs, layout.WalkOptions{})
		if !errors.Is(err, layout.ErrNotFound) || !strings.Contains(fmt.Sprint(err), repoB) || !strings.Contains(fmt.Sprint(err), string(sig.Digest)) {
			t.Fatalf("order %d: %v, want ErrNotFound, naming %s and the signature", seed, err, repoB)
		}
	}
}

// An index is whole in one repository and sparse in the other.
func TestWalkSparseInOneRepository(t *testing.T) {
	t.Parallel()
	a, b := layouttest.New(repo), layouttest.New(repoB)
	child := a.Image("child")
	index := a.Index(layouttest.ForPlatform(child, "linux", "amd64"))
	a.Tag("v1", index)
	b.Index(layouttest.ForPlatform(child, "linux", "amd64"))
	b.Tag("v1", index)
	mem := load(t, layouttest.Merge(a.Content(), b.Content()))
	refs := []layout.Reference{tag("v1"), {Repository: repoB, Tag: "v1"}}
	var first *layout.Graph
	for seed := range uint64(20) {
		src, _ := counted(t, jittery(mem, seed))
		g, err := layout.Walk(t.Context(), src, refs, layout.WalkOptions{MayMiss: mayMiss})
		if err != nil {
			t.Fatal(err)
		}
		_, inA := g.Place(repo, child.Digest)
		_, inB := g.Place(repoB, child.Digest)
		if !inA || inB || len(g.Omitted) != 1 || g.Omitted[0].Reason != layout.ReasonAbsent || len(g.Nodes[index.Digest].Children) != 1 {
			t.Fatalf("order %d: in a %v, in b %v, left out %+v", seed, inA, inB, g.Omitted)
		}
		if first == nil {
			first = g
		}
		if !reflect.DeepEqual(g, first) {
			t.Fatalf("order %d: another graph", seed)
		}
	}
}

// Descriptions that contradict each other.
func TestWalkContradictions(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("image")
	layer := b.Blob(layerType, []byte("a layer"))
	wrong := layer
	wrong.Size++
	b.Tag("one", b.Image("one", layer))
	b.Tag("two", b.Image("two", wrong))
	asLayer := layout.Descriptor{MediaType: layerType, Digest: image.Digest, Size: image.Size + 1}
	b.Tag("three", b.Image("three", asLayer))
	b.Tag("image", image)
	larger, docker := image, image
	larger.Size++
	docker.MediaType = layout.MediaTypeDockerManifest
	b.Tag("size", b.Index(image, larger))
	b.Tag("type", b.Index(image, docker))
	mem := load(t, b.Content())
	for what, refs := range map[string][]layout.Reference{
		"a blob of two sizes":             {tag("one"), tag("two")},
		"a manifest is a layer elsewhere": {tag("image"), tag("three")},
		"a child of two sizes":            {tag("size")},
		"a child of two types":            {tag("type")},
	} {
		if _, err := layout.Walk(t.Context(), mem, refs, layout.WalkOptions{}); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
	if _, err := layout.Walk(t.Context(), mem, []layout.Reference{tag("one"), tag("image")}, layout.WalkOptions{}); err != nil {
		t.Errorf("without a contradiction: %v", err)
	}
}

// elsewhere resolves names to another manifest than they pin.
type elsewhere struct {
	layout.Source
	to layout.Descriptor
}

func (e elsewhere) Resolve(context.Context, layout.Reference) (layout.Descriptor, error) {
	return e.to, nil
}

// A source is never asked to open what no digest is, though it was the one to
// list it: a digest may become part of a path or a URL.
func TestWalkHostileClaims(t *testing.T) {
	b := layouttest.New(repo)
	x := b.Image("x")
	b.Tag("v1", x)
	for what, d := range map[string]layout.Descriptor{
		"nothing": {}, "a path": {MediaType: x.MediaType, Digest: "sha256:../../../../etc/passwd", Size: 1}, "no algorithm": {MediaType: x.MediaType, Digest: "x", Size: 1},
		"a negative size": {MediaType: x.MediaType, Digest: x.Digest, Size: -1}, "too large": {MediaType: x.MediaType, Digest: x.Digest, Size: 1 << 40},
	} {
		src := hooks{Source: claiming{load(t, b.Content()), map[digest.Digest]layout.Attachments{x.Digest: found(layout.FormReferrers, d)}}}
		src.open = func(_ string, o layout.Descriptor) error {
			if err := layout.CheckDescriptor(o); err != nil {
				t.Errorf("%s: the source is asked for it", what)
			}
			return nil
		}
		if _, err := layout.Walk(t.Context(), src, []layout.Reference{tag("v1")}, layout.WalkOptions{}); err == nil || !classified(err) || !strings.Contains(err.Error(), string(x.Digest)) {
			t.Errorf("%s: %v, want an error that names the subject", what, err)
		}
	}
}

func TestWalkNames(t *testing.T) {
	b := layouttest.New(repo)
	one, two := b.Image("one"), b.Image("two")
	b.Tag("v1", one)
	b.Tag("v2", two)
	mem := load(t, b.Content())
	pinned := layout.Reference{Repository: repo, Tag: "v1", Digest: one.Digest}
	if _, err := layout.Walk(t.Context(), elsewhere{mem, two}, []layout.Reference{pinned}, layout.WalkOptions{}); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("a source that answers a digest with another: %v, want ErrCorrupt", err)
	}
	for what, d := range map[string]layout.Descriptor{
		"nothing": {}, "a path": {MediaType: one.MediaType, Digest: "sha256:../../x", Size: 1}, "a blob": {MediaType: layerType, Digest: one.Digest, Size: one.Size},
		"a negative size": {MediaType: one.MediaType, Digest: one.Digest, Size: -1},
	} {
		if _, err := layout.Walk(t.Context(), elsewhere{mem, d}, []layout.Reference{tag("v1")}, layout.WalkOptions{}); err == nil || !classified(err) {
			t.Errorf("a source that answers with %s: %v", what, err)
		}
	}
	// The same name with and without its digest is one root; with another digest
	// it is a contradiction.
	g := walk(t, mem, tag("v1"), pinned, tag("v1"))
	if len(g.Roots) != 1 {
		t.Errorf("one name, asked for in two ways: %v", g.Roots)
	}
	other := layout.Reference{Repository: repo, Tag: "v1", Digest: two.Digest}
	if _, err := layout.Walk(t.Context(), mem, []layout.Reference{tag("v1"), other}, layout.WalkOptions{}); !errors.Is(err, layout.ErrUnsupported) {
		t.Errorf("one name for two digests: %v, want ErrUnsupported", err)
	}
}

// A cosign tag of which a source says that it stands for two manifests, and one
// that was asked for by name and has moved since: neither may be dropped.
func TestWalkTagOfTwo(t *testing.T) {
	b := layouttest.New(repo)
	x := b.Image("x")
	b.Tag("v1", x)
	one, two := b.Image("sig one"), b.Image("sig two")
	name, _ := layout.FormCosignSig.Tag(x.Digest)
	b.Tag(name, one)
	mem := load(t, b.Content())
	src := claiming{mem, map[digest.Digest]layout.Attachments{x.Digest: found(layout.FormCosignSig, one, two)}}
	if _, err := layout.Walk(t.Context(), src, []layout.Reference{tag("v1")}, layout.WalkOptions{}); !errors.Is(err, layout.ErrUnsupported) || layout.Hint(err) == "" {
		t.Errorf("a tag of two manifests: %v", err)
	}
	moved := claiming{mem, map[digest.Digest]layout.Attachments{x.Digest: found(layout.FormCosignSig, two)}}
	if _, err := layout.Walk(t.Context(), moved, []layout.Reference{tag("v1"), tag(name)}, layout.WalkOptions{}); !errors.Is(err, layout.ErrUnsupported) {
		t.Errorf("a tag that moved: %v", err)
	}
	g := walk(t, mem, tag("v1"), tag(name))
	if len(g.Roots) != 2 || len(g.Tags) != 1 {
		t.Errorf("a tag asked for by name: %d roots, %d tags", len(g.Roots), len(g.Tags))
	}
	twice := claiming{mem, map[digest.Digest]layout.Attachments{x.Digest: append(found(layout.FormCosignSig, one, one), found(layout.FormCosignSig, one)...)}}
	g = walk(t, twice, tag("v1"))
	if p, _ := g.Place(repo, x.Digest); len(p.Attached) != 1 || len(p.Attached[0].Forms) != 1 || len(g.Tags) != 1 {
		t.Errorf("one signature, listed three times: %v, %v", p.Attached, g.Tags)
	}
}

// strict is a sink that refuses what comes before what it refers to, and the
// same content twice.
type strict struct {
	*layout.Memory
	mu  sync.Mutex
	put map[string]bool
}

func (s *strict) Put(ctx context.Context, r string, d layout.Descriptor, content io.Reader) error {
	data, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	if layout.IsManifest(d.MediaType) {
		m, err := layout.ParseManifest(d, data)
		if err != nil {
			return err
		}
		needs := append(m.Blobs(), m.Manifests...)
		if m.Subject != nil {
			needs = append(needs, *m.Subject)
		}
		for _, n := range needs {
			if ok, err := s.Has(ctx, r, n); !ok || err != nil {
				return fmt.Errorf("%s comes before %s in %s: %v", d.Digest, n.Digest, r, err)
			}
		}
	}
	s.mu.Lock()
	twice := s.put[r+string(d.Digest)]
	if s.put == nil {
		s.put = map[string]bool{}
	}
	s.put[r+string(d.Digest)] = true
	s.mu.Unlock()
	if twice {
		return fmt.Errorf("%s comes twice in %s", d.Digest, r)
	}
	return s.Memory.Put(ctx, r, d, bytes.NewReader(data))
}

// Copy puts everything after what it refers to, and names last.
func TestCopyOrder(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything(repo), layouttest.Everything(repoB))
	mem := load(t, content)
	g := walk(t, mem, content.Roots()...)
	dst := &strict{Memory: layout.NewMemory()}
	if err := layout.Copy(t.Context(), dst, mem, g, layout.CopyOptions{Jobs: 3}); err != nil {
		t.Fatal(err)
	}
	got := walk(t, dst.Memory, content.Roots()...)
	if !reflect.DeepEqual(got.Nodes, g.Nodes) || !reflect.DeepEqual(got.Names(), g.Names()) || len(got.Places) != len(g.Places) {
		t.Error("the copy has another graph")
	}
	for _, p := range g.Places {
		q, ok := got.Place(p.Repository, p.Digest)
		same := slices.EqualFunc(p.Attached, q.Attached, func(a, b layout.Edge) bool { return a.Digest == b.Digest })
		if !ok || !same { // fallback tags are not kept here, so forms differ
			t.Errorf("%s in %s: attached %v, was %v", p.Digest, p.Repository, q.Attached, p.Attached)
		}
	}
}

// What an index lists that is no manifest is there in one repository, a manifest in the
// next, and absent in the last: each is asked, and gets what it has.
func TestWalkOpaqueInOneRepository(t *testing.T) {
	t.Parallel()
	const repoC = "reg.example/third"
	data := []byte(`{"layers":[]}`)
	var all []layouttest.Content
	var index, opaque layout.Descriptor
	for _, r := range []string{repo, repoB, repoC} {
		other := layouttest.New("x")
		opaque = other.Blob("application/json", data)
		b := layouttest.New(r)
		if r == repoB {
			b.Blob("application/json", data)
		}
		index = b.Index(b.Image("child"), opaque)
		b.Tag("v1", index)
		all = append(all, b.Content())
	}
	mem := load(t, layouttest.Merge(all...))
	refs := []layout.Reference{{Repository: repo, Tag: "v1"}, {Repository: repoB, Tag: "v1"}, {Repository: repoC, Tag: "v1"}}
	var first *layout.Graph
	for seed := range uint64(20) {
		g, err := layout.Walk(t.Context(), jittery(posing{mem, repoC, opaque}, seed), refs, layout.WalkOptions{MayMiss: mayMiss})
		if err != nil {
			t.Fatal(err)
		}
		if n := g.Nodes[index.Digest]; len(n.Blobs) != 1 || len(g.Omitted) != 2 {
			t.Fatalf("order %d: %d blobs, left out %+v", seed, len(n.Blobs), g.Omitted)
		}
		for i, want := range []layout.Omission{
			{Repository: repo, Parent: index.Digest, Descriptor: opaque, Reason: layout.ReasonAbsent},
			{Repository: repoC, Parent: index.Digest, Descriptor: opaque, Reason: layout.ReasonAbsent, Elsewhere: true},
		} {
			if !slices.ContainsFunc(g.Omitted, func(o layout.Omission) bool { return reflect.DeepEqual(o, want) }) {
				t.Fatalf("order %d: %d: left out %+v", seed, i, g.Omitted)
			}
		}
		if first == nil {
			first = g
		}
		if !reflect.DeepEqual(g, first) {
			t.Fatalf("order %d: another graph", seed)
		}
	}
	copiesOpaque(t, mem, first, opaque)
}

// copiesOpaque copies what repoB alone has to where that goes.
func copiesOpaque(t *testing.T, src layout.Source, g *layout.Graph, opaque layout.Descriptor) {
	t.Helper()
	dst := layout.NewMemory()
	var names []layout.Name
	for _, n := range g.Names() {
		n.Reference.Repository += "/copy"
		names = append(names, n)
	}
	if err := layout.Copy(t.Context(), dst, src, g, layout.CopyOptions{Names: names, Rename: func(r string) string { return r + "/copy" }}); err != nil {
		t.Fatal(err)
	}
	for _, r := range g.Repositories() {
		if has, err := dst.Has(t.Context(), r+"/copy", opaque); err != nil || has != (r == repoB) {
			t.Errorf("in the copy of %s: %v, %v", r, has, err)
		}
	}
	plan, err := layout.NewPlan(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range plan.Entries {
		if e.Digest == opaque.Digest && e.Repository != repoB {
			t.Errorf("a bundle would take it from %s", e.Repository)
		}
	}
}

// posing is a source that has something as a manifest in one repository.
type posing struct {
	layout.Source
	repo string
	desc layout.Descriptor
}

func (a posing) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	if ref.Repository == a.repo && ref.Digest == a.desc.Digest {
		return a.desc, nil
	}
	return a.Source.Resolve(ctx, ref)
}
