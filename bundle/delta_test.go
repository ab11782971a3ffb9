package bundle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/verify"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

const layerType = "application/vnd.oci.image.layer.v1.tar"

// held is a layer that destinations of damaged deltas have.
var held = []byte("a layer that is held")

func putHeld(dst layout.Sink) error {
	d := layout.Descriptor{MediaType: layerType, Digest: digest.FromBytes(held), Size: int64(len(held))}
	return dst.Put(context.Background(), repo, d, bytes.NewReader(held))
}

// receiptOf states that blobs are held.
func receiptOf(t testing.TB, blobs ...digest.Digest) bundle.Base {
	t.Helper()
	r, err := bundle.NewReceipt("tests", exportTime, "", blobs)
	if err != nil {
		t.Fatal(err)
	}
	return r.Base()
}

// layersOf lists the layers of content, sorted.
func layersOf(t testing.TB, content layouttest.Content) []layout.Blob {
	t.Helper()
	g, err := layout.Walk(context.Background(), memory(t, content), content.Roots(), layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Layers()) == 0 {
		t.Fatal("the content has no layers")
	}
	return g.Layers()
}

func digests(blobs []layout.Blob) []digest.Digest {
	var out []digest.Digest
	for _, b := range blobs {
		out = append(out, b.Digest)
	}
	return out
}

// holding makes an image of some layers of content, in another repository.
func holding(t testing.TB, content layouttest.Content, layers []layout.Blob) layouttest.Content {
	t.Helper()
	b := layouttest.New("other.example/holds")
	var list []layout.Descriptor
	for _, l := range layers {
		for r := range content.Repositories {
			if item, ok := content.Find(r, l.Digest); ok {
				list = append(list, b.Blob(layerType, item.Bytes))
			}
		}
	}
	b.Tag("held", b.Image("holds", list...))
	return b.Content()
}

