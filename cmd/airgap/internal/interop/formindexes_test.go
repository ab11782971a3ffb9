//go:build interop && linux

package interop

import (
	"encoding/json"
	"os"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// indexForm is an index that lists an image in an unusual way. It lists the base image,
// too, for another platform, so that only the former is for linux/amd64.
type indexForm struct {
	name string
	form string // of the image; plain if empty
	// child changes the descriptor of the image, which is for linux/amd64.
	child func(d *ocispec.Descriptor, base ocispec.Descriptor)
	// wrap, if any, makes something else of the index.
	wrap func(f *layoutFolder, index ocispec.Descriptor) ocispec.Descriptor
	// absent keeps the child out of the folder; carried has the index tell where it is.
	absent  bool
	carried func(d *ocispec.Descriptor, raw []byte)
}

// Where the plain registry is on each node, and what it has of others.
const (
	plainHost     = "127.0.0.1:5000"
	elsewherePath = "/elsewhere/"
)

func marked(d *ocispec.Descriptor, base ocispec.Descriptor) {
	d.Annotations = map[string]string{
		"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": string(base.Digest),
	}
}

func markedForNowhere(d *ocispec.Descriptor, base ocispec.Descriptor) {
	marked(d, base)
	d.Platform = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
}

func indexForms() []indexForm {
	typed := func(mediaType string) func(*ocispec.Descriptor, ocispec.Descriptor) {
		return func(d *ocispec.Descriptor, _ ocispec.Descriptor) { d.MediaType = mediaType }
	}
	embedded := func(d *ocispec.Descriptor, raw []byte) { d.Data = raw }
	linked := func(d *ocispec.Descriptor, _ []byte) {
		d.URLs = []string{"http://" + plainHost + elsewherePath + string(d.Digest)}
	}
	return []indexForm{
		{name: "index"},
		{name: "index, marked", child: marked},
		{name: "index, marked, config type json", form: "config type application/json", child: marked},
		{name: "index, marked, one more layer", form: "one more layer: text", child: marked},
		{name: "index, marked, known layers", form: "known layers, config type in-toto", child: marked},
		{name: "index, marked, text of a chain ID", form: "text of a chain ID, in-toto", child: marked},
		{name: "index, marked, text of a layer ID", form: "text of a layer ID, in-toto", child: marked},
		{name: "index, marked, for unknown/unknown", child: markedForNowhere},
		{name: "index, marked, without a platform", child: func(d *ocispec.Descriptor, base ocispec.Descriptor) {
			marked(d, base)
			d.Platform = nil
		}},
		{name: "index, child with artifactType", child: func(d *ocispec.Descriptor, _ ocispec.Descriptor) { d.ArtifactType = "application/spdx+json" }},
		{name: "index, child of unknown type", child: typed("application/vnd.acme.thing")},
		{name: "index, child of type json", child: typed("application/json")},
		{name: "index, child of no type", child: typed("")},
		{name: "index in an index", wrap: func(f *layoutFolder, index ocispec.Descriptor) ocispec.Descriptor {
			return f.indexManifest(nil, index)
		}},
		{name: "index in an index, for linux/amd64", wrap: func(f *layoutFolder, index ocispec.Descriptor) ocispec.Descriptor {
			index.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
			return f.indexManifest(nil, index)
		}},
		{name: "index, child absent, in data", absent: true, carried: embedded},
		{name: "index, child absent, at urls", absent: true, carried: linked},
		{name: "index, child here, in data", carried: embedded},
		{name: "index, known layers, absent, in data", form: "known layers, OCI config", absent: true, carried: embedded},
	}
}

// indexManifest adds an index of these manifests.
func (f *layoutFolder) indexManifest(subject *ocispec.Descriptor, manifests ...ocispec.Descriptor) ocispec.Descriptor {
	return f.json(ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: manifests, Subject: subject,
	})
}

// indexOf adds an index that lists the base image for linux/arm64, and another
// manifest for linux/amd64, changed.
func (f *layoutFolder) indexOf(base *baseImage, d ocispec.Descriptor, change func(d *ocispec.Descriptor, base ocispec.Descriptor)) ocispec.Descriptor {
	good := subjectOf(base.Descriptor)
	good.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	d.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	if change != nil {
		change(&d, good)
	}
	return f.indexManifest(nil, good, d)
}

// disguiseIn adds an index in a form, and its image, or writes that elsewhere.
func (f *layoutFolder) disguiseIn(base *baseImage, x indexForm, elsewhere *layoutFolder) ocispec.Descriptor {
	to := f
	if x.absent {
		to = elsewhere
	}
	image := form{name: x.name, change: func(*formImage) {}}
	for _, known := range allForms() {
		if known.name == x.form {
			image.change = known.change
		}
	}
	d := to.disguise(base, image)
	if x.carried != nil {
		d = to.carry(d, x.carried)
	}
	d = f.indexOf(base, d, x.child)
	if x.wrap != nil {
		d = x.wrap(f, d)
	}
	return d
}

// carry has a manifest tell where its config and layers are, and its descriptor where
// itself is.
func (f *layoutFolder) carry(d ocispec.Descriptor, carried func(d *ocispec.Descriptor, raw []byte)) ocispec.Descriptor {
	var m map[string]json.RawMessage
	var config ocispec.Descriptor
	var layers []ocispec.Descriptor
	f.read(d, &m)
	f.parse(m["config"], &config)
	f.parse(m["layers"], &layers)
	carried(&config, f.bytes(config))
	for i := range layers {
		carried(&layers[i], f.bytes(layers[i]))
	}
	m["config"], m["layers"] = f.marshal(config), f.marshal(layers)
	d = f.json(d.MediaType, m)
	carried(&d, f.bytes(d))
	return d
}

func (f *layoutFolder) bytes(d ocispec.Descriptor) []byte {
	data, err := os.ReadFile(f.path(d.Digest))
	if f.err == nil {
		f.err = err
	}
	return data
}

func (f *layoutFolder) read(d ocispec.Descriptor, v any) { f.parse(f.bytes(d), v) }

func (f *layoutFolder) parse(data []byte, v any) {
	if err := json.Unmarshal(data, v); f.err == nil {
		f.err = err
	}
}

func (f *layoutFolder) marshal(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if f.err == nil {
		f.err = err
	}
	return data
}
