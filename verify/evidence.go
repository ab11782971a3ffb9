package verify

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"airgap/layout"
	"airgap/verify/notary"
	"airgap/verify/predicate"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// Media types of layers that hold signatures (SIGNATURE_SPEC of cosign,
// protobuf-specs of Sigstore).
const (
	typeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	typeDSSE          = "application/vnd.dsse.envelope.v1+json"
	bundlePrefix      = "application/vnd.dev.sigstore.bundle"
)

// kindRecord is what a custody record is called.
const kindRecord = "custody record"

// maxRootBytes is how much may be read for one image, its children and what is
// attached to those.
const maxRootBytes = 512 << 20

// MaxEvidenceBytes is how large one attached signature, attestation or document
// may be to be looked at. SBOMs have tens of megabytes, in base64.
const MaxEvidenceBytes = sigstore.MaxEnvelopeBytes

// What one judgement may cost, in bytes of evidence that are looked at, each time
// anew: what is carried once can be attached to any number of images, and a policy
// may ask for it several times. It grows with what is carried, and so the work stays
// in proportion.
const (
	baseWork    = maxRootBytes
	nodeWork    = 64 << 10 // for each manifest
	repeatWork  = 16       // times the bytes of everything that is attached
	minimumWork = 4 << 10  // that looking at something costs, however small
	// childWork is what judging a child of an index costs, with what its outcome takes in
	// memory. It is spent once for all references that are judged alike.
	childWork = 8 << 10
)

// maxPieces is how many manifests and layers may be attached to one image and what belongs
// to it, to be looked at: more than there is work for.
const maxPieces = baseWork / minimumWork

// errWork says that a graph asks for more work than one of its size may.
var errWork = fmt.Errorf("judging it takes more work than signatures of this size and number should; nothing was decided: %w", layout.ErrLimit)

// errChildren is errWork for an index with many references, where a rule asks under which
// reference each child was signed.
var errChildren = fmt.Errorf("its children would be judged for more references than an index of this size should have; nothing was decided. Choose fewer references at a time: %w", layout.ErrLimit)

// work is what is left of it, shared between roots.
type work struct {
	left  atomic.Int64
	whole int64
}

// again is as much work as there was at first.
func (w *work) again() *work {
	out := &work{whole: w.whole}
	out.left.Store(w.whole)
	return out
}

func newWork(g *layout.Graph) *work {
	distinct := map[digest.Digest]bool{}
	total := int64(baseWork)
	for d := range g.Attachments() {
		n := g.Nodes[d]
		for _, b := range n.Blobs {
			if b.Size > 0 && b.Size <= MaxEvidenceBytes && !distinct[b.Digest] {
				distinct[b.Digest] = true
				total += repeatWork * b.Size
			}
		}
	}
	w := &work{whole: total + nodeWork*int64(len(g.Nodes))}
	return w.again()
}

// spend takes what looking at size bytes costs.
func (w *work) spend(size int64) error {
	if w.left.Add(-max(size, minimumWork)) < 0 {
		return errWork
	}
	return nil
}

// piece is one thing that is attached and could speak for its subject.
type piece struct {
	manifest digest.Digest
	kind     string // in words
	layer    layout.Descriptor
	repo     string

	index    int  // of the layer in its manifest
	bare     bool // layer lacks its annotations, which are read again
	counted  bool // in what belongs to the image
	ready    bool // what follows was read, and stays
	data     []byte
	envelope *sigstore.Envelope // of Sigstore's forms
	err      error              // it cannot be read as what it should be
	verified verified
}

// pieces is everything attached to one manifest in its repository.
type pieces struct {
	subject   layout.Descriptor
	notary    []*piece
	sigstore  []*piece
	artifacts []*artifact
}

// artifact is an attached manifest, whatever it is.
type artifact struct {
	node  *layout.Node
	parts []layout.Descriptor // layers
}

// typ is the artifact's type (image-spec, "Guidelines for Artifact Usage").
func (a *artifact) typ() string { return a.node.Descriptor.ArtifactType }

// collector reads what is attached to one image, and to what belongs to it. One goroutine
// uses it at a time.
type collector struct {
	src    layout.Source
	g      *layout.Graph
	work   *work
	starts *layout.Inspector
	room   *room

	known   map[key]*pieces
	attests map[digest.Digest]bool // manifests that are BuildKit attestations, or not
	warned  map[digest.Digest][]string
	bytes   int64 // read so far
	kept    int64 // bytes of room that are kept
	pieces  int
}

type key struct {
	repo   string
	digest digest.Digest
}

// of returns everything attached to a manifest.
func (c *collector) of(ctx context.Context, repo string, dgst digest.Digest) (*pieces, error) {
	if p := c.known[key{repo, dgst}]; p != nil {
		return p, nil
	}
	p, err := c.collect(ctx, repo, dgst)
	if err != nil {
		return nil, err
	}
	c.known[key{repo, dgst}] = p
	return p, nil
}