// newStore makes a store that holds content.
func newStore(t *testing.T, content layouttest.Content) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := intoStore(t, export(t, content, bundle.ExportOptions{}), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// tryStore imports bundles into s, each together with the others.
func tryStore(t *testing.T, s *store.Store, paths ...string) error {
	t.Helper()
	var all []*bundle.Bundle
	for _, p := range paths {
		all = append(all, open(t, p))
	}
	for i, b := range all {
		session, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		others := slices.Concat(all[:i], all[i+1:])
		_, err = bundle.Import(t.Context(), b, session, bundle.ImportOptions{InsecureSkipVerify: true, Others: others})
		if cerr := session.Close(); err != nil || cerr != nil {
			return errors.Join(err, cerr)
		}
	}
	return nil
}

// holds lists what a store has, names included.
func holds(t *testing.T, s *store.Store) string {
	t.Helper()
	held, damaged, err := s.Held(t.Context(), store.HeldOptions{})
	names, nerr := s.Names(t.Context())
	stats, serr := s.Stats(t.Context())
	if err := errors.Join(err, nerr, serr); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(held, damaged, names, stats)
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// A full bundle, a delta, and a delta with what turned out to be missing come to the
// same store.
func TestDeltaComesToTheSame(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything(repo), layouttest.SHA512("third.example/s"))
	layers := layersOf(t, content)
	there := holding(t, content, layers[:len(layers)/2])
	full := export(t, content, bundle.ExportOptions{})
	want := newStore(t, there)
	if err := tryStore(t, want, full); err != nil {
		t.Fatal(err)
	}

	right := export(t, content, bundle.ExportOptions{Since: []bundle.Base{receiptOf(t, digests(layers[:len(layers)/2])...)}})
	if size(t, right) >= size(t, full) {
		t.Errorf("the delta has %d bytes, the full bundle %d", size(t, right), size(t, full))
	}
	got := newStore(t, there)
	if err := tryStore(t, got, right); err != nil {
		t.Fatal(err)
	}
	if a, b := holds(t, want), holds(t, got); a != b {
		t.Errorf("the full bundle came to\n%s\nthe delta to\n%s", a, b)
	}
	arrived(t, content, got)

	// This one counts on more than is there.
	wrong := export(t, content, bundle.ExportOptions{Since: []bundle.Base{receiptOf(t, digests(layers[:len(layers)-2])...)}})
	got = newStore(t, there)
	before := holds(t, got)
	err := tryStore(t, got, wrong)
	var missing *bundle.MissingError
	if !errors.As(err, &missing) || !errors.Is(err, bundle.ErrMissing) || missing.Late {
		t.Fatalf("Import = %v, want a MissingError", err)
	}
	if after := holds(t, got); after != before {
		t.Errorf("it was refused, and the store went from\n%s\nto\n%s", before, after)
	}
	var listed []digest.Digest
	for _, b := range missing.List.Blobs {
		listed = append(listed, b.Digest)
	}
	if want := digests(layers[len(layers)/2 : len(layers)-2]); !slices.Equal(listed, want) {
		t.Errorf("missing are %v, want %v", listed, want)
	}
	rest, err := missing.List.Base()
	if err != nil {
		t.Fatal(err)
	}
	after := export(t, content, bundle.ExportOptions{Since: []bundle.Base{rest}})
	for _, order := range [][]string{{wrong, after}, {after, wrong}} {
		got := newStore(t, there)
		if err := tryStore(t, got, order...); err != nil {
			t.Fatal(err)
		}
		if a, b := holds(t, want), holds(t, got); a != b {
			t.Errorf("the full bundle came to\n%s\nthe delta and the rest to\n%s", a, b)
		}
	}
}

// A delta is judged as the full bundle is, word for word, whether its images pass or
// not.
func TestDeltaIsJudgedAlike(t *testing.T) {
	content := layouttest.Everything(repo)
	full := export(t, content, bundle.ExportOptions{})
	g, err := open(t, full).Graph(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var adds []bundle.Addition
	for _, root := range g.Roots[:len(g.Roots)/2] {
		adds = append(adds, sign(t, repo, root.Descriptor, "release"))
	}
	mustAttach(t, full, adds...)
	b := open(t, full)
	layers := digests(g.Layers())
	sel := bundle.Selection{Source: b.Source(), References: b.References(), MayMiss: b.MayMiss}
	delta := filepath.Join(t.TempDir(), "bundle.tar")
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: delta, Since: []bundle.Base{receiptOf(t, layers...)}}); err != nil {
		t.Fatal(err)
	}
	p := keyJudge(t, "").Policy // it names its file
	verdict := func(path string) []byte {
		judge := keyJudge(t, "")
		judge.Policy = p
		r, err := judged(t, open(t, path), judge)
		if err != nil {
			t.Fatal(err)
		}
		if r.State == verify.Passed || !slices.ContainsFunc(r.Verdicts, func(v verify.Verdict) bool { return v.State == verify.Passed }) {
			t.Fatalf("want some that pass and some that do not: %+v", r.Verdicts)
		}
		out, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if a, b := verdict(full), verdict(delta); !bytes.Equal(a, b) {
		t.Errorf("of the full bundle:\n%s\nof the delta:\n%s", a, b)
	}
}

// What is carried is just what is not held; manifests, configs and what is attached
// always are.
func TestDeltaCarries(t *testing.T) {
	content := layouttest.Everything(repo)
	layers := layersOf(t, content)
	var all []digest.Digest
	for _, items := range content.Repositories {
		for _, i := range items {
			all = append(all, i.Descriptor.Digest)
		}
	}
	path := export(t, content, bundle.ExportOptions{Since: []bundle.Base{receiptOf(t, all...)}})
	full, delta := files(t, export(t, content, bundle.ExportOptions{})), files(t, path)
	gone := map[string]bool{}
	for _, l := range layers {
		gone[layout.BlobPath(l.Digest)] = true
	}
	for name := range full {
		_, here := delta[name]
		switch {
		case name == "manifest.json" && here:
			t.Error("it lists images for docker load, which would not find their layers")
		case strings.HasPrefix(name, "blobs/") && here == gone[name] && !strings.Contains(string(full[name]), "urn:airgap:export") && !strings.Contains(string(full[name]), bundle.RecordArtifactType):
			t.Errorf("%s: carried %v, a layer that is held %v", name, here, gone[name])
		}
	}
	res, err := bundle.Inspect(t.Context(), open(t, path))
	if err != nil {
		t.Fatal(err)
	}
	d := res.Contents.Delta
	if d == nil || d.NotCarriedBlobs != len(layers) || d.CarriedBlobs+d.NotCarriedBlobs != res.Contents.Blobs || d.CarriedBytes+d.NotCarriedBytes != res.Contents.Bytes {
		t.Errorf("Inspect says %+v of %d layers, %d blobs, %d bytes", d, len(layers), res.Contents.Blobs, res.Contents.Bytes)
	}
	if len(d.Bases) != 1 || d.Bases[0].Holder != "tests" || d.Bases[0].Standing != bundle.BaseClaimed || d.Bases[0].Blobs != len(layers) {
		t.Errorf("its bases are %+v", d.Bases)
	}
}

// A delta that leaves nothing out is the full bundle, and a stream is the file.
func TestDeltaBytes(t *testing.T) {
	content := layouttest.Everything(repo)
	full, err := os.ReadFile(export(t, content, bundle.ExportOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	none := []bundle.Base{receiptOf(t), receiptOf(t, digest.FromString("something else"))}
	same, err := os.ReadFile(export(t, content, bundle.ExportOptions{Since: none}))
	if err != nil || !bytes.Equal(full, same) {
		t.Errorf("with a receipt of nothing it has %d bytes, else %d; %v", len(same), len(full), err)
	}
	since := []bundle.Base{receiptOf(t, digests(layersOf(t, content))[1:]...)}
	path := export(t, content, bundle.ExportOptions{Since: since})
	delta, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	sel := bundle.Selection{Source: memory(t, content), References: content.Roots()}
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Since: since, Writer: &stream}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(delta, stream.Bytes()) {
		t.Errorf("the stream has %d bytes, the file %d, or they differ", stream.Len(), len(delta))
	}
	// Over what is there, nothing is fetched.
	res, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Since: since, Output: path})
	if err != nil || res.Fetched != 0 || res.Reused == 0 {
		t.Errorf("a second run fetched %d bytes, reused %d: %v", res.Fetched, res.Reused, err)
	}
	// A delta grows out of the full bundle that has its name, and the other way round.
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: path}); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, full) {
		t.Errorf("over a delta, the full bundle has %d bytes, want %d: %v", len(again), len(full), err)
	}
}

