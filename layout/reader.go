package layout

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"airgap/layout/disk"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Reader is an OCI image layout, in a tar or in a folder, of ours or of another
// tool: a [Source] that reads headers and index.json at once and all else when
// asked. A layout knows no repositories, so every repository is answered alike.
type Reader struct {
	files files
	index []Descriptor
	own   bool

	once  sync.Once
	edges map[digest.Digest]map[Form][]Descriptor // by subject
	err   error
}

// OpenTar reads the headers of a tar of size bytes; name is for errors. It takes
// bundles of airgap and OCI archives and docker-archives of other tools.
func OpenTar(name string, r io.ReaderAt, size int64) (*Reader, error) {
	a, err := openArchive(name, r, size)
	if err != nil {
		return nil, err
	}
	rd := &Reader{files: a, own: a.own}
	raw, err := a.file(ocispec.ImageIndexFile, MaxIndexBytes)
	if err == nil && !a.own && bytes.Contains(raw, []byte(`"`+annotationBundle+`"`)) {
		// The first header lost its form, the index has its mark still.
		err = fmt.Errorf("a bundle made by airgap that was packed anew, or whose first header is damaged: %w", ErrCorrupt)
	}
	if err == nil && raw == nil && !a.own {
		var da *dockerArchive
		if da, raw, err = convertDocker(a); err == nil {
			rd.files = da
			return rd, rd.setIndex(raw)
		}
	}
	if err == nil {
		err = rd.setLayout(raw)
	}
	if err != nil && a.own {
		err = fmt.Errorf("%w (%w)", err, ErrCorrupt) // we wrote it, and not like this
	}
	if err != nil {
		return nil, rd.fail("", err)
	}
	return rd, nil
}

// OpenFolder reads a layout folder; name is for errors.
func OpenFolder(name string, fsys disk.FS) (*Reader, error) {
	rd := &Reader{files: folder{name, fsys}}
	raw, err := rd.files.file(ocispec.ImageIndexFile, MaxIndexBytes)
	if err == nil {
		err = rd.setLayout(raw)
	}
	if err != nil {
		return nil, rd.fail("", err)
	}
	return rd, nil
}

func (r *Reader) fail(d digest.Digest, err error) error {
	if err == nil {
		return nil
	}
	side, name := r.files.side()
	return &Error{Side: side, Name: name, Digest: d, Err: err}
}

func (r *Reader) setLayout(index []byte) error {
	raw, err := r.files.file(ocispec.ImageLayoutFile, 4096)
	if err != nil {
		return err
	}
	var v ocispec.ImageLayout
	switch {
	case raw == nil:
		return fmt.Errorf("no oci-layout file in it, so it is no OCI image layout: %w", ErrUnsupported)
	case index == nil:
		return fmt.Errorf("no index.json in it: %w", ErrCorrupt)
	}
	if err := json.Unmarshal(raw, &v); err != nil || v.Version != ocispec.ImageLayoutVersion {
		return fmt.Errorf("oci-layout is %.100q, want version %s: %w", raw, ocispec.ImageLayoutVersion, ErrUnsupported)
	}
	return r.setIndex(index)
}

func (r *Reader) setIndex(raw []byte) error {
	if err := CheckJSON(raw); err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return fmt.Errorf("index.json: %v: %w", err, ErrCorrupt)
	}
	if index.SchemaVersion != 2 || index.MediaType != "" && index.MediaType != MediaTypeIndex {
		return fmt.Errorf("index.json: not an OCI index: %w", ErrCorrupt)
	}
	for _, d := range index.Manifests {
		if err := CheckDescriptor(d); err != nil {
			return fmt.Errorf("index.json: %w", err)
		}
		if !IsManifest(d.MediaType) {
			return fmt.Errorf("index.json: %s has media type %.100q, which is no manifest: %w", d.Digest, d.MediaType, ErrUnsupported)
		}
	}
	r.index = index.Manifests
	if _, ok := r.files.(folder); ok {
		r.own = index.Annotations[annotationBundle] == formatVersion
	}
	return nil
}

// Own says whether this is a bundle of airgap's: a tar in its one form, or a
// folder into which one was unpacked.
func (r *Reader) Own() bool { return r.own }

// Index returns what index.json lists, as it stands there.
func (r *Reader) Index() []Descriptor { return r.index }

// File returns the name of the file or folder.
func (r *Reader) File() string {
	_, name := r.files.side()
	return name
}

// Matches says whether the archive is, file by file and in the same places, what
// plan lays out; of a folder, whether it has these files and no other blobs.
// Content that the plan did not make is not read.
func (r *Reader) Matches(plan *Plan) error {
	switch f := r.files.(type) {
	case *archive:
		return r.fail("", f.matches(plan))
	case folder:
		return r.fail("", f.matches(plan))
	}
	return r.fail("", fmt.Errorf("nothing of this form matches a plan: %w", ErrUnsupported))
}

