package verify

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
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
)

// errWork says that a graph asks for more work than one of its size may.
var errWork = fmt.Errorf("judging it takes more work than signatures of this size and number should; nothing was decided: %w", layout.ErrLimit)

// work is what is left of it, shared between roots.
type work struct{ left atomic.Int64 }

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
	w := &work{}
	w.left.Store(total + nodeWork*int64(len(g.Nodes)))
	return w
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

	once     sync.Once
	data     []byte
	envelope *sigstore.Envelope // of Sigstore's forms
	err      error              // it cannot be read as what it should be
	fatal    error              // its bytes cannot be had
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

// collector reads what is attached, each manifest once.
type collector struct {
	src    layout.Source
	g      *layout.Graph
	work   *work
	starts *layout.Inspector

	mu      sync.Mutex
	known   map[key]*pieces
	attests map[digest.Digest]bool // manifests that are BuildKit attestations, or not
	bytes   int64                  // read so far
}

type key struct {
	repo   string
	digest digest.Digest
}

// of returns everything attached to a manifest.
func (c *collector) of(ctx context.Context, repo string, dgst digest.Digest) (*pieces, error) {
	c.mu.Lock()
	p := c.known[key{repo, dgst}]
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p, err := c.collect(ctx, repo, dgst)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
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
		out.artifacts = append(out.artifacts, &artifact{c.g.Nodes[e.Digest], m.Layers})
		for _, l := range m.Layers {
			out.add(&piece{manifest: e.Digest, layer: l, repo: repo})
		}
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

// load reads a piece's bytes, once, and parses those of Sigstore's forms. It is
// called each time that the piece is looked at.
func (x *piece) load(ctx context.Context, c *collector) error {
	if err := c.work.spend(x.layer.Size); err != nil {
		return err
	}
	x.once.Do(func() {
		x.data, x.err, x.fatal = c.read(ctx, x.repo, x.layer)
		if x.err != nil || x.fatal != nil {
			return
		}
		switch t := x.layer.MediaType; {
		case strings.HasPrefix(t, bundlePrefix):
			x.envelope, x.err = sigstore.ParseBundle(x.data)
		case t == typeSimpleSigning:
			x.envelope, x.err = sigstore.ParseSimpleSigning(x.data, x.layer.Annotations)
		case t == typeDSSE:
			x.envelope, x.err = sigstore.ParseDSSE(x.data, x.layer.Annotations)
		case t == predicate.RecordMediaType:
			x.envelope, x.err = sigstore.ParseRecord(x.data)
		}
		if x.envelope != nil {
			x.data = nil // the envelope has it
		}
	})
	return x.fatal
}

// read reads a small blob. A blob that is too large is the fault of whoever attached
// it; one that cannot be read ends the judgement.
func (c *collector) read(ctx context.Context, repo string, d layout.Descriptor) (data []byte, bad, fatal error) {
	if d.Size > MaxEvidenceBytes {
		return nil, fmt.Errorf("%d bytes, at most %d are looked at: %w", d.Size, MaxEvidenceBytes, layout.ErrLimit), nil
	}
	if err := c.work.spend(d.Size); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	c.bytes += max(d.Size, 0)
	tooMuch := c.bytes > maxRootBytes
	c.mu.Unlock()
	if tooMuch {
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