// chained is what two deltas, one after the other, bring.
func chained(n int) layouttest.Content {
	b := layouttest.New(repo)
	base := b.Layer(layerType, "base")
	for i := 1; i <= n; i++ {
		img := b.Image(fmt.Sprint("image", i), base, b.Layer(layerType, fmt.Sprint("own", i)))
		b.Tag(fmt.Sprint("v", i), img)
		b.Notary(img, fmt.Sprint("publisher", i))
	}
	return b.Content()
}

// Deltas over two steps, on receipts and, for links with no way back, on the bundle
// before, which is a delta itself.
func TestDeltaChain(t *testing.T) {
	for _, oneWay := range []bool{false, true} {
		s := newStore(t, chained(1))
		before := export(t, chained(1), bundle.ExportOptions{})
		for step := 2; step <= 3; step++ {
			var since bundle.Base
			if oneWay {
				var err error
				if since, err = open(t, before).Base(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				blobs, _, err := s.Held(t.Context(), store.HeldOptions{})
				if err != nil {
					t.Fatal(err)
				}
				var have []digest.Digest
				for _, b := range blobs {
					have = append(have, b.Digest)
				}
				since = receiptOf(t, have...)
			}
			before = export(t, chained(step), bundle.ExportOptions{Since: []bundle.Base{since}})
			b := open(t, before)
			if got := len(b.NotCarried()); got != step {
				t.Errorf("one way %v, step %d: %d layers are not carried, want %d", oneWay, step, got, step)
			}
			if err := tryStore(t, s, before); err != nil {
				t.Fatalf("one way %v, step %d: %v", oneWay, step, err)
			}
		}
		arrived(t, chained(3), s)
	}
}

// Of several bases the one that can be relied on most counts, whatever their order.
func TestDeltaBasesAreOrdered(t *testing.T) {
	content := chained(2)
	earlier, err := open(t, export(t, chained(1), bundle.ExportOptions{})).Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	receipt := receiptOf(t, digests(layersOf(t, content))...)
	a := export(t, content, bundle.ExportOptions{Since: []bundle.Base{earlier, receipt, receipt}})
	b := export(t, content, bundle.ExportOptions{Since: []bundle.Base{receipt, earlier}})
	one, err := os.ReadFile(a)
	two, err2 := os.ReadFile(b)
	if err := errors.Join(err, err2); err != nil || !bytes.Equal(one, two) {
		t.Errorf("the order of receipts makes a difference, or: %v", err)
	}
	for _, base := range open(t, a).Record.Delta.Bases {
		if base.Kind != bundle.BaseReceipt {
			t.Errorf("%s %s stands for %d layers that a receipt lists", base.Kind, base.Digest, len(base.Blobs))
		}
	}
}

// A delta whose export is signed has the records of any other, about itself.
func TestSignedDelta(t *testing.T) {
	key := signing.InsecureKey("exporter")
	content := chained(2)
	since := []bundle.Base{receiptOf(t, digests(layersOf(t, chained(1)))...)}
	path := export(t, content, bundle.ExportOptions{Since: since, Recording: recording(key)})
	b := open(t, path)
	h, err := b.Head(t.Context(), pinnedKeys(key))
	if err != nil || h == nil || h.Bundle.Standing != custody.Verified || len(h.Roots) != 2 {
		t.Fatalf("Head = %+v, %v", h, err)
	}
	if len(b.NotCarried()) != 2 {
		t.Errorf("%d layers are not carried, want 2", len(b.NotCarried()))
	}
	s := newStore(t, chained(1))
	if err := tryStore(t, s, path); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 2; i++ {
		if _, err := s.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: fmt.Sprint("v", i)}); err != nil {
			t.Error(err)
		}
	}
}

