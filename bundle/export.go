package bundle

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"airgap/layout"
	"airgap/layout/disk"

	"github.com/opencontainers/go-digest"
)

// ExportOptions tune [Export]. One of Output and Writer is set, unless DryRun is.
type ExportOptions struct {
	// Output is the path of the bundle.
	Output string
	// Writer takes the bundle in order instead, for pipes.
	Writer io.Writer
	// FS replaces the file system of Output's folder, for tests.
	FS disk.FS
	// DryRun plans and writes nothing.
	DryRun bool

	// FetchList fetches the revocation list at a URL that a certificate points
	// to; nil fetches none. A list that cannot be had is told, and no error:
	// what it would have said is then unknown on the far side.
	FetchList func(ctx context.Context, url string) ([]byte, error)

	// BeforeName is called with the digest of the signed records' manifest when all
	// is written and the bundle is about to get its name; for a stream, before it
	// begins. Its error ends the export. It is not called for an export that is
	// not signed.
	BeforeName func(head digest.Digest) error

	// Recording has the export recorded and signed; nil records no more than what
	// is in the bundle, without a clock, so that the same gives the same bytes.
	Recording *Recording

	// Since says what is held where the bundle goes: layers of it are not carried.
	// Manifests and metadata always are.
	Since []Base

	Platforms   []layout.Platform
	SkipForeign bool
	// FetchForeign opens a URL that a manifest names for a foreign layer, which the
	// source does not have; nil never does.
	FetchForeign func(ctx context.Context, url string) (io.ReadCloser, error)
	// AllowMissing lists manifests that a source may list as attached though it does
	// not have them. The record names each that was left out for it.
	AllowMissing []digest.Digest
	Jobs         int

	// OnManifest is called while the graph is walked, with the number of
	// manifests so far; Progress while content moves.
	OnManifest func(n int)
	Progress   func(layout.Event)
}

// ExportResult says what an export did, or with DryRun would do.
type ExportResult struct {
	Bundle   string   `json:"bundle,omitempty"`
	DryRun   bool     `json:"dryRun,omitempty"`
	Size     int64    `json:"size"`           // of the bundle, bytes
	Record   string   `json:"record"`         // digest of the export record's manifest
	Head     string   `json:"head,omitempty"` // digest of the signed records' manifest
	Contents Contents `json:"contents"`       // what is in it
	Fetched  int64    `json:"fetchedBytes"`   // moved in this run
	Reused   int64    `json:"reusedBytes"`    // taken over from an earlier file
	// Unmatched lists images that have nothing for one of several platforms
	// that were asked for.
	Unmatched []Unmatched `json:"unmatched,omitempty"`
	// ForeignLayers are layers that were fetched from URLs in their manifests.
	ForeignLayers []ForeignLayer `json:"foreignLayers,omitempty"`
	// MissingLists are revocation lists that could not be had.
	MissingLists []MissingList `json:"missingRevocationLists,omitempty"`
	Files        []File        `json:"files,omitempty"` // with DryRun: every file of the bundle
}

// Unmatched is a platform that an image was asked for and does not have.
type Unmatched struct {
	Reference string `json:"reference"`
	Platform  string `json:"platform"`
}

// File is one file of a planned bundle.
type File struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"` // of its content
	Size   int64  `json:"size"`
}

