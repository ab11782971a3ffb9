package layout_test

import (
	"errors"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

func TestMemory(t *testing.T) {
	layouttest.TestSink(t, func(*testing.T, layouttest.Content) layouttest.Target {
		m := new(layout.Memory)
		return layouttest.Target{Sink: m, Source: func(*testing.T) layout.Source { return m }}
	})
}

const memoryRepo = "reg.example/app"

func loaded(t *testing.T, content layouttest.Content) *layout.Memory {
	t.Helper()
	m := layout.NewMemory()
	if err := content.Load(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// forms returns each form's answer with what it found.
func forms(t *testing.T, src layout.Source, subject layout.Descriptor) map[layout.Form]layout.Inquiry {
	t.Helper()
	answers, err := src.Attached(t.Context(), memoryRepo, subject)
	if err != nil {
		t.Fatal(err)
	}
	out := map[layout.Form]layout.Inquiry{}
	for _, q := range answers {
		out[q.Form] = q
	}
	return out
}

func TestMemoryAnswersByForm(t *testing.T) {
	b := layouttest.New(memoryRepo)
	image := b.Image("image")
	one, two := b.Notary(image, "one"), b.Referrer(image, "application/sarif+json", "two")
	b.Fallback(image, one)
	sig := b.Cosign(layout.FormCosignSig, image, "signature")
	m := loaded(t, b.Content())

	got := forms(t, m, image)
	want := map[layout.Form][]digest.Digest{
		layout.FormReferrers:    {one.Digest, two.Digest},
		layout.FormReferrersTag: {one.Digest},
		layout.FormCosignSig:    {sig.Digest},
		layout.FormCosignAtt:    nil,
		layout.FormCosignSBOM:   nil,
	}
	if len(got) != len(want) {
		t.Errorf("%d forms were asked, want %d", len(got), len(want))
	}
	for form, digests := range want {
		var found []digest.Digest
		for _, d := range got[form].Found {
			found = append(found, d.Digest)
		}
		slices.Sort(found)
		slices.Sort(digests)
		if !slices.Equal(found, digests) {
			t.Errorf("%s found %v, want %v", form, found, digests)
		}
	}
	for _, d := range got[layout.FormReferrers].Found {
		if d.ArtifactType == "" || d.Annotations["org.opencontainers.image.title"] == "" {
			t.Errorf("referrer %v is listed without artifact type or annotations", d)
		}
	}
}

func TestMemoryWithoutReferrersAPI(t *testing.T) {
	b := layouttest.New(memoryRepo)
	image := b.Image("image")
	b.Notary(image, "signature")
	m := loaded(t, b.Content())
	m.NoReferrersAPI = true
	got := forms(t, m, image)
	if q := got[layout.FormReferrers]; q.Answer != layout.AnswerUnsupported || len(q.Found) > 0 {
		t.Errorf("the referrers API answers %q with %v", q.Answer, q.Found)
	}
	if q := got[layout.FormReferrersTag]; q.Answer != layout.AnswerNone {
		t.Errorf("the fallback tag answers %q, want none", q.Answer)
	}
}

func TestMemoryFallbackTagIsNoIndex(t *testing.T) {
	b := layouttest.New(memoryRepo)
	image := b.Image("image")
	tag, _ := layout.FormReferrersTag.Tag(image.Digest)
	b.Tag(tag, b.Image("in the way"))
	q := forms(t, loaded(t, b.Content()), image)[layout.FormReferrersTag]
	if q.Answer != layout.AnswerNone || q.Note == "" {
		t.Errorf("answer %q, note %q", q.Answer, q.Note)
	}
}

func TestMemoryFallbackTagUnreadable(t *testing.T) {
	b := layouttest.New(memoryRepo)
	image := b.Image("image")
	tag, _ := layout.FormReferrersTag.Tag(image.Digest)
	b.Tag(tag, b.Blob(layout.MediaTypeIndex, []byte("not JSON")))
	if _, err := loaded(t, b.Content()).Attached(t.Context(), memoryRepo, image); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("Attached = %v, want ErrCorrupt", err)
	}
}

func TestMemoryRefusesNames(t *testing.T) {
	b := layouttest.New(memoryRepo)
	blob := b.Blob("text/plain", []byte("not a manifest"))
	image := b.Image("image")
	m := loaded(t, b.Content())
	asManifest := blob
	asManifest.MediaType = layout.MediaTypeManifest
	for _, n := range []layout.Name{
		{Reference: layout.Reference{Repository: memoryRepo}, Descriptor: image},
		{Reference: layout.Reference{Repository: memoryRepo, Digest: blob.Digest}, Descriptor: image},
		{Reference: layout.Reference{Repository: memoryRepo, Tag: "blob"}, Descriptor: blob},
		{Reference: layout.Reference{Repository: memoryRepo, Tag: "blob"}, Descriptor: asManifest},
		{Reference: layout.Reference{Repository: "reg.example/elsewhere", Tag: "v1"}, Descriptor: image},
	} {
		if err := m.Commit(t.Context(), []layout.Name{n}); err == nil {
			t.Errorf("Commit takes %s for %s %s", n.Reference, n.Descriptor.MediaType, n.Descriptor.Digest)
		}
	}
}

func TestMemoryMovesNames(t *testing.T) {
	b := layouttest.New(memoryRepo)
	b.Tag("v1", b.Image("old"))
	m := loaded(t, b.Content())
	next := b.Image("new")
	b.Tag("v1", next)
	if err := b.Content().Load(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	got, err := m.Resolve(t.Context(), layout.Reference{Repository: memoryRepo, Tag: "v1"})
	if err != nil || got.Digest != next.Digest {
		t.Errorf("Resolve = %s, %v, want %s", got.Digest, err, next.Digest)
	}
}
