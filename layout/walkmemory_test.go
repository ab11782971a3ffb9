package layout_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// Many manifests of almost the largest size are read a few at a time, and not all kept.
func TestManifestsAtOnce(t *testing.T) {
	const n = 20
	b := layouttest.New(repo)
	var refs []layout.Reference
	for i := range n {
		config := b.Blob(layout.MediaTypeImageConfig, fmt.Appendf(nil, `{"n":%d}`, i))
		d := b.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config, Layers: []layout.Descriptor{},
			Annotations: map[string]string{"x": strings.Repeat("x", layout.MaxManifestBytes-1000)}})
		b.Tag(fmt.Sprint("v", i), d)
		refs = append(refs, tag(fmt.Sprint("v", i)))
	}
	src := &openManifests{Source: load(t, b.Content())}
	g, err := layout.Walk(t.Context(), src, refs, layout.WalkOptions{Keep: true})
	if err != nil {
		t.Fatal(err)
	}
	if src.most > layout.MaxManifestsAtOnce {
		t.Errorf("%d bytes of manifests were open at once, at most %d are wanted", src.most, layout.MaxManifestsAtOnce)
	}
	src.opened = 0
	for _, m := range g.Manifests() {
		if _, err := g.ReadManifest(t.Context(), src, m.Descriptor.Digest); err != nil {
			t.Fatal(err)
		}
	}
	if want := n - layout.MaxManifestsKept/(layout.MaxManifestBytes-2000); src.opened < want || src.opened == n {
		t.Errorf("%d of %d manifests were read again, want at least %d, and not all", src.opened, n, want)
	}
}

// openManifests is a source that counts what is open.
type openManifests struct {
	layout.Source
	mu        sync.Mutex
	now, most int64
	opened    int
}

func (o *openManifests) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now, o.opened = o.now+d.Size, o.opened+1
	o.most = max(o.most, o.now)
	rc, err := o.Source.Open(ctx, repo, d)
	if err != nil {
		return nil, err
	}
	return &openReader{rc, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.now -= d.Size
	}}, nil
}

type openReader struct {
	io.ReadCloser
	done func()
}

func (o *openReader) Close() error {
	o.done()
	return o.ReadCloser.Close()
}
