package serve_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
)

// A client that asks before it pushes is told to push what is damaged, and gets back what
// it was told to be there.
func TestPushOverDamage(t *testing.T) {
	for _, asks := range []bool{true, false} {
		var repaired []digest.Digest
		w := newWritable(t, store.PushOptions{Repaired: func(d digest.Digest) { repaired = append(repaired, d) }}, func(o *serve.Options) {
			o.Failed = func(error) {}
		})
		content := image(ghcr)
		w.push(content)
		for _, item := range content.Repositories[ghcr] {
			kind, unknown := "blobs", "MANIFEST_BLOB_UNKNOWN"
			if layout.IsManifest(item.Descriptor.MediaType) {
				kind = "manifests"
			}
			path := "/v2/" + ghcr + "/" + kind + "/" + string(item.Descriptor.Digest)
			w.want(200, "", "HEAD", path, nil)
			flip(t, filepath.Join(w.dir, filepath.FromSlash(layout.BlobPath(item.Descriptor.Digest))))
			if asks {
				w.want(404, "", "HEAD", path, nil)
				w.want(500, "UNKNOWN", "GET", path, nil) // known to be damaged
			}
			if kind == "blobs" {
				if m := lister(content.Repositories[ghcr], item.Descriptor); m != nil {
					w.manifest(404, unknown, ghcr, "v1", *m)
				}
				w.blob(ghcr, item.Bytes)
			} else {
				w.manifest(201, "", ghcr, string(item.Descriptor.Digest), item)
			}
			w.want(200, "", "HEAD", path, nil)
			if a := w.want(200, "", "GET", path, nil); !bytes.Equal(a.body, item.Bytes) {
				t.Errorf("%s gives other bytes than were pushed", path)
			}
			if !slices.Equal(repaired, []digest.Digest{item.Descriptor.Digest}) {
				t.Errorf("repaired %v", repaired)
			}
			repaired = nil
		}
	}
}

// lister is a manifest that lists a blob; nil if there is none.
func lister(items []layouttest.Item, blob layout.Descriptor) *layouttest.Item {
	for _, item := range items {
		if layout.IsManifest(item.Descriptor.MediaType) && bytes.Contains(item.Bytes, []byte(blob.Digest)) {
			return &item
		}
	}
	return nil
}

func flip(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
