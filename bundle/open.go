package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"airgap/layout"
	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
)

// Bundle is a bundle that lies on this side: a tar or a layout folder, of ours
// or of another tool.
type Bundle struct {
	Path string
	Size int64 // of the file, decompressed; 0 for a folder
	// Record is the export record; nil in what another tool made.
	Record *Record

	reader *layout.Reader
	source layout.Source
	refs   []layout.Reference
	// leftOut is the record's list.
	leftOut map[listing]bool
	close   []func() error
}

// OpenOptions tune [Open].
type OpenOptions struct {
	// As names what has no name of its own: the repository of the tags in a
	// layout that another tool made, or, with a tag, its only image.
	As string
	// TempDir is where a bundle that is compressed as a whole is decompressed, to a
	// file without a name; empty means the system's folder for temporary files.
	TempDir string
}

// Open reads the head of the bundle at path. Nothing is proven yet; see
// [Bundle.Graph].
func Open(ctx context.Context, path string, o OpenOptions) (*Bundle, error) {
	b := &Bundle{Path: path}
	return b.start(ctx, b.openReader(ctx, o), o)
}

// OpenReader reads the head of a bundle of size bytes that is a tar without a
// path, such as a stream that was kept; name is for errors. r is closed with the
// bundle, and if there is an error.
func OpenReader(ctx context.Context, name string, r ReaderAtCloser, size int64, o OpenOptions) (*Bundle, error) {
	b := &Bundle{Path: name}
	return b.start(ctx, b.openTar(ctx, r, size, o), o)
}

// openTar reads a tar, through a compression if it has one.
func (b *Bundle) openTar(ctx context.Context, r ReaderAtCloser, size int64, o OpenOptions) error {
	r, size, err := readThrough(ctx, b.Path, r, size, o)
	if err != nil {
		return err
	}
	b.close = append(b.close, r.Close)
	b.Size = size
	b.reader, err = layout.OpenTar(b.Path, r, size)
	return b.incomplete(ctx, r, size, err)
}

// ReaderAtCloser is what a file is to OpenReader.
type ReaderAtCloser interface {
	io.ReaderAt
	io.Closer
}

// start goes on from what opening the reader came to.
func (b *Bundle) start(ctx context.Context, err error, o OpenOptions) (*Bundle, error) {
	if err == nil && b.reader.Own() {
		err = b.openOwn(ctx)
	} else if err == nil {
		err = b.openForeign(o.As)
	}
	if err != nil {
		b.Close()
		return nil, b.damaged(err)
	}
	return b, nil
}

// fail adds the bundle's name to an error that has no side yet.
func (b *Bundle) fail(err error) error {
	if e := (*layout.Error)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return &layout.Error{Side: layout.SideBundle, Name: b.Path, Err: err}
}

func (b *Bundle) openReader(ctx context.Context, o OpenOptions) error {
	info, err := os.Stat(b.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &layout.Error{Side: layout.SideBundle, Name: b.Path, Err: fmt.Errorf("no such file or folder: %w", layout.ErrNotFound)}
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		dir, err := disk.Open(b.Path)
		if err != nil {
			return err
		}
		b.close = append(b.close, dir.Close)
		b.reader, err = layout.OpenFolder(b.Path, dir)
		return err
	}
	f, err := disk.OpenFile(b.Path)
	if err != nil {
		return err
	}
	err = b.openTar(ctx, f, info.Size(), o)
	if errors.Is(err, layout.ErrCorrupt) && strings.HasSuffix(b.Path, layout.PartialSuffix) {
		return &layout.Error{Side: layout.SideBundle, Name: b.Path, Err: fmt.Errorf("%w: an export that has not come to its end", layout.ErrIncomplete),
			Hint: "run that export again: it goes on from what is there"}
	}
	return err
}

func (b *Bundle) openOwn(ctx context.Context) error {
	record, err := readRecord(ctx, b.reader)
	if err != nil {
		return err
	}
	s, err := newRecorded(b.reader, record)
	if err != nil {
		return err
	}
	b.Record, b.source, b.leftOut = record, s, record.listings()
	b.refs, err = s.roots()
	return err
}

// openForeign names the roots of another tool's layout.
func (b *Bundle) openForeign(as string) error {
	b.source = b.reader
	roots, err := b.reader.Roots()
	if err != nil {
		return err
	}
	var given layout.Reference
	if as != "" {
		if given, err = layout.ParseReference(as); err != nil {
			return err
		}
	}
	tagged := strings.Contains(as[strings.LastIndex(as, "/")+1:], ":")
	if tagged && len(roots) != 1 {
		return fmt.Errorf("it holds %d images, so one name (%s) is not enough; give a repository", len(roots), as)
	}
	for _, n := range roots {
		ref := n.Reference
		if ref.Repository == "" {
			ref.Repository = given.Repository
			if tagged {
				ref.Tag, ref.Digest = given.Tag, n.Descriptor.Digest
			}
		}
		b.refs = append(b.refs, ref)
	}
	return nil
}

// ambiguous lists the names that several manifests have, as the layouts of other tools
// may have them.
func (b *Bundle) ambiguous() map[string]bool {
	digests := map[string]digest.Digest{}
	out := map[string]bool{}
	for _, ref := range b.refs {
		if d, ok := digests[ref.Name()]; ok && d != ref.Digest {
			out[ref.Name()] = true
		}
		digests[ref.Name()] = ref.Digest
	}
	return out
}

