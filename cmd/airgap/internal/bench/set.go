//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"airgap/bundle/registry"
	"airgap/layout"
)

// set is images in a registry, kept between runs as the registry's files.
type set struct {
	Names     []string // repository:tag, without the registry's host
	Layers    int64    // bytes of layers, each once
	Shared    int64    // of the one that all images have
	Bytes     int64    // of everything, each once
	Manifests int
	Blobs     int

	dir string
}

// repositories groups the tags by repository, both in the order of Names.
func (s *set) repositories() (repos []string, tags map[string][]string) {
	tags = map[string][]string{}
	for _, n := range s.Names {
		repo, tag := splitTag(n)
		if tags[repo] == nil {
			repos = append(repos, repo)
		}
		tags[repo] = append(tags[repo], tag)
	}
	return repos, tags
}

func splitTag(name string) (repo, tag string) {
	ref, err := layout.ParseReference("registry.example/" + name)
	if err != nil {
		panic(err) // we made the name
	}
	return ref.Repository[len("registry.example/"):], ref.Tag
}

// setVersion is to be raised with every change to what the sets contain, so that
// no old one is used.
const setVersion = "2"

// openSet returns the set that is kept under name, filling it if it is not there.
func (r *rig) openSet(ctx context.Context, name string, fill func(context.Context, string, *set) error) (*set, error) {
	s := &set{dir: r.path("set-" + setVersion + "-" + name)}
	if raw, err := os.ReadFile(filepath.Join(s.dir, "set.json")); err == nil {
		return s, json.Unmarshal(raw, s)
	}
	r.say("making the images of %s; they are kept in the working folder", name)
	if err := os.RemoveAll(s.dir); err != nil {
		return nil, err
	}
	if err := r.fillSet(ctx, s, fill); err != nil {
		return nil, fmt.Errorf("making the images of %s: %w", name, err)
	}
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(filepath.Join(s.dir, "set.json"), raw, 0o644)
}

func (r *rig) fillSet(ctx context.Context, s *set, fill func(context.Context, string, *set) error) error {
	srv, err := r.serveSet(ctx, s)
	if err != nil {
		return err
	}
	defer srv.stop()
	return fill(ctx, srv.host, s)
}

// serveSet starts a registry that has the set.
func (r *rig) serveSet(ctx context.Context, s *set) (*server, error) {
	host, err := freeAddress()
	if err != nil {
		return nil, err
	}
	return r.serve(ctx, filepath.Join(s.dir, "registry"), host)
}

// count takes over what was counted while the set was made.
func (s *set) count(c *counts) {
	s.Bytes, s.Blobs, s.Manifests = c.Bytes, c.Blobs, c.Manifests
}

// commit publishes the names.
func commit(ctx context.Context, sink layout.Sink, ps ...*publisher) error {
	var names []layout.Name
	for _, p := range ps {
		names = append(names, p.names...)
	}
	return sink.Commit(ctx, names)
}

// mainImage says what an image of the main workload is made of: layers of its
// own, in thousandths of the whole, on top of the base that all share.
type mainImage struct {
	name   string
	layers []int64
}

// mainBase is the size of the shared layer, in thousandths: a sixth, so that a
// tool which keeps nothing in common between images or repositories carries about
// twice as much.
const mainBase = 170

var mainImages = []mainImage{
	{"demo/web:v1", []int64{147, 20}},
	{"demo/web:v2", []int64{136, 20}},
	{"demo/api:v1", []int64{110, 38}},
	{"demo/database:v1", []int64{190}},
	{"demo/cache:v1", []int64{28}},
	{"demo/proxy:v1", []int64{48, 10}},
	{"demo/tools:v1", []int64{83}},
}

// fillMain makes the images of the main workload: size bytes of layers.
func (r *rig) fillMain(size int64, roots []string) func(context.Context, string, *set) error {
	return r.fillImages(mainImages, size, roots)
}

// fillImages makes images whose layers are thousandths of size.
func (r *rig) fillImages(images []mainImage, size int64, roots []string) func(context.Context, string, *set) error {
	return func(ctx context.Context, host string, s *set) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		client, err := registry.New(registry.Options{PlainHTTP: true})
		if err != nil {
			return err
		}
		keys, err := newSigners()
		if err != nil {
			return err
		}
		m := &mainFiller{ctx: ctx, files: realFiles(ctx, roots), dir: s.dir, unit: size / 1000, set: s}
		defer m.clean()
		base, err := m.layer(mainBase)
		if err != nil {
			return err
		}
		s.Shared = base.desc.Size
		n := &counts{}
		var ps []*publisher
		for _, img := range images {
			repo, tag := splitTag(img.name)
			p := &publisher{sink: client, repo: host + "/" + repo, signers: keys, counts: n}
			if err := m.image(p, img, tag, base); err != nil {
				return fmt.Errorf("%s: %w", img.name, err)
			}
			ps = append(ps, p)
			s.Names = append(s.Names, img.name)
		}
		s.count(n)
		return commit(ctx, client, ps...)
	}
}

// mainFiller makes layers out of files and images out of layers.
type mainFiller struct {
	ctx   context.Context
	files <-chan string
	dir   string
	unit  int64
	set   *set
	made  int
}

func (m *mainFiller) layer(thousandths int64) (*layer, error) {
	m.made++
	l, err := newLayer(filepath.Join(m.dir, "layer-"+strconv.Itoa(m.made)), m.files, thousandths*m.unit)
	if err == nil {
		m.set.Layers += l.desc.Size
	}
	return l, err
}

// clean removes the layers' files: the registry has them.
func (m *mainFiller) clean() {
	for i := range m.made {
		_ = os.Remove(filepath.Join(m.dir, "layer-"+strconv.Itoa(i+1)))
	}
}

func (m *mainFiller) image(p *publisher, img mainImage, tag string, base *layer) error {
	layers, names := []*layer{base}, base.files
	for _, t := range img.layers {
		l, err := m.layer(t)
		if err != nil {
			return err
		}
		layers, names = append(layers, l), append(names[:len(names):len(names)], l.files...)
	}
	for _, l := range layers {
		if err := p.file(m.ctx, l.desc, l.path); err != nil {
			return err
		}
	}
	d, err := p.image(m.ctx, tag, layers)
	if err != nil {
		return err
	}
	document, err := newSBOM(img.name, names)
	if err != nil {
		return err
	}
	return p.attach(m.ctx, d, document, formsMain)
}
