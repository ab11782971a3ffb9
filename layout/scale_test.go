package layout_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// many is a source of any number of images, each with attachments, that makes
// its manifests when they are asked for.
type many struct {
	images, attached int
	image            []layout.Descriptor
	referrers        [][]layout.Descriptor
	number           map[digest.Digest][2]int
}

const manyRepo = "reg.example/many"

func newMany(images, attached int) *many {
	m := &many{images: images, attached: attached, number: map[digest.Digest][2]int{}}
	describe := func(data []byte, at [2]int) layout.Descriptor {
		d := layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromBytes(data), Size: int64(len(data))}
		m.number[d.Digest] = at
		return d
	}
	for i := range images {
		image := describe(m.manifest(i, 0), [2]int{i, 0})
		m.image = append(m.image, image)
		var list []layout.Descriptor
		for j := range attached {
			list = append(list, describe(m.manifest(i, j+1), [2]int{i, j + 1}))
		}
		m.referrers = append(m.referrers, list)
	}
	return m
}

func (m *many) blob(mediaType, label string, size int64) layout.Descriptor {
	return layout.Descriptor{MediaType: mediaType, Digest: digest.FromString(label), Size: size}
}

// manifest makes image i, or what is attached to it.
func (m *many) manifest(i, j int) []byte {
	doc := layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest}
	config := m.blob(layout.MediaTypeImageConfig, fmt.Sprint("config", i), 1000)
	doc.Layers = []layout.Descriptor{m.blob(layerType, "base", 30<<20), m.blob(layerType, fmt.Sprint("layer", i), 1<<20)}
	if j > 0 {
		config = m.blob(layout.MediaTypeEmpty, "empty", 2)
		subject := m.image[i]
		doc.ArtifactType, doc.Subject = "application/vnd.dev.sigstore.bundle.v0.3+json", &subject
		doc.Layers = []layout.Descriptor{m.blob("application/vnd.dev.sigstore.bundle.v0.3+json", fmt.Sprint("bundle", i, j), 5000)}
		doc.Annotations = map[string]string{"org.opencontainers.image.created": "2026-01-01T00:00:00Z", "dev.sigstore.bundle.content": "dsse-envelope"}
	}
	doc.Config = &config
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return data
}

func (m *many) references() (out []layout.Reference) {
	for i := range m.images {
		out = append(out, layout.Reference{Repository: manyRepo, Tag: fmt.Sprint("v", i)})
	}
	return out
}

func (m *many) Resolve(_ context.Context, ref layout.Reference) (layout.Descriptor, error) {
	var i int
	if _, err := fmt.Sscanf(ref.Tag, "v%d", &i); err != nil || i >= m.images {
		return layout.Descriptor{}, layout.ErrNotFound
	}
	return m.image[i], nil
}

func (m *many) Open(_ context.Context, _ string, d layout.Descriptor) (io.ReadCloser, error) {
	at, ok := m.number[d.Digest]
	if !ok {
		return nil, layout.ErrNotFound
	}
	return layout.Verify(io.NopCloser(bytes.NewReader(m.manifest(at[0], at[1]))), d), nil
}

func (m *many) Attached(_ context.Context, _ string, subject layout.Descriptor) (layout.Attachments, error) {
	inq := layout.Inquiry{Form: layout.FormReferrers, Answer: layout.AnswerNone}
	if at := m.number[subject.Digest]; at[1] == 0 && m.attached > 0 {
		inq.Answer, inq.Found = layout.AnswerFound, m.referrers[at[0]]
	}
	return layout.Attachments{inq, {Form: layout.FormReferrersTag, Answer: layout.AnswerNone}}, nil
}

// planned is a bundle file of which no byte exists: headers and what the plan made
// are rendered when they are read, all other content is zeros.
type planned struct{ plan *layout.Plan }

