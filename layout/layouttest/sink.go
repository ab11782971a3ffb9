package layouttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Target is a sink under test.
type Target struct {
	Traits
	Sink layout.Sink
	// Source opens what was committed. It is called after a Commit that
	// succeeded, never before.
	Source func(t *testing.T) layout.Source
}

// Factory makes a new, empty sink that is going to be given content and no more:
// a file format may have to know. It may skip the test if the sink can not hold
// such content.
type Factory func(t *testing.T, content Content) Target

// Repositories that the suite uses.
const (
	repoA = "reg.example:5000/team/app"
	repoB = "reg.example:5000/other/copy"
)

// TestSink checks what users of a sink, and of the source over what was
// committed to it, rely on.
func TestSink(t *testing.T, factory Factory) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Factory)
	}{
		{"everything", testEverything},
		{"two repositories", testTwoRepositories},
		{"mount", testMount},
		{"sha512", testSHA512},
		{"sparse index", testSparse},
		{"index of what is no manifest", testMixed},
		{"large blob", testLarge},
		{"zeros", testZeros},
		{"wrong content", testWrongContent},
		{"hostile descriptors", testHostileDescriptors},
		{"failing reader", testFailingReader},
		{"put twice", testTwice},
		{"names come last", testNamesLast},
		{"all or nothing", testAllOrNothing},
		{"concurrency", testConcurrency},
		{"cancelled", testCancelled},
		{"cancelled midway", testCancelledMidway},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, factory) })
	}
}

func roundTrip(t *testing.T, factory Factory, content Content) {
	t.Helper()
	target := factory(t, content)
	if err := content.Load(t.Context(), target.Sink); err != nil {
		t.Fatal(err)
	}
	CheckSource(t, target.Source(t), content, target.Traits)
}

func testEverything(t *testing.T, factory Factory) { roundTrip(t, factory, Everything(repoA)) }
func testSHA512(t *testing.T, factory Factory)     { roundTrip(t, factory, SHA512(repoA)) }
func testSparse(t *testing.T, factory Factory)     { roundTrip(t, factory, Sparse(repoA)) }
func testMixed(t *testing.T, factory Factory)      { roundTrip(t, factory, Mixed(repoA)) }
func testLarge(t *testing.T, factory Factory)      { roundTrip(t, factory, Large(repoA, 5<<20+1)) }
func testZeros(t *testing.T, factory Factory)      { roundTrip(t, factory, Zeros(repoA)) }

// twoRepositories share an image; only one has a signature for it, and each has
// something of its own.
func twoRepositories() Content {
	a, b := New(repoA), New(repoB)
	image := a.Image("shared")
	a.Tag("v1", image)
	a.Notary(image, "in one repository")
	a.Cosign(layout.FormCosignSig, image, "in one repository")
	b.Tag("v1", b.Image("shared"))
	b.Tag("own", b.Image("own"))
	return Merge(a.Content(), b.Content())
}

func testTwoRepositories(t *testing.T, factory Factory) { roundTrip(t, factory, twoRepositories()) }

func testMount(t *testing.T, factory Factory) {
	content := twoRepositories()
	target := factory(t, content)
	mounter, ok := target.Sink.(layout.Mounter)
	if !ok {
		t.Skip("not a Mounter")
	}
	absent := layout.Descriptor{MediaType: layerType, Digest: digest.FromString("absent"), Size: 6}
	if done, err := mounter.Mount(t.Context(), repoB, absent, repoA); done || err != nil {
		t.Errorf("Mount of what is nowhere = %v, %v", done, err)
	}
	for _, repo := range content.Sorted() {
		other := map[string]string{repoA: repoB, repoB: repoA}[repo]
		for _, item := range content.Repositories[repo] {
			mountOrPut(t, target, mounter, repo, other, item)
		}
	}
	if err := target.Sink.Commit(t.Context(), content.Names); err != nil {
		t.Fatal(err)
	}
	CheckSource(t, target.Source(t), content, target.Traits)
}

func mountOrPut(t *testing.T, target Target, mounter layout.Mounter, repo, from string, item Item) {
	t.Helper()
	done, err := mounter.Mount(t.Context(), repo, item.Descriptor, from)
	if err != nil {
		t.Fatal(err)
	}
	if has, err := target.Sink.Has(t.Context(), repo, item.Descriptor); err != nil || has != done {
		t.Errorf("after Mount = %v, Has = %v, %v", done, has, err)
	}
	if done {
		return
	}
	if err := target.Sink.Put(t.Context(), repo, item.Descriptor, bytes.NewReader(item.Bytes)); err != nil {
		t.Fatal(err)
	}
}

