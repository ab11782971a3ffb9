package layout

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

const (
	// streamAhead is how many small pieces are fetched before their turn.
	streamAhead = 32
)

// WriteTar writes the planned bundle to w in order, the same bytes as
// [TarWriter] writes, for pipes. Small pieces ahead are fetched while earlier
// ones are written; a layer is opened when its turn comes. Nothing can be taken
// back from a pipe: after an error the reader at its end sees a bundle without
// its end, and refuses it.
func WriteTar(ctx context.Context, w io.Writer, src Source, plan *Plan, progress func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &streamer{ctx: ctx, src: src, plan: plan, ahead: make(chan *prefetch, streamAhead)}
	go s.fetch()
	var head []byte
	for i := range plan.Entries {
		e := &plan.Entries[i]
		head = appendHeader(head[:0], e.Name(), e.Descriptor.Size)
		if _, err := w.Write(head); err != nil {
			return streamError(err)
		}
		if progress != nil {
			progress(Event{Kind: EventStart, Descriptor: e.Descriptor})
		}
		n, err := s.content(w, e)
		if err != nil {
			return err
		}
		if _, err := w.Write(zeros[:padding(e.Descriptor.Size)]); err != nil {
			return streamError(err)
		}
		if progress != nil {
			progress(Event{Kind: EventAdvance, Descriptor: e.Descriptor, N: n})
			progress(Event{Kind: EventDone, Descriptor: e.Descriptor, N: n})
		}
	}
	_, err := w.Write(zeros[:endBlocks*blockSize])
	return streamError(err)
}

func streamError(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Side: SideBundle, Name: "output stream", Err: err}
}

type streamer struct {
	ctx   context.Context //nolint:containedctx // lives as long as one call
	src   Source
	plan  *Plan
	ahead chan *prefetch
}

// prefetch is one small piece on its way.
type prefetch struct {
	ready chan struct{}
	data  []byte
	err   error
}

func small(e *Entry) bool { return e.Data == nil && e.Descriptor.Size <= smallSize }

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
		go func() {
			defer close(p.ready)
			rc, err := s.src.Open(s.ctx, e.Repository, e.Descriptor)
			if err == nil {
				p.data, err = ReadAll(rc, e.Descriptor)
			}
			p.err = err
		}()
	}
}

func (s *streamer) content(w io.Writer, e *Entry) (int64, error) {
	var r io.Reader
	switch {
	case e.Data != nil:
		r = bytes.NewReader(e.Data)
	case small(e):
		p := <-s.ahead
		<-p.ready
		if p.err != nil {
			return 0, s.explain(e, p.err)
		}
		r = bytes.NewReader(p.data)
	default:
		rc, err := s.src.Open(s.ctx, e.Repository, e.Descriptor)
		if err != nil {
			return 0, s.explain(e, err)
		}
		defer rc.Close()
		r = Verify(rc, e.Descriptor)
	}
	n, err := copyBuffer(w, r)
	if we, ok := err.(*writeError); ok {
		return n, streamError(we.err)
	}
	if err != nil {
		return n, s.explain(e, err)
	}
	return n, nil
}

func (s *streamer) explain(e *Entry, err error) error {
	return &Error{Side: SideSource, Name: e.Repository, Digest: e.Descriptor.Digest, Err: fmt.Errorf("%w", err)}
}
