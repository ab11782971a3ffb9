package layout

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// kindAnnotation is the annotation by which cosign save, and stores of hauler, tell an
// image from its signatures and attestations in index.json. They may all have one name.
const kindAnnotation = "kind"

// kindPrefixes are what the values begin with: cosign's, and hauler's since 1.2.
var kindPrefixes = []string{"dev.cosignproject.cosign/", "dev.hauler/"}

// attachedKinds are the values that say that an entry is attached to the image of the
// same name. What hauler marks as referrers/DIGEST says itself what it is attached to.
var attachedKinds = map[string]Form{
	"sigs": FormCosignSig, "atts": FormCosignAtt, "sboms": FormCosignSBOM, "referrers": FormLayout,
}

// kindOf returns the form by which an entry is marked as attached, or "".
func kindOf(d Descriptor) Form {
	for _, prefix := range kindPrefixes {
		if kind, ok := strings.CutPrefix(d.Annotations[kindAnnotation], prefix); ok {
			kind, _, _ = strings.Cut(kind, "/")
			return attachedKinds[kind]
		}
	}
	return ""
}

// edges is what a layout says belongs to what.
type edges struct {
	attached map[digest.Digest][]edge // by subject
	children map[digest.Digest][]digest.Digest
	subjects map[digest.Digest]digest.Digest // of every manifest that names one
	present  map[digest.Digest]bool          // manifests that are there
}

// edge is a claim that a manifest is attached to something.
type edge struct {
	form      Form
	repo      string // for which a name claims it; empty for all
	mediaType string
	digest    digest.Digest
	size      int64
}

// holds says whether a walk will find that the claim is true.
func (s *edges) holds(subject digest.Digest, e edge) bool {
	named := s.subjects[e.digest]
	return e.digest != subject && (named == subject || named == "" && slices.Contains(CosignForms, e.form))
}

// above lists what has a parent or a subject that is there.
func (s *edges) above() map[digest.Digest]bool {
	out := map[digest.Digest]bool{}
	for _, list := range s.children {
		for _, d := range list {
			out[d] = true
		}
	}
	for subject, list := range s.attached {
		for _, e := range list {
			if s.present[subject] && s.holds(subject, e) {
				out[e.digest] = true
			}
		}
	}
	return out
}

// reach adds to reached what a walk from d will find.
func (s *edges) reach(d digest.Digest, reached map[digest.Digest]bool) {
	stack := []digest.Digest{d}
	for len(stack) > 0 {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if reached[d] {
			continue
		}
		reached[d] = true
		stack = append(stack, s.children[d]...)
		for _, e := range s.attached[d] {
			if s.holds(d, e) {
				stack = append(stack, e.digest)
			}
		}
	}
}