func (c *collector) collect(ctx context.Context, repo string, dgst digest.Digest) (*pieces, error) {
	place, ok := c.g.Place(repo, dgst)
	if !ok {
		return nil, fmt.Errorf("%s in %s: %w", dgst, repo, layout.ErrNotFound)
	}
	d := c.g.Nodes[dgst].Descriptor
	out := &pieces{subject: layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}}
	for _, e := range place.Attached {
		m, err := c.manifest(ctx, e.Digest)
		if err != nil {
			return nil, err
		}
		if c.pieces += 1 + len(m.Layers); c.pieces > maxPieces {
			return nil, errWork
		}
		bare := !c.keep(c.g.Nodes[e.Digest].Descriptor.Size)
		a := &artifact{node: c.g.Nodes[e.Digest]}
		for i, l := range m.Layers {
			if bare {
				l = layout.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
			}
			a.parts = append(a.parts, l)
			out.add(&piece{manifest: e.Digest, layer: l, repo: repo, index: i, bare: bare})
		}
		out.artifacts = append(out.artifacts, a)
	}
	return out, nil
}

// add sorts a layer by its type. What the manifest calls itself does not matter:
// tools differ, and a lie gains nothing.
func (p *pieces) add(x *piece) {
	switch t := x.layer.MediaType; {
	case slices.Contains(notary.MediaTypes, t):
		x.kind = "Notary signature"
		p.notary = append(p.notary, x)
	case strings.HasPrefix(t, bundlePrefix):
		x.kind = "Sigstore bundle"
		p.sigstore = append(p.sigstore, x)
	case t == typeSimpleSigning:
		x.kind = "cosign signature"
		p.sigstore = append(p.sigstore, x)
	case t == typeDSSE:
		x.kind = "DSSE attestation"
		p.sigstore = append(p.sigstore, x)
	case t == predicate.RecordMediaType:
		x.kind = kindRecord
		p.sigstore = append(p.sigstore, x)
	}
}

// load reads a piece's bytes, and parses those of Sigstore's forms. It is called each
// time that the piece is looked at; done is called when that is over. What there is no
// room to keep is read again the next time.
func (x *piece) load(ctx context.Context, c *collector) (done func(), err error) {
	if err := c.work.spend(x.layer.Size); err != nil {
		return nil, err
	}
	free, err := c.room.take(ctx, x.layer.Size)
	if err != nil {
		return nil, err
	}
	if x.ready {
		return free, nil
	}
	if err := x.fetch(ctx, c); err != nil {
		free()
		return nil, err
	}
	if x.ready = c.keep(x.layer.Size); x.ready {
		return free, nil
	}
	return func() {
		x.data, x.envelope, x.err = nil, nil, nil
		free()
	}, nil
}

// fetch fills in what the piece holds. An error means that its bytes cannot be had.
func (x *piece) fetch(ctx context.Context, c *collector) error {
	layer := x.layer
	if x.bare {
		m, err := c.manifest(ctx, x.manifest)
		if err != nil {
			return err
		}
		layer = m.Layers[x.index]
	}
	data, bad, fatal := c.read(ctx, x.repo, layer, x.counted)
	x.counted = true
	if bad != nil || fatal != nil {
		x.err = bad
		return fatal
	}
	switch t := layer.MediaType; {
	case strings.HasPrefix(t, bundlePrefix):
		x.envelope, x.err = sigstore.ParseBundle(data)
	case t == typeSimpleSigning:
		x.envelope, x.err = sigstore.ParseSimpleSigning(data, layer.Annotations)
	case t == typeDSSE:
		x.envelope, x.err = sigstore.ParseDSSE(data, layer.Annotations)
	case t == predicate.RecordMediaType:
		x.envelope, x.err = sigstore.ParseRecord(data)
	}
	if x.envelope == nil { // else that has it
		x.data = data
	}
	return nil
}

// read reads a small blob. A blob that is too large is the fault of whoever attached
// it; one that cannot be read ends the judgement. again says that it was read before.
func (c *collector) read(ctx context.Context, repo string, d layout.Descriptor, again bool) (data []byte, bad, fatal error) {
	if d.Size > MaxEvidenceBytes {
		return nil, fmt.Errorf("%d bytes, at most %d are looked at: %w", d.Size, MaxEvidenceBytes, layout.ErrLimit), nil
	}
	if err := c.work.spend(d.Size); err != nil {
		return nil, nil, err
	}
	if !again {
		c.bytes += max(d.Size, 0)
	}
	if c.bytes > maxRootBytes {
		return nil, &undecided{fmt.Errorf("more than %d bytes of signatures and documents belong to the image; not looked at", maxRootBytes)}, nil
	}
	rc, err := c.src.Open(ctx, repo, layout.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
	if err != nil {
		return nil, nil, err
	}
	defer rc.Close()
	data, err = io.ReadAll(layout.Verify(rc, d))
	return data, nil, err
}