// apart returns the references of all that the bundle holds, by digest alone where
// several have one name.
func (b *Bundle) apart() []layout.Reference {
	twice := b.ambiguous()
	if len(twice) == 0 {
		return b.refs
	}
	out := slices.Clone(b.refs)
	for i, ref := range out {
		if twice[ref.Name()] {
			out[i].Tag = ""
		}
	}
	return out
}

// Source returns what the bundle holds.
func (b *Bundle) Source() layout.Source { return b.source }

// References returns the names of all that the bundle holds.
func (b *Bundle) References() []layout.Reference { return b.refs }

// AttachedFrom lists further repositories in which what is attached was looked for when
// the bundle was made.
func (b *Bundle) AttachedFrom() []string {
	if b.Record == nil {
		return nil
	}
	return b.Record.AttachedFrom
}

// Own says whether airgap made the bundle, so that it can be proven whole.
func (b *Bundle) Own() bool { return b.Record != nil }

// MayMiss says whether an index may lack a child: in a bundle of ours where the
// record says so, in another tool's layout always, since that has no record.
func (b *Bundle) MayMiss(repo string, parent digest.Digest, child layout.Descriptor) bool {
	return b.Record == nil || b.leftOut[listing{repo, parent, child.Digest}]
}

// listing is something that a manifest of a repository lists.
type listing struct {
	repo          string
	parent, child digest.Digest
}

// listings is what was left out, to look up.
func (r *Record) listings() map[listing]bool {
	out := make(map[listing]bool, len(r.LeftOut))
	for _, o := range r.LeftOut {
		out[listing{o.Repository, o.Parent, o.Digest}] = true
	}
	return out
}

// Graph walks everything that the bundle holds. For a bundle of ours it proves,
// without reading layers, that the bundle is byte for byte what its record
// describes: every manifest and attachment is there, nothing else is, and every
// header, name and padding byte is as it has to be. What is left is the content
// of blobs, which is hashed whenever it is read.
func (b *Bundle) Graph(ctx context.Context) (*layout.Graph, error) {
	g, err := layout.Walk(ctx, b.source, b.apart(), layout.WalkOptions{
		MayMiss: b.MayMiss, Jobs: localJobs, SkipForeign: b.skipsForeign(),
	})
	switch {
	case err != nil:
	case b.Own():
		err = b.prove(ctx, g)
	default:
		err = hollow(g)
	}
	if err != nil {
		return nil, b.damaged(err)
	}
	return g, nil
}

// hollow refuses an index of another tool's of which nothing is there: that is no
// choice of platforms, and no image either.
func hollow(g *layout.Graph) error {
	type key struct {
		repo   string
		parent digest.Digest
	}
	lost := map[key]int{}
	for _, o := range g.Omitted {
		if o.Reason == layout.ReasonAbsent {
			lost[key{o.Repository, o.Parent}]++
		}
	}
	for _, p := range g.Places {
		n := lost[key{p.Repository, p.Digest}]
		if n == 0 || slices.ContainsFunc(g.Nodes[p.Digest].Children, func(c layout.Child) bool {
			_, here := g.Place(p.Repository, c.Digest)
			return here
		}) {
			continue
		}
		return &layout.Error{Side: layout.SideBundle, Name: p.Repository, Digest: p.Digest,
			Err:  fmt.Errorf("the index lists %d manifests, and none of them is in it: %w", n, layout.ErrNotFound),
			Hint: "copy it again, with all platforms or with those that are needed"}
	}
	return nil
}

// localJobs is how many manifests are read at once where no network is between.
const localJobs = 4

// damaged turns findings in a bundle of ours into what they mean. We wrote it, so
// whatever in it is missing, unknown or too large is damage.
func (b *Bundle) damaged(err error) error {
	own := b.reader != nil && b.reader.Own() && !fromDestination(err)
	for _, sentinel := range []error{layout.ErrNotFound, layout.ErrUnsupported, layout.ErrLimit} {
		if own && errors.Is(err, sentinel) {
			err = fmt.Errorf("%w (%w)", err, layout.ErrCorrupt)
			break
		}
	}
	if own && errors.Is(err, layout.ErrCorrupt) && layout.Hint(err) == "" {
		err = &layout.Error{Err: b.fail(err), Hint: damagedHint}
	}
	return b.fail(err)
}

const damagedHint = "the file is not what airgap wrote: copy it again from the media, or from where it was exported; " +
	"if it is the same there, export it again (an export reuses what is whole)"

// fromDestination says whether err is no finding about the bundle.
func fromDestination(err error) bool {
	for e := (*layout.Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Side == layout.SideDestination || e.Side == layout.SideStore {
			return true
		}
	}
	return false
}

// skipsForeign says whether the record left foreign layers out.
func (b *Bundle) skipsForeign() bool {
	if b.Record == nil {
		return false
	}
	for _, o := range b.Record.LeftOut {
		if o.Reason == layout.ReasonForeign {
			return true
		}
	}
	return false
}

// Close releases the file.
func (b *Bundle) Close() error {
	var errs []error
	for _, c := range b.close {
		errs = append(errs, c())
	}
	b.close = nil
	return errors.Join(errs...)
}
