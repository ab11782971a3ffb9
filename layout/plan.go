package layout

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Content is a piece of content with its bytes, made rather than fetched.
type Content struct {
	Descriptor Descriptor
	Data       []byte
}

// Entry is one file of a bundle.
type Entry struct {
	Blob              // Digest is empty for the three files that are no blobs
	Offset     int64  // of the header
	Data       []byte // the content, where the plan itself made it
	Repository string // where to read it
	Layer      bool   // stands after all metadata
	name       string // for what is no blob
}

// Name is the entry's file name.
func (e *Entry) Name() string {
	if e.name != "" {
		return e.name
	}
	return BlobPath(e.Digest)
}

// DataOffset is where the content begins.
func (e *Entry) DataOffset() int64 { return e.Offset + headerSize(e.Name()) }

// End is where the next entry begins.
func (e *Entry) End() int64 {
	return e.DataOffset() + e.Size + padding(e.Size)
}

// Plan is a bundle laid out to the last byte, before any layer was fetched.
// The same graph and extras give the same plan.
type Plan struct {
	Entries []Entry // in file order
	Size    int64   // of the whole file
	Names   []Name
	byDgst  map[digest.Digest]int
}

// Lookup finds the entry of a blob or manifest.
func (p *Plan) Lookup(dgst digest.Digest) (*Entry, bool) {
	i, ok := p.byDgst[dgst]
	if !ok {
		return nil, false
	}
	return &p.Entries[i], true
}

// NewPlan lays out a bundle that holds g. artifacts describe the bundle, each with
// its manifest first; they are listed in index.json, untagged, and stand before all
// other blobs. Order: oci-layout, index.json, manifest.json (if an image can be
// run), artifacts, manifests, configs and all that belongs to attachments, layers; by
// digest within each.
func NewPlan(g *Graph, artifacts ...[]Content) (*Plan, error) {
	p := &Plan{Names: g.Names()}
	index, err := renderIndex(g, artifacts)
	if err != nil {
		return nil, err
	}
	if len(index) > MaxIndexBytes {
		return nil, fmt.Errorf("index.json would have %d bytes, at most %d are accepted: %w", len(index), MaxIndexBytes, ErrLimit)
	}
	nodes := g.Manifests()
	blobs := blobEntries(g, nodes)
	described := slices.Concat(artifacts...)
	p.Entries = make([]Entry, 0, 3+len(described)+len(nodes)+len(blobs))
	p.byDgst = make(map[digest.Digest]int, cap(p.Entries))
	p.file(ocispec.ImageLayoutFile, []byte(layoutFile))
	p.file(ocispec.ImageIndexFile, index)
	if docker := renderDocker(g); docker != nil {
		p.file(dockerFile, docker)
	}
	for _, c := range described {
		if err := CheckBytes(c.Data, c.Descriptor); err != nil {
			return nil, err
		}
		p.add(Entry{Blob: blobOf(c.Descriptor), Data: c.Data})
	}
	for _, n := range nodes {
		p.add(Entry{Blob: blobOf(n.Descriptor), Repository: n.Repository, Data: n.raw})
	}
	for _, e := range blobs {
		p.add(e)
	}
	if err := p.lay(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Plan) file(name string, data []byte) {
	p.Entries = append(p.Entries, Entry{name: name, Data: data, Blob: Blob{Size: int64(len(data))}})
}

func (p *Plan) add(e Entry) {
	if _, ok := p.byDgst[e.Digest]; !ok {
		p.byDgst[e.Digest] = len(p.Entries)
		p.Entries = append(p.Entries, e)
	}
}

// lay sets the offsets.
func (p *Plan) lay() error {
	if len(p.Entries) > MaxTarEntries {
		return fmt.Errorf("%d files, at most %d are accepted: %w", len(p.Entries), MaxTarEntries, ErrLimit)
	}
	for i := range p.Entries {
		p.Entries[i].Offset = p.Size
		p.Size = p.Entries[i].End()
		if p.Size < 0 || p.Size > 1<<62 {
			return fmt.Errorf("the bundle would be too large for any file: %w", ErrLimit)
		}
	}
	p.Size += endBlocks * blockSize
	return nil
}

// blobEntries lists every blob once: metadata first, then layers, by digest.
func blobEntries(g *Graph, nodes []*Node) []Entry {
	attached, absent := g.Attachments(), g.absences()
	seen := map[digest.Digest]int{}
	var out []Entry
	for _, n := range nodes {
		for i, b := range n.Blobs {
			layer := !attached[n.Descriptor.Digest] && !(i == 0 && n.HasConfig) && !IsIndex(n.Descriptor.MediaType)
			at, ok := seen[b.Digest]
			if !ok {
				at = len(out)
				seen[b.Digest] = at
				out = append(out, Entry{Blob: b, Repository: g.holder(n, b.Digest, absent), Layer: true})
			}
			out[at].Layer = out[at].Layer && layer
		}
	}
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(compareBool(a.Layer, b.Layer), cmp.Compare(a.Digest, b.Digest))
	})
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

