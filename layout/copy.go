package layout

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// EventKind says what happened to one piece of content.
type EventKind int

// The kinds of event.
const (
	EventPlan    EventKind = iota // N bytes in Count pieces are ahead
	EventStart                    // a piece begins
	EventAdvance                  // N more bytes of it
	EventDone                     // it is there; N bytes of it were moved
	EventSkip                     // it was there already: N bytes need not move
	EventResend                   // it was said to be there and is not: N bytes moved; Count is 1 if it was skipped before
)

// Event is a step of a transfer, for progress displays.
type Event struct {
	Kind       EventKind
	Worker     int
	Descriptor Descriptor
	N          int64
	Count      int
}

// CopyOptions tune [Copy]. The zero value copies everything under its own name.
type CopyOptions struct {
	// Jobs is how many layers move at once; 0 means DefaultJobs. Small
	// content moves with smallFactor times as many.
	Jobs int
	// Rename maps a repository of the source to one of the sink; nil keeps
	// it.
	Rename func(repo string) string
	// Names are published at the end, already mapped; nil means those of
	// the graph.
	Names []Name
	// ReadAll reads, and so checks, even what the sink has already.
	ReadAll bool
	// Resend sends everything, whatever the sink says that it has.
	Resend bool
	// Progress is called from many goroutines, one at a time.
	Progress func(Event)
}

const (
	// DefaultJobs is how many layers move at once.
	DefaultJobs = 8
	// smallFactor times as many small pieces (of at most smallSize bytes)
	// move at once, for there it is latency that costs.
	smallFactor = 6
	smallSize   = 1 << 20
)

// Copy puts everything of g into dst: blobs first, then manifests, children and
// subjects before what refers to them, and names last. Each byte is read once
// and hashed on the way. A piece that dst has is not sent; one that several
// repositories need is sent once and mounted in the others where dst can. If dst is
// a [Prover], what was not sent is proven before the names are written, and sent if
// it cannot be.
func Copy(ctx context.Context, dst Sink, src Source, g *Graph, o CopyOptions) error {
	c := newCopier(dst, src, g, o)
	c.emit(Event{Kind: EventPlan, N: c.bytes, Count: c.count})
	if err := c.pieces(ctx, c.blobs); err != nil {
		return err
	}
	for _, level := range g.levels() {
		if err := c.manifests(ctx, level); err != nil {
			return err
		}
	}
	if err := c.prove(ctx); err != nil {
		return err
	}
	return c.commit(ctx)
}

// piece is one blob or manifest, with every repository of the sink it goes to.
type piece struct {
	desc  Descriptor
	from  string // repository of the source
	repos []string
	node  *Node // of a manifest

	skipped bool // reported as there; guarded by copier.mu
}

type copier struct {
	dst    Sink
	src    Source
	graph  *Graph
	opt    CopyOptions
	places map[digest.Digest][]string // a manifest's repositories in the sink
	blobs  []*piece
	bytes  int64
	count  int
	layers map[digest.Digest]*piece // the blobs
	nodes  map[digest.Digest]*piece // the manifests

	mu      sync.Mutex
	workers []bool
	claims  []placedPiece // blobs that dst says it has
	sent    map[placedPiece]bool
	resends map[placedPiece]func() error
}

// placedPiece is a piece in one repository of the sink.
type placedPiece struct {
	*piece
	repo string
}

func newCopier(dst Sink, src Source, g *Graph, o CopyOptions) *copier {
	o.Jobs = cmp.Or(o.Jobs, DefaultJobs)
	if o.Rename == nil {
		o.Rename = func(repo string) string { return repo }
	}
	if o.Names == nil {
		o.Names = g.Names()
	}
	c := &copier{
		dst: dst, src: src, graph: g, opt: o, places: map[digest.Digest][]string{},
		layers: map[digest.Digest]*piece{}, nodes: make(map[digest.Digest]*piece, len(g.Nodes)),
		sent: map[placedPiece]bool{}, resends: map[placedPiece]func() error{},
	}
	absent := g.absences()
	for _, at := range c.placed() {
		d := at.node.Descriptor.Digest
		c.places[d] = appendNew(c.places[d], at.repo)
		for _, b := range at.node.Blobs {
			if absent[absence{at.from, d, b.Digest}] {
				continue
			}
			p := c.layers[b.Digest]
			if p == nil {
				p = &piece{desc: b.Descriptor(), from: g.holder(at.node, b.Digest, absent)}
				c.layers[b.Digest] = p
				c.blobs = append(c.blobs, p)
				c.bytes += b.Size
			}
			p.repos = appendNew(p.repos, at.repo)
		}
	}
	for d, n := range g.Nodes {
		c.bytes += n.Descriptor.Size
		c.nodes[d] = &piece{desc: n.Descriptor, from: n.Repository, repos: c.places[d], node: n}
	}
	c.count = len(c.blobs) + len(g.Nodes)
	// The largest first: they take longest, and the small ones fill the gaps.
	slices.SortStableFunc(c.blobs, func(a, b *piece) int { return cmp.Compare(b.desc.Size, a.desc.Size) })
	return c
}

