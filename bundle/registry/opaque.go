package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"airgap/layout"
)

// openContent opens what is no manifest by its media type. What an index lists under a
// type that is not known here may have been pushed as a manifest, and then registries
// keep it with those. The digest says that it is the right thing.
func (t target) openContent(ctx context.Context, d layout.Descriptor) (io.ReadCloser, error) {
	rc, err := t.openBlob(ctx, d)
	if !errors.Is(err, layout.ErrNotFound) || d.Size > layout.MaxManifestBytes || isBlobType(d.MediaType) {
		return rc, err
	}
	data, merr := t.bytesOfManifest(ctx, d)
	if layout.IsSchema1(d.MediaType) && errors.Is(merr, layout.ErrCorrupt) {
		return nil, t.fail(asRegistry(fmt.Errorf("a docker schema 1 manifest whose bytes have another digest, for that leaves out their signatures: %w", layout.ErrUnsupported)),
			"export the other images of the index by their digests, as in REPOSITORY@sha256:…, or push the index again without this one")
	}
	if merr != nil {
		return nil, err // that there is no blob says more
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// isBlobType says whether a media type is one of a config or a layer.
func isBlobType(mediaType string) bool {
	for _, prefix := range []string{
		"application/vnd.oci.image.layer.", "application/vnd.oci.image.config.", "application/vnd.docker.image.rootfs.", "application/vnd.docker.container.image.",
	} {
		if strings.HasPrefix(mediaType, prefix) {
			return true
		}
	}
	return mediaType == layout.MediaTypeEmpty
}

// bytesOfManifest gets what the registry keeps as a manifest, whatever it is.
func (t target) bytesOfManifest(ctx context.Context, d layout.Descriptor) ([]byte, error) {
	resp, err := t.ask(ctx, question{method: http.MethodGet, url: t.url("manifests/" + string(d.Digest)), header: http.Header{"Accept": {"*/*"}}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, t.refused(resp)
	}
	data, err := t.body(resp, d.Size)
	if err != nil {
		return nil, err
	}
	return data, layout.CheckBytes(data, d)
}