const (
	layoutFile = `{"imageLayoutVersion":"1.0.0"}`
	dockerFile = "manifest.json"

	// annotationBundle marks an index.json of ours; its value is the
	// version of the format.
	annotationBundle = "vnd.airgap.bundle"
	formatVersion    = "1"
)

// renderIndex writes index.json: roots by name, cosign tags, what is attached
// and has no name, the artifacts that describe the bundle.
func renderIndex(g *Graph, artifacts [][]Content) ([]byte, error) {
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: MediaTypeIndex,
		Annotations: map[string]string{annotationBundle: formatVersion},
	}
	named := map[digest.Digest]bool{}
	roots := slices.SortedFunc(slices.Values(g.Roots), func(a, b Name) int {
		return cmp.Compare(a.Reference.Name(), b.Reference.Name())
	})
	for _, n := range roots {
		index.Manifests = append(index.Manifests, listed(g, n.Descriptor.Digest, map[string]string{
			AnnotationRefName: n.Reference.Name(), AnnotationContainerdName: n.Reference.Name(),
		}))
		named[n.Descriptor.Digest] = true
	}
	for _, n := range g.Tags {
		index.Manifests = append(index.Manifests, listed(g, n.Descriptor.Digest, map[string]string{
			annotationTag: n.Reference.Name(),
		}))
		named[n.Descriptor.Digest] = true
	}
	for _, d := range g.attached() {
		if !named[d] {
			index.Manifests = append(index.Manifests, listed(g, d, nil))
		}
	}
	for _, a := range artifacts {
		if len(a) > 0 {
			index.Manifests = append(index.Manifests, a[0].Descriptor)
		}
	}
	return json.Marshal(index)
}

func listed(g *Graph, dgst digest.Digest, annotations map[string]string) Descriptor {
	d := g.Nodes[dgst].Descriptor
	d = Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, ArtifactType: d.ArtifactType, Annotations: annotations}
	if g.Nodes[dgst].Kind == KindImage {
		d.ArtifactType = "" // an image is no artifact, though its config has a type
	}
	return d
}

type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// renderDocker writes manifest.json, which is all that docker load and podman
// load read: the images that can be run and have a tag. That format knows no
// platforms, so an index is represented by its linux/amd64 child, or by the
// first it has.
func renderDocker(g *Graph) []byte {
	var images []dockerImage
	byDigest, lacking := map[digest.Digest]int{}, g.lacking()
	for _, root := range g.Roots {
		n := g.image(root.Descriptor.Digest, lacking)
		if n == nil || root.Reference.Tag == "" {
			continue
		}
		i, ok := byDigest[n.Descriptor.Digest]
		if !ok {
			i = len(images)
			byDigest[n.Descriptor.Digest] = i
			images = append(images, dockerImage{Config: BlobPath(n.Blobs[0].Digest), Layers: []string{}})
			for _, l := range n.Blobs[1:] {
				images[i].Layers = append(images[i].Layers, BlobPath(l.Digest))
			}
		}
		images[i].RepoTags = append(images[i].RepoTags, root.Reference.Name())
	}
	if images == nil {
		return nil
	}
	for _, i := range images {
		slices.Sort(i.RepoTags)
	}
	slices.SortFunc(images, func(a, b dockerImage) int { return cmp.Compare(a.RepoTags[0], b.RepoTags[0]) })
	out, err := json.Marshal(images)
	if err != nil {
		panic(err) // strings only
	}
	return out
}

// lacking lists images of which layers were left out: no program could load them.
func (g *Graph) lacking() map[digest.Digest]bool {
	out := map[digest.Digest]bool{}
	for _, o := range g.Omitted {
		if o.Reason == ReasonForeign {
			out[o.Parent] = true
		}
	}
	return out
}

// Image finds the image that a container would be started from under a name that
// leads to dgst, or nil: dgst itself, or of an index the first that it lists for
// linux/amd64, or else the first.
func (g *Graph) Image(dgst digest.Digest) *Node { return g.image(dgst, g.lacking()) }

// image finds the image that a container would be started from: dgst itself, or
// of an index the first image that it lists for linux/amd64, or else the first.
func (g *Graph) image(dgst digest.Digest, lacking map[digest.Digest]bool) *Node {
	var found *Node
	seen := map[digest.Digest]bool{}
	stack := []Child{{Digest: dgst}}
	for len(stack) > 0 {
		c := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := g.Nodes[c.Digest]
		if n == nil || seen[c.Digest] || c.BuildKit {
			continue
		}
		seen[c.Digest] = true
		if n.Image && !lacking[c.Digest] {
			if c.Digest == dgst || c.Platform != nil && FormatPlatform(*c.Platform) == "linux/amd64" {
				return n
			}
			if found == nil {
				found = n
			}
		}
		for _, child := range slices.Backward(n.Children) {
			stack = append(stack, child)
		}
	}
	return found
}