// smallDelta is a bundle that leaves one layer to the destination.
func smallDelta(t *testing.T) string {
	b := layouttest.New(repo)
	img := b.Image("small", b.Blob(layerType, held), b.Blob(layerType, []byte("layer")))
	b.Tag("v1", img)
	b.Notary(img, "publisher")
	return export(t, b.Content(), bundle.ExportOptions{Since: []bundle.Base{receiptOf(t, digest.FromBytes(held))}})
}

// Every bit of a delta, as of any bundle.
func TestEveryFlippedBitOfADeltaIsRefused(t *testing.T) {
	path := smallDelta(t)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, held) {
		t.Fatal("the delta carries what is held")
	}
	step := 1
	if testing.Short() || raceEnabled {
		step = 61
	}
	eachBit(t, path, data, step)
}

// forged writes a bundle of content as its record would have it: delta says what is
// not carried, gone what is not.
func forged(t *testing.T, content layouttest.Content, delta *bundle.RecordDelta, gone ...digest.Digest) string {
	t.Helper()
	mem := memory(t, content)
	g, err := layout.Walk(t.Context(), mem, content.Roots(), layout.WalkOptions{Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	record, err := bundle.ForgeRecord(g, delta)
	if err != nil {
		t.Fatal(err)
	}
	without := map[digest.Digest]bool{}
	for _, d := range gone {
		without[d] = true
	}
	plan, err := layout.NewPlan(g.Without(without), record)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "forged.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(layout.WriteTar(t.Context(), f, mem, plan, nil), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// What a record says is not carried is not there, and what it does not say is.
func TestHostileDeltas(t *testing.T) {
	content := chained(2)
	layers := digests(layersOf(t, content))
	dst := func() *layout.Memory {
		return importAll(t, export(t, content, bundle.ExportOptions{}), bundle.ImportOptions{})
	}
	list := func(blobs ...digest.Digest) bundle.RecordBase {
		return bundle.RecordBase{Kind: bundle.BaseBundle, Digest: digest.FromString("earlier"), Standing: bundle.BaseAssumed, Blobs: blobs}
	}
	of := func(bases ...bundle.RecordBase) *bundle.RecordDelta { return &bundle.RecordDelta{Bases: bases} }
	with := func(change func(*bundle.RecordBase)) bundle.RecordBase {
		b := list(layers[0])
		change(&b)
		return b
	}
	second := with(func(b *bundle.RecordBase) { b.Digest, b.Blobs = digest.FromString("second"), layers[1:2] })
	first := list(layers[0])
	if second.Digest < first.Digest {
		first.Digest, second.Digest = second.Digest, first.Digest
	}
	var config digest.Digest
	for _, i := range content.Repositories[repo] {
		if i.Descriptor.MediaType == layout.MediaTypeImageConfig {
			config = i.Descriptor.Digest
		}
	}
	good := forged(t, content, of(first, second), layers[:2]...)
	if _, err := tryImport(t, good, dst(), bundle.ImportOptions{}); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for name, path := range map[string]string{
		"carried, and said not to be":  forged(t, content, of(list(layers[0]))),
		"not carried, and not said":    forged(t, content, nil, layers[0]),
		"another is not carried":       forged(t, content, of(list(layers[0])), layers[1]),
		"one more is not carried":      forged(t, content, of(list(layers[0])), layers[:2]...),
		"no layer of it":               forged(t, content, of(list(digest.FromString("x")))),
		"a config":                     forged(t, content, of(list(config))),
		"twice":                        forged(t, content, of(list(layers[0], layers[0])), layers[0]),
		"unsorted":                     forged(t, content, of(list(layers[1], layers[0])), layers[:2]...),
		"in two bases":                 forged(t, content, of(first, with(func(b *bundle.RecordBase) { b.Digest = second.Digest })), layers[0]),
		"bases unsorted":               forged(t, content, of(second, first), layers[:2]...),
		"a base twice":                 forged(t, content, of(first, with(func(b *bundle.RecordBase) { b.Digest, b.Blobs = first.Digest, layers[1:2] })), layers[:2]...),
		"no base":                      forged(t, content, of()),
		"a base of nothing":            forged(t, content, of(with(func(b *bundle.RecordBase) { b.Blobs = []digest.Digest{} }))),
		"a base without a digest":      forged(t, content, of(with(func(b *bundle.RecordBase) { b.Digest = "x" })), layers[0]),
		"a bundle that states":         forged(t, content, of(with(func(b *bundle.RecordBase) { b.Standing = bundle.BaseStated })), layers[0]),
		"a receipt that assumes":       forged(t, content, of(with(func(b *bundle.RecordBase) { b.Kind = bundle.BaseReceipt })), layers[0]),
		"a receipt of no time":         forged(t, content, of(with(func(b *bundle.RecordBase) { b.Kind, b.Standing = bundle.BaseReceipt, bundle.BaseStated })), layers[0]),
		"a base of an unknown kind":    forged(t, content, of(with(func(b *bundle.RecordBase) { b.Kind = "rumour" })), layers[0]),
		"a bundle that names a holder": forged(t, content, of(with(func(b *bundle.RecordBase) { b.Holder = "x" })), layers[0]),
	} {
		d := dst()
		if _, err := tryImport(t, path, d, bundle.ImportOptions{}); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: Import = %v, want ErrCorrupt", name, err)
		}
		if _, err := bundle.Inspect(t.Context(), open(t, path)); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: Inspect = %v, want ErrCorrupt", name, err)
		}
	}
}

// losing is a destination that loses a blob when a manifest is put, that is, after
// everything was found to be there.
type losing struct {
	*layout.Memory
	lost   digest.Digest
	gone   bool
	commit int
}

func (l *losing) Has(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	if l.gone && d.Digest == l.lost {
		return false, nil
	}
	return l.Memory.Has(ctx, repo, d)
}

func (l *losing) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	if layout.IsManifest(d.MediaType) {
		l.gone = true
	}
	return l.Memory.Put(ctx, repo, d, r)
}