// wrongs turns the right bytes of an item into wrong ones.
var wrongs = map[string]func([]byte) io.Reader{
	"flipped": func(b []byte) io.Reader {
		b = bytes.Clone(b)
		b[len(b)/2] ^= 1
		return bytes.NewReader(b)
	},
	"empty":        func([]byte) io.Reader { return bytes.NewReader(nil) },
	"half":         func(b []byte) io.Reader { return bytes.NewReader(b[:len(b)/2]) },
	"one short":    func(b []byte) io.Reader { return bytes.NewReader(b[:len(b)-1]) },
	"one over":     func(b []byte) io.Reader { return bytes.NewReader(append(bytes.Clone(b), 0)) },
	"twice":        func(b []byte) io.Reader { return bytes.NewReader(append(bytes.Clone(b), b...)) },
	"never-ending": func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), zeros{}) },
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func testWrongContent(t *testing.T, factory Factory) {
	content := Large(repoA, 1<<20)
	target := factory(t, content)
	for _, item := range content.Repositories[repoA] {
		for name, wrong := range wrongs {
			refused(t, target.Sink, item, item.Descriptor, wrong(item.Bytes), name)
		}
		for _, size := range []int64{0, item.Descriptor.Size - 1, item.Descriptor.Size + 1} {
			d := item.Descriptor
			d.Size = size
			refused(t, target.Sink, item, d, bytes.NewReader(item.Bytes), "wrong size")
		}
	}
	// What was refused leaves nothing in the way.
	if err := content.Load(t.Context(), target.Sink); err != nil {
		t.Fatal(err)
	}
	CheckSource(t, target.Source(t), content, target.Traits)
}

func refused(t *testing.T, sink layout.Sink, item Item, d layout.Descriptor, r io.Reader, what string) {
	t.Helper()
	if err := sink.Put(t.Context(), repoA, d, r); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("%s, %s: Put = %v, want ErrCorrupt", what, d.MediaType, err)
	}
	absent(t, sink, item)
}

func absent(t *testing.T, sink layout.Sink, item Item) {
	t.Helper()
	if has, err := sink.Has(t.Context(), repoA, item.Descriptor); has || err != nil {
		t.Errorf("Has = %v, %v after a Put that failed", has, err)
	}
}

func testHostileDescriptors(t *testing.T, factory Factory) {
	target := factory(t, New(repoA).Content())
	for _, d := range hostile {
		err := target.Sink.Put(t.Context(), repoA, d, bytes.NewReader(nil))
		if !errors.Is(err, layout.ErrCorrupt) && !errors.Is(err, layout.ErrLimit) {
			t.Errorf("Put(%v) = %v, want ErrCorrupt or ErrLimit", d, err)
		}
		if has, _ := target.Sink.Has(t.Context(), repoA, d); has {
			t.Errorf("Has(%v)", d)
		}
	}
}

var errReader = errors.New("the reader failed")

func testFailingReader(t *testing.T, factory Factory) {
	content := Large(repoA, 1<<20)
	target := factory(t, content)
	for _, item := range content.Repositories[repoA] {
		for _, n := range []int{0, 1, len(item.Bytes) / 2, len(item.Bytes)} {
			// A connection that is cut gives an error that looks like an end.
			for _, want := range []error{errReader, io.ErrUnexpectedEOF} {
				r := io.MultiReader(bytes.NewReader(item.Bytes[:n]), iotest.ErrReader(want))
				if err := target.Sink.Put(t.Context(), repoA, item.Descriptor, r); !errors.Is(err, want) {
					t.Errorf("Put of a reader that fails after %d of %d bytes = %v, want %v", n, len(item.Bytes), err, want)
				}
				absent(t, target.Sink, item)
			}
		}
	}
	if err := content.Load(t.Context(), target.Sink); err != nil {
		t.Fatal(err)
	}
	CheckSource(t, target.Source(t), content, target.Traits)
}

