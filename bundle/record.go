package bundle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Types of the export record.
const (
	RecordArtifactType  = "application/vnd.airgap.export.v1+json"
	RecordPredicateType = "urn:airgap:export:v1"
	statementType       = "https://in-toto.io/Statement/v1"
	statementMediaType  = "application/vnd.in-toto+json"
)

// maxRecordBytes caps the export record: about 250 bytes a manifest are needed.
const maxRecordBytes = layout.MaxIndexBytes

// Statement is an in-toto statement (in-toto attestation framework, Statement
// v1) whose predicate is an export record.
type Statement struct {
	Type          string    `json:"_type"`
	Subject       []Subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     Record    `json:"predicate"`
}

// Subject is one root of the bundle.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Record says what a bundle holds, and what every repository answered when it
// was asked for attachments. It has no clock, so the same content gives the same
// bytes.
type Record struct {
	Roots        []RecordRoot       `json:"roots"`
	Repositories []RecordRepository `json:"repositories"`
	Manifests    []RecordManifest   `json:"manifests"`
	Blobs        []RecordBlob       `json:"blobs"`
	LeftOut      []RecordLeftOut    `json:"leftOut,omitempty"`
	SetAside     []RecordSetAside   `json:"setAside,omitempty"`
	// AttachedFrom are further repositories in which what is attached was looked for,
	// sorted; what was found there is listed in the repository of its subject.
	AttachedFrom []string `json:"attachedFrom,omitempty"`
	// RevocationLists are CRLs that travel with it; they are layers of the
	// record's manifest.
	RevocationLists []RecordRevocationList `json:"revocationLists,omitempty"`
	// Delta says what of Blobs the bundle does not carry; nil if it carries all.
	Delta *RecordDelta `json:"delta,omitempty"`
}

// RecordRoot is a name that was asked for.
type RecordRoot struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
}

// RecordRepository is a repository with the manifests taken from it.
type RecordRepository struct {
	Name string `json:"name"`
	// Answers says, for each form by which attachments can be found, whether
	// the repository could be asked: "answered" or "unsupported".
	Answers   map[layout.Form]string `json:"answers"`
	Manifests []RecordPlace          `json:"manifests"`
}

// RecordPlace is a manifest in a repository.
type RecordPlace struct {
	Digest digest.Digest `json:"digest"`
	// Answers replaces the repository's where this manifest differs.
	Answers  map[layout.Form]string `json:"answers,omitempty"`
	Attached []RecordEdge           `json:"attached,omitempty"`
}

// RecordEdge is a manifest attached to another.
type RecordEdge struct {
	Digest digest.Digest `json:"digest"`
	By     []layout.Form `json:"by"`
}

// RecordManifest is one manifest of the inventory.
type RecordManifest struct {
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	MediaType string        `json:"mediaType"`
}

func (m *RecordManifest) descriptor() layout.Descriptor {
	return layout.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size}
}

// RecordBlob is one blob of the inventory.
type RecordBlob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// RecordLeftOut is something that a manifest lists and that was not taken from
// one of its repositories.
type RecordLeftOut struct {
	Repository string        `json:"repository"`
	Parent     digest.Digest `json:"parent"`
	Digest     digest.Digest `json:"digest"`
	Platform   string        `json:"platform,omitempty"`
	Reason     string        `json:"reason"`
}

// RecordSetAside is something that a repository gave as attached and that is not.
type RecordSetAside struct {
	Repository string        `json:"repository"`
	Subject    digest.Digest `json:"subject"`
	Digest     digest.Digest `json:"digest,omitempty"`
	By         layout.Form   `json:"by"`
	Reason     string        `json:"reason"`
}

