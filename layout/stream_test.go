package layout_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// fullAfter is a writer with room for n bytes.
type fullAfter struct {
	n      int
	writes int
}

var errPipe = errors.New("broken pipe")

func (f *fullAfter) Write(p []byte) (int, error) {
	f.writes++
	n := min(len(p), f.n)
	if f.n -= n; n < len(p) {
		return n, errPipe
	}
	return n, nil
}

// The reader of the pipe goes away after any number of bytes: an error, on this
// side, and nothing is asked of the source after the call has returned.
func TestStreamBrokenPipe(t *testing.T) {
	t.Parallel()
	content := resumable()
	data, plan := bundled(t, content)
	mem := load(t, content)
	for n := 0; n < len(data); n += len(data)/97 + 1 {
		var after atomic.Bool
		src := hooks{Source: mem, open: func(string, layout.Descriptor) error {
			if after.Load() {
				t.Error("the source is used after the end")
			}
			return nil
		}}
		err := layout.WriteTar(t.Context(), &fullAfter{n: n}, src, plan, nil)
		after.Store(true)
		if e := (*layout.Error)(nil); !errors.Is(err, errPipe) || !errors.As(err, &e) || e.Side != layout.SideBundle {
			t.Errorf("a pipe that breaks after %d of %d bytes: %v", n, len(data), err)
		}
	}
	if err := layout.WriteTar(t.Context(), shortWriter{}, mem, plan, nil); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a writer that takes half and says nothing: %v", err)
	}
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) / 2, nil }

// Each piece in turn cannot be read, or is wrong: the stream ends without its end,
// in an error that names it.
func TestStreamUnreadable(t *testing.T) {
	t.Parallel()
	content := resumable()
	data, plan := bundled(t, content)
	mem := load(t, content)
	broken := errors.New("broken")
	for i := range plan.Entries {
		d := plan.Entries[i].Blob
		if d.Digest == "" {
			continue
		}
		src := hooks{Source: mem, open: func(_ string, o layout.Descriptor) error {
			if o.Digest == d.Digest {
				return broken
			}
			return nil
		}}
		var out bytes.Buffer
		err := layout.WriteTar(t.Context(), &out, src, plan, nil)
		if !errors.Is(err, broken) || !strings.Contains(fmt.Sprint(err), string(d.Digest)) {
			t.Errorf("%s cannot be read: %v", d.Digest, err)
		}
		for _, wrong := range [][]byte{nil, bytes.Repeat([]byte{7}, int(d.Size)), make([]byte, d.Size+1)} {
			if d.Size == 0 && len(wrong) == 0 {
				continue
			}
			out.Reset()
			err := layout.WriteTar(t.Context(), &out, replaced{mem, d.Digest, wrong}, plan, nil)
			if !errors.Is(err, layout.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), string(d.Digest)) {
				t.Errorf("%s is %d wrong bytes: %v", d.Digest, len(wrong), err)
			}
			if bytes.Equal(out.Bytes(), data) || out.Len() >= len(data) {
				t.Errorf("%s is wrong, and %d of %d bytes were written", d.Digest, out.Len(), len(data))
			}
			if _, err := openBytes(out.Bytes()); err == nil {
				t.Errorf("%s is wrong, and what was written opens", d.Digest)
			}
		}
	}
}

// replaced is a careless source: it gives other bytes, unchecked.
type replaced struct {
	layout.Source
	digest digest.Digest
	data   []byte
}

func (r replaced) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if d.Digest == r.digest {
		return io.NopCloser(bytes.NewReader(r.data)), nil
	}
	return r.Source.Open(ctx, repo, d)
}

// stuck is a source that answers nothing, from some call on, until its context
// ends.
type stuck struct {
	layout.Source
	calls *atomic.Int64
	from  int64
	reach chan struct{}
}

func (s stuck) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if s.calls.Add(1) >= s.from {
		select {
		case s.reach <- struct{}{}:
		default:
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.Source.Open(ctx, repo, d)
}

// Cancelled while it waits for anything, the stream ends with the context's error
// and does not hang.
func TestStreamCancelled(t *testing.T) {
	content := layouttest.Merge(layouttest.Everything("a.example/x"), layouttest.Everything("b.example/y"))
	_, plan := bundled(t, content)
	mem := load(t, content)
	for _, from := range []int64{1, 2, 10, 40, 60} {
		ctx, cancel := context.WithCancel(t.Context())
		src := stuck{mem, new(atomic.Int64), from, make(chan struct{}, 1)}
		done := make(chan error)
		go func() { done <- layout.WriteTar(ctx, io.Discard, src, plan, nil) }()
		<-src.reach
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled while call %d is stuck: %v", from, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := layout.WriteTar(ctx, io.Discard, mem, plan, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

// cancelling is a writer that cancels when it has taken n bytes.
type cancelling struct {
	n      int
	cancel context.CancelFunc
	after  int
}

func (c *cancelling) Write(p []byte) (int, error) {
	if c.n -= len(p); c.n <= 0 {
		c.cancel()
		c.after += len(p)
	}
	return len(p), nil
}

// endlessSource has one blob that does not mind its context.
type endlessSource struct{ layout.Source }

func (s endlessSource) Open(ctx context.Context, repo string, d layout.Descriptor) (io.ReadCloser, error) {
	if d.Size > 1<<30 {
		return io.NopCloser(endless{}), nil
	}
	return s.Source.Open(ctx, repo, d)
}

// Cancelled in the middle of a layer that would take hours, it stops there.
func TestStreamCancelledInALayer(t *testing.T) {
	plan, src, _ := hugePlan(t, 1<<40)
	ctx, cancel := context.WithCancel(t.Context())
	w := &cancelling{n: 10 << 20, cancel: cancel}
	if err := layout.WriteTar(ctx, w, endlessSource{src}, plan, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if w.after > 2<<20 {
		t.Errorf("%d bytes were written after it was cancelled", w.after)
	}
}

// What is told of the progress adds up.
func TestStreamProgress(t *testing.T) {
	content := resumable()
	_, plan := bundled(t, content)
	started, moved := map[string]bool{}, map[string]int64{}
	done := 0
	key := func(d layout.Descriptor) string { return fmt.Sprint(d.Digest, d.Size) }
	err := layout.WriteTar(t.Context(), io.Discard, load(t, content), plan, func(e layout.Event) {
		switch e.Kind {
		case layout.EventStart:
			started[key(e.Descriptor)] = true
		case layout.EventAdvance:
			moved[key(e.Descriptor)] += e.N
		case layout.EventDone:
			if done++; moved[key(e.Descriptor)] != e.Descriptor.Size || e.N != e.Descriptor.Size || !started[key(e.Descriptor)] {
				t.Errorf("%s: %d of %d bytes", e.Descriptor.Digest, moved[key(e.Descriptor)], e.Descriptor.Size)
			}
		}
	})
	if err != nil || done != len(plan.Entries) {
		t.Errorf("%d of %d entries, %v", done, len(plan.Entries), err)
	}
}
