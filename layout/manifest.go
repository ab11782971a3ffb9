package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Manifest is what airgap reads of a manifest or an index of any form: image
// manifests and indexes (OCI and docker schema 2) and the two retired artifact
// manifests.
type Manifest struct {
	MediaType    string
	ArtifactType string // artifactType, else the config's media type
	Config       *Descriptor
	Layers       []Descriptor // layers, or the blobs of an artifact manifest
	Manifests    []Descriptor // of an index: what it lists that is a manifest
	// Opaque is what an index lists under any other media type (image-spec,
	// "OCI Image Index": an unknown one must not be an error), docker's schema 1
	// too. It is carried as a blob, whatever its bytes are, and never served as a
	// manifest.
	Opaque      []Descriptor
	Subject     *Descriptor
	Annotations map[string]string
}

// Blobs returns the config, if any, and the layers; of an index, what it lists that
// is no manifest.
func (m *Manifest) Blobs() []Descriptor {
	if m.Config == nil {
		return slices.Concat(m.Layers, m.Opaque)
	}
	return append([]Descriptor{*m.Config}, m.Layers...)
}

type manifestJSON struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *Descriptor       `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Blobs         []Descriptor      `json:"blobs"`
	FSLayers      json.RawMessage   `json:"fsLayers"`
	Manifests     []Descriptor      `json:"manifests"`
	Subject       *Descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// ParseManifest reads raw as the kind of manifest that d.MediaType says. It
// refuses what could be read in two ways (an index that is also a manifest, an
// embedded media type that differs from the descriptor's, duplicate keys; see
// CheckJSON) and every descriptor outside the grammar. raw is expected to match
// d's digest already.
func ParseManifest(d Descriptor, raw []byte) (*Manifest, error) {
	m, err := parseManifest(d.MediaType, raw)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return m, nil
}

func parseManifest(mediaType string, raw []byte) (*Manifest, error) {
	switch {
	case IsSchema1(mediaType):
		return nil, fmt.Errorf("docker schema 1 has no content digests: %w", ErrUnsupported)
	case !IsManifest(mediaType):
		return nil, fmt.Errorf("media type %.100q is no manifest: %w", mediaType, ErrUnsupported)
	case len(raw) > MaxManifestBytes:
		return nil, fmt.Errorf("%d bytes, at most %d are accepted: %w", len(raw), MaxManifestBytes, ErrLimit)
	}
	if err := CheckJSON(raw); err != nil {
		return nil, err
	}
	var j manifestJSON
	if first := bytes.TrimLeft(raw, " \t\r\n"); first[0] != '{' { // null would pass below
		return nil, fmt.Errorf("no JSON object: %w", ErrCorrupt)
	}
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("%v: %w", err, ErrCorrupt)
	}
	if err := j.check(mediaType); err != nil {
		return nil, err
	}
	m := &Manifest{
		MediaType: mediaType, ArtifactType: j.ArtifactType, Config: j.Config, Layers: j.Layers,
		Subject: j.Subject, Annotations: j.Annotations,
	}
	m.Manifests, m.Opaque = splitListed(j.Manifests)
	if m.Layers == nil {
		m.Layers = j.Blobs
	}
	if m.ArtifactType == "" && j.Config != nil {
		m.ArtifactType = j.Config.MediaType
	}
	return m, nil
}

// check holds the shape of a document against its media type.
func (j *manifestJSON) check(mediaType string) error {
	if j.MediaType != "" && j.MediaType != mediaType {
		return fmt.Errorf("says it is %.100q, its descriptor says %q: %w", j.MediaType, mediaType, ErrCorrupt)
	}
	artifact := mediaType == MediaTypeArtifactManifest || mediaType == MediaTypeORASManifest
	index := IsIndex(mediaType)
	if artifact && j.MediaType == "" {
		// Both specifications require it, and nothing else tells an
		// artifact manifest with nothing in it from an index.
		return fmt.Errorf("a document of type %s must say so in \"mediaType\": %w", mediaType, ErrCorrupt)
	}
	bad := ""
	switch {
	case j.FSLayers != nil:
		bad = "fsLayers"
	case j.Manifests != nil && !index:
		bad = "manifests"
	case j.Layers != nil && (index || artifact):
		bad = "layers"
	case j.Config != nil && (index || artifact):
		bad = "config"
	case j.Blobs != nil && !artifact:
		bad = "blobs"
	case j.Config == nil && !index && !artifact:
		return fmt.Errorf("an image manifest without config: %w", ErrCorrupt)
	}
	if bad != "" {
		return fmt.Errorf("a document of type %s must not have %q: %w", mediaType, bad, ErrCorrupt)
	}
	if !artifact && j.SchemaVersion != 2 {
		return fmt.Errorf("schemaVersion %d, want 2: %w", j.SchemaVersion, ErrCorrupt)
	}
	return j.checkDescriptors()
}

func (j *manifestJSON) checkDescriptors() error {
	n := len(j.Layers) + len(j.Blobs) + len(j.Manifests)
	if n > MaxDescriptors {
		return fmt.Errorf("%d descriptors, at most %d are accepted: %w", n, MaxDescriptors, ErrLimit)
	}
	for _, list := range [][]Descriptor{j.Layers, j.Blobs, j.Manifests} {
		for i := range list {
			if err := CheckDescriptor(list[i]); err != nil {
				return err
			}
		}
	}
	if err := checkListed(j.Manifests); err != nil {
		return err
	}
	for _, one := range []*Descriptor{j.Config, j.Subject} {
		if one != nil {
			if err := CheckDescriptor(*one); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkListed refuses what an index lists as a manifest and as something else.
func checkListed(list []Descriptor) error {
	manifests, opaque := splitListed(list)
	if len(opaque) == 0 {
		return nil
	}
	listed := make(map[digest.Digest]bool, len(manifests))
	for _, d := range manifests {
		listed[d.Digest] = true
	}
	for _, d := range opaque {
		if listed[d.Digest] {
			return fmt.Errorf("lists %s as a manifest and as %.100q: %w", d.Digest, d.MediaType, ErrCorrupt)
		}
	}
	return nil
}

// splitListed sorts what an index lists by whether its media type is a manifest's.
func splitListed(list []Descriptor) (manifests, opaque []Descriptor) {
	isOpaque := func(d Descriptor) bool { return !IsManifest(d.MediaType) }
	if !slices.ContainsFunc(list, isOpaque) {
		return list, nil
	}
	for _, d := range list {
		if isOpaque(d) {
			opaque = append(opaque, d)
		} else {
			manifests = append(manifests, d)
		}
	}
	return manifests, opaque
}
