//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"airgap/bundle/registry"
	"airgap/layout"
)

// mainResult is what the main workload gave.
type mainResult struct {
	Set                             *set
	Export, Import, Store, Reexport group
}

// mainOptions say how large the main workload is.
type mainOptions struct {
	size  int64    // bytes of layers
	runs  int      // that count
	roots []string // where real files are
}

// runMain measures the way from a registry to the disk, and from there into an
// empty registry and a store.
func (r *rig) runMain(ctx context.Context, o mainOptions) (*mainResult, error) {
	s, err := r.openSet(ctx, "main-"+megabytes(o.size), r.fillMain(o.size, o.roots))
	if err != nil {
		return nil, err
	}
	src, err := r.serveSet(ctx, s)
	if err != nil {
		return nil, err
	}
	defer src.stop()
	p := &peers{rig: r, set: s, host: src.host, names: s.Names}
	res := &mainResult{Set: s}
	r.say("export: %d images, %s MB of layers", len(s.Names), megabytes(s.Layers))
	res.Export, err = r.rounds(ctx, true, o.runs, []*job{
		p.airgapExport(), p.craneExport(), p.regctlExport(true), p.orasExport(), p.skopeoExport(),
	})
	if err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context, *peers, mainOptions, *mainResult) error{
		r.mainImport, r.mainStore, r.mainReexport,
	} {
		if err := step(ctx, p, o, res); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// mainImport brings what each tool exported into a registry that is empty.
func (r *rig) mainImport(ctx context.Context, p *peers, o mainOptions, res *mainResult) error {
	r.say("import into a registry")
	dst, err := r.newDestination(r.path("out", "registry"))
	if err != nil {
		return err
	}
	defer dst.stop()
	jobs := []*job{
		p.airgapImport(dst.host), p.craneImport(dst.host), p.regctlImport(dst.host), p.orasImport(dst.host), p.skopeoImport(dst.host),
	}
	for i, j := range jobs {
		j.before = dst.fresh
		if res.Export[i].Skipped != "" {
			j.skip = res.Export[i].Skipped
		}
	}
	jobs[0].after = arrived(ctx, p, dst.host)
	res.Import, err = r.rounds(ctx, true, o.runs, jobs)
	return err
}

// arrived compares, after the first run, what is in the registry at host with
// what is at the source. A fast import of half of it would be no result.
func arrived(ctx context.Context, p *peers, host string) func(*sample) error {
	done := false
	return func(*sample) error {
		if done {
			return nil
		}
		done = true
		client, err := registry.New(registry.Options{PlainHTTP: true})
		if err != nil {
			return err
		}
		return sameGraph(ctx, client, parse(references(p.host, p.names)), parse(references(host, p.names)))
	}
}

// sameGraph says whether everything that is reached from the names in want is
// reached from those in got, digest by digest.
func sameGraph(ctx context.Context, src layout.Source, want, got []layout.Reference) error {
	a, err := layout.Walk(ctx, src, want, layout.WalkOptions{})
	if err != nil {
		return err
	}
	b, err := layout.Walk(ctx, src, got, layout.WalkOptions{})
	if err != nil {
		return err
	}
	for d := range a.Nodes {
		if b.Nodes[d] == nil {
			return fmt.Errorf("%s did not arrive", d)
		}
	}
	if len(a.Nodes) != len(b.Nodes) {
		return fmt.Errorf("%d manifests became %d", len(a.Nodes), len(b.Nodes))
	}
	return nil
}

func parse(names []string) []layout.Reference {
	out := make([]layout.Reference, len(names))
	for i, n := range names {
		ref, err := layout.ParseReference(n)
		if err != nil {
			panic(err) // we made the name
		}
		out[i] = ref
	}
	return out
}

// mainStore compares the import into a store with the floor.
func (r *rig) mainStore(ctx context.Context, p *peers, o mainOptions, res *mainResult) error {
	r.say("import into a store")
	dir, floor := r.path("out", "store"), r.path("out", "floor")
	jobs := []*job{
		{
			name: nameAirgap, note: "everything; the bundle is proven, every blob hashed; waits for the disk", output: []string{dir},
			commands: [][]string{{r.airgap, "import", p.out("airgap.tar"), "--store", dir, "--insecure-skip-verify", "--quiet"}},
		},
		{
			name: nameFloor, note: "read, sha256, write the same bytes into a file each, sync", output: []string{floor},
			commands: [][]string{{r.self, "-floor", p.out("airgap.tar") + string(filepath.ListSeparator) + floor}},
		},
	}
	var err error
	res.Store, err = r.rounds(ctx, true, o.runs, jobs)
	return err
}

// mainReexport exports an unchanged set over the bundle that is there, and counts
// what the registry is asked for. The round that warms up makes the bundle.
func (r *rig) mainReexport(ctx context.Context, p *peers, o mainOptions, res *mainResult) error {
	r.say("export of an unchanged set")
	front, err := newProxy(p.host, 0)
	if err != nil {
		return err
	}
	defer front.stop()
	through := &peers{rig: r, set: p.set, host: front.host, names: p.names}
	j := through.airgapExport()
	if err := os.RemoveAll(j.output[0]); err != nil {
		return err
	}
	j.output, j.note = nil, "over the bundle that is there"
	res.Reexport, err = r.rounds(ctx, true, o.runs, []*job{front.watch(j)})
	return err
}