func (l *losing) Commit(ctx context.Context, names []layout.Name) error {
	l.commit++
	return l.Memory.Commit(ctx, names)
}

// What the destination loses between the first look and the names shows.
func TestDestinationLosesBlob(t *testing.T) {
	path := smallDelta(t)
	dst := &losing{Memory: layout.NewMemory(), lost: digest.FromBytes(held)}
	if err := putHeld(dst); err != nil {
		t.Fatal(err)
	}
	_, err := tryImport(t, path, dst, bundle.ImportOptions{})
	var missing *bundle.MissingError
	if !errors.As(err, &missing) || !missing.Late || !dst.gone || dst.commit > 0 {
		t.Errorf("Import = %v, lost %v, %d commits; want a late MissingError and no names", err, dst.gone, dst.commit)
	}
}

// forgetful says that it has every blob, and can prove what it has.
type forgetful struct{ *layout.Memory }

func (f forgetful) Has(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	if layout.IsManifest(d.MediaType) {
		return f.Memory.Has(ctx, repo, d)
	}
	return true, nil
}

func (f forgetful) Prove(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	return f.Memory.Has(ctx, repo, d)
}

// A destination that says it has what a delta does not carry, and has not, is found out
// before anything is written; one that has it is believed.
func TestDeltaToALiar(t *testing.T) {
	path := smallDelta(t)
	dst := forgetful{layout.NewMemory()}
	_, err := tryImport(t, path, dst, bundle.ImportOptions{})
	var missing *bundle.MissingError
	if !errors.As(err, &missing) || missing.Late {
		t.Errorf("Import = %v, want an early MissingError", err)
	}
	if err := putHeld(dst.Memory); err != nil {
		t.Fatal(err)
	}
	if _, err := tryImport(t, path, dst, bundle.ImportOptions{}); err != nil {
		t.Errorf("it has it: %v", err)
	}
}

