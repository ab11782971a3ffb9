//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"airgap/bundle"

	"github.com/opencontainers/go-digest"
)

// deltaResult is what leaving out what is held saves, after one image has changed.
type deltaResult struct {
	Set            *set
	Export, Import group
	Receipt        int64 // bytes
	Changed        int64 // bytes of the layers that are in no earlier image
	Carried        int64 // bytes of the layers that the delta carries
	Layers         int64 // bytes of all layers of the images after the change
	Other          int64 // layers that the delta carries and that did not change
}

const (
	nameFullBundle = "full bundle"
	nameDelta      = "delta"
	// changedImage takes the place of the one of that repository.
	changedImage = "demo/api:v2"
)

// deltaImages are those of the main workload, and what one of them became: its own
// layers are new, and the one that all share is not.
func deltaImages() []mainImage {
	return append(slices.Clone(mainImages), mainImage{changedImage, []int64{110, 38}})
}

// changed are the names before and after.
func changed(names []string) (before, after []string) {
	repo, _ := splitTag(changedImage)
	for _, n := range names {
		if n == changedImage {
			continue
		}
		before = append(before, n)
		if r, _ := splitTag(n); r == repo {
			n = changedImage
		}
		after = append(after, n)
	}
	return before, after
}

// runDelta exports images of which one of seven has changed, with the receipt of a
// store that holds the earlier ones and without it, and imports both into such stores.
func (r *rig) runDelta(ctx context.Context, o mainOptions) (*deltaResult, error) {
	s, err := r.openSet(ctx, "delta-"+megabytes(o.size), r.fillImages(deltaImages(), o.size, o.roots))
	if err != nil {
		return nil, err
	}
	src, err := r.serveSet(ctx, s)
	if err != nil {
		return nil, err
	}
	defer src.stop()
	p := &peers{rig: r, set: s, host: src.host}
	before, after := changed(s.Names)
	held, receipt := p.out("held"), p.out("receipt.json")
	if err := p.hold(ctx, before, held, receipt); err != nil {
		return nil, err
	}
	res := &deltaResult{Set: s}
	if res.Receipt, err = sizeOf(receipt); err != nil {
		return nil, err
	}
	r.say("export after one image of %d changed", len(after))
	p.names = after
	jobs := []*job{p.exportTo("full.tar", nameFullBundle, "everything"), p.exportTo("delta.tar", nameDelta, "what the receipt of a store with the earlier images does not list", "--since", receipt)}
	if res.Export, err = r.rounds(ctx, true, o.runs, jobs); err != nil {
		return nil, err
	}
	if err := res.look(ctx, p.out("before.tar"), p.out("delta.tar")); err != nil {
		return nil, err
	}
	r.say("import into a store that holds the earlier images")
	res.Import, err = r.rounds(ctx, true, o.runs, []*job{p.importOver(held, "full.tar", nameFullBundle), p.importOver(held, "delta.tar", nameDelta)})
	return res, err
}

// hold makes a store that holds images, and its receipt.
func (p *peers) hold(ctx context.Context, names []string, dir, receipt string) error {
	p.names = names
	j := p.exportTo("before.tar", "before", "")
	j.output = append(j.output, dir, receipt)
	j.commands = append(j.commands,
		[]string{p.rig.airgap, "import", p.out("before.tar"), "--store", dir, "--insecure-skip-verify", "--quiet"},
		[]string{p.rig.airgap, "receipt", "--store", dir, "-o", receipt, "--quiet"})
	_, err := p.rig.run(ctx, j)
	return err
}

// exportTo writes the names to a bundle.
func (p *peers) exportTo(file, name, note string, more ...string) *job {
	j := p.airgapExport()
	j.name, j.note, j.output = name, note, []string{p.out(file)}
	list := p.out(file + ".list")
	text := strings.Join(references(p.host, p.names), "\n") + "\n"
	j.before = func(context.Context) error { return os.WriteFile(list, []byte(text), 0o644) }
	j.commands = [][]string{append([]string{p.rig.airgap, "export", "-f", list, "-o", p.out(file), "--plain-http", "--quiet"}, more...)}
	return j
}

// importOver imports a bundle into a store that holds what held holds.
func (p *peers) importOver(held, file, name string) *job {
	dir := p.out("store")
	return &job{
		name: name, note: "what the store has is not written again; what is in the bundle is hashed", output: []string{dir},
		before:   func(context.Context) error { return cloneStore(held, dir) },
		commands: [][]string{{p.rig.airgap, "import", p.out(file), "--store", dir, "--overwrite", "--insecure-skip-verify", "--quiet"}},
	}
}

// cloneStore copies a store's database and links its blobs, which never change.
func cloneStore(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		at := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(at, 0o755)
		case strings.HasPrefix(rel, "blobs"+string(filepath.Separator)):
			return os.Link(path, at)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(at, data, 0o644)
	})
}

// look compares what the delta carries with what has changed.
func (d *deltaResult) look(ctx context.Context, before, delta string) (err error) {
	old, err := bundle.Open(ctx, before, bundle.OpenOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	b, err := bundle.Open(ctx, delta, bundle.OpenOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	was, err := old.Graph(ctx)
	if err != nil {
		return err
	}
	is, err := b.Graph(ctx)
	if err != nil {
		return err
	}
	had := map[digest.Digest]bool{}
	for _, l := range was.Layers() {
		had[l.Digest] = true
	}
	left := b.NotCarried()
	for _, l := range is.Layers() {
		d.Layers += l.Size
		if !had[l.Digest] {
			d.Changed += l.Size
			if left[l.Digest] {
				return fmt.Errorf("the delta leaves out %s, which is new", l.Digest)
			}
		}
		if !left[l.Digest] {
			d.Carried += l.Size
			if had[l.Digest] {
				d.Other += l.Size
			}
		}
	}
	return nil
}

func (d *deltaResult) goals() []goal {
	g := goal{Work: "delta after one image of seven changed", Goal: "no layer carried that did not change",
		Measured: fmt.Sprintf("%s MB of layers carried, %s MB changed", megabytes(d.Carried), megabytes(d.Changed)), Verdict: "met"}
	if d.Other > 0 || d.Carried != d.Changed {
		g.Verdict = "**missed**"
	}
	return []goal{g}
}

const titleDelta = "A delta"

func (b *page) delta(d *deltaResult) {
	if d == nil {
		return
	}
	b.line("## " + titleDelta)
	b.line("")
	b.line("Images as above, of which one of seven has changed: of %s MB of layers, %s MB are new. A store holds the", megabytes(d.Layers), megabytes(d.Changed))
	b.line("earlier seven; its receipt has %d bytes. The delta carries the new layers, all manifests and all that is", d.Receipt)
	b.line("attached.")
	b.line("")
	b.line("### Registry → disk")
	b.line("")
	b.compare(d.Export, nameFullBundle, "written, MB", func(s sample) string { return megabytes(s.Written) })
	b.line("### Disk → the store that holds the earlier images")
	b.line("")
	b.compare(d.Import, nameFullBundle, "", nil)
}