// placed is a manifest in a repository of the sink.
type placed struct {
	repo string
	from string // repository of the source
	node *Node
}

// placed lists where manifests go, repository by repository.
func (c *copier) placed() []placed {
	out := make([]placed, len(c.graph.Places))
	for i, p := range c.graph.Places {
		out[i] = placed{c.opt.Rename(p.Repository), p.Repository, c.graph.Nodes[p.Digest]}
	}
	slices.SortStableFunc(out, func(a, b placed) int { return cmp.Compare(a.repo, b.repo) })
	return out
}

// appendNew appends repo to a sorted list, once.
func appendNew(repos []string, repo string) []string {
	if len(repos) > 0 && repos[len(repos)-1] == repo {
		return repos
	}
	return append(repos, repo)
}

// pieces moves blobs: large ones Jobs at a time, small ones beside them.
func (c *copier) pieces(ctx context.Context, all []*piece) error {
	small, ctx := errgroup.WithContext(ctx)
	small.SetLimit(c.opt.Jobs * smallFactor)
	large := make(chan struct{}, c.opt.Jobs)
	for _, p := range all {
		if p.desc.Size > smallSize {
			select {
			case large <- struct{}{}:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		small.Go(func() error {
			if p.desc.Size > smallSize {
				defer func() { <-large }()
			}
			return c.move(ctx, p)
		})
	}
	return waitCause(ctx, small)
}

// waitCause returns the first error of the group, or the context's.
func waitCause(ctx context.Context, g *errgroup.Group) error {
	cause := ctx.Err()
	return cmp.Or(g.Wait(), cause)
}

func (c *copier) manifests(ctx context.Context, level []*Node) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opt.Jobs * smallFactor)
	room := semaphore.NewWeighted(MaxManifestsAtOnce)
	for _, n := range level {
		weight := min(n.Descriptor.Size, MaxManifestsAtOnce)
		if room.Acquire(ctx, weight) != nil {
			break // ctx has ended
		}
		g.Go(func() error {
			defer room.Release(weight)
			return c.move(ctx, c.nodes[n.Descriptor.Digest])
		})
	}
	return waitCause(ctx, g)
}

// move brings one piece to all its repositories.
func (c *copier) move(ctx context.Context, p *piece) error {
	worker := c.takeWorker()
	defer c.freeWorker(worker)
	moved := false
	for i, repo := range p.repos {
		sent, err := c.place(ctx, worker, p, repo, p.repos[:i])
		if err != nil {
			return err
		}
		moved = moved || sent
	}
	kind := EventDone
	if !moved {
		kind = EventSkip
		c.mu.Lock()
		p.skipped = true
		c.mu.Unlock()
		if err := c.check(ctx, p); err != nil {
			return err
		}
	}
	c.emit(Event{Kind: kind, Worker: worker, Descriptor: p.desc, N: p.desc.Size})
	return nil
}

// check reads a piece that nothing was done with, if that is wanted.
func (c *copier) check(ctx context.Context, p *piece) error {
	if !c.opt.ReadAll || p.node != nil {
		return nil // manifests were read by the walk
	}
	rc, err := c.open(ctx, p)
	if err != nil {
		return c.explain(p, err)
	}
	defer rc.Close()
	if _, err := copyBuffer(io.Discard, Verify(NopCloser(&ctxReader{ctx, rc}), p.desc)); err != nil {
		return c.explain(p, err)
	}
	return nil
}

