package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/store"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// loadOptions are what the flags of store load say, beside those of store.
type loadOptions struct {
	docker, podman, containerd bool
	address, namespace         string
	platforms                  cli.StringSlice
}

const loadCategory = "Load:"

func (o *loadOptions) flags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "docker", Category: loadCategory, Usage: "load into docker", Destination: &o.docker},
		&cli.BoolFlag{Name: "podman", Category: loadCategory, Usage: "load into podman", Destination: &o.podman},
		&cli.BoolFlag{Name: "containerd", Category: loadCategory, Usage: "load into containerd, by the program ctr", Destination: &o.containerd},
		&cli.StringFlag{Name: "address", Category: loadCategory, Usage: "reach the engine at the unix socket `SOCKET`", DefaultText: "docker: $DOCKER_HOST, else its usual one; podman: $CONTAINER_HOST, else its usual one, else the program podman; containerd: what ctr takes", Destination: &o.address},
		&cli.StringFlag{Name: "namespace", Category: loadCategory, Usage: "with --containerd: load into the namespace `NAME`; Kubernetes has its images in k8s.io", DefaultText: "what ctr takes", Destination: &o.namespace},
		&cli.StringSliceFlag{Name: "platform", Category: loadCategory, Usage: "of indexes, take the images for `OS/ARCH[/VARIANT]` only; repeatable", DefaultText: "for an engine, linux on this machine's processor; with --output, all", Destination: &o.platforms},
	}
}

// loadFlags are the flags that go with store load.
var loadFlags = []string{"docker", "podman", "containerd", "address", "namespace", "output", "platform"}

func (o *storeOptions) checkLoad(u *ui) error {
	l := &o.load
	ways := 0
	for _, chosen := range []bool{l.docker, l.podman, l.containerd, o.care.output != ""} {
		if chosen {
			ways++
		}
	}
	switch {
	case len(o.args) == 0:
		return usagef("store load wants names to load")
	case ways != 1:
		return usagef("store load: want one of --docker, --podman, --containerd and --output FILE")
	case l.address != "" && o.care.output != "":
		return usagef("--address is about an engine, and --output writes to a file")
	case l.namespace != "" && !l.containerd:
		return usagef("--namespace is about --containerd")
	case o.care.output == "-" && u.stdoutIsTerminal:
		return &adviceError{usagef("stdout is a terminal, and images are nothing to look at"), "give -o FILE, or pipe the output"}
	}
	return nil
}

// engine is what the images are loaded into; nil for a file.
func (o *loadOptions) engine(u *ui, platforms []layout.Platform) (engine, error) {
	switch {
	case o.docker:
		return u.dockerEngine(o.address)
	case o.podman:
		return u.podmanEngine(o.address)
	case o.containerd:
		return containerdEngine(o.address, o.namespace, platforms), nil
	}
	return nil, nil
}

// storeLoadResult is what store load reports.
type storeLoadResult struct {
	Store   string        `json:"store"`
	Engine  string        `json:"engine,omitempty"`
	Output  string        `json:"output,omitempty"`
	Bytes   int64         `json:"bytes"` // of the stream
	Images  []loadedImage `json:"images"`
	LeftOut []leftOutName `json:"leftOut,omitempty"`
}

type loadedImage struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"` // what the name stands for
	Image     digest.Digest `json:"image"`  // of the manifest that a container is started from
	ID        digest.Digest `json:"id"`     // of its config: docker's and podman's image ID
}

func runStoreLoad(ctx context.Context, u *ui, o storeOptions) error {
	l, err := newLoading(u, &o)
	if err != nil {
		return err
	}
	return o.inStore(u, true, func(st *store.Store, dir string) error {
		if l.src, err = sourceOf(ctx, st); err != nil {
			return err
		}
		chosen, err := l.src.choose(ctx, st, dir, o.args)
		if err != nil {
			return err
		}
		l.res = storeLoadResult{Store: dir, Output: o.care.output, Images: []loadedImage{}, LeftOut: leftOut(chosen.held)}
		if err := l.find(ctx, chosen); err != nil {
			return err
		}
		if len(l.images) > 0 {
			if err := l.run(ctx); err != nil {
				return err
			}
		}
		return l.print()
	})
}

// newLoading reads the flags.
func newLoading(u *ui, o *storeOptions) (*loading, error) {
	if err := o.checkLoad(u); err != nil {
		return nil, err
	}
	l := &loading{ui: u, o: o}
	var err error
	if l.platforms, err = parsePlatforms(o.load.platforms.Value()); err != nil {
		return nil, err
	}
	if l.engine, err = o.load.engine(u, l.platforms); err != nil {
		return nil, err
	}
	if len(l.platforms) == 0 && l.engine != nil {
		l.platforms = []layout.Platform{{OS: "linux", Architecture: runtime.GOARCH}}
	}
	if out := o.care.output; out != "" && out != "-" {
		l.file, err = outputFile(out)
	}
	return l, err
}

