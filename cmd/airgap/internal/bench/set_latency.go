//go:build unix

package main

import (
	"context"
	"fmt"

	"airgap/bundle/registry"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// latencyPerRepository is how many images share a repository. A tool that takes
// a repository at a time is not to be hindered by many repositories.
const latencyPerRepository = 20

// fillLatency makes n small images with six attachments each. They are no images
// to run: their only layer is a line of text.
func fillLatency(n int) func(context.Context, string, *set) error {
	return func(ctx context.Context, host string, s *set) error {
		client, err := registry.New(registry.Options{PlainHTTP: true})
		if err != nil {
			return err
		}
		keys, err := newSigners()
		if err != nil {
			return err
		}
		total := &counts{}
		ps := make([]*publisher, n)
		for i := range n {
			s.Names = append(s.Names, fmt.Sprintf("small/app-%02d:v%d", i/latencyPerRepository, i%latencyPerRepository+1))
			repo, _ := splitTag(s.Names[i])
			ps[i] = &publisher{sink: client, repo: host + "/" + repo, signers: keys, counts: total}
		}
		err = parallel(ctx, n, func(ctx context.Context, i int) error {
			_, tag := splitTag(s.Names[i])
			return smallImage(ctx, ps[i], s.Names[i], tag, formsLatency)
		})
		if err != nil {
			return err
		}
		s.count(total)
		return commit(ctx, client, ps...)
	}
}

// smallImage publishes an image of one line, and what is attached to it.
func smallImage(ctx context.Context, p *publisher, name, tag string, forms []form) error {
	line := []byte("this is the only layer of " + name + "\n")
	d, err := p.bytes(ctx, ocispec.MediaTypeImageLayerGzip, line)
	if err != nil {
		return err
	}
	image, err := p.image(ctx, tag, []*layer{{desc: d, diffID: digest.FromBytes(line)}})
	if err != nil {
		return err
	}
	document, err := newSBOM(name, []string{"etc/os-release"})
	if err != nil {
		return err
	}
	return p.attach(ctx, image, document, forms)
}

// references puts a registry's host before the names of a set.
func references(host string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = host + "/" + n
	}
	return out
}
