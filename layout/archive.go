package layout

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"regexp"
	"slices"
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
	limit int  // of entries
	own   bool // in the form that airgap writes
	plain map[string]span
	byDgs map[digest.Digest]span
	links map[string]string
	// Of another tool's archive: names that are there twice, what is neither a
	// file nor a link, and how many bytes the names of files have that are no blobs.
	twice map[string]bool
	odd   map[string]string
	names int
}

// maxArchiveNames is how many bytes the names may have, in all, of files that are no
// blobs: in a docker-archive any of them may be a layer.
const maxArchiveNames = 64 << 20

// openArchive indexes a tar. One that begins as ours do has to be of our form in
// every byte: a damaged bundle must not pass for another tool's.
func openArchive(name string, r io.ReaderAt, size int64) (*archive, error) {
	a := newArchive(name, r)
	return a, a.open(size)
}

func newArchive(name string, r io.ReaderAt) *archive {
	return &archive{
		name: name, r: r, limit: MaxTarEntries, plain: map[string]span{}, byDgs: map[digest.Digest]span{}, links: map[string]string{},
		twice: map[string]bool{}, odd: map[string]string{},
	}
}

func (a *archive) open(size int64) error {
	head, err := firstBlock(a.r, size)
	if err == nil && marked(head) {
		a.own = true
		err = scanTar(a.r, size, a.add)
	} else if err == nil {
		if err = scanForeign(a.r, size, a.addForeign); err == nil {
			err = a.enter()
		}
	}
	if err != nil {
		return &Error{Side: SideBundle, Name: a.name, Err: a.damaged(err), Hint: archiveHint(head, err)}
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

// firstBlock reads what every tar begins with.
func firstBlock(r io.ReaderAt, size int64) ([]byte, error) {
	head := make([]byte, min(size, blockSize))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return nil, fmt.Errorf("its first bytes: %w", err)
	}
	if size >= blockSize {
		return head, nil
	}
	if bytes.HasPrefix(appendBlock(nil, ocispec.ImageLayoutFile, int64(len(layoutFile)), '0'), head) {
		return head, cutAt(size, blockSize, false)
	}
	return head, fmt.Errorf("%w: %d bytes are no tar archive", ErrNotBundle, size)
}

// archiveHint says what to do about an archive that begins with head and cannot be
// read because of err.
func archiveHint(head []byte, err error) string {
	switch f := SniffCompression(head); {
	case f != CompressionNone:
		return "it is compressed (" + string(f) + "), once more than is read through; decompress it first"
	case errors.Is(err, ErrIncomplete):
		return "it was not copied or downloaded to its end: copy it again from where it was made; compare its size there"
	case errors.Is(err, ErrNotBundle):
		return notBundleHint
	}
	return "copy it again from where it was made; compare its size and checksum there"
}

// marked says whether the first header is one of ours. No other tool writes it,
// not even under a user named airgap: they set times, or no user name.
func marked(head []byte) bool {
	size, err := headerSizeField(head)
	return err == nil && bytes.Equal(appendBlock(nil, ocispec.ImageLayoutFile, size, '0'), head)
}

// add takes in an entry of our own form, if it has a place in a bundle and is there for
// the first time.
func (a *archive) add(e tarEntry) error {
	d, isBlob := digestOfPath(e.name)
	_, twice := a.plain[e.name]
	_, twiceBlob := a.byDgs[d]
	switch {
	case twice || isBlob && twiceBlob:
		return fmt.Errorf("%.200q is there twice: %w", e.name, ErrCorrupt)
	case len(a.plain)+len(a.byDgs) >= a.limit:
		return fmt.Errorf("more than %d entries: %w", a.limit, ErrLimit)
	case isBlob:
		a.byDgs[d] = span{e.data, e.size}
	case ownName(e.name):
		a.plain[e.name] = span{e.data, e.size}
	default:
		return fmt.Errorf("%.200q has no place in a bundle: %w", e.name, ErrUnsupported)
	}
	return nil
}

// ownName says whether a file that is no blob has a place in a bundle of ours.
func ownName(name string) bool {
	return name == ocispec.ImageLayoutFile || name == ocispec.ImageIndexFile || name == dockerFile
}

// addForeign takes in an entry of another tool's archive. What each is for is known
// when all are: manifest.json of a docker-archive names files as it likes, and stands
// anywhere. What nobody names is passed over.
func (a *archive) addForeign(e tarEntry) error {
	if len(a.plain)+len(a.byDgs)+len(a.links)+len(a.odd) >= a.limit {
		return fmt.Errorf("more than %d entries: %w", a.limit, ErrLimit)
	}
	d, isBlob := digestOfPath(e.name)
	if isBlob && !e.isLink && e.odd == "" {
		if _, twice := a.byDgs[d]; twice {
			return fmt.Errorf("%.200q is there twice: %w", e.name, ErrCorrupt)
		}
		a.byDgs[d] = span{e.data, e.size}
		return nil
	}
	if a.names += len(e.name) + len(e.link); a.names > maxArchiveNames {
		return fmt.Errorf("names of more than %d bytes: %w", maxArchiveNames, ErrLimit)
	}
	if a.has(e.name) {
		a.twice[e.name] = true
	}
	switch {
	case e.odd != "" || isBlob:
		a.odd[e.name] = cmp.Or(e.odd, "a link")
	case e.isLink:
		a.links[e.name] = e.link
	default:
		a.plain[e.name] = span{e.data, e.size}
	}
	return nil
}

// has says whether something was taken in under a name.
func (a *archive) has(name string) bool {
	_, file := a.plain[name]
	_, link := a.links[name]
	_, odd := a.odd[name]
	return file || link || odd
}

// enter makes the one folder of an archive that holds a layout, or a docker-archive,
// the archive itself. It then refuses what has a name that matters and is no file, or
// is there twice.
func (a *archive) enter() error {
	if top, ok := a.only(); ok {
		a.rebase(top)
	}
	for _, name := range []string{ocispec.ImageLayoutFile, ocispec.ImageIndexFile, dockerFile} {
		if err := a.usable(name); err != nil {
			return err
		}
	}
	for name, what := range a.odd {
		if d, ok := digestOfPath(name); ok {
			return fmt.Errorf("%s is %s, no file: %w", d, what, ErrUnsupported)
		}
	}
	return nil
}

// usable refuses a name that is there and does not stand for one file.
func (a *archive) usable(name string) error {
	_, link := a.links[name]
	switch {
	case a.twice[name]:
		return fmt.Errorf("%.200q is there twice: %w", name, ErrCorrupt)
	case link && ownName(name):
		return fmt.Errorf("%.200q is a link, no file: %w", name, ErrUnsupported)
	case a.odd[name] != "":
		return fmt.Errorf("%.200q is %s, no file: %w", name, a.odd[name], ErrUnsupported)
	}
	return nil
}

// only finds the one folder that the archive's content is in, if that is not at its top.
func (a *archive) only() (string, bool) {
	marks := []string{ocispec.ImageLayoutFile, ocispec.ImageIndexFile, dockerFile}
	if slices.ContainsFunc(marks, a.has) || len(a.byDgs) > 0 {
		return "", false
	}
	tops := map[string]bool{}
	for name := range a.plain {
		for _, mark := range marks {
			if top, ok := strings.CutSuffix(name, "/"+mark); ok {
				tops[top+"/"] = true
			}
		}
	}
	for top := range tops {
		return top, len(tops) == 1
	}
	return "", false
}

// rebase drops top from all names; what is elsewhere is passed over.
func (a *archive) rebase(top string) {
	old := *a
	a.plain, a.links, a.twice, a.odd = map[string]span{}, map[string]string{}, map[string]bool{}, map[string]string{}
	for name, s := range old.plain {
		rest, ok := strings.CutPrefix(name, top)
		d, isBlob := digestOfPath(rest)
		switch {
		case !ok:
			a.plain["../"+name] = s // counted, and found by no name
		case isBlob && !old.twice[name]:
			a.byDgs[d] = s
		default:
			a.plain[rest] = s
		}
	}
	for name, to := range old.links {
		if rest, ok := strings.CutPrefix(name, top); ok {
			a.links[rest] = strings.TrimPrefix(to, top)
		}
	}
	for name := range old.twice {
		a.twice[strings.TrimPrefix(name, top)] = true
	}
	for name, what := range old.odd {
		a.odd[strings.TrimPrefix(name, top)] = what
	}
}

// passedOver counts what is in the archive and belongs to no layout. used are further
// names that do.
func (a *archive) passedOver(used map[string]bool) int {
	if a.own {
		return 0
	}
	n := len(a.odd)
	for name := range a.plain {
		if !ownName(name) && !used[name] && !dockerName(name) {
			n++
		}
	}
	for name := range a.links {
		if !used[name] && !dockerName(name) {
			n++
		}
	}
	return n
}

// dockerLegacy are files that docker save adds for versions of docker before 1.10.
var dockerLegacy = regexp.MustCompile(`^[0-9a-f]{64}/(json|VERSION|layer\.tar)$|^[0-9a-f]{64}\.json$`)

func dockerName(name string) bool { return name == "repositories" || dockerLegacy.MatchString(name) }

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

// unended says why links from name on are not followed any more.
func (a *archive) unended(name string) error {
	seen := map[string]bool{}
	for to, ok := a.links[name]; ok; to, ok = a.links[to] {
		if seen[to] {
			return fmt.Errorf("%.150q is a link, and those that it leads to go in a circle: %w", name, ErrUnsupported)
		}
		seen[to] = true
	}
	return fmt.Errorf("more than %d links, one after the other: %w", maxLinks, ErrLimit)
}

// maxLinks is how many links may lead to a layer. docker and podman need one.
const maxLinks = 8

// find looks for the file that manifest.json of a docker-archive means by name, and
// follows links from there.
func (a *archive) find(name string) (s span, target string, err error) {
	name = strings.TrimPrefix(name, "./")
	for range maxLinks {
		to, ok := a.links[name]
		if !ok {
			break
		}
		if err := a.usable(name); err != nil {
			return span{}, "", err
		}
		name = to
	}
	if _, ok := a.links[name]; ok {
		return span{}, "", a.unended(name)
	}
	if err := a.usable(name); err != nil {
		return span{}, "", err
	}
	s, ok := a.plain[name]
	if d, isBlob := digestOfPath(name); isBlob {
		s, ok = a.byDgs[d]
	}
	if !ok || !fs.ValidPath(name) {
		return span{}, "", fmt.Errorf("%.150q is not in the archive: %w", name, ErrCorrupt)
	}
	return s, name, nil
}
