//go:build interop && linux

package interop

import (
	"encoding/json"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types that nothing here has names for.
const (
	typeManifest  = ocispec.MediaTypeImageManifest
	typeConfig    = ocispec.MediaTypeImageConfig
	typeTar       = ocispec.MediaTypeImageLayer
	typeGzip      = ocispec.MediaTypeImageLayerGzip
	typeZstd      = ocispec.MediaTypeImageLayerZstd
	typeEmpty     = ocispec.MediaTypeEmptyJSON
	typeInToto    = "application/vnd.in-toto+json"
	typeOctets    = "application/octet-stream"
	typeText      = "text/plain"
	typeHelm      = "application/vnd.cncf.helm.config.v1+json"
	dockerSchema2 = "application/vnd.docker.distribution.manifest.v2+json"
	dockerConfig  = "application/vnd.docker.container.image.v1+json"
	dockerLayer   = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	dockerPlugin  = "application/vnd.docker.plugin.v1+json"
)

// formImage is an image that gets a form in which it looks like something else. Its
// parts are written when the form has been given to it.
type formImage struct {
	base *baseImage

	manifest   map[string]any // beside config and layers
	configType string
	config     map[string]any // without rootfs; nil is {}
	diffIDs    []digest.Digest
	noRootFS   bool

	tar         []byte
	layerType   string
	pack        func([]byte) []byte
	annotations map[string]string
	noLayer     bool        // the file system is in no layer
	first, last []formLayer // layers beside it
}

type formLayer struct {
	mediaType string
	data      []byte
}

// form is one of the ways in which an image can look like something else.
type form struct {
	name    string
	change  func(*formImage)
	command string // to start; the program if empty
	volume  bool   // engines are asked to mount it, too
}

// baseImage is an image that engines have when they are asked to start the forms. It has
// two layers.
type baseImage struct {
	ocispec.Descriptor
	diffIDs []digest.Digest
}

// baseImage adds an image of two layers, that runs a program.
func (f *layoutFolder) baseImage(program []byte) *baseImage {
	first, id := f.layer("greet", 0o755, program)
	second, id2 := f.layer("etc/base", 0o644, []byte("base\n"))
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Config:   ocispec.ImageConfig{Cmd: []string{"/greet"}},
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{id, id2}},
	}
	return &baseImage{f.manifest(config, []ocispec.Descriptor{first, second}), config.RootFS.DiffIDs}
}

// disguise adds an image in a form. It is attached to the base image, and its program
// prints the greeting.
func (f *layoutFolder) disguise(base *baseImage, x form) ocispec.Descriptor {
	im := &formImage{
		base:     base,
		manifest: map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "subject": subjectOf(base.Descriptor)},
		config: map[string]any{
			"architecture": "amd64", "os": "linux", "author": x.name,
			"config": map[string]any{"Cmd": []string{"/greet"}},
		},
		configType: typeConfig,
		tar:        tarOf("greet", greeter(x.name)),
		layerType:  typeGzip,
		pack:       gzipOf,
	}
	x.change(im)
	return im.write(f)
}

func subjectOf(d ocispec.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

func (im *formImage) write(f *layoutFolder) ocispec.Descriptor {
	layers := []ocispec.Descriptor{}
	add := func(all []formLayer) {
		for _, l := range all {
			layers = append(layers, f.blob(l.mediaType, l.data))
		}
	}
	add(im.first)
	if !im.noLayer {
		l := f.blob(im.layerType, im.pack(im.tar))
		l.Annotations = im.annotations
		layers = append(layers, l)
		if im.diffIDs == nil {
			im.diffIDs = []digest.Digest{digest.FromBytes(im.tar)}
		}
	}
	add(im.last)
	config := map[string]any{}
	for key, value := range im.config {
		config[key] = value
	}
	if im.config != nil && !im.noRootFS {
		config["rootfs"] = map[string]any{"type": "layers", "diff_ids": im.diffIDs}
	}
	im.manifest["config"], im.manifest["layers"] = f.json(im.configType, config), layers
	mediaType, ok := im.manifest["mediaType"].(string)
	if !ok {
		mediaType = typeManifest
	}
	return f.json(mediaType, im.manifest)
}

// statement is what BuildKit attaches: one in-toto statement about the base image.
func (im *formImage) statement() []byte {
	data, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2",
		"subject":   []any{map[string]any{"name": "app", "digest": map[string]string{"sha256": im.base.Digest.Encoded()}}},
		"predicate": map[string]any{},
	})
	if err != nil {
		panic(err) // strings alone
	}
	return data
}

