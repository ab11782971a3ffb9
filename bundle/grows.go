package bundle

import (
	"context"
	"io"
	"maps"
	"slices"

	"airgap/layout"
)

// opener is a sink that can be read.
type opener interface {
	Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error)
}

// onlyGrows says whether a cosign tag would lose nothing by moving: each
// signature is a layer, and the manifest to come has all that the present one
// has. cosign itself moves the tag like this with every signature it adds.
func onlyGrows(ctx context.Context, dst layout.Sink, ref layout.Reference, was, will layout.Descriptor, manifest []byte) (bool, error) {
	o, ok := dst.(opener)
	if _, _, cosign := layout.ParseCosignTag(ref.Tag); !cosign || !ok {
		return false, nil
	}
	rc, err := o.Open(ctx, ref.Repository, was)
	if err != nil {
		return false, err
	}
	raw, err := layout.ReadAll(rc, was)
	if err != nil {
		return false, err
	}
	before, err := layout.ParseManifest(was, raw)
	if err != nil {
		return false, nil // whatever it is, it is not ours to replace
	}
	after, err := layout.ParseManifest(will, manifest)
	if err != nil {
		return false, err
	}
	for _, l := range before.Layers {
		if !slices.ContainsFunc(after.Layers, func(a layout.Descriptor) bool { return sameLayer(a, l) }) {
			return false, nil
		}
	}
	return len(before.Layers) > 0, nil
}

func sameLayer(a, b layout.Descriptor) bool {
	return a.Digest == b.Digest && a.MediaType == b.MediaType && maps.Equal(a.Annotations, b.Annotations)
}
