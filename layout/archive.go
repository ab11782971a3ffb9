package layout

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"

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
	limit int  // of entries
	own   bool // in the form that airgap writes
	plain map[string]span
	byDgs map[digest.Digest]span
	links map[string]string
}

// openArchive indexes a tar. One that begins as ours do has to be of our form in
// every byte: a damaged bundle must not pass for another tool's.
func openArchive(name string, r io.ReaderAt, size int64) (*archive, error) {
	a := newArchive(name, r)
	return a, a.open(size)
}

func newArchive(name string, r io.ReaderAt) *archive {
	return &archive{name: name, r: r, limit: MaxTarEntries, plain: map[string]span{}, byDgs: map[digest.Digest]span{}, links: map[string]string{}}
}

func (a *archive) open(size int64) error {
	head, err := firstBlock(a.r, size)
	if err == nil && marked(head) {
		a.own = true
		err = scanTar(a.r, size, a.add)
	} else if err == nil {
		err = scanForeign(a.r, size, a.add)
	}
	if err != nil {
		return &Error{Side: SideBundle, Name: a.name, Err: a.damaged(err), Hint: archiveHint(head)}
	}
	return nil
}

// damaged turns a finding in a bundle of ours into what it means: we wrote it, and
// not like this. An error of reading is no finding.
func (a *archive) damaged(err error) error {
	found := errors.Is(err, ErrUnsupported) || errors.Is(err, ErrLimit) || errors.Is(err, ErrNotFound)
	if a.own && found {
		return fmt.Errorf("%w (%w)", err, ErrCorrupt)
	}
	return err
}

func firstBlock(r io.ReaderAt, size int64) ([]byte, error) {
	if size < blockSize {
		return nil, fmt.Errorf("%d bytes are no tar archive: %w", size, ErrCorrupt)
	}
	head := make([]byte, blockSize)
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("its first bytes: %w", err)
	}
	return head, nil
}

// archiveHint says what to do about an archive that begins with head.
func archiveHint(head []byte) string {
	for magic, tool := range map[string]string{"\x1f\x8b": "gunzip", "\x28\xb5\x2f\xfd": "unzstd", "BZh": "bunzip2", "\xfd7zXZ": "unxz"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return "it is compressed as a whole; decompress it first (" + tool + ")"
		}
	}
	return "copy it again from where it was made; compare its size and checksum there"
}

// marked says whether the first header is one of ours. No other tool writes it,
// not even under a user named airgap: they set times, or no user name.
func marked(head []byte) bool {
	size, err := headerSizeField(head)
	return err == nil && bytes.Equal(appendBlock(nil, ocispec.ImageLayoutFile, size, '0'), head)
}

// add takes an entry in, if it has a place in an image archive and is there for
// the first time.
func (a *archive) add(e tarEntry) error {
	d, isBlob := digestOfPath(e.name)
	_, twice := a.plain[e.name]
	_, twiceBlob := a.byDgs[d]
	_, twiceLink := a.links[e.name]
	switch {
	case twice || twiceLink || isBlob && twiceBlob:
		return fmt.Errorf("%.200q is there twice: %w", e.name, ErrCorrupt)
	case len(a.plain)+len(a.byDgs)+len(a.links) >= a.limit:
		return fmt.Errorf("more than %d entries: %w", a.limit, ErrLimit)
	case e.isLink && dockerLayer.MatchString(e.name) && dockerLayer.MatchString(e.link):
		a.links[e.name] = e.link
	case isBlob && !e.isLink:
		a.byDgs[d] = span{e.data, e.size}
	case allowedName(e.name) && !e.isLink:
		a.plain[e.name] = span{e.data, e.size}
	default:
		return fmt.Errorf("%.200q has no place in an image archive: %w", e.name, ErrUnsupported)
	}
	return nil
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

// matches says whether the archive has the files of plan, in their places.
func (a *archive) matches(plan *Plan) error {
	if n := len(a.plain) + len(a.byDgs) + len(a.links); n != len(plan.Entries) {
		return fmt.Errorf("%d files in it, %d belong: %w", n, len(plan.Entries), ErrCorrupt)
	}
	for i := range plan.Entries {
		if err := a.holds(&plan.Entries[i]); err != nil {
			return err
		}
	}
	return nil
}

// holds says whether e is there, and in its place.
func (a *archive) holds(e *Entry) error {
	s, ok := a.byDgs[e.Digest]
	if e.name != "" {
		s, ok = a.plain[e.name]
	}
	if !ok || s.off != e.DataOffset() || s.size != e.Size {
		return fmt.Errorf("%q of %d bytes does not stand where it belongs: %w", e.Name(), e.Size, ErrCorrupt)
	}
	if e.Data == nil {
		return nil
	}
	got := make([]byte, s.size)
	if _, err := io.ReadFull(io.NewSectionReader(a.r, s.off, s.size), got); err != nil {
		return err
	}
	if !bytes.Equal(got, e.Data) {
		return fmt.Errorf("%s is not what it has to be: %w", e.Name(), ErrCorrupt)
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
	return section{io.NewSectionReader(a.r, s.off, s.size)}, s.size, nil
}

// section is content within a larger file.
type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// blobs goes through the file from front to back.
func (a *archive) blobs(fn func(digest.Digest, int64) error) error {
	list := slices.SortedFunc(maps.Keys(a.byDgs), func(x, y digest.Digest) int {
		return cmp.Compare(a.byDgs[x].off, a.byDgs[y].off)
	})
	for _, d := range list {
		if err := fn(d, a.byDgs[d].size); err != nil {
			return err
		}
	}
	return nil
}

// maxLinks is how many links may lead to a layer. docker and podman need one.
const maxLinks = 8

// resolveLink follows a docker-archive's links from one layer to an equal one.
func (a *archive) resolveLink(name string) (span, string, bool) {
	for range maxLinks {
		target, ok := a.links[name]
		if !ok {
			break
		}
		name = target
	}
	s, ok := a.plain[name]
	return s, name, ok && dockerLayer.MatchString(name)
}
