//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"airgap/bundle"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// headResult is what looking at a huge bundle gave, and at one that differs only
// in the size of its layers.
type headResult struct {
	Size    int64 // of the huge one
	Small   int64
	Inspect group
}

const (
	nameHuge  = "airgap inspect, huge"
	nameSmall = "airgap inspect, small"

	nameVerifyHuge  = "airgap verify, huge"
	nameVerifySmall = "airgap verify, small"

	headImages     = 10
	headSmallLayer = 1 << 20
)

type headOptions struct {
	size int64 // bytes
	runs int
}

// runHead looks at a bundle whose layers are holes. inspect and verify read no
// layers, so that they do not hash to their digests goes unseen; import would see it.
func (r *rig) runHead(ctx context.Context, o headOptions) (*headResult, error) {
	r.say("looking at a bundle of %s MB", megabytes(o.size))
	huge, small := r.path("out", "huge.tar"), r.path("out", "small.tar")
	res := &headResult{}
	var err error
	if res.Size, err = hollow(ctx, huge, o.size/headImages); err != nil {
		return nil, err
	}
	if res.Small, err = hollow(ctx, small, headSmallLayer); err != nil {
		return nil, err
	}
	flags, err := r.judgedBy(requireAll)
	if err != nil {
		return nil, err
	}
	judged := func(path string) [][]string { return [][]string{append([]string{r.airgap, "verify", path}, flags...)} }
	res.Inspect, err = r.rounds(ctx, true, o.runs, []*job{
		{name: nameHuge, note: "layers are holes", commands: [][]string{{r.airgap, "inspect", huge}}},
		{name: nameSmall, note: "the same with layers of 1 MiB", commands: [][]string{{r.airgap, "inspect", small}}},
		{name: nameVerifyHuge, note: "every image judged by a policy; layers are holes", commands: judged(huge)},
		{name: nameVerifySmall, note: "the same with layers of 1 MiB", commands: judged(small)},
	})
	return res, errors.Join(err, os.Remove(huge), os.Remove(small))
}

// hollow writes a bundle of signed images whose layers of layerSize bytes are
// holes, and returns its size. An export that cannot get its layers leaves
// everything else in its partial file, which is what is wanted here.
func hollow(ctx context.Context, path string, layerSize int64) (int64, error) {
	src := layout.NewMemory()
	refs, err := hollowImages(ctx, src, layerSize)
	if err != nil {
		return 0, err
	}
	parts := []bundle.Selection{{Source: src, References: refs}}
	plan, err := bundle.Export(ctx, parts, bundle.ExportOptions{DryRun: true})
	if err != nil {
		return 0, err
	}
	if err := errors.Join(os.RemoveAll(path), os.RemoveAll(path+layout.PartialSuffix)); err != nil {
		return 0, err
	}
	_, err = bundle.Export(ctx, parts, bundle.ExportOptions{Output: path})
	if !errors.Is(err, layout.ErrNotFound) {
		return 0, fmt.Errorf("an export without its layers should have failed for them: %w", err)
	}
	if err := os.Rename(path+layout.PartialSuffix, path); err != nil {
		return 0, err
	}
	return plan.Size, fillHollow(ctx, path, src, refs[0].Repository, plan.Files)
}

// fillHollow writes the blobs that the source has: configs and what is attached.
func fillHollow(ctx context.Context, path string, src layout.Source, repo string, files []bundle.File) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, file := range files {
		hex, ok := strings.CutPrefix(file.Name, "blobs/sha256/")
		if !ok {
			continue
		}
		d := layout.Descriptor{Digest: digest.Digest("sha256:" + hex), Size: file.Size}
		rc, err := src.Open(ctx, repo, d)
		if errors.Is(err, layout.ErrNotFound) {
			continue // a layer; or a manifest, which is there
		}
		if err != nil {
			return err
		}
		data, err := layout.ReadAll(rc, d)
		if err != nil {
			return err
		}
		if _, err := f.WriteAt(data, file.Offset); err != nil {
			return err
		}
	}
	return f.Sync()
}

// hollowImages puts images into sink, and leaves out their layers.
func hollowImages(ctx context.Context, sink layout.Sink, layerSize int64) ([]layout.Reference, error) {
	keys, err := newSigners()
	if err != nil {
		return nil, err
	}
	p := &publisher{sink: sink, repo: "registry.example/huge", signers: keys, counts: &counts{}}
	var refs []layout.Reference
	for i := range headImages {
		tag := "v" + itoa(i+1)
		id := digest.FromString(tag)
		l := &layer{diffID: id, desc: layout.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: id, Size: layerSize}}
		d, err := p.image(ctx, tag, []*layer{l})
		if err != nil {
			return nil, err
		}
		document, err := newSBOM(tag, []string{"etc/os-release"})
		if err == nil {
			err = p.attach(ctx, d, document, formsMain)
		}
		if err != nil {
			return nil, err
		}
		refs = append(refs, layout.Reference{Repository: p.repo, Tag: tag})
	}
	return refs, commit(ctx, sink, p)
}
