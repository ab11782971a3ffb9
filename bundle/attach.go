package bundle

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/verify/notary"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Addition is an artifact that is to be attached to a manifest of a repository.
type Addition struct {
	Repository string
	Subject    digest.Digest
	Artifact   signing.Artifact
}

// check refuses what is not found from its subject. An artifact under a tag is
// not: it would take the place of what others put there.
func (a Addition) check() error {
	m, err := layout.ParseManifest(a.Artifact.Manifest, a.Artifact.Raw)
	if err == nil && (a.Artifact.Tag != "" || m.Subject == nil || m.Subject.Digest != a.Subject) {
		err = fmt.Errorf("%s does not name %s as its subject: %w", a.Artifact.Manifest.Digest, a.Subject, ErrUsage)
	}
	return err
}

func checkAdditions(all []Addition) error {
	for _, a := range all {
		if err := a.check(); err != nil {
			return err
		}
	}
	return nil
}

// Attach puts additions into a registry or a store, where their subjects are, and
// touches nothing else. It says of each whether it was there already. If it fails,
// some may have been put into a registry; a store is as it was.
func Attach(ctx context.Context, dst layout.Sink, all []Addition) (present []bool, err error) {
	if err := checkAdditions(all); err != nil {
		return nil, err
	}
	for _, a := range all {
		had, err := putAddition(ctx, dst, a)
		if err != nil {
			return nil, err
		}
		present = append(present, had)
	}
	// No name is published; this is what makes the manifests be found.
	return present, dst.Commit(ctx, nil)
}

// putAddition puts the blobs and then the manifest.
func putAddition(ctx context.Context, dst layout.Sink, a Addition) (had bool, err error) {
	for _, blob := range a.Artifact.Blobs {
		if _, err := putMissing(ctx, dst, a.Repository, blob.Desc, blob.Data); err != nil {
			return false, err
		}
	}
	return putMissing(ctx, dst, a.Repository, a.Artifact.Manifest, a.Artifact.Raw)
}

func putMissing(ctx context.Context, dst layout.Sink, repo string, d layout.Descriptor, data []byte) (had bool, err error) {
	if had, err = dst.Has(ctx, repo, d); err != nil {
		return false, err
	}
	if had && !layout.IsManifest(d.MediaType) {
		// What cannot be proven is put once more.
		had, _ = prove(ctx, dst, repo, d)
	}
	if had {
		return true, nil
	}
	return false, dst.Put(ctx, repo, d, bytes.NewReader(data))
}

// MissingLists says which revocation lists the certificates of additions point to
// that b does not carry. Nobody can fetch them any more where b goes.
func (b *Bundle) MissingLists(all []Addition) []string {
	var out []string
	for _, a := range all {
		for _, blob := range a.Artifact.Blobs {
			for _, u := range notary.Points(blob.Data, blob.Desc.MediaType) {
				carried := b.Record != nil && slices.ContainsFunc(b.Record.RevocationLists, func(l RecordRevocationList) bool { return l.URL == u })
				if !carried && !slices.Contains(out, u) {
					out = append(out, u)
				}
			}
		}
	}
	return out
}

// AttachOptions tune [Bundle.Attach].
type AttachOptions struct {
	// FS replaces the file system of the bundle's folder, for tests.
	FS       disk.FS
	Progress func(layout.Event)
}

