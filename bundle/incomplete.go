package bundle

import (
	"context"
	"errors"
	"fmt"

	"airgap/layout"
)

// incomplete says of a bundle of ours that ends early how long it should be, if as much
// of it is there as tells: the export record lists everything.
func (b *Bundle) incomplete(ctx context.Context, r ReaderAtCloser, size int64, err error) error {
	if !errors.Is(err, layout.ErrIncomplete) {
		return err
	}
	whole, ok := wholeSize(ctx, b.Path, r, size)
	if !ok || whole <= size {
		return err
	}
	return &layout.Error{Side: layout.SideBundle, Name: b.Path, Hint: layout.Hint(err),
		Err: fmt.Errorf("%w: %d of %d bytes", layout.ErrIncomplete, size, whole)}
}

// wholeSize computes the size of a bundle from what there is of it.
func wholeSize(ctx context.Context, name string, r ReaderAtCloser, size int64) (int64, bool) {
	head, err := layout.OpenBeginning(name, r, size)
	if err != nil || head == nil {
		return 0, false
	}
	record, err := readRecord(ctx, head)
	if err != nil {
		return 0, false
	}
	files := head.Files()
	add := func(d layout.Descriptor) {
		if layout.CheckDescriptor(d) == nil {
			files[layout.BlobPath(d.Digest)] = d.Size
		}
	}
	for _, d := range head.Index() {
		if d.ArtifactType != RecordArtifactType && d.ArtifactType != HeadArtifactType {
			continue
		}
		add(bare(d))
		raw, err := readBlob(ctx, head, bare(d), layout.MaxManifestBytes)
		if err != nil {
			return 0, false
		}
		m, err := layout.ParseManifest(d, raw)
		if err != nil {
			return 0, false
		}
		for _, blob := range m.Blobs() {
			add(bare(blob))
		}
	}
	for i := range record.Manifests {
		add(record.Manifests[i].descriptor())
	}
	left := record.Delta.set()
	for _, blob := range record.Blobs {
		if !left[blob.Digest] {
			add(layout.Descriptor{Digest: blob.Digest, Size: blob.Size})
		}
	}
	return layout.TarSize(files), true
}