// Blobs calls fn for each blob, in any order.
func (r *Reader) Blobs(fn func(d digest.Digest, size int64) error) error { return r.files.blobs(fn) }

var tagGrammar = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// entryName reads an entry's name. Tools write a full reference, a tag alone, or
// nothing; a name that is neither is taken as nothing.
func entryName(d Descriptor) Reference {
	for _, key := range []string{annotationTag, AnnotationContainerdName, AnnotationRefName} {
		name := d.Annotations[key]
		if strings.ContainsAny(name, "/:@") {
			if ref, err := ParseReference(name); err == nil {
				return ref
			}
		} else if tagGrammar.MatchString(name) {
			return Reference{Tag: name}
		}
	}
	return Reference{}
}

// derived says whether a tag is made from a digest (fallback, cosign), and so
// names an attachment rather than an image.
func derived(tag string) bool {
	if _, _, ok := ParseCosignTag(tag); ok {
		return true
	}
	_, _, ok := ParseCosignTag(tag + ".sig")
	return ok
}

// Roots lists what the layout is about: every entry with a name of its own, and
// those without a name that are not attached to another.
func (r *Reader) Roots() ([]Name, error) {
	if err := r.findEdges(); err != nil {
		return nil, err
	}
	attached := map[digest.Digest]bool{}
	for _, forms := range r.edges {
		for _, list := range forms {
			for _, d := range list {
				attached[d.Digest] = true
			}
		}
	}
	var out []Name
	for _, d := range r.index {
		ref := entryName(d)
		if ref.Tag == "" && attached[d.Digest] || derived(ref.Tag) || kindOf(d) != "" {
			continue
		}
		if ref.Tag == "" {
			ref.Digest = d.Digest
		}
		out = append(out, Name{Reference: ref, Descriptor: trim(d)})
	}
	slices.SortStableFunc(out, func(a, b Name) int { return cmp.Compare(a.Reference.Name(), b.Reference.Name()) })
	return slices.CompactFunc(out, func(a, b Name) bool {
		return a.Reference == b.Reference && a.Descriptor.Digest == b.Descriptor.Digest
	}), nil
}

// Resolve implements [Source].
func (r *Reader) Resolve(_ context.Context, ref Reference) (Descriptor, error) {
	for _, d := range r.index {
		n := entryName(d)
		named := ref.Tag != "" && n.Tag == ref.Tag && (n.Repository == "" || n.Repository == ref.Repository)
		if ref.Digest != "" && d.Digest == ref.Digest || ref.Digest == "" && named {
			return trim(d), nil
		}
	}
	side, name := r.files.side()
	return Descriptor{}, &Error{Side: side, Name: name, Err: fmt.Errorf("%s: %w", ref, ErrNotFound)}
}

// Open implements [Source].
func (r *Reader) Open(_ context.Context, _ string, d Descriptor) (io.ReadCloser, error) {
	if err := CheckDescriptor(d); err != nil {
		return nil, r.fail("", err)
	}
	rc, size, err := r.files.blob(d.Digest)
	if err != nil {
		return nil, r.fail(d.Digest, err)
	}
	if size != d.Size {
		rc.Close()
		return nil, r.fail(d.Digest, fmt.Errorf("%d bytes, its descriptor says %d: %w", size, d.Size, ErrCorrupt))
	}
	return &sidedReader{Verify(rc, d), r, d.Digest}, nil
}

// sidedReader says where damage was found.
type sidedReader struct {
	io.ReadCloser
	r *Reader
	d digest.Digest
}

// Conduit implements [Conduit].
func (s *sidedReader) Conduit() io.Reader { return s.ReadCloser }

func (s *sidedReader) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = s.r.fail(s.d, err)
	}
	return n, err
}

// Attached implements [Source]. What it lists comes from subject fields, from
// fallback indexes, from names that cosign's tags would have, and from the marks
// that cosign save leaves.
func (r *Reader) Attached(_ context.Context, _ string, subject Descriptor) (Attachments, error) {
	if err := r.findEdges(); err != nil {
		return nil, err
	}
	var out Attachments
	for _, f := range append([]Form{FormLayout, FormReferrersTag}, CosignForms...) {
		inq := Inquiry{Form: f, Answer: AnswerNone, Found: r.edges[subject.Digest][f]}
		if len(inq.Found) > 0 {
			inq.Answer = AnswerFound
		}
		out = append(out, inq)
	}
	return out, nil
}
