package store

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// relate finds what is attached to what: by a subject field or, of what cosign keeps under
// tags, by what it signs.
func (f *inventory) relate(s *Store) {
	listed := map[digest.Digest]bool{}
	for _, m := range f.manifests {
		for _, b := range m.Blobs() {
			listed[b.Digest] = true
		}
	}
	for _, dgst := range sorted(f.manifests) {
		m := f.manifests[dgst]
		switch {
		case listed[dgst]:
			// It is somebody's layer, made to look like a manifest or not.
		case m.Subject != nil:
			f.attached[m.Subject.Digest] = append(f.attached[m.Subject.Digest], dgst)
		default:
			if subject, ok := f.signed(s, m.Manifest); ok {
				f.tagged[subject] = append(f.tagged[subject], dgst)
			}
		}
	}
}

// What cosign puts into the manifests that it keeps under tags.
const (
	simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	dsseEnvelope  = "application/vnd.dsse.envelope.v1+json"
	// maxSigned is how much of a payload is read to see what it is about.
	maxSigned = 1 << 20
)

// form is what a manifest of cosign's is by its layers; "" for any other.
func form(m *layout.Manifest) layout.Form {
	if layout.IsIndex(m.MediaType) || len(m.Layers) == 0 || layout.HasImageTypes(m) {
		return ""
	}
	switch m.Layers[0].MediaType {
	case simpleSigning:
		return layout.FormCosignSig
	case dsseEnvelope:
		return layout.FormCosignAtt
	}
	return ""
}

// signed says what a manifest of cosign's is about, by the first payload. Whether that is
// so is for a verifier to say, later.
func (f *inventory) signed(s *Store, m *layout.Manifest) (digest.Digest, bool) {
	kind := form(m)
	if kind == "" || f.sizes[m.Layers[0].Digest] > maxSigned {
		return "", false
	}
	file, err := s.fs.Open(layout.BlobPath(m.Layers[0].Digest), os.O_RDONLY, 0)
	if err != nil {
		return "", false
	}
	data, err := layout.ReadAll(file, m.Layers[0])
	if err != nil {
		return "", false
	}
	subject := signedDigest(kind, data)
	dgst, err := layout.ParseDigest(subject)
	return dgst, err == nil
}

// signedDigest reads the digest out of a simple signing payload
// (github.com/containers/image, docs/containers-signature.5.md), or of an in-toto
// statement in a DSSE envelope.
func signedDigest(kind layout.Form, data []byte) string {
	var simple struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if kind == layout.FormCosignSig {
		_ = json.Unmarshal(data, &simple) // else it is about nothing
		return simple.Critical.Image.Digest
	}
	var envelope struct{ Payload string }
	var statement struct {
		Subject []struct{ Digest map[string]string }
	}
	_ = json.Unmarshal(data, &envelope)
	payload, _ := base64.StdEncoding.DecodeString(envelope.Payload)
	_ = json.Unmarshal(payload, &statement)
	if len(statement.Subject) == 0 {
		return ""
	}
	return "sha256:" + statement.Subject[0].Digest["sha256"]
}

// reach is what roots lead to in a repository.
func (h *history) reach(repo string, roots []digest.Digest) *gain {
	f := &h.found
	todo := slices.Clone(roots)
	g := &gain{blobs: map[digest.Digest]int64{}, manifests: map[digest.Digest]record{}}
	for len(todo) > 0 {
		dgst := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		m := f.manifests[dgst]
		if _, was := g.manifests[dgst]; was || m == nil {
			continue
		}
		rec := record{MediaType: m.Descriptor.MediaType, Size: m.Size, ArtifactType: m.Manifest.ArtifactType}
		if m.Subject != nil {
			rec.Subject = m.Subject.Digest
		}
		g.manifests[dgst] = rec
		for _, b := range m.Blobs() {
			size, ok := f.sizes[b.Digest]
			if ok && (!layout.IsIndex(rec.MediaType) || h.gives(repo, b.Digest)) {
				g.blobs[b.Digest] = size
			}
		}
		for _, c := range m.Manifests {
			if h.leads(repo, dgst, c.Digest) {
				todo = append(todo, c.Digest)
			}
		}
		todo = append(todo, f.attached[dgst]...)
		todo = append(todo, f.retag(repo, dgst)...)
	}
	return g
}

// retag gives cosign's signatures and attestations of a manifest their tags. There is one
// tag for each kind: the one with most layers has it, for cosign adds to what is there.
func (f *inventory) retag(repo string, subject digest.Digest) []digest.Digest {
	var out []digest.Digest
	for _, kind := range []layout.Form{layout.FormCosignSig, layout.FormCosignAtt} {
		var best *foundManifest
		for _, dgst := range f.tagged[subject] {
			if m := f.manifests[dgst]; form(m.Manifest) == kind && (best == nil || len(m.Layers) > len(best.Layers)) {
				best = m
			}
		}
		tag, ok := kind.Tag(subject)
		if best == nil || !ok {
			continue
		}
		name := layout.Name{Reference: layout.Reference{Repository: repo, Tag: tag}, Descriptor: best.Descriptor}
		if !slices.ContainsFunc(f.tags, func(n layout.Name) bool { return n.Reference == name.Reference }) {
			f.tags = append(f.tags, name)
		}
		out = append(out, best.Digest)
	}
	return out
}
