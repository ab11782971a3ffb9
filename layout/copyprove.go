package layout

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// lacking is an error of a sink that refuses a manifest because it does not have all
// that the manifest lists.
type lacking interface {
	error
	// Lacking returns the content that the sink names, if it names any; ok says
	// whether this is such an error at all.
	Lacking() (named []digest.Digest, ok bool)
}

// sendWithBlobs puts a piece. If it is a manifest that the sink refuses for want of
// content that it said it has, the content is sent, and then the manifest once more.
// Each round sends something new, so this ends.
func (c *copier) sendWithBlobs(ctx context.Context, worker int, p *piece, repo string) error {
	tried := map[digest.Digest]bool{}
	for {
		err := c.put(ctx, worker, p, repo)
		var l lacking
		if err == nil || p.node == nil || !errors.As(err, &l) {
			return err
		}
		named, ok := l.Lacking()
		if !ok {
			return err
		}
		again := c.listed(p.node, named)
		again = slices.DeleteFunc(again, func(q *piece) bool { return tried[q.desc.Digest] })
		if len(again) == 0 {
			return err
		}
		for _, q := range again {
			tried[q.desc.Digest] = true
			if err := c.resend(ctx, worker, q, repo); err != nil {
				return err
			}
		}
	}
}

// listed returns the pieces that a manifest lists: those that are named, or all if
// none of them is.
func (c *copier) listed(n *Node, named []digest.Digest) []*piece {
	var all, some []*piece
	add := func(q *piece) {
		if q == nil {
			return
		}
		all = append(all, q)
		if slices.Contains(named, q.desc.Digest) {
			some = append(some, q)
		}
	}
	for _, b := range n.Blobs {
		add(c.layers[b.Digest])
	}
	for _, child := range n.Children {
		add(c.nodes[child.Digest])
	}
	if some != nil {
		return some
	}
	return all
}

// resend sends what the sink said it has, once. What was sent in this run anyway is
// not sent again.
func (c *copier) resend(ctx context.Context, worker int, p *piece, repo string) error {
	at := placedPiece{p, repo}
	c.mu.Lock()
	if c.sent[at] {
		c.mu.Unlock()
		return nil
	}
	once := c.resends[at]
	if once == nil {
		once = sync.OnceValue(func() error { return c.sendAfterAll(ctx, worker, at) })
		c.resends[at] = once
	}
	c.mu.Unlock()
	return once()
}

func (c *copier) sendAfterAll(ctx context.Context, worker int, at placedPiece) error {
	c.mu.Lock()
	count := 0
	if at.skipped {
		at.skipped, count = false, 1
	}
	c.mu.Unlock()
	// Its bytes were counted when it was skipped, and are counted again as they move.
	e := Event{Kind: EventAdvance, Worker: worker, Descriptor: at.desc, N: -at.desc.Size}
	c.emit(e)
	if err := c.put(ctx, worker, at.piece, at.repo); err != nil {
		return err
	}
	e.Kind, e.N, e.Count = EventResend, at.desc.Size, count
	c.emit(e)
	return nil
}

// prove has the sink prove every blob that it said it has. One that it cannot prove,
// for whatever reason, is sent, and then each manifest that lists it once more.
func (c *copier) prove(ctx context.Context) error {
	prover, ok := c.dst.(Prover)
	if !ok || len(c.claims) == 0 {
		return nil
	}
	unproven := make([]bool, len(c.claims))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opt.Jobs * smallFactor)
	for i, at := range c.claims {
		if c.sent[at] {
			continue
		}
		g.Go(func() error {
			served, err := prover.Prove(gctx, at.repo, at.desc)
			unproven[i] = err != nil || !served
			return gctx.Err()
		})
	}
	if err := waitCause(ctx, g); err != nil {
		return err
	}
	return c.resendAll(ctx, unproven)
}

// resendAll sends the claims that are unproven, and their manifests.
func (c *copier) resendAll(ctx context.Context, unproven []bool) error {
	lost := map[placeKey]bool{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opt.Jobs)
	for i, at := range c.claims {
		if !unproven[i] {
			continue
		}
		lost[placeKey{at.repo, at.desc.Digest}] = true
		g.Go(func() error {
			worker := c.takeWorker()
			defer c.freeWorker(worker)
			return c.resend(gctx, worker, at.piece, at.repo)
		})
	}
	if err := waitCause(ctx, g); err != nil || len(lost) == 0 {
		return err
	}
	worker := c.takeWorker()
	defer c.freeWorker(worker)
	for _, at := range c.placed() {
		if slices.ContainsFunc(at.node.Blobs, func(b Blob) bool { return lost[placeKey{at.repo, b.Digest}] }) {
			if err := c.put(ctx, worker, c.nodes[at.node.Descriptor.Digest], at.repo); err != nil {
				return err
			}
		}
	}
	return nil
}