// mountsNothing says that it mounts, too.
type mountsNothing struct{ forgetful }

func (m mountsNothing) Mount(context.Context, string, layout.Descriptor, string) (bool, error) {
	return true, nil
}

// A layer that was not carried, and is said to be mounted, is copied if it is not.
func TestDeltaMountLies(t *testing.T) {
	dst := mountsNothing{forgetful{layout.NewMemory()}}
	d := layout.Descriptor{MediaType: layerType, Digest: digest.FromBytes(held), Size: int64(len(held))}
	if err := dst.Memory.Put(t.Context(), "elsewhere.example/x", d, bytes.NewReader(held)); err != nil {
		t.Fatal(err)
	}
	if _, err := tryImport(t, smallDelta(t), dst, bundle.ImportOptions{MountFrom: []string{"elsewhere.example/x"}}); err != nil {
		t.Error(err)
	}
}

// So are the blobs of a signature that is added: what the destination says it has, and
// has not, is put.
func TestAttachToALiar(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("image")
	b.Tag("v1", image)
	dst := forgetful{memory(t, b.Content())}
	add := sign(t, repo, image, "key")
	if _, err := bundle.Attach(t.Context(), dst, []bundle.Addition{add}); err != nil {
		t.Fatal(err)
	}
	for _, blob := range add.Artifact.Blobs {
		if has, err := dst.Memory.Has(t.Context(), repo, blob.Desc); err != nil || !has {
			t.Errorf("%s is not there, %v", blob.Desc.Digest, err)
		}
	}
}

