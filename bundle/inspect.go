package bundle

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Inspection is what can be said of a bundle from its head.
type Inspection struct {
	Bundle string `json:"bundle"`
	Size   int64  `json:"size"` // of the file; 0 for a folder
	// Own: airgap made it. Then everything but the content of blobs was
	// proven against the export record; blobs are hashed on import.
	Own      bool     `json:"own"`
	Caveats  []string `json:"caveats,omitempty"` // what could not be proven
	Contents Contents `json:"contents"`
}

// Inspect proves what can be proven without reading layers, and sums it up.
func Inspect(ctx context.Context, b *Bundle) (*Inspection, error) {
	g, err := b.Graph(ctx)
	if err != nil {
		return nil, err
	}
	return &Inspection{Bundle: b.Path, Size: b.Size, Own: b.Own(), Caveats: b.Caveats(g), Contents: b.contents(g)}, nil
}

// Caveats says what a bundle of another tool cannot prove.
func (b *Bundle) Caveats(g *layout.Graph) []string {
	if b.Own() {
		return nil
	}
	out := []string{
		"made by another tool, without an export record: what was attached at the source and was not carried cannot be known",
	}
	if n := len(g.Omitted); n > 0 {
		out = append(out, fmt.Sprintf("%d manifests that its indexes list are not in it", n))
	}
	return append(out, b.PassedOver()...)
}

// PassedOver says what of another tool's layout was not read.
func (b *Bundle) PassedOver() []string {
	passed := b.reader.PassedOver()
	var out []string
	if passed.Entries > 0 {
		out = append(out, fmt.Sprintf("passed over: %d of the entries in index.json, which are no manifests", passed.Entries))
	}
	if passed.Files > 0 {
		out = append(out, fmt.Sprintf("passed over: %d files that have no place in a layout", passed.Files))
	}
	if names := b.reader.UnusableNames(); len(names) > 0 {
		shown := make([]string, min(len(names), maxUnusableShown))
		for i := range shown {
			shown[i] = fmt.Sprintf("%.150q", names[i])
		}
		list := strings.Join(shown, ", ")
		if more := len(names) - len(shown); more > 0 {
			list += fmt.Sprintf(" and %d more", more)
		}
		out = append(out, fmt.Sprintf("passed over: %d of the names, which are no references or have the digest of something else: %s", len(names), list))
	}
	return out
}

// maxUnusableShown is how many names that cannot be used are written out.
const maxUnusableShown = 10

// Tree is a manifest with what it lists and what is attached to it.
type Tree struct {
	Reference    string        `json:"reference,omitempty"` // of a root
	Digest       digest.Digest `json:"digest"`
	Kind         layout.Kind   `json:"kind"`
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Platform     string        `json:"platform,omitempty"`
	Size         int64         `json:"size"` // of the manifest and its blobs
	// NotCarried is how much of Size a delta leaves to its destination.
	NotCarried int64 `json:"notCarriedBytes,omitempty"`
	// By says how it is attached; empty for a root and for a child of an
	// index.
	By []layout.Form `json:"by,omitempty"`
	// Above: drawn in full further up.
	Above bool `json:"above,omitempty"`
	// LeftOut: the index lists it and the source does not hold it.
	LeftOut string  `json:"leftOut,omitempty"`
	Nodes   []*Tree `json:"nodes,omitempty"`
}

// Trees draws the graph of every reference of a selection.
func Trees(ctx context.Context, s Selection, platforms []layout.Platform) ([]*Tree, error) {
	g, err := layout.Walk(ctx, s.Source, s.References, layout.WalkOptions{Platforms: platforms, MayMiss: s.MayMiss})
	if err != nil {
		return nil, err
	}
	return trees(g, s.NotCarried), nil
}

// Trees draws the proven graph of a bundle.
func (b *Bundle) Trees(ctx context.Context) ([]*Tree, error) {
	g, err := b.Graph(ctx)
	if err != nil {
		return nil, err
	}
	return trees(g, b.NotCarried()), nil
}

func trees(g *layout.Graph, notCarried map[digest.Digest]bool) []*Tree {
	var out []*Tree
	omitted := map[digest.Digest][]layout.Omission{}
	for _, o := range g.Omitted {
		omitted[o.Parent] = append(omitted[o.Parent], o)
	}
	d := drawer{g: g, drawn: map[spot]bool{}, omitted: omitted, notCarried: notCarried}
	for _, root := range g.Roots {
		d.repo, d.seen = root.Reference.Repository, map[digest.Digest]bool{}
		t := d.draw(root.Descriptor.Digest)
		t.Reference = root.Reference.String()
		out = append(out, t)
	}
	return out
}

type drawer struct {
	g    *layout.Graph
	repo string
	seen map[digest.Digest]bool // of this root
	// drawn are those of all roots; redrawn counts those drawn again for another root.
	drawn   map[spot]bool
	redrawn int
	// omitted is the graph's list by parent.
	omitted    map[digest.Digest][]layout.Omission
	notCarried map[digest.Digest]bool
}

func platformOf(p *layout.Platform) string {
	if p == nil {
		return ""
	}
	return layout.FormatPlatform(*p)
}

// maxRedrawn is how many manifests are drawn in full again, for each root that leads to
// them; more only where they come first.
const maxRedrawn = 100_000

