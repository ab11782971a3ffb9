package verify_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// One large document, carried once and attached to any number of images, must not
// cost its size for each of them.
func TestWorkIsBounded(t *testing.T) {
	tr := pinned(t, map[string]signing.Chain{"vendor": must(signing.NewTestChain("vendor"))}, nil)
	junk := signing.Document{MediaType: "application/jose+json", Data: bytes.Repeat([]byte{'a'}, 60<<20)}
	judge := func(images int) error {
		f := newFixture(t)
		var tags []string
		for i := range images {
			tag := fmt.Sprint("v", i)
			f.attach(must(signing.Referrer(f.image(tag), junk)))
			tags = append(tags, tag)
		}
		g := f.Graph(tags...)
		_, err := (&verify.Judge{Policy: ruled(t, `notary: {stores: ["ca:vendor"], identities: ["*"]}`), Trust: tr}).Graph(t.Context(), f.Source, g)
		return err
	}
	if err := judge(2); err != nil {
		t.Errorf("two images: %v", err)
	}
	if err := judge(27); !errors.Is(err, layout.ErrLimit) {
		t.Errorf("27 images: %v, want %v", err, layout.ErrLimit)
	}
}

// A manifest with many tags is read once.
func TestTagsOfOneImage(t *testing.T) {
	key := signing.InsecureKey("key")
	f := newFixture(t)
	b := layouttest.New(repo)
	d := b.Image("x")
	var tags []string
	for i := range 50 {
		tags = append(tags, fmt.Sprint("v", i))
		b.Tag(tags[i], d)
	}
	f.content(b.Content())
	signature := must(signing.BundleSignature(d, key))
	f.attach(signature)
	g := f.Graph(tags...)
	src := &counts{Source: f.Source, digest: signature.Blobs[len(signature.Blobs)-1].Desc.Digest}
	r, err := (&verify.Judge{Policy: ruled(t, "cosign: {key: release}"), Trust: pinned(t, nil, map[string]crypto.Signer{"release": key})}).Graph(t.Context(), src, g)
	if err != nil {
		t.Fatal(err)
	}
	if r.State != verify.Passed || len(r.Verdicts) != 50 || src.opened.Load() != 2 { // to judge it, and to see that it cannot be started
		t.Errorf("%s, %d verdicts, the signature was opened %d times", r.State, len(r.Verdicts), src.opened.Load())
	}
	for i, v := range r.Verdicts {
		if want := g.Roots[i].Reference.String(); v.Reference != want {
			t.Errorf("verdict %d is on %s, want %s", i, v.Reference, want)
		}
	}
}

// counts is a source that counts how often one blob is opened.
type counts struct {
	layout.Source
	digest digest.Digest
	opened atomic.Int64
}

func (c *counts) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if d.Digest == c.digest {
		c.opened.Add(1)
	}
	return c.Source.Open(ctx, repo, d)
}

// What strangers attach is not all held in memory at once, however many images are judged
// and however many processors there are.
func TestHeldAtOnce(t *testing.T) {
	const size, each, images = 8 << 20, 8, 4
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	tr := pinned(t, nil, map[string]crypto.Signer{"release": signing.InsecureKey("key")})
	f := newFixture(t)
	b := layouttest.New(repo)
	config := b.Blob(layout.MediaTypeEmpty, []byte("{}"))
	var tags []string
	for n := range each {
		payload := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"%064d"}}],"predicateType":"https://example.com","predicate":{"n":%d,"x":%q}}`, n, n, strings.Repeat("x", size)))
		layer := b.Blob("application/vnd.dev.sigstore.bundle.v0.3+json", fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":""}},"dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","payload":%q,"signatures":[{"sig":"AAAA"}]}}`, payload))
		for i := range images {
			image := b.Image(fmt.Sprint("image ", i))
			b.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config, Layers: []layout.Descriptor{layer}, Subject: &image})
			if n == 0 {
				tags = append(tags, fmt.Sprint("v", i))
				b.Tag(tags[i], image)
			}
		}
	}
	f.content(b.Content())
	g := f.Graph(tags...)
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	src := &heapWatch{Source: f.Source}
	r, err := (&verify.Judge{Policy: ruled(t, "cosign: {key: release}"), Trust: tr}).Graph(t.Context(), src, g)
	if err != nil || r.State != verify.Refused {
		t.Fatalf("%v, %v", r, err)
	}
	if grown := int64(src.most) - int64(before.HeapAlloc); src.opened < each*images || grown > 192<<20 {
		t.Errorf("%d MB of evidence held, %d pieces were opened", grown>>20, src.opened)
	}
}

// heapWatch is a source that looks how much is in use whenever something large is opened.
type heapWatch struct {
	layout.Source
	mu     sync.Mutex
	most   uint64
	opened int
}

func (h *heapWatch) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if d.Size > 1<<20 {
		h.mu.Lock()
		defer h.mu.Unlock()
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		h.most, h.opened = max(h.most, now.HeapAlloc), h.opened+1
	}
	return h.Source.Open(ctx, repo, d)
}