// A store whose file of a blob is gone, or of another size, does not have it: not at
// the beginning, and not at the end.
func TestStoreLosesBlob(t *testing.T) {
	for what, harm := range map[string]func(path string) error{
		"gone": os.Remove,
		"cut":  func(path string) error { return os.Truncate(path, 3) },
	} {
		dir := t.TempDir()
		s, err := store.Open(dir, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		b := layouttest.New("elsewhere.example/x")
		b.Tag("held", b.Image("holds", b.Blob(layerType, held)))
		if err := intoStore(t, export(t, b.Content(), bundle.ExportOptions{}), s); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, filepath.FromSlash(layout.BlobPath(digest.FromBytes(held))))
		session, err := s.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		late := &harming{Session: session, harm: func() error { return harm(file) }}
		_, err = bundle.Import(t.Context(), open(t, smallDelta(t)), late, bundle.ImportOptions{InsecureSkipVerify: true})
		var missing *bundle.MissingError
		if !errors.As(err, &missing) || !missing.Late {
			t.Errorf("%s during the import: %v, want a late MissingError", what, err)
		}
		if err := tryStore(t, s, smallDelta(t)); !errors.As(err, &missing) || missing.Late {
			t.Errorf("%s before the import: %v, want a MissingError", what, err)
		}
		if names, err := s.Names(t.Context()); err != nil || len(names) != 1 {
			t.Errorf("%s: names %v, %v", what, names, err)
		}
	}
}

// harming harms the store when the first manifest is put.
type harming struct {
	*store.Session
	harm func() error
	done bool
}

func (h *harming) Put(ctx context.Context, repo string, d layout.Descriptor, r io.Reader) error {
	if layout.IsManifest(d.MediaType) && !h.done {
		h.done = true
		if err := h.harm(); err != nil {
			return err
		}
	}
	return h.Session.Put(ctx, repo, d, r)
}

// A destination that cannot mount gets what it lacks from where it was found, hashed.
func TestDeltaWithoutMounts(t *testing.T) {
	mem := layout.NewMemory()
	other := layouttest.New("other.example/holds")
	other.Tag("held", other.Image("holds", other.Blob(layerType, held)))
	if err := other.Content().Load(t.Context(), mem); err != nil {
		t.Fatal(err)
	}
	dst := struct {
		layout.Sink
		opener
	}{onlySink{mem}, mem}
	path := smallDelta(t)
	_, err := tryImport(t, path, dst, bundle.ImportOptions{})
	if !errors.Is(err, bundle.ErrMissing) {
		t.Fatalf("Import = %v, want ErrMissing: nobody said where to look", err)
	}
	res, err := tryImport(t, path, dst, bundle.ImportOptions{MountFrom: []string{"other.example/holds"}})
	if err != nil || res.Sent < int64(len(held)) {
		t.Fatalf("Import = %+v, %v", res, err)
	}
	if ok, err := mem.Has(t.Context(), repo, layout.Descriptor{MediaType: layerType, Digest: digest.FromBytes(held), Size: int64(len(held))}); err != nil || !ok {
		t.Errorf("the layer is not in its repository: %v", err)
	}
}

type opener interface {
	Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error)
}

// onlySink is a sink that can do nothing else.
type onlySink struct{ layout.Sink }

// A blob of the wrong size is not the one that was meant.
func TestDeltaWrongSize(t *testing.T) {
	b := layouttest.New(repo)
	l := b.Blob(layerType, held)
	l.Size++
	b.Tag("v1", b.Image("small", l))
	path := forged(t, b.Content(), &bundle.RecordDelta{Bases: []bundle.RecordBase{{
		Kind: bundle.BaseBundle, Digest: digest.FromString("x"), Standing: bundle.BaseAssumed, Blobs: []digest.Digest{l.Digest},
	}}}, l.Digest)
	s := newStore(t, chained(1))
	session, err := s.Begin(t.Context())
	if err == nil {
		err = putHeld(session)
	}
	if err == nil {
		err = session.Commit(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := tryStore(t, s, path); !errors.Is(err, bundle.ErrMissing) {
		t.Errorf("Import = %v, want ErrMissing", err)
	}
}

// What a delta does not carry cannot be taken out of it, and that is said before
// anything is written.
func TestExportFromDelta(t *testing.T) {
	b := open(t, smallDelta(t))
	sel := bundle.Selection{Source: b.Source(), References: b.References(), MayMiss: b.MayMiss}
	out := filepath.Join(t.TempDir(), "out.tar")
	_, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: out})
	if !errors.Is(err, bundle.ErrNotCarried) {
		t.Errorf("Export = %v, want ErrNotCarried", err)
	}
	if left, _ := filepath.Glob(filepath.Dir(out) + "/*"); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	since, err := b.Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: out, Since: []bundle.Base{since}}); err != nil {
		t.Errorf("with what it counts on left out again: %v", err)
	}
}

