package bundle

import (
	"bytes"
	"context"
	"errors"
	"io"

	"airgap/layout"
)

// Content returns a function that opens what the bundle carries by its digest alone, in
// whatever repository, with the record of its export. The function fails with
// layout.ErrNotFound for what the bundle does not carry; the content is hashed while it is
// read.
func (b *Bundle) Content(ctx context.Context) (func(context.Context, layout.Descriptor) (io.ReadCloser, error), error) {
	src, err := b.SourceWithRecords(ctx)
	if err != nil {
		return nil, b.fail(err)
	}
	records, _ := src.(*adding)
	return func(ctx context.Context, d layout.Descriptor) (io.ReadCloser, error) {
		if records != nil {
			if data, ok := records.content[d.Digest]; ok {
				return layout.Verify(layout.NopCloser(bytes.NewReader(data)), d), nil
			}
		}
		rc, err := b.reader.Open(ctx, "", d)
		if err == nil || errors.Is(err, layout.ErrNotFound) {
			return rc, err
		}
		return nil, b.damaged(err)
	}, nil
}
