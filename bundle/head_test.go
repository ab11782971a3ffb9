package bundle_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

var exportTime = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// recording is how exports of tests are recorded.
func recording(key crypto.Signer) *bundle.Recording {
	return &bundle.Recording{Key: key, By: "release team", Tool: custody.Tool{Name: "airgap", Version: "test"}, Now: func() time.Time { return exportTime }}
}

func pinnedKeys(keys ...crypto.Signer) []custody.Key {
	var out []custody.Key
	for i, k := range keys {
		out = append(out, custody.Key{Name: string(rune('a' + i)), Public: k.Public()})
	}
	return out
}

// files reads a bundle as a tar.
func files(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

// A signed export carries a record of the bundle and one of each image, by the key
// that signed; nothing else in the bundle is another for it.
func TestSignedExport(t *testing.T) {
	for what, key := range map[string]crypto.Signer{"ECDSA": signing.InsecureKey("exporter"), "Ed25519": ed25519.NewKeyFromSeed(make([]byte, 32))} {
		content := layouttest.Merge(layouttest.Everything(repo), layouttest.Everything("other.example/copy"))
		plain := files(t, export(t, content, bundle.ExportOptions{}))
		path := export(t, content, bundle.ExportOptions{Recording: recording(key)})
		signed := files(t, path)
		for name, data := range plain {
			if name != "index.json" && !bytes.Equal(signed[name], data) {
				t.Errorf("%s: %s differs", what, name)
			}
		}
		b := open(t, path)
		h, err := b.Head(t.Context(), pinnedKeys(key))
		if err != nil || h == nil {
			t.Fatalf("%s: %v, %v", what, h, err)
		}
		if got := h.Bundle; got.Standing != custody.Verified || got.Key != "a" || !got.Record.At.Equal(exportTime) || got.Record.By != "release team" {
			t.Errorf("%s: the bundle's record: %+v", what, got)
		}
		if len(h.Roots) != len(b.References()) {
			t.Errorf("%s: %d records of %d images", what, len(h.Roots), len(b.References()))
		}
		for _, ref := range b.References() {
			r, ok := h.Roots[ref.String()]
			if !ok || r.Standing != custody.Verified || r.Record.Reference != ref.String() || r.Record.To.Digest != h.Record {
				t.Errorf("%s: %s: %+v", what, ref, r.Found)
			}
		}
		if added := len(signed) - len(plain); added != 1+1+len(h.Roots) {
			t.Errorf("%s: %d files more", what, added)
		}
		unknown, err := b.Head(t.Context(), pinnedKeys(signing.InsecureKey("another")))
		if err != nil || unknown.Bundle.Standing != custody.Unknown {
			t.Errorf("%s: with another key pinned: %+v, %v", what, unknown, err)
		}
		recordsArrive(t, path)
	}
}

// recordsArrive imports a bundle whose export is signed, twice, and finds the record
// of each image attached to it, once.
func recordsArrive(t *testing.T, path string) {
	t.Helper()
	dst := layout.NewMemory()
	for again := range 2 {
		res, err := bundle.Import(t.Context(), open(t, path), dst, bundle.ImportOptions{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Records) != len(res.Names) {
			t.Errorf("%d records of %d images", len(res.Records), len(res.Names))
		}
		for _, r := range res.Records {
			if r.Act != custody.Export || !r.Signed || again == 1 && !r.Present {
				t.Errorf("import %d: %+v", again+1, r)
			}
			ref, err := layout.ParseReference(r.Destination)
			if err != nil {
				t.Fatal(err)
			}
			d, err := dst.Resolve(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			all, err := dst.Attached(t.Context(), ref.Repository, d)
			if err != nil || !slices.ContainsFunc(all, func(q layout.Inquiry) bool {
				return slices.ContainsFunc(q.Found, func(f layout.Descriptor) bool { return f.Digest == r.Manifest })
			}) {
				t.Errorf("%s: its record is not attached: %v", ref, err)
			}
		}
	}
}

// The records of one bundle do not speak for another, and not for one that somebody
// changed.
func TestHeadOfAnother(t *testing.T) {
	key := signing.InsecureKey("exporter")
	content := func(label string) layouttest.Content {
		b := layouttest.New(repo)
		b.Tag("v1", b.Image(label))
		return b.Content()
	}
	one := export(t, content("one"), bundle.ExportOptions{Recording: recording(key)})
	two := export(t, content("two"), bundle.ExportOptions{Recording: recording(key)})
	head, err := open(t, one).Head(t.Context(), pinnedKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	other, err := open(t, two).Head(t.Context(), pinnedKeys(key))
	if err != nil {
		t.Fatal(err)
	}
	// The file with two's digest in its index has one's bytes instead.
	data, err := os.ReadFile(two)
	if err != nil {
		t.Fatal(err)
	}
	a, b := files(t, one)[layout.BlobPath(head.Manifest)], files(t, two)[layout.BlobPath(other.Manifest)]
	if len(a) != len(b) {
		t.Fatalf("%d and %d bytes", len(a), len(b))
	}
	swapped := bytes.Replace(data, b, a, 1)
	swapped = bytes.ReplaceAll(swapped, []byte(other.Manifest.Encoded()), []byte(head.Manifest.Encoded()))
	path := filepath.Join(t.TempDir(), "swapped.tar")
	if err := os.WriteFile(path, swapped, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := refused(path); err != nil {
		t.Errorf("the head of another bundle: %v", err)
	}
}

// Every bit of the records counts as every other does.
func TestFlippedBitsOfSignedBundleAreRefused(t *testing.T) {
	b := layouttest.New(repo)
	img := b.Image("small", b.Blob("application/vnd.oci.image.layer.v1.tar", []byte("layer")))
	b.Tag("v1", img)
	path := export(t, b.Content(), bundle.ExportOptions{Recording: recording(signing.InsecureKey("exporter"))})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const step = 13 // about two in three bytes are met, each bit of a byte as often as the others
	eachBit(t, path, data, step)
}

// Each image's record names the records that came before it.
func TestExportContinuesTheChain(t *testing.T) {
	first, second := signing.InsecureKey("first"), signing.InsecureKey("second")
	b := layouttest.New(repo)
	img := b.Image("x")
	b.Tag("v1", img)
	mem := memory(t, b.Content())
	var before []digest.Digest
	for hop, key := range []crypto.Signer{first, second} {
		ref := layout.Reference{Repository: repo, Tag: "v1"}
		out := filepath.Join(t.TempDir(), "bundle.tar")
		sel := bundle.Selection{Source: mem, References: []layout.Reference{ref}}
		if _, err := bundle.Export(t.Context(), []bundle.Selection{sel}, bundle.ExportOptions{Output: out, Recording: recording(key)}); err != nil {
			t.Fatal(err)
		}
		h, err := open(t, out).Head(t.Context(), pinnedKeys(first, second))
		if err != nil {
			t.Fatal(err)
		}
		r := h.Roots[ref.String()]
		if got := r.Record.Previous; len(got) != len(before) || len(got) == 1 && got[0] != before[0] {
			t.Errorf("hop %d: came before: %v, want %v", hop, got, before)
		}
		a, err := r.Artifact(img)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.Attach(context.Background(), mem, []bundle.Addition{{Repository: repo, Subject: img.Digest, Artifact: a}}); err != nil {
			t.Fatal(err)
		}
		before = []digest.Digest{a.Manifest.Digest}
	}
}

// Nothing can be added to a bundle without its maker's key.
func TestSignedBundleIsNotAddedTo(t *testing.T) {
	b := layouttest.New(repo)
	img := b.Image("x")
	b.Tag("v1", img)
	path := export(t, b.Content(), bundle.ExportOptions{Recording: recording(signing.InsecureKey("exporter"))})
	a, err := signing.BundleSignature(img, signing.InsecureKey("approver"))
	if err != nil {
		t.Fatal(err)
	}
	was, _ := os.ReadFile(path)
	if _, err := open(t, path).Attach(t.Context(), []bundle.Addition{{Repository: repo, Subject: img.Digest, Artifact: a}}, bundle.AttachOptions{}); !errors.Is(err, bundle.ErrUsage) {
		t.Errorf("added: %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(was, now) {
		t.Error("it changed")
	}
}
