package layout

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
)

// cosignKind is the annotation by which cosign save tells an image from its
// signatures and attestations in index.json.
const cosignKind = "kind"

var cosignKinds = map[string]Form{
	"dev.cosignproject.cosign/sigs": FormCosignSig,
	"dev.cosignproject.cosign/atts": FormCosignAtt,
}

func kindOf(d Descriptor) Form { return cosignKinds[d.Annotations[cosignKind]] }

// findEdges collects, once, what the layout says is attached to what.
func (r *Reader) findEdges() error {
	r.once.Do(func() {
		r.edges = map[digest.Digest]map[Form][]Descriptor{}
		if r.err = r.edgesFromNames(); r.err == nil {
			r.err = r.edgesFromSubjects()
		}
		for _, forms := range r.edges {
			for f, list := range forms {
				slices.SortFunc(list, func(a, b Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
				forms[f] = slices.CompactFunc(list, func(a, b Descriptor) bool { return a.Digest == b.Digest })
			}
		}
	})
	return r.err
}

func (r *Reader) addEdge(subject digest.Digest, f Form, d Descriptor) {
	if r.edges[subject] == nil {
		r.edges[subject] = map[Form][]Descriptor{}
	}
	r.edges[subject][f] = append(r.edges[subject][f], trim(d))
}

// edgesFromNames reads tags that are made from digests, and cosign save's marks.
func (r *Reader) edgesFromNames() error {
	for _, d := range r.index {
		tag := entryName(d).Tag
		if subject, f, ok := ParseCosignTag(tag); ok {
			r.addEdge(subject, f, d)
		} else if subject, _, ok := ParseCosignTag(tag + ".sig"); ok && IsIndex(d.MediaType) {
			m, err := r.parse(d)
			if err != nil {
				return err
			}
			for _, c := range m.Manifests {
				r.addEdge(subject, FormReferrersTag, c)
			}
		} else if f := kindOf(d); f != "" {
			for _, image := range r.index {
				if kindOf(image) == "" {
					r.addEdge(image.Digest, f, d)
				}
			}
		}
	}
	return nil
}

func (r *Reader) parse(d Descriptor) (*Manifest, error) {
	raw, err := r.read(d)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(d, raw)
	return m, r.fail("", err)
}

func (r *Reader) read(d Descriptor) ([]byte, error) {
	rc, err := r.Open(context.Background(), "", d) // a file does not block
	if err != nil {
		return nil, err
	}
	return ReadAll(rc, d)
}

// edgesFromSubjects looks into every blob that could be a manifest: tools differ
// in whether they list what is attached.
func (r *Reader) edgesFromSubjects() error {
	listed := map[digest.Digest]bool{}
	for _, d := range r.index {
		if listed[d.Digest] {
			continue
		}
		listed[d.Digest] = true
		m, err := r.parse(d)
		if errors.Is(err, ErrNotFound) {
			continue // the walk says it better
		}
		if err != nil {
			return err
		}
		if m.Subject != nil {
			r.addEdge(m.Subject.Digest, FormLayout, d)
		}
	}
	return r.files.blobs(func(dgst digest.Digest, size int64) error {
		if listed[dgst] || size > MaxManifestBytes {
			return nil
		}
		return r.sniff(Descriptor{Digest: dgst, Size: size})
	})
}

// sniff adds an edge if an unlisted blob is a manifest with a subject.
func (r *Reader) sniff(d Descriptor) error {
	rc, _, err := r.files.blob(d.Digest)
	if err != nil {
		return r.fail(d.Digest, err)
	}
	var first [1]byte
	_, err = io.ReadFull(rc, first[:])
	rc.Close()
	if err != nil || first[0] != '{' {
		return nil
	}
	raw, err := r.read(d)
	if err != nil {
		return err
	}
	var head struct {
		MediaType string          `json:"mediaType"`
		Subject   json.RawMessage `json:"subject"`
		Config    json.RawMessage `json:"config"`
		Layers    json.RawMessage `json:"layers"`
	}
	if json.Unmarshal(raw, &head) != nil || head.Subject == nil {
		return nil // an SBOM, a config
	}
	if d.MediaType = head.MediaType; d.MediaType == "" && head.Config != nil && head.Layers != nil {
		d.MediaType = MediaTypeManifest
	}
	if !IsManifest(d.MediaType) {
		return nil
	}
	m, err := ParseManifest(d, raw)
	if err == nil && m.Subject != nil {
		r.addEdge(m.Subject.Digest, FormLayout, d)
	}
	return nil
}
