//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"airgap/bundle/registry"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// serveLarge is the image whose only layer is large.
	serveLarge = "large/image:v1"
	// serveHost is where the store's content is from, as the store sees it.
	serveHost = "registry.example"
)

// fillServe makes small images with what is attached to them, and a large one.
func fillServe(images int, blob int64) func(context.Context, string, *set) error {
	return func(ctx context.Context, host string, s *set) error {
		if err := fillLatency(images)(ctx, host, s); err != nil {
			return err
		}
		client, err := registry.New(registry.Options{PlainHTTP: true})
		if err != nil {
			return err
		}
		repo, tag := splitTag(serveLarge)
		p := &publisher{sink: client, repo: host + "/" + repo, counts: &counts{}}
		id, err := digest.FromReader(noise(blob))
		if err != nil {
			return err
		}
		l := &layer{diffID: id, desc: layout.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: id, Size: blob}}
		if err := p.put(ctx, l.desc, noise(blob)); err != nil {
			return err
		}
		if _, err := p.image(ctx, tag, []*layer{l}); err != nil {
			return err
		}
		s.Names, s.Shared = append(s.Names, serveLarge), blob
		return commit(ctx, client, p)
	}
}

// noise is n bytes that no file system makes less of, the same each time.
func noise(n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{'n', 'o', 'i', 's', 'e'}), n)
}

// serveStore brings the set into a store, the way that users do.
func (r *rig) serveStore(ctx context.Context, s *set, dir string) error {
	src, err := r.serveSet(ctx, s)
	if err != nil {
		return err
	}
	defer src.stop()
	p := &peers{rig: r, set: s, host: src.host, names: s.Names}
	if _, err := r.run(ctx, p.airgapExport()); err != nil {
		return err
	}
	tar := p.out("airgap.tar")
	_, err = r.measure(ctx, [][]string{{r.airgap, "import", tar, "--store", dir, "--map", src.host + "=" + serveHost,
		"--insecure-skip-verify", "--quiet"}})
	return errors.Join(err, os.Remove(tar))
}

// serveTargets is what can be asked for, by what it is, with paths after /v2/.
type serveTargets struct {
	tags, digests, referrers, small, large []target
}

// targets finds out what there is to be asked for, from the set's own registry.
func (r *rig) targets(ctx context.Context, s *set) (*serveTargets, error) {
	src, err := r.serveSet(ctx, s)
	if err != nil {
		return nil, err
	}
	defer src.stop()
	client, err := registry.New(registry.Options{PlainHTTP: true})
	if err != nil {
		return nil, err
	}
	g, err := layout.Walk(ctx, client, parse(references(src.host, s.Names)), layout.WalkOptions{})
	if err != nil {
		return nil, err
	}
	out, seen := &serveTargets{}, map[string]bool{}
	add := func(to *[]target, path string, dgst digest.Digest) {
		if !seen[path] {
			seen[path] = true
			*to = append(*to, target{path, dgst})
		}
	}
	for _, n := range g.Roots {
		repo := strings.TrimPrefix(n.Reference.Repository, src.host+"/")
		add(&out.tags, repo+"/manifests/"+n.Reference.Tag, n.Descriptor.Digest)
	}
	for _, p := range g.Places {
		repo, node := strings.TrimPrefix(p.Repository, src.host+"/"), g.Nodes[p.Digest]
		add(&out.digests, repo+"/manifests/"+p.Digest.String(), p.Digest)
		if node.Subject != "" {
			add(&out.referrers, repo+"/referrers/"+node.Subject.String(), "")
		}
		for _, b := range node.Blobs {
			to := &out.small
			if b.Size == s.Shared {
				to = &out.large
			}
			add(to, repo+"/blobs/"+b.Digest.String(), b.Digest)
		}
	}
	return out, nil
}

// fallback is how a registry without the referrers API is asked for referrers
// (distribution-spec 1.1, "Referrers Tag Schema").
func fallback(targets []target) []target {
	out := slices.Clone(targets)
	for i, t := range out {
		repo, subject, _ := strings.Cut(t.path, "/referrers/")
		out[i].path = repo + "/manifests/" + strings.Replace(subject, ":", "-", 1)
	}
	return out
}

// under puts what comes before a repository's name there.
func under(prefix string, targets []target) []target {
	out := slices.Clone(targets)
	for i := range out {
		out[i].path = "/v2/" + prefix + out[i].path
	}
	return out
}