// A list that asks for something else is refused, and so is one that is none.
func TestMissingLists(t *testing.T) {
	list := &bundle.MissingBlobs{Version: 1, Bundle: digest.FromString("bundle"), Blobs: []bundle.RecordBlob{{Digest: digest.FromString("x"), Size: 3}}}
	base, err := list.Base()
	if err != nil {
		t.Fatal(err)
	}
	content := chained(1)
	sel := bundle.Selection{Source: memory(t, content), References: content.Roots()}
	_, err = bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{DryRun: true, Since: []bundle.Base{base}})
	if !errors.Is(err, bundle.ErrUsage) {
		t.Errorf("Export = %v, want ErrUsage", err)
	}
	good, err := list.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.ParseMissing(good); err != nil {
		t.Error(err)
	}
	text := string(good)
	blob := text[strings.Index(text, `{"digest"`):strings.Index(text, "]")]
	for name, bad := range map[string]string{
		"empty":          "",
		"no newline":     strings.TrimSuffix(text, "\n"),
		"white space":    " " + text,
		"more":           text + text,
		"version":        strings.Replace(text, `"version":1`, `"version":2`, 1),
		"no bundle":      strings.Replace(text, string(list.Bundle), "", 1),
		"an odd digest":  strings.Replace(text, "sha256", "sha255", 2),
		"nothing":        strings.Replace(text, blob, "", 1),
		"twice":          strings.Replace(text, blob, blob+","+blob, 1),
		"negative":       strings.Replace(text, `"size":3`, `"size":-3`, 1),
		"too large":      strings.Replace(text, `"size":3`, `"size":99999999999999999`, 1),
		"unknown fields": strings.Replace(text, `"version"`, `"x":1,"version"`, 1),
	} {
		if _, err := bundle.ParseMissing([]byte(bad)); !errors.Is(err, bundle.ErrMissingList) {
			t.Errorf("%s: %v, want ErrMissingList", name, err)
		}
	}
}

func FuzzMissing(f *testing.F) {
	list := &bundle.MissingBlobs{Version: 1, Bundle: digest.FromString("bundle"), Blobs: []bundle.RecordBlob{{Digest: digest.FromString("x"), Size: 3}}}
	seed, err := list.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := bundle.ParseMissing(data)
		if err != nil {
			return
		}
		if again, err := m.Marshal(); err != nil || !bytes.Equal(again, data) {
			t.Errorf("written anew it is %q, %v", again, err)
		}
	})
}

// What is signed into a delta stays one.
func TestAttachToDelta(t *testing.T) {
	path := smallDelta(t)
	b := open(t, path)
	g, err := b.Graph(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := b.NotCarried()
	if _, err := b.Attach(t.Context(), []bundle.Addition{sign(t, repo, g.Roots[0].Descriptor, "added")}, bundle.AttachOptions{}); err != nil {
		t.Fatal(err)
	}
	after := open(t, path)
	if _, err := after.Graph(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := after.NotCarried(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v are not carried, were %v", got, want)
	}
	dst := layout.NewMemory()
	if err := putHeld(dst); err != nil {
		t.Fatal(err)
	}
	if _, err := tryImport(t, path, dst, bundle.ImportOptions{}); err != nil {
		t.Error(err)
	}
}