// loading is one load on its way.
type loading struct {
	ui        *ui
	o         *storeOptions
	src       *storeSource
	engine    engine // nil for a file
	file      string // empty for stdout
	platforms []layout.Platform

	images []engineImage
	res    storeLoadResult
}

// find sorts out what of the choice an engine has a use for.
func (l *loading) find(ctx context.Context, c *choice) error {
	if len(c.refs) == 0 {
		return nil
	}
	g, err := layout.Walk(ctx, l.src, c.refs, layout.WalkOptions{Platforms: l.platforms, MayMiss: mayMissAny})
	if err != nil {
		return err
	}
	for _, root := range g.Roots {
		img := g.Image(root.Descriptor.Digest)
		why := ""
		switch {
		case img == nil:
			why = fmt.Sprintf("no container can be started from it (%s)", g.Nodes[root.Descriptor.Digest].Kind)
		case root.Reference.Tag == "":
			why = "it has no tag, and engines know images by theirs"
		}
		if why != "" && c.named[root.Reference] {
			return &layout.Error{Side: layout.SideStore, Name: root.Reference.Name(), Digest: root.Descriptor.Digest, Err: fmt.Errorf("%s: %w", why, layout.ErrUnsupported),
				Hint: "nothing was loaded; leave it out"}
		}
		if why != "" {
			l.res.LeftOut = append(l.res.LeftOut, leftOutName{root.Reference.Name(), root.Descriptor.Digest, why})
			continue
		}
		l.images = append(l.images, engineImage{root.Reference, idsBelow(g, root.Descriptor.Digest)})
		l.res.Images = append(l.res.Images, loadedImage{root.Reference.Name(), root.Descriptor.Digest, img.Descriptor.Digest, img.Blobs[0].Digest})
	}
	return nil
}

// idsBelow lists what an engine may call an image: an index, a manifest in it, or the
// config of that.
func idsBelow(g *layout.Graph, dgst digest.Digest) map[digest.Digest]bool {
	ids := map[digest.Digest]bool{}
	for todo := []digest.Digest{dgst}; len(todo) > 0; todo = todo[1:] {
		n := g.Nodes[todo[0]]
		if n == nil || ids[todo[0]] {
			continue
		}
		ids[todo[0]] = true
		if n.Image {
			ids[n.Blobs[0].Digest] = true
		}
		for _, c := range n.Children {
			todo = append(todo, c.Digest)
		}
	}
	return ids
}

func (l *loading) run(ctx context.Context) error {
	m := l.ui.progress("store load", l.o.outputOptions)
	defer m.close()
	s := bundle.Selection{Source: l.src, Kind: custody.InStore, MayMiss: mayMissAny, Lists: l.src.lists}
	for _, img := range l.images {
		s.References = append(s.References, img.ref)
	}
	export := func(w io.Writer) error {
		res, err := bundle.Export(ctx, []bundle.Selection{s}, bundle.ExportOptions{Writer: w, Output: l.file, Platforms: l.platforms, Progress: m.event})
		if err == nil {
			l.res.Bytes = res.Size
		}
		return err
	}
	switch {
	case l.engine != nil:
		return l.intoEngine(ctx, export)
	case l.file == "":
		return export(l.ui.stdout)
	}
	return export(nil)
}

// intoEngine has the engine take what export writes, with nothing in between, and then
// asks it for each image.
func (l *loading) intoEngine(ctx context.Context, export func(io.Writer) error) error {
	l.res.Engine = l.engine.String()
	r, w := io.Pipe()
	exported := make(chan error, 1)
	go func() {
		err := export(w)
		_ = w.CloseWithError(err) // nil is the end
		exported <- err
	}()
	err := l.engine.load(ctx, r)
	_ = r.CloseWithError(errNotRead)
	if lost := <-exported; lost != nil && !errors.Is(lost, errNotRead) {
		return cmp.Or(ctx.Err(), lost) // that is why the engine failed, if it did
	} else if err == nil {
		err = lost
	}
	if err != nil {
		return err
	}
	for _, img := range l.images {
		if err := l.engine.lists(ctx, img); err != nil {
			return err
		}
	}
	return nil
}

// errNotRead is what a stream ends with whose reader has gone.
var errNotRead = errors.New("the engine stopped reading")

func (l *loading) print() error {
	w := l.ui.stdout
	if l.o.care.output == "-" {
		if w = l.ui.stderr; l.o.quiet {
			return nil
		}
	}
	return l.ui.resultTo(w, l.o.outputOptions, "StoreLoadResult", &l.res, func(w io.Writer) { writeLoaded(w, &l.res) })
}

func writeLoaded(w io.Writer, res *storeLoadResult) {
	if len(res.Images) > 0 {
		fmt.Fprintf(w, "%s → %s: %s\n\n", escape(res.Store), escape(cmp.Or(res.Engine, res.Output)), humanSize(res.Bytes))
		rows := [][]string{{"IMAGE", "DIGEST", "ID"}}
		for _, img := range res.Images {
			rows = append(rows, []string{img.Reference, shortDigest(img.Digest), shortDigest(img.ID)})
		}
		table(w, rows)
	}
	writeHeldBack(w, "loaded", res.LeftOut)
}
