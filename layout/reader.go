package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	// others is how many entries of index.json are no manifests.
	others int

	named sync.Once
	names names

	mu       sync.Mutex
	searched bool
	edges    edges
	err      error
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
			return rd, rd.fail("", rd.setIndex(raw))
		}
	}
	if err == nil {
		err = rd.setLayout(raw)
	}
	if err != nil {
		return nil, withBundleHint(rd.fail("", a.damaged(err)))
	}
	return rd, nil
}

// OpenBeginning reads what is there of a bundle of ours that ends early, as far as its
// headers go; it is not to be believed.
func OpenBeginning(name string, r io.ReaderAt, size int64) (*Reader, error) {
	a := newArchive(name, r)
	a.own = true
	if err := scanTar(r, size, a.add); !errors.Is(err, ErrIncomplete) {
		return nil, err
	}
	rd := &Reader{files: a, own: true}
	raw, err := a.file(ocispec.ImageIndexFile, MaxIndexBytes)
	if err == nil {
		err = rd.setLayout(raw)
	}
	return rd, rd.fail("", err)
}

// Files returns the size of each file of an archive that is no blob, by name.
func (r *Reader) Files() map[string]int64 {
	out := map[string]int64{}
	if a, ok := r.files.(*archive); ok {
		for name, s := range a.plain {
			out[name] = s.size
		}
	}
	return out
}

// TarSize returns how many bytes a bundle of files of these sizes has, by name.
func TarSize(files map[string]int64) int64 {
	n := int64(endBlocks * blockSize)
	for name, size := range files {
		n += headerSize(name) + size + padding(size)
	}
	return n
}

const notBundleHint = "give a bundle, an archive of images (OCI layout, docker save), or a layout folder"

// withBundleHint says what could be given instead of what is no bundle.
func withBundleHint(err error) error {
	if errors.Is(err, ErrNotBundle) && Hint(err) == "" {
		return &Error{Err: err, Hint: notBundleHint}
	}
	return err
}

// OpenFolder reads a layout folder; name is for errors.
func OpenFolder(name string, fsys disk.FS) (*Reader, error) {
	rd := &Reader{files: folder{name, fsys}}
	raw, err := rd.files.file(ocispec.ImageIndexFile, MaxIndexBytes)
	if err == nil {
		err = rd.setLayout(raw)
	}
	if err != nil {
		return nil, withBundleHint(rd.fail("", err))
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
		return fmt.Errorf("%w: no oci-layout file in it, so it is no OCI image layout", ErrNotBundle)
	case index == nil:
		return fmt.Errorf("no index.json in it: %w", ErrCorrupt)
	}
	if err := CheckJSON(raw); err != nil {
		return fmt.Errorf("oci-layout: %w", err)
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
	if len(index.Manifests) > MaxManifests {
		return fmt.Errorf("index.json: %d entries, at most %d are accepted: %w", len(index.Manifests), MaxManifests, ErrLimit)
	}
	for _, d := range index.Manifests {
		if err := CheckDescriptor(d); err != nil {
			return fmt.Errorf("index.json: %w", err)
		}
	}
	if v, ok := index.Annotations[annotationBundle]; ok && v != formatVersion {
		return &Error{Hint: "read it with a newer airgap; if this one wrote it, it is damaged: copy it again",
			Err: fmt.Errorf("a bundle of format %.20q, this airgap reads format %s: %w", v, formatVersion, ErrUnsupported)}
	}
	var others []Descriptor
	r.index, others = splitListed(index.Manifests)
	r.others = len(others)
	if _, ok := r.files.(folder); ok {
		_, r.own = index.Annotations[annotationBundle]
	}
	if r.own && r.others > 0 {
		return fmt.Errorf("index.json lists %s as %.100q, which is no manifest: %w", others[0].Digest, others[0].MediaType, ErrCorrupt)
	}
	return nil
}

// PassedOver is what is in another tool's layout and is not read.
type PassedOver struct {
	Files   int // that have no place in a layout
	Entries int // of index.json that are no manifests (image-spec, "OCI Image Layout")
}

// PassedOver counts what is passed over. In a folder, only its top is looked at.
func (r *Reader) PassedOver() PassedOver {
	out := PassedOver{Entries: r.others}
	switch f := r.files.(type) {
	case *archive:
		out.Files = f.passedOver(nil)
	case *dockerArchive:
		out.Files = f.passedOver(f.used)
	case folder:
		out.Files = f.passedOver()
	}
	return out
}

// UnusableNames lists the names in another tool's layout that give an image no name here,
// each once: what is no reference, and what has the digest of something else, of which
// the repository alone is believed. Every name of a docker-archive has to be a tag.
func (r *Reader) UnusableNames() []string {
	if r.own {
		return nil
	}
	var out []string
	seen := map[string]bool{}
	_, docker := r.files.(*dockerArchive)
	refs := r.lookup().of
	for i, d := range r.index {
		name, named := d.Annotations[AnnotationRefName]
		if refs[i].Tag != "" || refs[i].Digest != "" || !named || name == "" && !docker || kindOf(d) != "" || seen[name] {
			continue
		}
		seen[name] = true
		out = append(out, name)
	}
	return out
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