// Attach writes the bundle anew with the additions in it, beside the present one,
// and then puts it in that one's place: at every moment the file is the one bundle
// or the other, whole. Everything else in it, and what its record says of where it
// came from, stays as it is, and every byte is checked on the way. b goes on
// reading the file as it was. It says of each addition whether it was there
// already; if all were, nothing is written.
//
// Only a bundle of ours can be added to, and only if it is a file. One that
// another process has replaced since b was opened is left alone.
func (b *Bundle) Attach(ctx context.Context, all []Addition, o AttachOptions) (present []bool, err error) {
	if !b.Own() || b.Size == 0 {
		return nil, &layout.Error{Side: layout.SideBundle, Name: b.Path,
			Err: fmt.Errorf("it is not a bundle that airgap export wrote: %w", ErrUsage), Hint: "make one of it with airgap export"}
	}
	if err := checkAdditions(all); err != nil {
		return nil, err
	}
	if _, sealed, err := b.sealed(ctx); err != nil {
		return nil, b.damaged(err)
	} else if sealed != nil {
		return nil, &layout.Error{Side: layout.SideBundle, Name: b.Path, Err: fmt.Errorf("its export is signed, and what is added would break that: %w", ErrUsage),
			Hint: "add it where the images come from and export again, or where they are imported"}
	}
	was, err := b.Graph(ctx)
	if err != nil {
		return nil, err
	}
	src := newAdding(b.source)
	present = make([]bool, len(all))
	for i, a := range all {
		if _, here := was.Place(a.Repository, a.Subject); !here {
			return nil, &layout.Error{Side: layout.SideBundle, Name: a.Repository, Digest: a.Subject, Err: layout.ErrNotFound}
		}
		if _, present[i] = was.Place(a.Repository, a.Artifact.Manifest.Digest); !present[i] {
			src.add(a)
		}
	}
	if len(src.fresh) == 0 {
		return present, nil
	}
	return present, b.damaged(b.rewrite(ctx, src, o))
}

// rewrite puts a bundle of what src holds in the place of b.
func (b *Bundle) rewrite(ctx context.Context, src *adding, o AttachOptions) error {
	g, err := layout.Walk(ctx, src, b.refs, layout.WalkOptions{MayMiss: b.MayMiss, Jobs: localJobs, SkipForeign: b.skipsForeign()})
	if err != nil {
		return err
	}
	record, err := b.recordOf(ctx, g)
	if err != nil {
		return err
	}
	g = g.Without(b.NotCarried())
	plan, err := layout.NewPlan(g, record)
	if err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(b.Path) // a link stays one
	if err != nil {
		return err
	}
	if o.FS == nil {
		dir, err := disk.Open(filepath.Dir(path))
		if err != nil {
			return err
		}
		defer dir.Close()
		o.FS = dir
	}
	return b.replace(ctx, filepath.Base(path), src, g, plan, o)
}

// replace writes the plan beside name and renames it. What is left of a failure is
// removed: another signature would need another file anyway.
func (b *Bundle) replace(ctx context.Context, name string, src layout.Source, g *layout.Graph, plan *layout.Plan, o AttachOptions) (err error) {
	if err := keepMode(o.FS, name); err != nil {
		return err
	}
	w, err := layout.NewTarWriter(o.FS, name, plan)
	if err != nil {
		return err
	}
	defer w.Close()
	defer func() {
		if err != nil {
			_ = o.FS.Remove(name + layout.PartialSuffix)
		}
	}()
	// From here on the unfinished file is ours alone, and so nobody else can
	// finish one in its place.
	if err := b.unchanged(ctx); err != nil {
		return err
	}
	return layout.Copy(ctx, w, src, g, layout.CopyOptions{Progress: o.Progress})
}