// place brings a piece to one repository, and reports whether its bytes moved.
func (c *copier) place(ctx context.Context, worker int, p *piece, repo string, have []string) (bool, error) {
	if !c.opt.Resend {
		if has, err := c.has(ctx, p, repo, have); err != nil || has {
			return false, err
		}
	}
	c.emit(Event{Kind: EventStart, Worker: worker, Descriptor: p.desc})
	err := c.sendWithBlobs(ctx, worker, p, repo)
	return err == nil, err
}

// has says whether a piece is in a repository of the sink, or was mounted there.
func (c *copier) has(ctx context.Context, p *piece, repo string, have []string) (has bool, err error) {
	if m, ok := c.dst.(Mounter); ok && p.node == nil && len(have) > 0 {
		has, err = m.Mount(ctx, repo, p.desc, have[0])
	}
	if !has && err == nil {
		has, err = c.dst.Has(ctx, repo, p.desc)
	}
	if has && p.node == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.claims = append(c.claims, placedPiece{p, repo})
	}
	return has, err
}

// put sends a piece to one repository, and again if the sink says that it may work
// the next time.
func (c *copier) put(ctx context.Context, worker int, p *piece, repo string) error {
	for attempt := 1; ; attempt++ {
		err := c.send(ctx, worker, p, repo)
		if err == nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sent[placedPiece{p, repo}] = true
			return nil
		}
		if attempt == putAttempts || ctx.Err() != nil || !temporary(err) {
			return err
		}
	}
}

// putAttempts is how often content is sent to a sink that says it may work the
// next time. Content that went wrong on the way in has its retries in the source.
const putAttempts = 3

// temporary says whether the same may succeed in another attempt.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// send reads a piece and puts it.
func (c *copier) send(ctx context.Context, worker int, p *piece, repo string) error {
	rc, err := c.open(ctx, p)
	if err != nil {
		return permanent(c.explain(p, err))
	}
	defer rc.Close()
	src := &sourceReader{Reader: rc, c: c, worker: worker, p: p}
	err = c.dst.Put(ctx, repo, p.desc, src)
	if err != nil {
		c.emit(Event{Kind: EventAdvance, Worker: worker, Descriptor: p.desc, N: -src.n})
	}
	if src.err != nil && errors.Is(err, src.err) {
		return permanent(c.explain(p, src.err))
	}
	return err
}

// permanent hides from temporary that an error of the source may be: the source
// has tried again by itself.
func permanent(err error) error { return &permanentError{err} }

type permanentError struct{ error }

func (e *permanentError) Unwrap() error   { return e.error }
func (e *permanentError) Temporary() bool { return false }

func (c *copier) open(ctx context.Context, p *piece) (io.ReadCloser, error) {
	if p.node != nil {
		return c.graph.open(ctx, c.src, p.node)
	}
	return c.src.Open(ctx, p.from, p.desc)
}

// explain adds to an error of the source what is missing from it.
func (c *copier) explain(p *piece, err error) error { return explained(p.from, p.desc.Digest, err) }

func explained(repo string, dgst digest.Digest, err error) error {
	if e := (*Error)(nil); errors.As(err, &e) && e.Digest != "" {
		return err
	}
	return &Error{Side: SideSource, Name: repo, Digest: dgst, Err: err}
}

// sourceReader counts, and remembers that an error came from the source.
type sourceReader struct {
	io.Reader
	c      *copier
	worker int
	p      *piece
	n      int64
	err    error
}

// Conduit implements [Conduit].
func (s *sourceReader) Conduit() io.Reader { return s.Reader }

func (s *sourceReader) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if n > 0 {
		s.n += int64(n)
		s.c.emit(Event{Kind: EventAdvance, Worker: s.worker, Descriptor: s.p.desc, N: int64(n)})
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// commit publishes the names, with the bytes of their manifests.
func (c *copier) commit(ctx context.Context) error {
	names := slices.Clone(c.opt.Names)
	for i := range names {
		names[i].Read = func(ctx context.Context) ([]byte, error) {
			return c.graph.ReadManifest(ctx, c.src, names[i].Descriptor.Digest)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.dst.Commit(ctx, names)
}

func (c *copier) emit(e Event) {
	if c.opt.Progress == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opt.Progress(e)
}

// takeWorker numbers what runs at once, from 0 and without gaps, for displays.
func (c *copier) takeWorker() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.workers, false)
	if i < 0 {
		i = len(c.workers)
		c.workers = append(c.workers, false)
	}
	c.workers[i] = true
	return i
}

func (c *copier) freeWorker(i int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers[i] = false
}