// Attached implements [Source]. What it lists comes from subject fields, from
// fallback indexes, from names that cosign's tags would have, and from the marks
// that cosign save leaves. A name that says for which repository it is holds for
// that one alone, as long as the layout has a name in repo at all.
func (r *Reader) Attached(ctx context.Context, repo string, subject Descriptor) (Attachments, error) {
	if err := r.findEdges(ctx); err != nil {
		return nil, err
	}
	var out Attachments
	for _, form := range append([]Form{FormLayout, FormReferrersTag}, CosignForms...) {
		inq := Inquiry{Form: form, Answer: AnswerNone}
		for _, e := range r.edges.attached[subject.Digest] {
			if e.form == form && (e.repo == "" || e.repo == repo || !r.lookup().repos[repo]) {
				inq.Found = append(inq.Found, Descriptor{MediaType: e.mediaType, Digest: e.digest, Size: e.size})
			}
		}
		slices.SortFunc(inq.Found, func(a, b Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
		inq.Found = slices.CompactFunc(inq.Found, func(a, b Descriptor) bool { return a.Digest == b.Digest })
		if len(inq.Found) > 0 {
			inq.Answer = AnswerFound
		}
		out = append(out, inq)
	}
	return out, nil
}

// findEdges collects, once, what the layout says is attached to what. That it was
// cancelled is not kept.
func (r *Reader) findEdges(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.searched {
		return r.err
	}
	r.edges = edges{
		attached: map[digest.Digest][]edge{}, children: map[digest.Digest][]digest.Digest{},
		subjects: map[digest.Digest]digest.Digest{}, present: map[digest.Digest]bool{},
	}
	var err error
	for _, step := range []func(context.Context) error{r.edgesFromManifests, r.edgesFromNames, r.edgesFromBlobs} {
		if err == nil {
			err = step(ctx)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.searched, r.err = true, err
	return err
}

func (r *Reader) addEdge(subject digest.Digest, form Form, repo string, d Descriptor) {
	r.edges.attached[subject] = append(r.edges.attached[subject], edge{form, repo, d.MediaType, d.Digest, d.Size})
}

// note takes in a manifest that is there.
func (r *Reader) note(d Descriptor, m *Manifest) {
	r.edges.present[d.Digest] = true
	if m.Subject != nil {
		r.edges.subjects[d.Digest] = m.Subject.Digest
		r.addEdge(m.Subject.Digest, FormLayout, "", d)
	}
	for _, c := range m.Manifests {
		r.edges.children[d.Digest] = append(r.edges.children[d.Digest], c.Digest)
	}
}

// edgesFromManifests reads what index.json lists, and what that lists.
func (r *Reader) edgesFromManifests(ctx context.Context) error {
	stack := slices.Clone(r.index)
	for len(stack) > 0 {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if r.edges.present[d.Digest] {
			continue
		}
		m, err := r.parse(ctx, d)
		if errors.Is(err, ErrNotFound) {
			continue // the walk says it better
		}
		if err != nil {
			return err
		}
		r.note(d, m)
		stack = append(stack, m.Manifests...)
	}
	return nil
}

// edgesFromNames reads tags that are made from digests, and the marks of cosign save
// and hauler.
func (r *Reader) edgesFromNames(ctx context.Context) error {
	n := r.lookup()
	var images, marked []int
	for i, d := range r.index {
		ref := n.of[i]
		if kindOf(d) != "" {
			marked = append(marked, i)
		} else if subject, form, ok := ParseCosignTag(ref.Tag); ok {
			r.addEdge(subject, form, ref.Repository, d)
		} else if subject, ok := parseFallbackTag(ref.Tag); ok && IsIndex(d.MediaType) {
			m, err := r.parse(ctx, d)
			if err != nil {
				return err
			}
			for _, c := range m.Manifests {
				r.addEdge(subject, FormReferrersTag, ref.Repository, c)
			}
		} else {
			images = append(images, i)
		}
	}
	return r.edgesFromMarks(images, marked)
}

// edgesFromMarks ties what is marked as attached to the images of the same name, or,
// without a name, to the only image.
func (r *Reader) edgesFromMarks(images, marked []int) error {
	n := r.lookup()
	byName := map[string][]int{}
	for _, i := range images {
		byName[n.of[i].Name()] = append(byName[n.of[i].Name()], i)
	}
	for _, m := range marked {
		d, ref := r.index[m], n.of[m]
		if kindOf(d) == FormLayout {
			continue // its subject field is enough
		}
		about := images
		if ref.Tag != "" {
			about = byName[ref.Name()]
		} else if len(images) > 1 {
			return r.fail(d.Digest, fmt.Errorf("marked as cosign's signature of one image, in a layout of %d: %w", len(images), ErrUnsupported))
		}
		for _, i := range about {
			r.addEdge(r.index[i].Digest, kindOf(d), ref.Repository, d)
		}
	}
	return nil
}

func (r *Reader) parse(ctx context.Context, d Descriptor) (*Manifest, error) {
	raw, err := r.read(ctx, d)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(d, raw)
	return m, r.fail("", err)
}

func (r *Reader) read(ctx context.Context, d Descriptor) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rc, err := r.Open(ctx, "", d)
	if err != nil {
		return nil, err
	}
	return ReadAll(rc, d)
}

// edgesFromBlobs looks into every blob that could be a manifest: tools differ in
// whether they list what is attached.
func (r *Reader) edgesFromBlobs(ctx context.Context) error {
	buf := make([]byte, 512)
	return r.files.blobs(func(dgst digest.Digest, size int64) error {
		if r.edges.present[dgst] || size > MaxManifestBytes {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		return r.sniff(ctx, Descriptor{Digest: dgst, Size: size}, buf)
	})
}

// sniff adds an edge if an unlisted blob is a manifest with a subject. One that
// says it is and cannot be read is an error: what it is attached to is not known.
func (r *Reader) sniff(ctx context.Context, d Descriptor, buf []byte) error {
	rc, _, err := r.files.blob(d.Digest)
	if err != nil {
		return r.fail(d.Digest, err)
	}
	n, err := io.ReadFull(rc, buf)
	rc.Close()
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return r.fail(d.Digest, err)
	}
	start := bytes.TrimLeft(buf[:n], " \t\r\n")
	if n == 0 || len(start) > 0 && start[0] != '{' {
		return nil
	}
	raw, err := r.read(ctx, d)
	if err != nil {
		return err
	}
	if d.MediaType = sniffType(raw); d.MediaType == "" {
		return nil // an SBOM, a config
	}
	m, err := ParseManifest(d, raw)
	if err != nil {
		return r.fail("", err)
	}
	r.note(d, m)
	return nil
}

// sniffType says what manifest a document with a subject is, or "".
func sniffType(raw []byte) string {
	var head struct {
		Subject *Descriptor `json:"subject"`
	}
	if json.Unmarshal(raw, &head) != nil || head.Subject == nil {
		return ""
	}
	return GuessManifest(raw)
}

// GuessManifest says which media type a document has if it is a manifest: the one that
// it says, or that its form has; "" if it can be none.
func GuessManifest(raw []byte) string {
	var head struct {
		MediaType string          `json:"mediaType"`
		Config    json.RawMessage `json:"config"`
		Layers    json.RawMessage `json:"layers"`
		Manifests json.RawMessage `json:"manifests"`
	}
	switch {
	case json.Unmarshal(raw, &head) != nil:
		return ""
	case IsManifest(head.MediaType):
		return head.MediaType
	case head.MediaType == "" && head.Config != nil && head.Layers != nil:
		return MediaTypeManifest
	case head.MediaType == "" && head.Manifests != nil:
		return MediaTypeIndex
	}
	return ""
}
