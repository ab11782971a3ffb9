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

// compareSignatures says, of a cosign tag, whether the manifest to come has every
// signature of the present one (grows), and whether the present one has every
// signature of the one to come (holds). Each signature is a layer; cosign itself
// moves the tag with each that it adds. Both are false of every other tag.
func compareSignatures(ctx context.Context, dst layout.Sink, ref layout.Reference, was, will layout.Descriptor, manifest []byte) (grows, holds bool, err error) {
	o, ok := dst.(opener)
	if _, _, cosign := layout.ParseCosignTag(ref.Tag); !cosign || !ok {
		return false, false, nil
	}
	rc, err := o.Open(ctx, ref.Repository, was)
	if err != nil {
		return false, false, err
	}
	raw, err := layout.ReadAll(rc, was)
	if err != nil {
		return false, false, err
	}
	before, err := layout.ParseManifest(was, raw)
	if err != nil {
		return false, false, nil // whatever it is, it is not ours to replace
	}
	after, err := layout.ParseManifest(will, manifest)
	if err != nil {
		return false, false, err
	}
	return containsAll(after.Layers, before.Layers), containsAll(before.Layers, after.Layers), nil
}

// containsAll says whether all has each of some; of nothing it is false.
func containsAll(all, some []layout.Descriptor) bool {
	for _, s := range some {
		if !slices.ContainsFunc(all, func(a layout.Descriptor) bool { return sameLayer(a, s) }) {
			return false
		}
	}
	return len(some) > 0
}

func sameLayer(a, b layout.Descriptor) bool {
	return a.Digest == b.Digest && a.MediaType == b.MediaType && maps.Equal(a.Annotations, b.Annotations)
}