func (f planned) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	i, _ := slices.BinarySearchFunc(f.plan.Entries, off, func(e layout.Entry, off int64) int {
		if e.End() <= off {
			return -1
		}
		return 1
	})
	for ; i < len(f.plan.Entries) && f.plan.Entries[i].Offset < off+int64(len(p)); i++ {
		e := &f.plan.Entries[i]
		whole := append(layout.AppendHeader(nil, e.Name(), e.Size), e.Data...)
		if at := e.Offset - off; at >= 0 {
			copy(p[at:], whole)
		} else if -at < int64(len(whole)) {
			copy(p, whole[-at:])
		}
	}
	if n := f.plan.Size - off; n < int64(len(p)) {
		return int(max(n, 0)), io.EOF
	}
	return len(p), nil
}

// heap is how much memory is in use.
func heap() int64 {
	var m runtime.MemStats
	for range 2 {
		runtime.GC()
		runtime.ReadMemStats(&m)
	}
	return int64(m.HeapAlloc)
}

// scaled is what n manifests cost.
type scaled struct {
	n                  int
	walk, plan, open   int64 // bytes that stay
	walked, laid, read time.Duration
}

func scale(t testing.TB, images, attached int) scaled {
	t.Helper()
	src := newMany(images, attached)
	refs := src.references()
	s := scaled{n: images * (attached + 1)}
	base := heap()
	start := time.Now()
	g, err := layout.Walk(context.Background(), src, refs, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.walked = time.Since(start)
	if len(g.Nodes) != s.n {
		t.Fatalf("%d manifests, want %d", len(g.Nodes), s.n)
	}
	s.walk = heap() - base
	start = time.Now()
	plan, err := layout.NewPlan(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.laid = time.Since(start)
	s.plan = heap() - base - s.walk
	start = time.Now()
	r, err := layout.OpenTar("many.tar", planned{plan}, plan.Size)
	if err != nil {
		t.Fatal(err)
	}
	s.read = time.Since(start)
	s.open = heap() - base - s.walk - s.plan
	if err := r.Matches(plan); err != nil || len(r.Index()) != s.n {
		t.Errorf("the bundle lists %d of %d: %v", len(r.Index()), s.n, err)
	}
	runtime.KeepAlive(src)
	return s
}

func (s scaled) String() string {
	per := func(n int64) int64 { return n / int64(s.n) }
	us := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(s.n) }
	return fmt.Sprintf("%7d manifests: bytes for each %4d graph + %4d plan + %4d reader; µs for each %5.1f walk, %4.1f plan, %4.1f open",
		s.n, per(s.walk), per(s.plan), per(s.open), us(s.walked), us(s.laid), us(s.read))
}

// Memory grows with the number of manifests, and by how much for each. The graph
// is kept by every command; plan and reader by few at the same time.
func TestScale(t *testing.T) {
	n := 10_000
	if testing.Short() || raceEnabled {
		n = 2_000
	}
	for _, part := range []int{2, 1} {
		s := scale(t, n/part/5, 4)
		t.Log(s)
		if raceEnabled || testing.Short() {
			continue // too few, or with memory of the detector, to tell
		}
		if per := s.walk / int64(s.n); per > 1536 {
			t.Errorf("the graph takes %d bytes for each of %d manifests", per, s.n)
		}
		if per := (s.walk + s.plan + s.open) / int64(s.n); per > 3072 {
			t.Errorf("graph, plan and reader take %d bytes for each of %d manifests", per, s.n)
		}
	}
}

// BenchmarkScale is TestScale for more manifests. Time for each stays the same.
func BenchmarkScale(b *testing.B) {
	for _, n := range []int{25_000, 50_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				s := scale(b, n/5, 4)
				b.ReportMetric(float64(s.walk)/float64(n), "graph-B/manifest")
				b.ReportMetric(float64(s.walk+s.plan+s.open)/float64(n), "all-B/manifest")
				b.ReportMetric(float64(s.walked.Microseconds())/float64(n), "walk-µs/manifest")
				b.ReportMetric(float64(s.laid.Microseconds())/float64(n), "plan-µs/manifest")
				b.ReportMetric(float64(s.read.Microseconds())/float64(n), "open-µs/manifest")
			}
		})
	}
}
