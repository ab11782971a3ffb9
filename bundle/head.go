package bundle

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// HeadArtifactType is that of the signed records of a bundle: an artifact whose
// subject is the export record. Its first layer is a custody record of the bundle
// itself, about the export record's manifest; the others are one for each root, in
// the order of the export record. Whoever imports attaches those to the images.
const HeadArtifactType = "application/vnd.airgap.custody.v1"

// maxHeadRoots is how many images a bundle may have whose export is signed: each has
// a record of its own, and one manifest lists them.
const maxHeadRoots = 20_000

// Recording says how an act is recorded.
type Recording struct {
	// Key signs: ECDSA P-256 or Ed25519 ([signing.CheckKey]).
	Key crypto.Signer
	// By is who acts, as they call themselves, and Reason why; both may be empty.
	By, Reason string
	Tool       custody.Tool
	// Line is the line that a bundle belongs to, Expires when it is too old to be
	// taken in, and Checkpoint the receiver's; all may be empty.
	Line       *custody.Line
	Expires    time.Time
	Checkpoint string
	// Now replaces time.Now, for tests.
	Now func() time.Time
}

// own is the key that signs, as one that is believed.
func (r *Recording) own() []custody.Key {
	if r.Key == nil {
		return nil
	}
	return []custody.Key{{Public: r.Key.Public()}}
}

// record is what every record of the act has.
func (r *Recording) record() custody.Record {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	return custody.Record{At: now().UTC().Truncate(time.Second), Clock: custody.ClockHost, By: r.By, Reason: r.Reason, Tool: r.Tool, Line: r.Line}
}

// head makes the signed records of a bundle whose export record is described by
// record.
func (r *Recording) head(ctx context.Context, src layout.Source, from func(layout.Reference) *custody.Place, g *layout.Graph, record layout.Descriptor) ([]layout.Content, error) {
	if len(g.Roots) > maxHeadRoots {
		return nil, fmt.Errorf("%d images, at most %d can be in a bundle whose export is signed; make several: %w", len(g.Roots), maxHeadRoots, ErrUsage)
	}
	own := r.record()
	own.Checkpoint = r.Checkpoint
	if !r.Expires.IsZero() {
		at := r.Expires.UTC().Truncate(time.Second)
		own.Expires = &at
	}
	first, err := r.seal(&own, record, "")
	if err != nil {
		return nil, err
	}
	sealed := [][]byte{first}
	roots, err := inOrder(g)
	if err != nil {
		return nil, err
	}
	for _, root := range roots {
		one, err := r.recordRoot(ctx, src, from(root.Reference), g, root, record.Digest)
		if err != nil {
			return nil, err
		}
		sealed = append(sealed, one)
	}
	return headArtifact(record, sealed)
}

// inOrder are the roots as the export record lists them.
func inOrder(g *layout.Graph) ([]layout.Name, error) {
	byName := make(map[string]layout.Name, len(g.Roots))
	for _, n := range g.Roots {
		byName[n.Reference.String()] = n
	}
	var out []layout.Name
	for _, r := range newRecord(g).Roots {
		n, ok := byName[r.Reference]
		if !ok || n.Descriptor.Digest != r.Digest {
			return nil, fmt.Errorf("export record: no root %s: %w", r.Reference, layout.ErrCorrupt)
		}
		out = append(out, n)
	}
	return out, nil
}

// recordRoot is the sealed record of the export of one image. It names the records
// that came before, so that none of them can be dropped unseen.
func (r *Recording) recordRoot(ctx context.Context, src layout.Source, from *custody.Place, g *layout.Graph, root layout.Name, bundle digest.Digest) ([]byte, error) {
	before, err := custody.Of(ctx, src, g, root.Reference.Repository, root.Descriptor.Digest, r.own())
	if err != nil {
		return nil, err
	}
	rec := r.record()
	rec.Reference = root.Reference.String()
	rec.From = from
	rec.To = &custody.Place{Kind: custody.InBundle, Digest: bundle}
	rec.Previous = custody.Heads(before)
	return r.seal(&rec, root.Descriptor, root.Reference.String())
}

func (r *Recording) seal(rec *custody.Record, subject layout.Descriptor, name string) ([]byte, error) {
	att, err := rec.Attestation(custody.Export, name)
	if err != nil {
		return nil, err
	}
	return signing.SealRecord(bare(subject), att, r.Key)
}