// ownText has no layer but one of text, which the config names.
func (im *formImage) ownText(mediaType string, text []byte) {
	im.noLayer, im.last = true, []formLayer{{mediaType, text}}
	im.diffIDs = []digest.Digest{digest.FromBytes(text)}
}

func allForms() []form {
	var all []form
	for _, some := range [][]form{harmlessForms(), manifestForms(), configForms(), knownForms(), layerForms(), packedForms(), tarForms()} {
		all = append(all, some...)
	}
	return all
}

// harmlessForms are what people attach, and what has to be served.
func harmlessForms() []form {
	attached := func(configType, layerType, artifactType string, text func(im *formImage) []byte) func(*formImage) {
		return func(im *formImage) {
			im.ownText(layerType, text(im))
			im.config, im.configType = nil, configType
			im.manifest["artifactType"] = artifactType
		}
	}
	sbom := func(*formImage) []byte { return []byte(`{"spdxVersion":"SPDX-2.3","name":"app"}`) }
	return []form{
		{name: harmless + "statement", change: attached(typeEmpty, typeInToto, typeInToto, (*formImage).statement)},
		{name: harmless + "statement, as BuildKit has it", change: func(im *formImage) {
			im.ownText(typeInToto, im.statement())
			im.config = map[string]any{"architecture": "unknown", "os": "unknown", "config": map[string]any{}}
		}},
		{name: harmless + "SBOM", change: attached(typeEmpty, "application/spdx+json", "application/spdx+json", sbom)},
		{name: harmless + "SBOM, image config", change: attached(typeConfig, "application/spdx+json", "application/spdx+json", sbom)},
		{name: harmless + "text, helm config", change: attached(typeHelm, typeText, "", func(*formImage) []byte { return []byte("hello\n") })},
	}
}

// harmless is how the names of those begin.
const harmless = "harmless: "

func manifestForms() []form {
	extra := func(mediaType string, first bool) func(*formImage) {
		return func(im *formImage) {
			l := []formLayer{{mediaType, im.statement()}}
			if mediaType == typeText {
				l[0].data = []byte("hello")
			}
			if first {
				im.first = l
			} else {
				im.last = l
			}
		}
	}
	schema2 := func(im *formImage) {
		im.manifest["mediaType"], im.configType, im.layerType = dockerSchema2, dockerConfig, dockerLayer
	}
	return []form{
		{name: "plain", change: func(im *formImage) {}},
		{name: "artifactType", change: func(im *formImage) { im.manifest["artifactType"] = "application/spdx+json" }},
		{name: "no mediaType", change: func(im *formImage) { delete(im.manifest, "mediaType") }},
		{name: "nondistributable layer", change: func(im *formImage) {
			im.layerType = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
		}},
		{name: "schema 2", change: schema2},
		{name: "OCI manifest, docker types", change: func(im *formImage) { im.configType, im.layerType = dockerConfig, dockerLayer }},
		{name: "one more layer: text", change: extra(typeText, false)},
		{name: "one more layer: text, first", change: extra(typeText, true)},
		{name: "one more layer: unknown", change: extra("application/vnd.acme.thing", false)},
		{name: "one more layer: in-toto", change: extra(typeInToto, false)},
		{name: "one more layer: in-toto, first", change: extra(typeInToto, true)},
		{name: "one more layer: schema 2", change: func(im *formImage) { schema2(im); extra(typeText, false)(im) }},
		{name: "one more layer: named by the config", change: func(im *formImage) {
			extra(typeInToto, false)(im)
			im.diffIDs = []digest.Digest{digest.FromBytes(im.tar), digest.FromBytes(im.last[0].data)}
		}},
	}
}

func configForms() []form {
	typed := func(mediaType string) form {
		return form{name: "config type " + mediaType, change: func(im *formImage) { im.configType = mediaType }}
	}
	return []form{
		typed("application/json"), typed(dockerPlugin), typed(typeOctets), typed(typeEmpty), typed(typeHelm),
		typed("application/vnd.acme.config+json"), typed(typeInToto),
		{name: "config {}", change: func(im *formImage) { im.config = nil }},
		{name: "config without rootfs", change: func(im *formImage) { im.noRootFS = true }},
		{name: "config without rootfs, text layer", change: func(im *formImage) {
			im.ownText(typeText, []byte("hello"))
			im.noRootFS = true
		}},
		{name: "no files", command: noFile, change: func(im *formImage) { im.noLayer, im.noRootFS = true, true }},
		{name: "no files, config type json", command: noFile, change: func(im *formImage) {
			im.noLayer, im.noRootFS, im.configType = true, true, "application/json"
		}},
		{name: "no files, empty layer", command: noFile, change: func(im *formImage) { im.ownText(typeText, nil) }},
		{name: "empty layer, in-toto", change: func(im *formImage) { im.ownText(typeInToto, nil) }},
	}
}

