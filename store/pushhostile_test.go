package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store/push"
)

// unpackable are bytes that an engine starts a container from.
func unpackable(t *testing.T) map[string][]byte {
	t.Helper()
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	no(t, w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: 5}))
	_, err := w.Write([]byte("hello"))
	no(t, err)
	no(t, w.Close())
	z := gzip.NewWriter(&packed)
	_, err = z.Write(plain.Bytes())
	no(t, err)
	no(t, z.Close())
	return map[string][]byte{
		"tar": plain.Bytes(), "gzip": packed.Bytes(), "zstd": []byte("\x28\xb5\x2f\xfd\x04\x00"),
		"zstd after a frame to skip": []byte("\x50\x2a\x4d\x18\x00\x00\x00\x00\x28\xb5\x2f\xfd"),
		"bzip2":                      []byte("BZh91AY"), "xz": []byte("\xfd7zXZ\x00\x00"),
	}
}

// posing are images that say in one way or another that they are none. Each is started by
// docker 20.10, containerd 1.6 or podman 4.3.
func posing(b *layouttest.Builder, subject layout.Descriptor, data []byte) map[string]layout.Descriptor {
	const signature = "application/vnd.dev.cosign.simplesigning.v1+json"
	out := map[string]layout.Descriptor{}
	for what, types := range map[string]struct{ manifest, config, layer string }{
		"layers of signatures":       {layout.MediaTypeManifest, layout.MediaTypeImageConfig, signature},
		"an unknown config":          {layout.MediaTypeManifest, "application/octet-stream", "application/vnd.oci.image.layer.v1.tar+gzip"},
		"docker, an unknown config":  {layout.MediaTypeDockerManifest, "application/octet-stream", "application/vnd.docker.image.rootfs.diff.tar.gzip"},
		"docker, a config of Notary": {layout.MediaTypeDockerManifest, "application/vnd.cncf.notary.signature", "application/vnd.docker.image.rootfs.diff.tar.gzip"},
		"another spelling":           {layout.MediaTypeManifest, layout.MediaTypeImageConfig, "application/vnd.oci.image.Layer.v1.tar+gzip"},
	} {
		config := b.Blob(types.config, []byte("{}"))
		out[what] = b.Manifest(layouttest.Document{
			SchemaVersion: 2, MediaType: types.manifest, Config: &config, Layers: []layout.Descriptor{b.Blob(types.layer, data)}, Subject: &subject,
		})
	}
	return out
}

// pushBlobs pushes what manifests list.
func pushBlobs(t *testing.T, p *Pusher, c layouttest.Content) {
	t.Helper()
	for _, item := range c.Repositories[testRepo] {
		if !layout.IsManifest(item.Descriptor.MediaType) {
			no(t, pushBlob(t, p, testRepo, item.Bytes, item.Descriptor.Digest))
		}
	}
}

// What engines unpack is no signature, whatever its media types say.
func TestPushPosing(t *testing.T) {
	for form, data := range unpackable(t) {
		t.Run(form, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{})
			b := layouttest.New(testRepo)
			img := b.Image("image")
			b.Tag("v1", img)
			add(t, s, b.Content())
			all := posing(b, img, data)
			c := b.Content()
			p := s.Pusher(PushOptions{})
			pushBlobs(t, p, c)
			tag, _ := layout.FormCosignSig.Tag(img.Digest)
			for what, d := range all {
				item, _ := c.Find(testRepo, d.Digest)
				for _, tags := range [][]string{nil, {tag}} {
					_, err := putManifest(t, p, testRepo, item, tags...)
					denied(t, err, push.ErrDenied, "cannot be started")
					if sees(t, s.View(), testRepo, d.Digest) {
						t.Errorf("%s is given out", what)
					}
				}
			}
		})
	}
}

// Blobs that are not there could be anything.
func TestPushPosingSparse(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("image")
	b.Tag("v1", img)
	add(t, s, b.Content())
	d := b.Referrer(img, "text/spdx+json", "SBOM")
	item, _ := b.Content().Find(testRepo, d.Digest)
	_, err := putManifest(t, s.Pusher(PushOptions{Sparse: true}), testRepo, item)
	denied(t, err, push.ErrDenied, "not here")
}