// RecordRevocationList is a CRL that a certificate in an attachment points to, as
// it was there at the time of the export.
type RecordRevocationList struct {
	URL    string        `json:"url"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

const (
	answered    = "answered"
	unsupported = "unsupported"
)

// newRecord describes g.
func newRecord(g *layout.Graph) *Record {
	r := &Record{Roots: []RecordRoot{}, Repositories: []RecordRepository{}, Manifests: []RecordManifest{}, Blobs: []RecordBlob{}}
	for _, n := range g.Roots {
		r.Roots = append(r.Roots, RecordRoot{n.Reference.String(), n.Descriptor.Digest})
	}
	slices.SortFunc(r.Roots, func(a, b RecordRoot) int { return cmp.Compare(a.Reference, b.Reference) })
	for _, p := range g.Places {
		r.place(p)
	}
	blobs := map[digest.Digest]int64{}
	for _, n := range g.Manifests() {
		r.Manifests = append(r.Manifests, RecordManifest{n.Descriptor.Digest, n.Descriptor.Size, n.Descriptor.MediaType})
		for _, b := range n.Blobs {
			blobs[b.Digest] = b.Size
		}
	}
	for _, d := range slices.Sorted(maps.Keys(blobs)) {
		r.Blobs = append(r.Blobs, RecordBlob{d, blobs[d]})
	}
	for _, o := range g.Omitted {
		out := RecordLeftOut{Repository: o.Repository, Parent: o.Parent, Digest: o.Descriptor.Digest, Reason: o.Reason}
		if o.Descriptor.Platform != nil {
			out.Platform = layout.FormatPlatform(*o.Descriptor.Platform)
		}
		r.LeftOut = append(r.LeftOut, out)
	}
	for _, s := range g.Rejected {
		r.SetAside = append(r.SetAside, RecordSetAside{s.Repository, s.Subject, s.Digest, s.Form, s.Reason})
	}
	return r
}

// share lets equal digests, media types and answers of a record that was read be
// one string each in memory: it names every manifest at least three times.
func (r *Record) share() {
	seen := make(map[string]string, len(r.Manifests)+len(r.Blobs))
	one := func(s string) string {
		if t, ok := seen[s]; ok {
			return t
		}
		seen[s] = s
		return s
	}
	for i := range r.Manifests {
		m := &r.Manifests[i]
		m.Digest, m.MediaType = digest.Digest(one(string(m.Digest))), one(m.MediaType)
	}
	for i := range r.Roots {
		r.Roots[i].Digest = digest.Digest(one(string(r.Roots[i].Digest)))
	}
	for i := range r.Repositories {
		for j := range r.Repositories[i].Manifests {
			p := &r.Repositories[i].Manifests[j]
			p.Digest = digest.Digest(one(string(p.Digest)))
			for k := range p.Attached {
				e := &p.Attached[k]
				e.Digest = digest.Digest(one(string(e.Digest)))
				for l := range e.By {
					e.By[l] = layout.Form(one(string(e.By[l])))
				}
			}
		}
	}
}

// place adds a manifest to its repository; places come sorted by repository.
func (r *Record) place(p layout.Place) {
	answers := make(map[layout.Form]string, len(p.Answers))
	for f, a := range p.Answers {
		answers[f] = answered
		if a == layout.AnswerUnsupported {
			answers[f] = unsupported
		}
	}
	last := len(r.Repositories) - 1
	if last < 0 || r.Repositories[last].Name != p.Repository {
		r.Repositories = append(r.Repositories, RecordRepository{Name: p.Repository, Answers: answers})
		last++
	}
	repo := &r.Repositories[last]
	rp := RecordPlace{Digest: p.Digest}
	if !maps.Equal(answers, repo.Answers) {
		rp.Answers = answers
	}
	for _, e := range p.Attached {
		rp.Attached = append(rp.Attached, RecordEdge{e.Digest, e.Forms})
	}
	repo.Manifests = append(repo.Manifests, rp)
}

// artifact packs the record as an OCI artifact: manifest, config, statement, and
// the revocation lists that it names, whose bytes lists has by digest.
func (r *Record) artifact(lists map[digest.Digest][]byte) ([]layout.Content, error) {
	s := Statement{Type: statementType, PredicateType: RecordPredicateType, Predicate: *r, Subject: []Subject{}}
	for _, root := range r.Roots {
		s.Subject = append(s.Subject, Subject{root.Reference, map[string]string{root.Digest.Algorithm().String(): root.Digest.Encoded()}})
	}
	statement, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if len(statement) > maxRecordBytes {
		return nil, fmt.Errorf("the export record would have %d bytes, at most %d are accepted: %w", len(statement), maxRecordBytes, layout.ErrLimit)
	}
	config := content(layout.MediaTypeEmpty, []byte("{}"))
	body := content(statementMediaType, statement)
	out := []layout.Content{{}, config, body}
	layers := []layout.Descriptor{body.Descriptor}
	for _, l := range r.RevocationLists {
		c := content(listMediaType, lists[l.Digest])
		if c.Descriptor.Digest != l.Digest || c.Descriptor.Size != l.Size {
			return nil, fmt.Errorf("revocation list %s: not the one in the export record: %w", l.Digest, layout.ErrCorrupt)
		}
		layers = append(layers, c.Descriptor)
		out = append(out, c)
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: layout.MediaTypeManifest, ArtifactType: RecordArtifactType,
		Config: config.Descriptor, Layers: layers,
	})
	if err != nil {
		return nil, err
	}
	head := content(layout.MediaTypeManifest, manifest)
	head.Descriptor.ArtifactType = RecordArtifactType
	out[0] = head
	return out, nil
}

func content(mediaType string, data []byte) layout.Content {
	return layout.Content{Data: data, Descriptor: layout.Descriptor{
		MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data)),
	}}
}

// parseRecord reads a statement back. That it is what artifact writes, to the
// byte, is for prove to say.
func parseRecord(raw []byte) (*Record, error) {
	var s Statement
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("export record: %v: %w", err, layout.ErrCorrupt)
	}
	if s.Type != statementType || s.PredicateType != RecordPredicateType {
		return nil, fmt.Errorf("export record: predicate type %.100q, want %q: %w", s.PredicateType, RecordPredicateType, layout.ErrUnsupported)
	}
	return &s.Predicate, nil
}
