package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// bundled walks content and writes it out in our form.
func bundled(t testing.TB, content layouttest.Content) ([]byte, *layout.Plan) {
	t.Helper()
	mem := layout.NewMemory()
	if err := content.Load(context.Background(), mem); err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(context.Background(), mem, content.Roots(), layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := layout.NewPlan(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := layout.WriteTar(context.Background(), &buf, mem, plan, nil); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), plan
}

// tiny has every kind of entry and little content.
func tiny() layouttest.Content {
	b := layouttest.New("reg.example/app")
	image := b.Image("tiny", b.Blob(layerType, []byte("layer")))
	b.Tag("v1", image)
	b.Notary(image, "signature")
	return layouttest.Merge(b.Content(), layouttest.SHA512("reg.example/long"))
}

// proven opens, compares with the plan and reads every blob.
func proven(data []byte, plan *layout.Plan) error {
	r, err := openBytes(data)
	if err != nil {
		return err
	}
	if !r.Own() {
		return errors.New("taken for another tool's")
	}
	if err := r.Matches(plan); err != nil {
		return err
	}
	for i := range plan.Entries {
		e := &plan.Entries[i]
		if e.Digest == "" {
			continue
		}
		rc, err := r.Open(context.Background(), "", e.Descriptor())
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, rc)
		rc.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// content says whether a byte is content of an entry, and so no business of the
// tar's form.
func content(plan *layout.Plan, at int64) bool {
	return slices.ContainsFunc(plan.Entries, func(e layout.Entry) bool {
		return at >= e.DataOffset() && at < e.DataOffset()+e.Size
	})
}

// stride thins campaigns out: with AIRGAP_CAMPAIGN set, every byte has its turn.
func stride() int {
	switch {
	case os.Getenv("AIRGAP_CAMPAIGN") != "":
		return 1
	case raceEnabled:
		return 17
	}
	return 3
}

// A bit of each byte outside content, flipped, is found, and in all but the part
// of a long name that no checksum covers, when the headers are read.
func TestOwnTarEveryHeaderByte(t *testing.T) {
	t.Parallel()
	data, plan := bundled(t, tiny())
	if err := proven(data, plan); err != nil {
		t.Fatalf("the bundle without an attack: %v", err)
	}
	flips, late := 0, 0
	for i := 0; i < len(data); i += stride() {
		if content(plan, int64(i)) {
			continue
		}
		for bit := range 8 {
			if i >= 512 && bit != i%8 {
				continue
			}
			data[i] ^= 1 << bit
			_, err := openBytes(data)
			if err == nil {
				err = proven(data, plan)
				late++
			}
			if !errors.Is(err, layout.ErrCorrupt) {
				t.Errorf("bit %d of byte %d flipped: %v, want ErrCorrupt", bit, i, err)
			}
			data[i] ^= 1 << bit
			flips++
		}
	}
	if flips < 5000/stride() || late > flips/50 {
		t.Errorf("%d flips, of which %d were found late", flips, late)
	}
}

// A header whose checksum was mended is still not of our form.
func TestOwnTarMendedHeaders(t *testing.T) {
	t.Parallel()
	data, plan := bundled(t, tiny())
	for i := range plan.Entries {
		e := &plan.Entries[i]
		for at := e.Offset + int64(i%stride()); at < e.DataOffset(); at += int64(stride()) {
			bad := bytes.Clone(data)
			bad[at] ^= 1 << (at % 8)
			head := e.Offset + (at-e.Offset)/512*512
			seal(bad[head:])
			if bytes.Equal(bad, data) {
				continue // the checksum itself
			}
			if err := proven(bad, plan); err == nil {
				t.Errorf("%s: byte %d of its header changed, checksum mended: taken", e.Name(), at-e.Offset)
			}
		}
	}
}

func TestOwnTarEveryTruncation(t *testing.T) {
	t.Parallel()
	data, _ := bundled(t, tiny())
	for n := range data {
		if edge := (n + 2) % 512; edge > 4 && n%(5*stride()) != 0 {
			continue // all offsets about the edges of blocks, some between
		}
		if _, err := openBytes(data[:n]); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("cut after %d of %d bytes: %v, want ErrCorrupt", n, len(data), err)
		}
	}
	for _, tail := range [][]byte{{0}, {1}, make([]byte, 512), make([]byte, 1024), make([]byte, 10240), data} {
		if _, err := openBytes(append(bytes.Clone(data), tail...)); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%d bytes behind the end: %v, want ErrCorrupt", len(tail), err)
		}
	}
}