// An import that admits an image does not admit with it what engines unpack, and what a
// client attached to it.
func TestPosingIsNotAdmitted(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("image")
	b.Tag("v1", img)
	imported := b.Content()
	all := posing(b, img, unpackable(t)["gzip"])
	sbom := b.Referrer(img, "text/spdx+json", "SBOM")
	pushAll(t, judged(t, s, nil), b.Content())
	add(t, s, imported)
	v := s.View()
	for what, d := range all {
		if sees(t, v, testRepo, d.Digest) {
			t.Errorf("%s is given out", what)
		}
		if inert, err := s.Judged().Inert(testRepo, d.Digest); inert || err != nil {
			t.Errorf("%s passes for what cannot be started (%v)", what, err)
		}
	}
	if !sees(t, v, testRepo, img.Digest) || !sees(t, v, testRepo, sbom.Digest) {
		t.Error("the image or its SBOM is not given out")
	}
}

// What was imported and is in quarantine comes out in no manifest that a client pushes,
// unless it is the client that brings the bytes.
func TestPushListsQuarantined(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img, secret := b.Image("image"), b.Image("secret")
	b.Tag("v1", img)
	b.Tag("v2", secret)
	add(t, s, b.Content())
	session := begin(t, s)
	no(t, session.Quarantine(testRepo, secret.Digest, "refused"))
	commit(t, session)
	blob := mustParse(t, mustFind(t, b, secret)).Config
	config := b.Blob(layout.MediaTypeEmpty, []byte("{}"))
	doc := layouttest.Document{
		SchemaVersion: 2, MediaType: layout.MediaTypeManifest, ArtifactType: "text/plain", Config: &config,
		Layers: []layout.Descriptor{{MediaType: "text/plain", Digest: blob.Digest, Size: blob.Size}}, Subject: &img,
	}
	d := b.Manifest(doc)
	item := mustFind(t, b, d)
	p := s.Pusher(PushOptions{})
	no(t, pushBlob(t, p, testRepo, []byte("{}"), config.Digest))
	_, err := putManifest(t, p, testRepo, item)
	denied(t, err, push.ErrBlobUnknown, string(blob.Digest))
	if seesBlob(t, s.View(), testRepo, blob.Digest) {
		t.Error("a blob in quarantine is given out")
	}
	no(t, pushBlob(t, p, testRepo, mustFind(t, b, *blob).Bytes, blob.Digest))
	_, err = putManifest(t, p, testRepo, item)
	no(t, err)
}

func mustFind(t *testing.T, b *layouttest.Builder, d layout.Descriptor) layouttest.Item {
	t.Helper()
	item, ok := b.Content().Find(testRepo, d.Digest)
	if !ok {
		t.Fatalf("no %s", d.Digest)
	}
	return item
}

// What is there does not become another kind of manifest because somebody says so.
func TestPushOtherType(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	config := b.Blob(layout.MediaTypeImageConfig, []byte("{}"))
	d := b.Manifest(layouttest.Document{SchemaVersion: 2, Config: &config})
	item := mustFind(t, b, d)
	item.Descriptor.MediaType = layout.MediaTypeManifest
	p := judged(t, s, nil)
	no(t, pushBlob(t, p, testRepo, []byte("{}"), config.Digest))
	_, err := putManifest(t, p, testRepo, item, "v1")
	no(t, err)
	item.Descriptor.MediaType = layout.MediaTypeDockerManifest
	_, err = putManifest(t, p, testRepo, item)
	denied(t, err, push.ErrManifest, "is there as "+layout.MediaTypeManifest)
}

// Nobody can attach so much to an image that it cannot be judged any more. What is there
// can be pushed again.
func TestPushCrowd(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	b := layouttest.New(testRepo)
	img := b.Image("image")
	b.Tag("v1", img)
	for i := range maxPushedAttached {
		b.Referrer(img, "text/spdx+json", fmt.Sprint(i))
	}
	add(t, s, b.Content())
	last := b.Referrer(img, "text/spdx+json", "the last")
	items := b.Content().Repositories[testRepo]
	p := s.Pusher(PushOptions{})
	pushBlobs(t, p, layouttest.Content{Repositories: map[string][]layouttest.Item{testRepo: items[len(items)-2:]}})
	_, err := putManifest(t, p, testRepo, mustFind(t, b, last))
	denied(t, err, push.ErrDenied, "clients attach no more")
	there := b.Referrer(img, "text/spdx+json", "0")
	_, err = putManifest(t, p, testRepo, mustFind(t, b, there))
	no(t, err)
	no(t, p.Delete(t.Context(), push.Removal{Reference: layout.Reference{Repository: testRepo, Digest: there.Digest}}))
	_, err = putManifest(t, p, testRepo, mustFind(t, b, last))
	no(t, err)
}
