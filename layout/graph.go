package layout

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
)

// Node is one manifest of a graph.
type Node struct {
	Descriptor Descriptor // media type, artifact type, digest, size
	Kind       Kind
	Children   []Child // of an index, as listed, without those left out
	// Blobs has the config first. Of an index it is what it lists that is no manifest; a
	// repository may lack some of that, if another has it (see Graph.Omitted).
	Blobs      []Blob
	HasConfig  bool          // Blobs[0] is the config
	Image      bool          // it has the media types of a container image; see [HasImageTypes]
	Subject    digest.Digest // what it says it is attached to; may be empty
	Repository string        // one repository it was found in, the first by name
	raw        []byte        // kept if WalkOptions.Keep
}

// Blob is what pins a blob, a third of a [Descriptor]: a graph has many.
type Blob struct {
	MediaType string
	Digest    digest.Digest
	Size      int64
}

func blobOf(d Descriptor) Blob { return Blob{d.MediaType, d.Digest, d.Size} }

// Descriptor is the blob's descriptor.
func (b Blob) Descriptor() Descriptor {
	return Descriptor{MediaType: b.MediaType, Digest: b.Digest, Size: b.Size}
}

// Child is a manifest as an index lists it. Platform and BuildKit are the word of
// that index, and of no other.
type Child struct {
	Digest   digest.Digest
	Platform *Platform     // may be nil
	BuildKit bool          // listed as an attestation of BuildKit's
	About    digest.Digest // what that speaks of; may be empty
}

// Edge ties an attached manifest to its subject.
type Edge struct {
	Digest digest.Digest
	Forms  []Form // every form that listed it, in the order of asking
}

// Place is a manifest in one repository, with what that repository answered
// when it was asked for attachments.
type Place struct {
	Repository string
	Digest     digest.Digest
	Answers    map[Form]Answer // shared between places; not to be changed
	Attached   []Edge          // sorted by digest
}

// Omission is something that a manifest lists and that is not taken from one
// repository.
type Omission struct {
	Repository string
	Parent     digest.Digest
	Descriptor Descriptor
	Reason     string
	// Elsewhere: engines may have it all the same, for the index that lists it embeds it
	// or says where else it is (OCI image-spec, descriptor fields "data" and "urls"), or
	// the repository has it as a manifest, though it is listed as something else.
	Elsewhere bool
}

// Reasons for an omission.
const (
	ReasonPlatform = "another platform was chosen"
	ReasonAbsent   = "not in the source"
	ReasonForeign  = "a foreign layer, kept outside registries"
)

// ReasonMissingReferrer is why what a source listed as attached was rejected, if the
// source does not have it, and [WalkOptions] allow that.
const ReasonMissingReferrer = "not in the source any more; whoever exported allowed that by its digest"

// Rejection is something that a source listed as attached and that is not or, without
// a digest, an answer of the source that says less than it should.
type Rejection struct {
	Repository string
	Subject    digest.Digest
	Digest     digest.Digest
	Form       Form
	Reason     string
}

// Graph is everything reached from a set of names: manifests only, pinned by
// digest. It is complete when [Walk] returns it, and does not change.
type Graph struct {
	Roots    []Name // in the order asked for, each once
	Nodes    map[digest.Digest]*Node
	Places   []Place // sorted by repository, then digest
	Tags     []Name  // cosign tags, sorted
	Omitted  []Omission
	Rejected []Rejection
	// Unmatched lists the chosen platforms that a root has nothing for.
	Unmatched []Unmatched
}

// Manifests returns all nodes, sorted by digest.
func (g *Graph) Manifests() []*Node {
	return slices.SortedFunc(maps.Values(g.Nodes), func(a, b *Node) int {
		return cmp.Compare(a.Descriptor.Digest, b.Descriptor.Digest)
	})
}

// Repositories returns the names of all repositories, sorted.
func (g *Graph) Repositories() []string {
	var out []string
	for _, p := range g.Places {
		if len(out) == 0 || out[len(out)-1] != p.Repository {
			out = append(out, p.Repository)
		}
	}
	return out
}

// Place finds a manifest in a repository.
func (g *Graph) Place(repo string, dgst digest.Digest) (Place, bool) {
	i, ok := slices.BinarySearchFunc(g.Places, Place{Repository: repo, Digest: dgst}, comparePlaces)
	if !ok {
		return Place{}, false
	}
	return g.Places[i], true
}

func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Digest, b.Digest))
}

// Names returns every name to be published: roots, then cosign tags.
func (g *Graph) Names() []Name { return slices.Concat(g.Roots, g.Tags) }

// Attachments returns the digests of all manifests that are attached to another
// or belong to one that is (and so are metadata, layers and all).
func (g *Graph) Attachments() map[digest.Digest]bool {
	out := map[digest.Digest]bool{}
	var stack []digest.Digest
	add := func(d digest.Digest) {
		if n := g.Nodes[d]; n != nil && !out[d] {
			out[d] = true
			for _, c := range n.Children {
				stack = append(stack, c.Digest)
			}
		}
	}
	for d, n := range g.Nodes {
		if n.Subject != "" || n.Kind == KindBuildKit {
			add(d)
		}
	}
	for _, p := range g.Places {
		for _, e := range p.Attached {
			add(e.Digest)
		}
	}
	for len(stack) > 0 {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		add(d)
	}
	return out
}

// attached returns the digest of each manifest that some repository attaches to
// another, sorted, each once.
func (g *Graph) attached() []digest.Digest {
	set := map[digest.Digest]bool{}
	for _, p := range g.Places {
		for _, e := range p.Attached {
			set[e.Digest] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// open reads a manifest's bytes, from memory if they were kept.
func (g *Graph) open(ctx context.Context, src Source, n *Node) (io.ReadCloser, error) {
	if n.raw != nil {
		return io.NopCloser(bytes.NewReader(n.raw)), nil
	}
	return src.Open(ctx, n.Repository, n.Descriptor)
}

// ReadManifest returns the bytes of a manifest of the graph.
func (g *Graph) ReadManifest(ctx context.Context, src Source, dgst digest.Digest) ([]byte, error) {
	n := g.Nodes[dgst]
	if n == nil {
		return nil, &Error{Side: SideSource, Digest: dgst, Err: ErrNotFound}
	}
	if n.raw != nil {
		return n.raw, nil
	}
	rc, err := g.open(ctx, src, n)
	if err != nil {
		return nil, err
	}
	return ReadAll(rc, n.Descriptor)
}