// Each block deleted, doubled, zeroed, and swapped with each later one.
func TestOwnTarBlocks(t *testing.T) {
	t.Parallel()
	data, plan := bundled(t, tiny())
	n := len(data) / 512
	block := func(i int) []byte { return data[i*512 : (i+1)*512] }
	for i := range n {
		for what, bad := range map[string][]byte{
			"deleted":  slices.Concat(data[:i*512], data[(i+1)*512:]),
			"doubled":  slices.Concat(data[:(i+1)*512], data[i*512:]),
			"zeroed":   slices.Concat(data[:i*512], make([]byte, 512), data[(i+1)*512:]),
			"inserted": slices.Concat(data[:i*512], entry("x", nil), data[i*512:]),
		} {
			if err := proven(bad, plan); err == nil && !bytes.Equal(bad, data) {
				t.Errorf("block %d %s: taken", i, what)
			}
		}
		for j := i + 1; j < n; j++ {
			if bytes.Equal(block(i), block(j)) {
				continue
			}
			bad := bytes.Clone(data)
			copy(bad[i*512:], block(j))
			copy(bad[j*512:], block(i))
			if err := proven(bad, plan); err == nil {
				t.Errorf("blocks %d and %d swapped: taken", i, j)
			}
		}
	}
}

// own makes an archive of our form of any members.
func own(members ...member) []byte {
	var out []byte
	for _, m := range members {
		out = layout.AppendHeader(out, m.name, int64(len(m.data)))
		out = append(out, m.data...)
		out = append(out, make([]byte, -len(m.data)&511)...)
	}
	return append(out, make([]byte, 1024)...)
}

// Our form with names, repetitions and orders that we do not write.
func TestOwnTarHostileEntries(t *testing.T) {
	sentinel(t)
	good := simple(t)
	if r, err := openBytes(own(good...)); err != nil || !r.Own() {
		t.Fatalf("without an attack: %v", err)
	}
	for _, name := range hostileNames() {
		for _, at := range []int{1, len(good)} {
			bad := slices.Insert(slices.Clone(good), at, member{name: name, data: []byte("x")})
			data := own(bad...)
			padded := bytes.Clone(data) // a name that is told by another error
			padded[len(padded)-1025] = 1
			for _, data := range [][]byte{data, data[:len(data)-1024-500], padded} {
				if _, err := openBytes(data); !errors.Is(err, layout.ErrCorrupt) || !printable(err) {
					t.Errorf("%q: %q, want ErrCorrupt, fit to print", name, err)
				}
			}
		}
	}
	for i, m := range good {
		for at := 1; at <= len(good); at++ {
			again := slices.Insert(slices.Clone(good), at, member{name: m.name, data: []byte("other")})
			if _, err := openBytes(own(again...)); !errors.Is(err, layout.ErrCorrupt) {
				t.Errorf("%s twice: %v, want ErrCorrupt", m.name, err)
			}
		}
		if i < 2 {
			if _, err := openBytes(own(slices.Delete(slices.Clone(good), i, i+1)...)); !errors.Is(err, layout.ErrCorrupt) && i > 0 {
				t.Errorf("without %s: %v, want ErrCorrupt", m.name, err)
			}
		}
	}
}