// Export writes everything reached from the selections into one bundle. See
// [layout.Walk] for what is reached: an attachment that cannot be fetched fails
// the export. The bundle gets its name when it is whole; an export that was
// interrupted goes on from what it had when it is run again, and a bundle that is
// there and holds just this already is hashed and left as it is.
func Export(ctx context.Context, parts []Selection, o ExportOptions) (*ExportResult, error) {
	all := newUnion(parts)
	refs := all.references()
	foreign := newForeignSource(all, o.FetchForeign)
	src := &remembering{Source: foreign, kept: map[digest.Digest][]byte{}}
	if len(refs) == 0 {
		return nil, fmt.Errorf("nothing to export: %w", ErrUsage)
	}
	for _, ref := range refs {
		if ref.Repository == "" {
			return nil, fmt.Errorf("%q does not say which repository it belongs to; name it with --as REPOSITORY: %w", ref, ErrUsage)
		}
	}
	g, err := layout.Walk(ctx, src, refs, layout.WalkOptions{
		Platforms: o.Platforms, SkipForeign: o.SkipForeign, Keep: true, MayMiss: all.mayMiss, OnManifest: o.OnManifest,
		MayMissAttached: set(o.AllowMissing),
	})
	if err != nil {
		return nil, err
	}
	rec := newRecord(g)
	rec.AttachedFrom = all.attachedFrom()
	if rec.Delta, err = leaveOut(g, o.Since); err != nil {
		return nil, err
	}
	carried := g.Without(rec.Delta.set())
	lists, missing, err := collectLists(ctx, parts, src, g, o.FetchList)
	if err != nil {
		return nil, err
	}
	record, err := rec.withLists(lists).artifact(lists.byDigest())
	if err != nil {
		return nil, err
	}
	var head []layout.Content
	if o.Recording != nil {
		if head, err = o.Recording.head(ctx, src, all.place, g, record[0].Descriptor); err != nil {
			return nil, err
		}
	}
	plan, err := layout.NewPlan(carried, artifacts(record, head)...)
	if err == nil {
		err = all.lacks(plan)
	}
	if err != nil {
		return nil, err
	}
	res := &ExportResult{
		Bundle: o.Output, DryRun: o.DryRun, Size: plan.Size,
		Record: record[0].Descriptor.Digest.String(), Contents: contents(g, rec),
	}
	if head != nil {
		res.Head = head[0].Descriptor.Digest.String()
	}
	res.MissingLists = missing
	for _, u := range g.Unmatched {
		res.Unmatched = append(res.Unmatched, Unmatched{u.Reference.String(), layout.FormatPlatform(u.Platform)})
	}
	switch {
	case o.DryRun:
		res.Files = files(plan)
		return res, nil
	case o.Writer != nil:
		if err := o.beforeName(res); err != nil {
			return nil, err
		}
		err := exportStream(ctx, src, plan, o, res)
		res.ForeignLayers = foreign.list()
		return res, err
	}
	err = exportFile(ctx, src, carried, plan, o, res)
	res.ForeignLayers = foreign.list()
	return res, err
}

func set(list []digest.Digest) map[digest.Digest]bool {
	out := make(map[digest.Digest]bool, len(list))
	for _, d := range list {
		out[d] = true
	}
	return out
}

func (o *ExportOptions) beforeName(res *ExportResult) error {
	if o.BeforeName == nil || res.Head == "" {
		return nil
	}
	return o.BeforeName(digest.Digest(res.Head))
}

func files(plan *layout.Plan) []File {
	out := make([]File, len(plan.Entries))
	for i := range plan.Entries {
		e := &plan.Entries[i]
		out[i] = File{e.Name(), e.DataOffset(), e.Size}
	}
	return out
}

func exportStream(ctx context.Context, src layout.Source, plan *layout.Plan, o ExportOptions, res *ExportResult) error {
	res.Fetched = plan.Size
	if o.Progress != nil {
		o.Progress(layout.Event{Kind: layout.EventPlan, N: plan.Size, Count: len(plan.Entries)})
	}
	return layout.WriteTar(ctx, o.Writer, src, plan, o.Progress)
}

func exportFile(ctx context.Context, src layout.Source, g *layout.Graph, plan *layout.Plan, o ExportOptions, res *ExportResult) error {
	if o.FS == nil {
		dir, err := disk.Open(filepath.Dir(o.Output))
		if err != nil {
			return &layout.Error{Side: layout.SideBundle, Name: o.Output, Err: err, Hint: "make the folder first"}
		}
		defer dir.Close()
		o.FS = dir
	}
	name := filepath.Base(o.Output)
	if layout.TarHolds(ctx, o.FS, name, plan, o.Jobs, o.Progress) {
		for i := range plan.Entries {
			if e := &plan.Entries[i]; e.Data == nil {
				res.Reused += e.Size
			}
		}
		return nil
	}
	w, err := layout.NewTarWriter(o.FS, name, plan)
	if err != nil {
		return err
	}
	defer w.Close()
	var dst layout.Sink = w
	if res.Head != "" {
		dst = &committing{w, func(ctx context.Context, names []layout.Name) error {
			if err := o.beforeName(res); err != nil {
				return err
			}
			return w.Commit(ctx, names)
		}}
	}
	return layout.Copy(ctx, dst, src, g, layout.CopyOptions{Jobs: o.Jobs, Progress: func(e layout.Event) {
		switch e.Kind {
		case layout.EventDone:
			res.Fetched += e.N
		case layout.EventSkip:
			if entry, ok := plan.Lookup(e.Descriptor.Digest); ok && entry.Data == nil {
				res.Reused += e.N
			}
		}
		if o.Progress != nil {
			o.Progress(e)
		}
	}})
}

