//go:build interop && linux

package interop

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// greeting is what a container of the fixture's images prints.
const greeting = "carried over the gap, and it runs"

const programSource = `package main

import "os"

func main() { os.Stdout.WriteString("` + greeting + `\n") }
`

// pauseSource is what keeps a pod: it waits until it is told to end.
const pauseSource = `package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	<-c
}
`

// layoutFolder is an OCI layout in a folder, being made.
type layoutFolder struct {
	dir   string
	index []ocispec.Descriptor
	err   error // the first; everything after it does nothing
}

func newLayoutFolder(dir string) *layoutFolder {
	f := &layoutFolder{dir: dir}
	f.err = os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755)
	return f
}

func (f *layoutFolder) blob(mediaType string, data []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if f.err == nil {
		f.err = os.WriteFile(f.path(d.Digest), data, 0o644)
	}
	return d
}

// path is where content is, or would be.
func (f *layoutFolder) path(d digest.Digest) string {
	return filepath.Join(f.dir, "blobs", "sha256", d.Encoded())
}

func (f *layoutFolder) json(mediaType string, v any) ocispec.Descriptor {
	data, err := json.Marshal(v)
	if f.err == nil {
		f.err = err
	}
	return f.blob(mediaType, data)
}

// layer adds a layer of one file and returns it with the digest of what is
// compressed in it.
func (f *layoutFolder) layer(name string, mode int64, content []byte) (ocispec.Descriptor, digest.Digest) {
	var plain, packed bytes.Buffer
	t := tar.NewWriter(&plain)
	err := t.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = t.Write(content)
	}
	if err == nil {
		err = t.Close()
	}
	z := gzip.NewWriter(&packed)
	if err == nil {
		_, err = z.Write(plain.Bytes())
	}
	if err == nil {
		err = z.Close()
	}
	if f.err == nil {
		f.err = err
	}
	return f.blob(ocispec.MediaTypeImageLayerGzip, packed.Bytes()), digest.FromBytes(plain.Bytes())
}

// file is a layer of an image: one file.
type file struct {
	name    string
	mode    int64
	content []byte
}

// image adds an image that runs its first file, for one platform.
func (f *layoutFolder) image(arch string, files ...file) ocispec.Descriptor {
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: arch},
		Config:   ocispec.ImageConfig{Entrypoint: []string{"/" + files[0].name}, WorkingDir: "/"},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	var layers []ocispec.Descriptor
	for _, x := range files {
		l, id := f.layer(x.name, x.mode, x.content)
		layers = append(layers, l)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, id)
	}
	d := f.manifest(config, layers)
	d.Platform = &config.Platform
	return d
}

func (f *layoutFolder) manifest(config ocispec.Image, layers []ocispec.Descriptor) ocispec.Descriptor {
	return f.json(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: f.json(ocispec.MediaTypeImageConfig, config), Layers: layers,
	})
}

// buildKit adds what BuildKit lists beside an image: a manifest for no platform
// whose layer is a statement about it.
func (f *layoutFolder) buildKit(image ocispec.Descriptor) ocispec.Descriptor {
	const predicate = "https://slsa.dev/provenance/v0.2"
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"name":"hello","digest":{"sha256":%q}}],"predicate":{}}`,
		predicate, image.Digest.Encoded())
	l := f.blob("application/vnd.in-toto+json", []byte(statement))
	l.Annotations = map[string]string{"in-toto.io/predicate-type": predicate}
	nowhere := ocispec.Platform{OS: "unknown", Architecture: "unknown"}
	d := f.manifest(ocispec.Image{
		Platform: nowhere, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{l.Digest}},
	}, []ocispec.Descriptor{l})
	d.Platform = &nowhere
	d.Annotations = map[string]string{
		"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": string(image.Digest),
	}
	return d
}

// name puts d into index.json under a tag.
func (f *layoutFolder) name(tag string, d ocispec.Descriptor) {
	d.Platform = nil
	d.Annotations = map[string]string{ocispec.AnnotationRefName: tag}
	f.index = append(f.index, d)
}

func (f *layoutFolder) finish() error {
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: f.index,
	})
	if f.err == nil {
		f.err = err
	}
	if f.err == nil {
		f.err = os.WriteFile(filepath.Join(f.dir, "index.json"), index, 0o644)
	}
	if f.err == nil {
		f.err = os.WriteFile(filepath.Join(f.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
	}
	return f.err
}

// buildProgram compiles a program for an image.
func (l *lab) buildProgram(name, source string) ([]byte, error) {
	src, out := l.path(name+".go"), l.path(name)
	if err := os.WriteFile(src, []byte(source), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, src)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-buildvcs=false")
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building %s for an image: %w\n%s", name, err, said)
	}
	return os.ReadFile(out)
}

// images are what the layout folder of the fixture holds.
type images struct {
	dir                 string
	index, amd64, arm64 ocispec.Descriptor // "v1": multi-platform
	tool                ocispec.Descriptor // "2": one platform, shares a layer
}

func (l *lab) buildImages() (*images, error) {
	prog, err := l.buildProgram("hello", programSource)
	if err != nil {
		return nil, err
	}
	f := newLayoutFolder(l.path("images"))
	hello := file{"hello", 0o755, prog}
	doc := file{"usr/share/doc/hello", 0o644, []byte("It says hello.\n")}
	im := &images{dir: f.dir}
	im.amd64 = f.image("amd64", hello, doc)
	im.arm64 = f.image("arm64", doc, file{"etc/arch", 0o644, []byte("arm64\n")})
	im.index = f.json(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{im.amd64, im.arm64, f.buildKit(im.amd64)},
	})
	im.tool = f.image("amd64", hello, file{"etc/tool", 0o644, []byte("tool 2\n")})
	f.name("v1", im.index)
	f.name("2", im.tool)
	return im, f.finish()
}