func TestOwnTarLongNames(t *testing.T) {
	good := simple(t)
	sum := digest.SHA512.FromString("x").Encoded()
	long := layout.AppendHeader(nil, "blobs/sha512/"+sum, 0)
	frame := func(head []byte) []byte {
		body := own(good...)
		return slices.Concat(body[:len(body)-1024], head, make([]byte, 1024))
	}
	if _, err := openBytes(frame(long)); err != nil {
		t.Fatalf("a long name: %v", err)
	}
	with := func(change func(h []byte)) []byte {
		h := bytes.Clone(long)
		change(h)
		seal(h)
		seal(h[1024:])
		return h
	}
	for what, head := range map[string][]byte{
		"not ended":            with(func(h []byte) { copy(h[512+141:1024], bytes.Repeat([]byte("a"), 512)) }),
		"bytes behind the NUL": with(func(h []byte) { h[1000] = 'x' }),
		"another short name":   with(func(h []byte) { h[1024+20] = 'x' }),
		"a short one":          with(func(h []byte) { clear(h[512+50 : 1024]) }),
		"an empty one":         with(func(h []byte) { clear(h[512:1024]) }),
		"another size":         with(func(h []byte) { copy(h[124:], octal(20)) }),
		"larger than a block":  with(func(h []byte) { copy(h[124:], octal(1000)) }),
		"only the first block": long[:512],
		"only two blocks":      long[:1024],
		"a link, not a name":   with(func(h []byte) { h[156] = 'K' }),
		"twice":                slices.Concat(long[:1024], long),
		"nothing of its own":   slices.Concat(long[:1024], layout.AppendHeader(nil, "x", 0)),
	} {
		if _, err := openBytes(frame(head)); err == nil || !classified(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whose archive is it? One that begins as ours is ours, and so is one whose index
// says so; a user who is called airgap, or an image that has to do with us, are
// not enough.
func TestWhoseTar(t *testing.T) {
	good := simple(t)
	mark := []byte(`{"schemaVersion":2,"manifests":[],"annotations":{"vnd.airgap.bundle":"1"}}`)
	for what, data := range map[string][]byte{
		"our first header, then another tool's": slices.Concat(layout.AppendHeader(nil, "oci-layout", 0), pack(t, good...)),
		"our first entry, then another tool's":  slices.Concat(own(good[0])[:1024], pack(t, good[1:]...)),
		"our index in another tool's archive":   pack(t, good[0], member{name: "index.json", data: mark}),
		"all but the last header ours":          slices.Concat(own(good[:4]...)[:len(own(good[:4]...))-1024], pack(t, good[4:]...)),
	} {
		if _, err := openBytes(data); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", what, err)
		}
	}
	mine := slices.Clone(good)
	for i, m := range mine {
		h := m.bytes(t)
		copy(h[265:], "airgap\x00")
		copy(h[297:], "airgap\x00")
		seal(h)
		mine[i] = member{raw: h}
	}
	b := layouttest.New("reg.example/app")
	image := b.Image("carried before", b.Blob(layerType, []byte("layer")))
	record := b.Referrer(image, "application/vnd.airgap.import.v1+json", "custody")
	record.ArtifactType = "application/vnd.airgap.import.v1+json"
	record.Annotations = map[string]string{"vnd.airgap.hop": "1"}
	hop := append([]member{{name: "oci-layout", data: []byte(layoutJSON)}, {name: "index.json", data: indexJSON(t, named(image, "v1"), record)}}, blobs(b.Content())...)
	for what, data := range map[string][]byte{"by a user called airgap": pack(t, mine...), "of an image with our records": pack(t, hop...)} {
		r, err := openBytes(data)
		if err != nil {
			t.Errorf("another tool's archive %s: %v", what, err)
			continue
		}
		if err := readReader(t, r); err != nil || r.Own() {
			t.Errorf("another tool's archive %s: own %v, %v", what, r.Own(), err)
		}
	}
}

// failingAt is a file with a bad sector.
type failingAt struct {
	data []byte
	bad  int64
}

var errSector = errors.New("input/output error")

func (f failingAt) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.bad && f.bad < off+int64(len(p)) {
		n := copy(p, f.data[off:f.bad])
		return n, errSector
	}
	return bytes.NewReader(f.data).ReadAt(p, off)
}

// What could not be read is not called damaged: nobody has seen it.
func TestTarBadSector(t *testing.T) {
	t.Parallel()
	mine, plan := bundled(t, tiny())
	theirs := pack(t, simple(t)...)
	for what, data := range map[string][]byte{"ours": mine, "another tool's": theirs} {
		late := 0
		for at := 0; at < len(data); at += 256 {
			r, err := layout.OpenTar("test.tar", failingAt{data, int64(at)}, int64(len(data)))
			if err == nil {
				late++
				err = readReader(t, r)
			}
			if err == nil && what == "ours" {
				err = r.Matches(plan)
			}
			if err != nil && (!errors.Is(err, errSector) || errors.Is(err, layout.ErrCorrupt)) {
				t.Errorf("%s, bad sector at byte %d: %v, want the error of reading alone", what, at, err)
			}
		}
		if _, err := layout.OpenTar("test.tar", failingAt{data, 0}, int64(len(data))); !errors.Is(err, errSector) {
			t.Errorf("%s, first byte: %v", what, err)
		}
		if what != "ours" && late == 0 {
			t.Errorf("%s: content was read to open it", what)
		}
	}
}

// A file that is shorter than it was said to be.
func TestTarShrinks(t *testing.T) {
	mine, _ := bundled(t, tiny())
	for what, data := range map[string][]byte{"ours": mine, "another tool's": pack(t, simple(t)...)} {
		for n := 0; n < len(data); n += 100 {
			if _, err := layout.OpenTar("test.tar", bytes.NewReader(data[:n]), int64(len(data))); err == nil {
				t.Errorf("%s: opens, though %d of %d bytes are gone", what, len(data)-n, len(data))
			}
		}
	}
}

// countingReaderAt counts calls.
type countingReaderAt struct {
	io.ReaderAt
	calls int
}

func (c *countingReaderAt) ReadAt(p []byte, off int64) (int, error) {
	c.calls++
	return c.ReaderAt.ReadAt(p, off)
}

// A head of many small files costs few reads.
func TestOwnTarReadsInLargePieces(t *testing.T) {
	members := []member{{name: "oci-layout", data: []byte(layoutJSON)}, {name: "index.json", data: indexJSON(t)}}
	for i := range 2000 {
		data := fmt.Appendf(nil, "small %d", i)
		members = append(members, member{name: layout.BlobPath(digest.FromBytes(data)), data: data})
	}
	data := own(members...)
	c := &countingReaderAt{ReaderAt: bytes.NewReader(data)}
	if _, err := layout.OpenTar("test.tar", c, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if c.calls > len(members)/10 {
		t.Errorf("%d reads for %d small files", c.calls, len(members))
	}
}