// keepMode begins the unfinished file with the permissions of the present one, so
// that a bundle that was kept private stays so.
func keepMode(fsys disk.FS, name string) error {
	f, err := fsys.Open(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	f, err = fsys.Open(name+layout.PartialSuffix, os.O_RDWR|os.O_CREATE, info.Mode().Perm())
	if err != nil {
		return err
	}
	return f.Close()
}

// unchanged looks whether the file still is the bundle that was opened; its record
// names everything in it.
func (b *Bundle) unchanged(ctx context.Context) error {
	now, err := Open(ctx, b.Path, OpenOptions{})
	if err != nil {
		return err
	}
	defer now.Close()
	a, aerr := b.recordDescriptor()
	c, cerr := now.recordDescriptor()
	if err := errors.Join(aerr, cerr); err != nil {
		return err
	}
	if a.Digest != c.Digest {
		return &layout.Error{Side: layout.SideBundle, Name: b.Path, Err: fmt.Errorf("another process has just replaced it: %w", disk.ErrBusy),
			Hint: "run the same command again"}
	}
	return nil
}

func (b *Bundle) recordDescriptor() (layout.Descriptor, error) {
	if b.Own() {
		for _, d := range b.reader.Index() {
			if d.ArtifactType == RecordArtifactType {
				return d, nil
			}
		}
	}
	return layout.Descriptor{}, fmt.Errorf("no export record in index.json: %w", layout.ErrCorrupt)
}

// recordOf is b's record artifact with g for its inventory. What else it says,
// such as what was left out and why, and what else travels in it, is kept.
func (b *Bundle) recordOf(ctx context.Context, g *layout.Graph) ([]layout.Content, error) {
	d, err := b.recordDescriptor()
	if err != nil {
		return nil, err
	}
	raw, err := readBlob(ctx, b.reader, d, layout.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("export record: %v: %w", err, layout.ErrCorrupt)
	}
	out := []layout.Content{{}}
	for _, part := range slices.Concat([]layout.Descriptor{m.Config}, m.Layers) {
		data, err := readBlob(ctx, b.reader, part, maxRecordBytes)
		if err != nil {
			return nil, err
		}
		out = append(out, content(part.MediaType, data))
	}
	statement, err := b.statementOf(g, out[2].Data)
	if err != nil {
		return nil, err
	}
	out[2] = content(statementMediaType, statement)
	m.Layers[0] = out[2].Descriptor
	if raw, err = json.Marshal(m); err != nil {
		return nil, err
	}
	out[0] = content(layout.MediaTypeManifest, raw)
	out[0].Descriptor.ArtifactType = RecordArtifactType
	return out, nil
}

// statementOf is the statement of b's record, which is was, with g for its
// inventory.
func (b *Bundle) statementOf(g *layout.Graph, was []byte) ([]byte, error) {
	var s Statement
	if err := json.Unmarshal(was, &s); err != nil {
		return nil, fmt.Errorf("export record: %v: %w", err, layout.ErrCorrupt)
	}
	again := newRecord(g)
	if err := sameLeftOut(again, b.Record); err != nil {
		return nil, err
	}
	s.Predicate.Roots, s.Predicate.Repositories = again.Roots, again.Repositories
	s.Predicate.Manifests, s.Predicate.Blobs = again.Manifests, again.Blobs
	s.Predicate.Delta = s.Predicate.Delta.of(g)
	out, err := json.Marshal(s)
	if err == nil && len(out) > maxRecordBytes {
		err = fmt.Errorf("the export record would have %d bytes, at most %d are accepted: %w", len(out), maxRecordBytes, layout.ErrLimit)
	}
	return out, err
}

// adding is a bundle's source, and what is to be added to it.
type adding struct {
	layout.Source
	content map[digest.Digest][]byte // of what is added, blobs too
	fresh   map[spot]bool            // manifests that are added
	found   map[spot][]layout.Descriptor
}

// spot is a manifest in a repository.
type spot struct {
	repo   string
	digest digest.Digest
}

func newAdding(src layout.Source) *adding {
	return &adding{Source: src, content: map[digest.Digest][]byte{}, fresh: map[spot]bool{}, found: map[spot][]layout.Descriptor{}}
}

func (s *adding) add(a Addition) {
	d := a.Artifact.Manifest
	if s.fresh[spot{a.Repository, d.Digest}] {
		return
	}
	s.fresh[spot{a.Repository, d.Digest}] = true
	s.content[d.Digest] = a.Artifact.Raw
	for _, blob := range a.Artifact.Blobs {
		s.content[blob.Desc.Digest] = blob.Data
	}
	on := spot{a.Repository, a.Subject}
	s.found[on] = append(s.found[on], d)
}

// Open implements [layout.Source].
func (s *adding) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if data, ok := s.content[d.Digest]; ok && (s.fresh[spot{repo, d.Digest}] || !layout.IsManifest(d.MediaType)) {
		return layout.Verify(io.NopCloser(bytes.NewReader(data)), d), nil
	}
	return s.Source.Open(ctx, repo, d)
}

// Attached implements [layout.Source]. What is added was found in no registry: it
// is said to be known from its subject field, and the answers that registries gave
// are left as they are.
func (s *adding) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	on := spot{repo, subject.Digest}
	inq := layout.Inquiry{Form: layout.FormLayout, Answer: layout.AnswerNone, Found: s.found[on]}
	if len(inq.Found) > 0 {
		inq.Answer = layout.AnswerFound
	}
	if s.fresh[on] {
		return layout.Attachments{inq}, nil
	}
	all, err := s.Source.Attached(ctx, repo, subject)
	if err != nil || inq.Answer == layout.AnswerNone {
		return all, err
	}
	return merge(all, inq), nil
}
