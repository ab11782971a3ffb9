//go:build interop && linux

package interop

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Archives that hold no manifests, or others than the registry had: the images in
// them arrive with the same configuration and the same files. Each is of both
// images of the fixture, or of the one that is named.
func TestArchives(t *testing.T) {
	f := source(t)
	one, both := []string{"team/tool:2"}, []string{"team/hello:v1", "team/tool:2"}
	for _, a := range []struct {
		name  string
		make  func(t *testing.T, f *fixture, out string)
		lands []string
	}{
		{"docker save", dockerSaves, both},
		{"podman save docker-archive", podmanSaves("docker-archive", "--multi-image-archive"), both},
		{"podman save oci-archive", podmanSaves("oci-archive"), one},
		{"skopeo docker-archive", skopeoDockerArchive, one},
		{"crane pull --format tarball", cranePulls("tarball"), one},
		{"crane pull --format legacy", cranePulls("legacy"), one},
		{"crane pull of two images", craneTwo, both},
	} {
		t.Run(a.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "foreign.tar")
			a.make(t, f, out)
			to := withReferrers(t)
			importTo(t, out, to)
			for _, lands := range a.lands {
				name, tag, _ := strings.Cut(lands, ":")
				if name == f.hello.name {
					sameImage(t, below(to, name), tag, f.hello, f.amd64)
				} else {
					sameImage(t, below(to, name), tag, f.tool, f.images.tool)
				}
			}
			checkArchiveInStore(t, out, to, a.lands)
		})
	}
}

// checkArchiveInStore makes sure that a store gets what the registry got.
func checkArchiveInStore(t *testing.T, archive, to string, lands []string) {
	t.Helper()
	store, out := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "stored.tar")
	run(t, "airgap", "import", "--quiet", "--insecure-skip-verify", archive, "--store", store)
	run(t, "airgap", "export", "--quiet", "store:"+store, "-o", out)
	var all []*inventory
	for _, l := range lands {
		name, tag, _ := strings.Cut(l, ":")
		all = append(all, take(t, below(to, name), tag, everything))
	}
	holds(t, out, all...)
}

// sameImage compares the configs byte for byte, and checks what is in the layers
// against it.
func sameImage(t *testing.T, r repository, tag string, src repository, want ocispec.Descriptor) {
	t.Helper()
	inv := take(t, r, tag, everything)
	doc := inv.manifests[r.digestOf(t, tag)]
	config := take(t, src, string(want.Digest), scope{}).manifests[want.Digest].Config
	if doc.Config == nil || doc.Config.Digest != config.Digest {
		t.Fatalf("%s:%s has config %+v, want %s", r, tag, doc.Config, config.Digest)
	}
	raw, err := r.content("blobs", config.Digest)
	var image ocispec.Image
	if err == nil {
		err = json.Unmarshal(raw, &image)
	}
	if err == nil && len(image.RootFS.DiffIDs) != len(doc.Layers) {
		err = fmt.Errorf("%d layers, its config names %d", len(doc.Layers), len(image.RootFS.DiffIDs))
	}
	for i := 0; err == nil && i < len(doc.Layers); i++ {
		err = hasDiffID(r, doc.Layers[i], image.RootFS.DiffIDs[i])
	}
	if err != nil {
		t.Errorf("%s:%s: %v", r, tag, err)
	}
}

// hasDiffID checks the digest of what is in a layer, and that the media type
// tells whether it is compressed.
func hasDiffID(r repository, l ocispec.Descriptor, want digest.Digest) error {
	data, err := r.content("blobs", l.Digest)
	if err != nil {
		return err
	}
	if strings.HasSuffix(l.MediaType, "gzip") {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("layer %s, %s: %w", l.Digest, l.MediaType, err)
		}
		if data, err = io.ReadAll(z); err != nil {
			return err
		}
	}
	if got := digest.FromBytes(data); got != want {
		return fmt.Errorf("layer %s, %s, holds %s, want %s", l.Digest, l.MediaType, got, want)
	}
	return nil
}

func dockerSaves(t *testing.T, f *fixture, out string) {
	names := []string{f.hello.String() + ":v1", f.tool.String() + ":2"}
	t.Cleanup(func() { docker(t, append([]string{"image", "rm"}, names...)...) })
	for _, n := range names {
		docker(t, "pull", "--quiet", n)
	}
	docker(t, append([]string{"save", "--output", out}, names...)...)
}

func podmanSaves(format string, flags ...string) func(*testing.T, *fixture, string) {
	return func(t *testing.T, f *fixture, out string) {
		podman := podman(t)
		names := []string{f.tool.String() + ":2"}
		if len(flags) > 0 {
			names = append(names, f.hello.String()+":v1")
		}
		for _, n := range names {
			podman("pull", "--quiet", "--tls-verify=false", n)
		}
		args := append([]string{"save", "--quiet", "--format", format, "--output", out}, flags...)
		podman(append(args, names...)...)
	}
}

func skopeoDockerArchive(t *testing.T, f *fixture, out string) {
	run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+f.tool.String()+":2", "docker-archive:"+out+":"+f.tool.String()+":2")
}

func cranePulls(format string) func(*testing.T, *fixture, string) {
	return func(t *testing.T, f *fixture, out string) {
		run(t, "crane", "pull", "--format", format, f.tool.String()+":2", out)
	}
}

// craneTwo pulls two images into one archive.
func craneTwo(t *testing.T, f *fixture, out string) {
	run(t, "crane", "pull", "--platform", "linux/amd64", f.hello.String()+":v1", f.tool.String()+":2", out)
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