// draw recurses at most layout.MaxDepth deep, which the walk has checked, and
// draws each manifest in full once, so that cycles and diamonds stay small.
func (d *drawer) draw(dgst digest.Digest) *Tree {
	n := d.g.Nodes[dgst]
	t := &Tree{Digest: dgst, Kind: n.Kind, MediaType: n.Descriptor.MediaType, ArtifactType: n.Descriptor.ArtifactType, Size: n.Descriptor.Size}
	for _, b := range n.Blobs {
		t.Size += b.Size
		if d.notCarried[b.Digest] {
			t.NotCarried += b.Size
		}
	}
	at := spot{d.repo, dgst}
	if t.Above = d.seen[dgst] || d.drawn[at] && d.redrawn >= maxRedrawn; t.Above {
		return t
	}
	if d.drawn[at] {
		d.redrawn++
	}
	d.seen[dgst], d.drawn[at] = true, true
	for _, c := range n.Children {
		if _, here := d.g.Place(d.repo, c.Digest); !here {
			continue // only another repository has it
		}
		child := d.draw(c.Digest)
		if c.BuildKit {
			child.Kind = layout.KindBuildKit
		}
		child.Platform = platformOf(c.Platform)
		t.Nodes = append(t.Nodes, child)
	}
	for _, o := range d.omitted[dgst] {
		if o.Repository != d.repo {
			continue // it is another repository that lacks it
		}
		t.Nodes = append(t.Nodes, &Tree{
			Digest: o.Descriptor.Digest, MediaType: o.Descriptor.MediaType, LeftOut: o.Reason, Platform: platformOf(o.Descriptor.Platform),
		})
	}
	if p, ok := d.g.Place(d.repo, dgst); ok {
		edges := slices.SortedStableFunc(slices.Values(p.Attached), func(a, b layout.Edge) int {
			return cmp.Compare(d.g.Nodes[a.Digest].Kind, d.g.Nodes[b.Digest].Kind)
		})
		for _, e := range edges {
			a := d.draw(e.Digest)
			a.By = e.Forms
			t.Nodes = append(t.Nodes, a)
		}
	}
	return t
}

// Difference is what changed from one set of images to another.
type Difference struct {
	Same    bool         `json:"same"`
	Added   []Image      `json:"added"`
	Removed []Image      `json:"removed"`
	Moved   []Moved      `json:"moved"`
	Gained  []Attachment `json:"gained"` // what belongs to images that both have under one name: attachments, and platforms
	Lost    []Attachment `json:"lost"`
}

// Moved is a name that stands for another manifest now.
type Moved struct {
	Reference string        `json:"reference"`
	From      digest.Digest `json:"from"`
	To        digest.Digest `json:"to"`
}

// Attachment is a manifest that belongs, directly or not, to a named image: it is
// attached, or an index lists it.
type Attachment struct {
	Reference string        `json:"reference"` // of the image
	Subject   digest.Digest `json:"subject"`   // what it is attached to
	Digest    digest.Digest `json:"digest"`
	Kind      layout.Kind   `json:"kind"`
	Platform  string        `json:"platform,omitempty"` // of a child of an index
}

// Diff compares two sets of images by name: which came, went and moved, and
// which attachments each lost or gained.
func Diff(a, b *layout.Graph) *Difference {
	d := &Difference{Added: []Image{}, Removed: []Image{}, Moved: []Moved{}, Gained: []Attachment{}, Lost: []Attachment{}}
	before, after := byName(a), byName(b)
	var removed, added []layout.Name
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if _, ok := after[name]; !ok {
			removed = append(removed, before[name])
		}
	}
	known := map[[2]spot]changed{} // many tags may have one image
	for _, name := range slices.Sorted(maps.Keys(after)) {
		was, ok := before[name]
		now := after[name]
		switch {
		case !ok:
			added = append(added, now)
			continue
		case was.Descriptor.Digest != now.Descriptor.Digest:
			d.Moved = append(d.Moved, Moved{name, was.Descriptor.Digest, now.Descriptor.Digest})
		}
		at := [2]spot{{was.Reference.Repository, was.Descriptor.Digest}, {now.Reference.Repository, now.Descriptor.Digest}}
		c, ok := known[at]
		if !ok {
			c = changed{attachmentsOnlyIn(b, now, a, was), attachmentsOnlyIn(a, was, b, now)}
			known[at] = c
		}
		d.Gained = append(d.Gained, under(now, c.gained)...)
		d.Lost = append(d.Lost, under(was, c.lost)...)
	}
	d.Removed = append(d.Removed, ImagesOf(a, removed)...)
	d.Added = append(d.Added, ImagesOf(b, added)...)
	d.Same = len(d.Added)+len(d.Removed)+len(d.Moved)+len(d.Gained)+len(d.Lost) == 0
	return d
}

// changed is what an image gained and lost.
type changed struct{ gained, lost []Attachment }

// under is a list of attachments for a name of their image.
func under(n layout.Name, list []Attachment) []Attachment {
	out := slices.Clone(list)
	for i := range out {
		out[i].Reference = n.Reference.Name()
	}
	return out
}

func byName(g *layout.Graph) map[string]layout.Name {
	out := map[string]layout.Name{}
	for _, n := range g.Roots {
		out[n.Reference.Name()] = n
	}
	return out
}

func attachmentsOnlyIn(g *layout.Graph, root layout.Name, other *layout.Graph, otherRoot layout.Name) []Attachment {
	have := reach(other, otherRoot)
	var out []Attachment
	for d, how := range reach(g, root) {
		// Of an image that moved, children changed of course; of one that
		// did not, a child can be missing: the index is sparse.
		_, both := have[d]
		switch {
		case both:
		case how.attached:
			out = append(out, Attachment{Reference: root.Reference.Name(), Subject: how.subject, Digest: d, Kind: g.Nodes[d].Kind})
		case root.Descriptor.Digest == otherRoot.Descriptor.Digest:
			out = append(out, Attachment{Reference: root.Reference.Name(), Digest: d, Kind: g.Nodes[d].Kind, Platform: how.platform})
		}
	}
	slices.SortFunc(out, func(a, b Attachment) int { return cmp.Compare(a.Digest, b.Digest) })
	return out
}