// Contents counts what a graph holds.
type Contents struct {
	Images       []Image             `json:"images"`       // by name
	Manifests    int                 `json:"manifests"`    // all, attachments included
	Attachments  map[layout.Kind]int `json:"attachments"`  // by kind
	Blobs        int                 `json:"blobs"`        // each counted once
	Bytes        int64               `json:"bytes"`        // of manifests and blobs, each once
	Repositories []string            `json:"repositories"` // sorted
	// Delta says what of it the bundle does not carry; nil if it carries all.
	Delta    *Delta           `json:"delta,omitempty"`
	LeftOut  []RecordLeftOut  `json:"leftOut,omitempty"`
	SetAside []RecordSetAside `json:"setAside,omitempty"`
}

// Image is a root: an image, an index or any other artifact with a name.
type Image struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Kind      layout.Kind   `json:"kind"`
	Platforms []string      `json:"platforms,omitempty"`
	Attached  int           `json:"attached"` // manifests attached to it, to its children, or to those
	Bytes     int64         `json:"bytes"`    // of all that belongs to it, each counted once
}

// contents sums up g, which rec describes.
func contents(g *layout.Graph, rec *Record) Contents {
	c := Contents{
		Images: []Image{}, Manifests: len(g.Nodes), Attachments: map[layout.Kind]int{}, Blobs: len(rec.Blobs),
		Repositories: g.Repositories(), LeftOut: rec.LeftOut, SetAside: rec.SetAside,
	}
	for _, m := range rec.Manifests {
		c.Bytes += m.Size
	}
	for _, b := range rec.Blobs {
		c.Bytes += b.Size
	}
	c.Delta = rec.delta()
	for d := range g.Attachments() {
		c.Attachments[g.Nodes[d].Kind]++
	}
	c.Images = append(c.Images, ImagesOf(g, g.Roots)...)
	return c
}

// ImagesOf sums up what belongs to each of some roots of g. What many tags lead to is
// summed up once.
func ImagesOf(g *layout.Graph, roots []layout.Name) []Image {
	known := map[spot]Image{}
	out := make([]Image, 0, len(roots))
	for _, n := range roots {
		at := spot{n.Reference.Repository, n.Descriptor.Digest}
		img, ok := known[at]
		if !ok {
			img = imageOf(g, n)
			known[at] = img
		}
		img.Reference, img.Platforms = n.Reference.String(), slices.Clone(img.Platforms)
		out = append(out, img)
	}
	return out
}

// imageOf sums up what belongs to one root of g.
func imageOf(g *layout.Graph, root layout.Name) Image {
	n := g.Nodes[root.Descriptor.Digest]
	img := Image{Reference: root.Reference.String(), Digest: root.Descriptor.Digest, MediaType: n.Descriptor.MediaType, Kind: n.Kind}
	blobs := map[digest.Digest]bool{}
	for d, how := range reach(g, root) {
		m := g.Nodes[d]
		img.Bytes += m.Descriptor.Size
		if how.attached {
			img.Attached++
		}
		for _, b := range m.Blobs {
			if !blobs[b.Digest] {
				blobs[b.Digest] = true
				img.Bytes += b.Size
			}
		}
	}
	for _, c := range n.Children {
		if _, here := g.Place(root.Reference.Repository, c.Digest); here && c.Platform != nil && !c.BuildKit {
			img.Platforms = append(img.Platforms, layout.FormatPlatform(*c.Platform))
		}
	}
	return img
}

// reached says how a manifest belongs to a root.
type reached struct {
	attached bool // through at least one attachment
	subject  digest.Digest
	forms    []layout.Form
	platform string // as an index lists it
}

// reach lists every manifest that belongs to a root, in its repository.
func reach(g *layout.Graph, root layout.Name) map[digest.Digest]reached {
	out := map[digest.Digest]reached{root.Descriptor.Digest: {}}
	stack := []digest.Digest{root.Descriptor.Digest}
	visit := func(d digest.Digest, r reached) {
		if _, ok := out[d]; !ok && g.Nodes[d] != nil {
			out[d] = r
			stack = append(stack, d)
		}
	}
	for len(stack) > 0 {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, c := range g.Nodes[d].Children {
			if _, here := g.Place(root.Reference.Repository, c.Digest); here {
				r := reached{attached: out[d].attached || c.BuildKit, subject: c.About, platform: platformOf(c.Platform)}
				visit(c.Digest, r)
			}
		}
		if p, ok := g.Place(root.Reference.Repository, d); ok {
			for _, e := range p.Attached {
				visit(e.Digest, reached{attached: true, subject: d, forms: e.Forms})
			}
		}
	}
	return out
}