func testTwice(t *testing.T, factory Factory) {
	content := Everything(repoA)
	target := factory(t, content)
	for range 2 {
		if err := content.Put(t.Context(), target.Sink); err != nil {
			t.Fatal(err)
		}
	}
	for _, item := range content.Repositories[repoA] {
		if has, err := target.Sink.Has(t.Context(), repoA, item.Descriptor); !has || err != nil {
			t.Errorf("Has(%s) = %v, %v after Put", item.Descriptor.Digest, has, err)
		}
	}
	if err := target.Sink.Commit(t.Context(), content.Names); err != nil {
		t.Fatal(err)
	}
	CheckSource(t, target.Source(t), content, target.Traits)
}

func testNamesLast(t *testing.T, factory Factory) {
	content := Everything(repoA)
	target := factory(t, content)
	noNames(t, target.Sink, content)
	if err := content.Put(t.Context(), target.Sink); err != nil {
		t.Fatal(err)
	}
	noNames(t, target.Sink, content)
}

func noNames(t *testing.T, sink layout.Sink, content Content) {
	t.Helper()
	for _, n := range content.Names {
		if n.Reference.Digest != "" {
			continue // a digest is no name, and may lead to what was put
		}
		if d, err := sink.Resolve(t.Context(), n.Reference); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("Resolve(%s) = %v, %v before Commit, want ErrNotFound", n.Reference, d.Digest, err)
		}
	}
}

func testAllOrNothing(t *testing.T, factory Factory) {
	b := New(repoA)
	b.Tag("present", b.Image("present"))
	present := b.Content()
	b.Tag("zabsent", b.Image("absent"))
	content := b.Content()
	target := factory(t, content)
	if err := present.Put(t.Context(), target.Sink); err != nil {
		t.Fatal(err)
	}
	if err := target.Sink.Commit(t.Context(), content.Names); err == nil {
		t.Error("Commit names a manifest that was never put")
	}
	if !target.Partial {
		noNames(t, target.Sink, content)
	}
}

func testConcurrency(t *testing.T, factory Factory) {
	content := Everything(repoA)
	target := factory(t, content)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			// Blobs in any order, then all in the order that is promised.
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			items := content.Repositories[repoA]
			for _, j := range rng.Perm(len(items)) {
				item := items[j]
				if layout.IsManifest(item.Descriptor.MediaType) {
					continue
				}
				if err := target.Sink.Put(t.Context(), repoA, item.Descriptor, bytes.NewReader(item.Bytes)); err != nil {
					t.Error(err)
				}
				if has, err := target.Sink.Has(t.Context(), repoA, item.Descriptor); !has || err != nil {
					t.Errorf("Has = %v, %v after Put", has, err)
				}
			}
			if err := content.Put(t.Context(), target.Sink); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := target.Sink.Commit(t.Context(), content.Names); err != nil {
		t.Fatal(err)
	}
	src := target.Source(t)
	for range 4 {
		wg.Go(func() { CheckSource(t, src, content, target.Traits) })
	}
	wg.Wait()
}

func testCancelled(t *testing.T, factory Factory) {
	content := Everything(repoA)
	target := factory(t, content)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	item := content.Repositories[repoA][0]
	if err := target.Sink.Put(ctx, repoA, item.Descriptor, bytes.NewReader(item.Bytes)); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want context.Canceled", err)
	}
	absent(t, target.Sink, item)
	if err := content.Put(t.Context(), target.Sink); err != nil {
		t.Fatal(err)
	}
	if err := target.Sink.Commit(ctx, content.Names); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want context.Canceled", err)
	}
	noNames(t, target.Sink, content)
}

func testCancelledMidway(t *testing.T, factory Factory) {
	content := Large(repoA, 4<<20)
	target := factory(t, content)
	for _, item := range content.Repositories[repoA] {
		ctx, cancel := context.WithCancel(t.Context())
		half := len(item.Bytes) / 2
		r := io.MultiReader(bytes.NewReader(item.Bytes[:half]), then(cancel), zeros{})
		if err := target.Sink.Put(ctx, repoA, item.Descriptor, r); !errors.Is(err, context.Canceled) {
			t.Errorf("Put of %d bytes, cancelled after %d = %v, want context.Canceled", len(item.Bytes), half, err)
		}
		absent(t, target.Sink, item)
		cancel()
	}
	if err := content.Load(t.Context(), target.Sink); err != nil {
		t.Fatal(err)
	}
	CheckSource(t, target.Source(t), content, target.Traits)
}

// then is an empty reader that calls itself.
type then func()

func (f then) Read([]byte) (int, error) { f(); return 0, io.EOF }