// bare is what identifies content, and no more.
func bare(d layout.Descriptor) layout.Descriptor {
	return layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// headArtifact packs sealed records.
func headArtifact(record layout.Descriptor, sealed [][]byte) ([]layout.Content, error) {
	a, err := signing.Collect(bare(record), signing.Collection{ArtifactType: HeadArtifactType, MediaType: signing.SealedType(sealed[0]), Data: sealed})
	if err != nil {
		return nil, err
	}
	d := bare(a.Manifest)
	d.ArtifactType = HeadArtifactType
	out := []layout.Content{{Descriptor: d, Data: a.Raw}}
	for _, b := range a.Blobs {
		out = append(out, layout.Content{Descriptor: bare(b.Desc), Data: b.Data})
	}
	return out, nil
}

// sealed reads the signed records of a bundle of ours, as they are; nil if it has
// none. Whether there is one for each root is for prove to say.
func (b *Bundle) sealed(ctx context.Context) (head digest.Digest, all [][]byte, err error) {
	var found []layout.Descriptor
	for _, d := range b.reader.Index() {
		if d.ArtifactType == HeadArtifactType {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return "", nil, nil
	}
	if len(found) > 1 {
		return "", nil, fmt.Errorf("%d artifacts of signed records in index.json, want one at most: %w", len(found), layout.ErrCorrupt)
	}
	raw, err := readBlob(ctx, b.reader, found[0], layout.MaxManifestBytes)
	if err != nil {
		return "", nil, err
	}
	m, err := layout.ParseManifest(found[0], raw)
	if err != nil {
		return "", nil, err
	}
	if len(m.Layers) != 1+len(b.Record.Roots) || len(m.Layers) > 1+maxHeadRoots {
		return "", nil, fmt.Errorf("%d signed records of %d images: %w", len(m.Layers), len(b.Record.Roots), layout.ErrCorrupt)
	}
	for _, l := range m.Layers {
		data, err := readBlob(ctx, b.reader, bare(l), custody.MaxRecordBytes)
		if err != nil {
			return "", nil, err
		}
		all = append(all, data)
	}
	return found[0].Digest, all, nil
}

// Head is what is recorded of a bundle and signed by whoever made it.
type Head struct {
	// Manifest is the artifact of the records, and Record the export record's
	// manifest, which they are about.
	Manifest, Record digest.Digest
	// Bundle is the record of the bundle itself.
	Bundle custody.Found
	// Roots are those of the images, by reference.
	Roots map[string]RootRecord
}

// RootRecord is the record of one image's export.
type RootRecord struct {
	custody.Found
	sealed []byte
}

// Artifact is the record as it is attached to the image.
func (r *RootRecord) Artifact(subject layout.Descriptor) (signing.Artifact, error) {
	return signing.AttachRecord(bare(subject), r.sealed, r.Act.PredicateType())
}

// ErrRecords says that the signed records of a bundle are not its own.
var ErrRecords = errors.New("the signed records do not belong to this bundle")

// Head reads the signed records, held against keys that are pinned; nil if there are
// none. All of them are by one key and speak of this bundle, or the error matches
// ErrRecords. What no pinned key signed is returned all the same: see its Standing.
func (b *Bundle) Head(ctx context.Context, keys []custody.Key) (*Head, error) {
	if !b.Own() {
		return nil, nil
	}
	manifest, sealed, err := b.sealed(ctx)
	if err != nil || sealed == nil {
		return nil, b.damaged(err)
	}
	record, err := b.recordDescriptor()
	if err != nil {
		return nil, b.damaged(err)
	}
	h := &Head{Manifest: manifest, Record: record.Digest, Roots: make(map[string]RootRecord, len(sealed)-1)}
	own := custody.Read(manifest, record.Digest, signing.SealedType(sealed[0]), sealed[0], keys)
	if own == nil || own.Act != custody.Export {
		return nil, b.fail(fmt.Errorf("%w: the first is not about it", ErrRecords))
	}
	h.Bundle = *own
	for i, root := range b.Record.Roots {
		if err := h.root(root, sealed[i+1], keys); err != nil {
			return nil, b.fail(err)
		}
	}
	return h, nil
}

func (h *Head) root(root RecordRoot, sealed []byte, keys []custody.Key) error {
	f := custody.Read("", root.Digest, signing.SealedType(sealed), sealed, keys)
	switch {
	case f == nil || f.Act != custody.Export:
		return fmt.Errorf("%w: %s has none", ErrRecords, root.Reference)
	case f.Record.Reference != root.Reference || f.Record.To == nil || f.Record.To.Digest != h.Record:
		return fmt.Errorf("%w: that of %s is about another bundle or another name", ErrRecords, root.Reference)
	case f.Standing != h.Bundle.Standing || f.Fingerprint != h.Bundle.Fingerprint:
		return fmt.Errorf("%w: that of %s is signed by another key", ErrRecords, root.Reference)
	}
	h.Roots[root.Reference] = RootRecord{*f, sealed}
	return nil
}

// SourceWithRecords returns what the bundle holds, and with each image the record of
// its export that is signed, as it is attached where the bundle is imported.
func (b *Bundle) SourceWithRecords(ctx context.Context) (layout.Source, error) {
	h, err := b.Head(ctx, nil)
	if err != nil || h == nil {
		return b.source, err
	}
	g, err := b.Graph(ctx)
	if err != nil {
		return nil, err
	}
	src := newAdding(b.source)
	for _, root := range g.Roots {
		r, ok := h.Roots[root.Reference.String()]
		if !ok {
			return nil, b.fail(fmt.Errorf("%w: %s has none", ErrRecords, root.Reference))
		}
		a, err := r.Artifact(root.Descriptor)
		if err != nil {
			return nil, err
		}
		src.add(Addition{root.Reference.Repository, root.Descriptor.Digest, a})
	}
	return src, nil
}

// proveHead makes the artifact of signed records anew; nil for a bundle without.
func (b *Bundle) proveHead(ctx context.Context, record layout.Descriptor) ([]layout.Content, error) {
	manifest, sealed, err := b.sealed(ctx)
	if err != nil || sealed == nil {
		return nil, err
	}
	head, err := headArtifact(record, sealed)
	if err == nil && head[0].Descriptor.Digest != manifest {
		err = fmt.Errorf("the signed records are not about this bundle, or not in the form in which they are written: %w", layout.ErrCorrupt)
	}
	return head, err
}

// artifacts are those that describe a bundle, of which head may be nil.
func artifacts(record, head []layout.Content) [][]layout.Content {
	return slices.DeleteFunc([][]layout.Content{record, head}, func(a []layout.Content) bool { return a == nil })
}
