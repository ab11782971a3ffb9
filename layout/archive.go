package layout

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// files is what a layout is read from: a tar or a folder.
type files interface {
	// file reads one of the files that are no blobs; nil if it is not there.
	file(name string, limit int64) ([]byte, error)
	// blob opens a blob, unverified; ErrNotFound if it is not there.
	blob(d digest.Digest) (rc io.ReadCloser, size int64, err error)
	// blobs lists every blob, in any order.
	blobs(fn func(d digest.Digest, size int64) error) error
	// side and name are for errors.
	side() (Side, string)
}

// span is a piece of an archive.
type span struct{ off, size int64 }

// archive is an indexed tar. Its headers were read; its content was not.
type archive struct {
	name  string
	r     io.ReaderAt
	own   bool // in the form that airgap writes
	order []string
	plain map[string]span
	byDgs map[digest.Digest]span
	links map[string]string
}

// openArchive indexes a tar. One with any mark of ours has to be of our form in
// every byte: a damaged bundle must not pass for another tool's.
func openArchive(name string, r io.ReaderAt, size int64) (*archive, error) {
	a := &archive{name: name, r: r}
	marked, err := a.marked(size)
	if err == nil && marked {
		err = a.index(func(fn func(tarEntry) error) error { return scanTar(r, size, fn) })
		a.own = true
	} else if err == nil {
		err = a.index(func(fn func(tarEntry) error) error { return scanForeign(r, size, fn) })
	}
	if err == nil && !a.own && a.namesUs() {
		// The first header lost its mark, the index has it still.
		err = fmt.Errorf("a bundle made by airgap with a damaged first header: %w", ErrCorrupt)
	}
	if err != nil {
		return nil, &Error{Side: SideBundle, Name: name, Err: err,
			Hint: "copy it again from where it was made; compare its size and checksum there"}
	}
	return a, nil
}

func (a *archive) marked(size int64) (bool, error) {
	if size < blockSize {
		return false, fmt.Errorf("%d bytes are no tar archive: %w", size, ErrCorrupt)
	}
	var head [blockSize]byte
	if _, err := a.r.ReadAt(head[:], 0); err != nil {
		return false, err
	}
	return bytes.HasPrefix(head[265:297], []byte(markerUname)), nil
}

// namesUs looks for the marks in index.json.
func (a *archive) namesUs() bool {
	s, ok := a.plain[ocispec.ImageIndexFile]
	if !ok || s.size > MaxIndexBytes {
		return false
	}
	data := make([]byte, s.size)
	if _, err := a.r.ReadAt(data, s.off); err != nil {
		return false
	}
	return bytes.Contains(data, []byte("vnd.airgap."))
}

func (a *archive) index(scan func(func(tarEntry) error) error) error {
	a.order, a.plain, a.byDgs, a.links = nil, map[string]span{}, map[digest.Digest]span{}, map[string]string{}
	return scan(func(e tarEntry) error {
		s := span{e.data, e.size}
		d, isBlob := digestOfPath(e.name)
		_, twice := a.plain[e.name]
		_, twiceBlob := a.byDgs[d]
		_, twiceLink := a.links[e.name]
		switch {
		case twice || twiceLink || isBlob && twiceBlob:
			return fmt.Errorf("%.200q is there twice: %w", e.name, ErrCorrupt)
		case len(a.plain)+len(a.byDgs) >= MaxTarEntries:
			return fmt.Errorf("more than %d entries: %w", MaxTarEntries, ErrLimit)
		case isBlob && e.link == "":
			a.byDgs[d] = s
		case e.link != "" && dockerLayer.MatchString(e.name):
			a.links[e.name] = e.link
		case e.link == "" && allowedName(e.name):
			a.plain[e.name] = s
		default:
			return fmt.Errorf("%.200q has no place in an image archive: %w", e.name, ErrUnsupported)
		}
		if a.order = append(a.order, e.name); isBlob {
			a.order[len(a.order)-1] = BlobPath(d)
		}
		return nil
	})
}

// Names that a docker-archive has beside manifest.json and repositories.
var (
	dockerLayer  = regexp.MustCompile(`^[0-9a-f]{64}/layer\.tar$|^[0-9a-f]{64}\.tar(\.gz)?$`)
	dockerLegacy = regexp.MustCompile(`^[0-9a-f]{64}/(json|VERSION)$|^[0-9a-f]{64}\.json$|^sha256:[0-9a-f]{64}$`)
)

func allowedName(name string) bool {
	switch name {
	case ocispec.ImageLayoutFile, ocispec.ImageIndexFile, dockerFile, "repositories":
		return true
	}
	return dockerLayer.MatchString(name) || dockerLegacy.MatchString(name)
}

// holds says whether the file called name is e.
func (a *archive) holds(e *Entry, name string) error {
	s, isFile := a.plain[name]
	if !isFile {
		d, _ := digestOfPath(name)
		s = a.byDgs[d]
	}
	if name != e.Name() || s.off != e.DataOffset() || s.size != e.Descriptor.Size {
		return fmt.Errorf("%.200q of %d bytes stands where %q of %d bytes belongs: %w", name, s.size, e.Name(), e.Descriptor.Size, ErrCorrupt)
	}
	if e.Data == nil {
		return nil
	}
	got := make([]byte, s.size)
	if _, err := io.ReadFull(io.NewSectionReader(a.r, s.off, s.size), got); err != nil {
		return err
	}
	if !bytes.Equal(got, e.Data) {
		return fmt.Errorf("%s is not what it has to be: %w", name, ErrCorrupt)
	}
	return nil
}

func (a *archive) side() (Side, string) { return SideBundle, a.name }

func (a *archive) file(name string, limit int64) ([]byte, error) {
	s, ok := a.plain[name]
	if !ok {
		return nil, nil
	}
	if s.size > limit {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are accepted: %w", name, s.size, limit, ErrLimit)
	}
	data := make([]byte, s.size)
	if _, err := io.ReadFull(io.NewSectionReader(a.r, s.off, s.size), data); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

func (a *archive) blob(d digest.Digest) (io.ReadCloser, int64, error) {
	s, ok := a.byDgs[d]
	if !ok {
		return nil, 0, ErrNotFound
	}
	return io.NopCloser(io.NewSectionReader(a.r, s.off, s.size)), s.size, nil
}

func (a *archive) blobs(fn func(digest.Digest, int64) error) error {
	for d, s := range a.byDgs {
		if err := fn(d, s.size); err != nil {
			return err
		}
	}
	return nil
}

// resolveLink follows a docker-archive's link from one layer to an equal one.
func (a *archive) resolveLink(name string) (string, bool) {
	target, ok := a.links[name]
	if !ok {
		_, ok = a.plain[name]
		return name, ok
	}
	dir, _, _ := strings.Cut(name, "/")
	target = strings.TrimPrefix(strings.TrimPrefix(target, "../"), dir+"/")
	_, ok = a.plain[target]
	return target, ok && dockerLayer.MatchString(target)
}
