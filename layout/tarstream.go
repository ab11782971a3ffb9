package layout

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"io"
	"sync"
)

const (
	// streamAhead is how many small pieces are fetched before their turn.
	streamAhead = 32
	// streamBuffer gathers headers and small pieces into large writes.
	streamBuffer = 64 << 10
)

// WriteTar writes the planned bundle to w in order, the same bytes as
// [TarWriter] writes, for pipes. Small pieces ahead are fetched while earlier
// ones are written; a layer is opened when its turn comes. Nothing can be taken
// back from a pipe: after an error the reader at its end sees a bundle without
// its end, and refuses it.
func WriteTar(ctx context.Context, w io.Writer, src Source, plan *Plan, progress func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	if progress == nil {
		progress = func(Event) {}
	}
	s := &streamer{ctx: ctx, src: src, plan: plan, progress: progress, ahead: make(chan *prefetch, streamAhead)}
	s.running.Go(s.fetch)
	defer s.running.Wait() // nothing uses src when this returns
	defer cancel()
	s.w = bufio.NewWriterSize(w, streamBuffer)
	for i := range plan.Entries {
		if err := s.entry(&plan.Entries[i]); err != nil {
			return err
		}
	}
	_, _ = s.w.Write(zeros[:endBlocks*blockSize])
	return streamError(s.w.Flush())
}

func (s *streamer) entry(e *Entry) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.head = appendHeader(s.head[:0], e.Name(), e.Size)
	if _, err := s.w.Write(s.head); err != nil {
		return streamError(err)
	}
	s.progress(Event{Kind: EventStart, Descriptor: e.Descriptor()})
	if err := s.content(e); err != nil {
		return err
	}
	if _, err := s.w.Write(zeros[:padding(e.Size)]); err != nil {
		return streamError(err)
	}
	s.progress(Event{Kind: EventDone, Descriptor: e.Descriptor(), N: e.Size})
	return nil
}

func streamError(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Side: SideBundle, Name: "output stream", Err: err}
}

type streamer struct {
	ctx      context.Context //nolint:containedctx // lives as long as one call
	src      Source
	plan     *Plan
	w        *bufio.Writer
	head     []byte
	progress func(Event)
	ahead    chan *prefetch
	running  sync.WaitGroup
}

// prefetch is one small piece on its way.
type prefetch struct {
	ready chan struct{}
	data  []byte
	err   error
}

func small(e *Entry) bool { return e.Data == nil && e.Size <= smallSize }

// fetch starts on small pieces, in order, as far ahead as the channel is deep.
func (s *streamer) fetch() {
	for i := range s.plan.Entries {
		e := &s.plan.Entries[i]
		if !small(e) {
			continue
		}
		p := &prefetch{ready: make(chan struct{})}
		select {
		case s.ahead <- p:
		case <-s.ctx.Done():
			return
		}
		s.running.Go(func() {
			defer close(p.ready)
			rc, err := s.src.Open(s.ctx, e.Repository, e.Descriptor())
			if err == nil {
				p.data, err = ReadAll(rc, e.Descriptor())
			}
			p.err = err
		})
	}
}

// take waits for the next small piece.
func (s *streamer) take() ([]byte, error) {
	select {
	case p := <-s.ahead:
		select {
		case <-p.ready:
			return p.data, p.err
		case <-s.ctx.Done():
		}
	case <-s.ctx.Done():
	}
	return nil, s.ctx.Err()
}

func (s *streamer) content(e *Entry) error {
	var r io.Reader
	switch {
	case e.Data != nil:
		r = bytes.NewReader(e.Data)
	case small(e):
		data, err := s.take()
		if err != nil {
			return s.explain(e, err)
		}
		r = bytes.NewReader(data)
	default:
		rc, err := s.src.Open(s.ctx, e.Repository, e.Descriptor())
		if err != nil {
			return s.explain(e, err)
		}
		defer rc.Close()
		r = Verify(rc, e.Descriptor())
	}
	_, err := copyBuffer(&progressWriter{s, e.Descriptor()}, &ctxReader{s.ctx, r})
	if we, ok := err.(*writeError); ok {
		return streamError(we.err)
	}
	return s.explain(e, err)
}

// progressWriter tells what goes out.
type progressWriter struct {
	s *streamer
	d Descriptor
}

func (p *progressWriter) Write(b []byte) (int, error) {
	n, err := p.s.w.Write(b)
	p.s.progress(Event{Kind: EventAdvance, Descriptor: p.d, N: int64(n)})
	return n, err
}

// explain adds to an error of the source what is missing from it.
func (s *streamer) explain(e *Entry, err error) error {
	if err == nil || s.ctx.Err() != nil {
		return cmp.Or(s.ctx.Err(), err)
	}
	return explained(e.Repository, e.Digest, err)
}