// noFile is in each container, whatever its image: the runtime that starts it.
const noFile = "/proc/self/exe"

// knownForms have no files of their own: they name those of the base image.
func knownForms() []form {
	known := func(configType string, layers int) func(*formImage) {
		return func(im *formImage) {
			im.configType, im.noLayer, im.diffIDs = configType, true, im.base.diffIDs
			for i := range layers {
				im.last = append(im.last, formLayer{typeInToto, append(im.statement(), "\n"[:i]...)})
			}
		}
	}
	// The digest of this text is what engines call both layers of the base image.
	named := func(configType, layerType, between string, part func(digest.Digest) string) func(*formImage) {
		return func(im *formImage) {
			im.configType = configType
			im.ownText(layerType, []byte(part(im.base.diffIDs[0])+between+part(im.base.diffIDs[1])))
			delete(im.config, "config") // who starts it says what to run
		}
	}
	whole, hex := digest.Digest.String, digest.Digest.Encoded
	without := func(change func(*formImage)) func(*formImage) {
		return func(im *formImage) { change(im); im.noRootFS = true }
	}
	return []form{
		{name: "known layers, config type json", change: known("application/json", 2)},
		{name: "known layers, config type in-toto", change: known(typeInToto, 2)},
		{name: "known layers, config type empty", change: known(typeEmpty, 2)},
		{name: "known layers, OCI config", change: known(typeConfig, 2)},
		{name: "known layers, docker config", change: known(dockerConfig, 2)},
		{name: "known layers, one of its own, OCI config", change: known(typeConfig, 1)},
		{name: "known layers, one of its own, in-toto", change: known(typeInToto, 1)},
		{name: "known layers, none of its own, OCI config", change: known(typeConfig, 0)},
		{name: "known layers, none of its own, in-toto", change: known(typeInToto, 0)},
		{name: "text of a chain ID, OCI config", change: named(typeConfig, typeText, " ", whole)},
		{name: "text of a chain ID, in-toto", change: named(typeInToto, typeInToto, " ", whole)},
		{name: "text of a chain ID, json", change: named("application/json", typeText, " ", whole)},
		{name: "text of a chain ID, image types", change: named(typeConfig, typeTar, " ", whole)},
		{name: "text of a layer ID, OCI config", change: named(typeConfig, typeText, "+", hex)},
		{name: "text of a layer ID, image types", change: named(typeConfig, typeTar, "+", hex)},
		{name: "text of a layer ID, no rootfs", change: without(named(typeConfig, typeText, "+", hex))},
		{name: "text of a layer ID, empty type", change: without(named(typeEmpty, typeInToto, "+", hex))},
		{name: "text of a layer ID, in-toto", change: named(typeInToto, typeInToto, "+", hex)},
		{name: "table of contents elsewhere", change: func(im *formImage) {
			im.ownText(typeZstd, []byte("hello"))
			im.noLayer, im.last, im.tar, im.layerType = false, nil, []byte("hello"), typeZstd
			im.pack = func(b []byte) []byte { return b }
			im.annotations = map[string]string{
				"io.github.containers.zstd-chunked.manifest-checksum": string(im.base.diffIDs[0]),
				"io.github.containers.zstd-chunked.manifest-position": "1:1:1:1",
			}
		}},
	}
}

// layerForms have layers of other types.
func layerForms() []form {
	var all []form
	for _, mediaType := range []string{
		typeOctets, strings.ToUpper(typeGzip), "", typeText, typeInToto,
		"application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
		typeGzip + "; charset=utf-8", typeGzip + "+encrypted", "application/vnd.oci.image.layer.v1.tar+foo",
	} {
		name := mediaType
		if name == "" {
			name = "none"
		}
		all = append(all, form{name: "layer type " + name, change: func(im *formImage) { im.layerType = mediaType }})
	}
	return all
}
