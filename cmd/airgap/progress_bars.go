package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"airgap/layout"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// barSize is from what size on a piece gets a line of its own. Smaller ones come
// and go faster than anybody reads, dozens at a time.
const barSize = 1 << 20

// bars is progress on a terminal: one bar for all, and a line for each worker
// that has something large in hand.
type bars struct {
	container *mpb.Progress
	now       func() time.Time
	manifests atomic.Int64

	mu      sync.Mutex
	walk    *mpb.Bar // while the graph is walked
	total   *mpb.Bar
	workers map[int]*mpb.Bar
	closed  bool

	paceMu sync.Mutex // apart from mu, for the display asks while bars are made
	pace   pace
}

func newBars(w io.Writer, what string, now func() time.Time, opts ...mpb.ContainerOption) *bars {
	b := &bars{workers: map[int]*mpb.Bar{}, now: now}
	b.container = mpb.New(append([]mpb.ContainerOption{mpb.WithOutput(w), mpb.WithWidth(40)}, opts...)...)
	b.walk = b.container.New(0, mpb.NopStyle(), mpb.BarRemoveOnComplete(), mpb.PrependDecorators(
		decor.Any(func(decor.Statistics) string {
			return fmt.Sprintf("%s: %s found", what, plural(int(b.manifests.Load()), "manifest"))
		}),
	))
	return b
}

func (b *bars) manifest(n int) {
	for {
		old := b.manifests.Load()
		if int64(n) <= old || b.manifests.CompareAndSwap(old, int64(n)) {
			return
		}
	}
}

func (b *bars) event(e layout.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.paceMu.Lock()
	b.pace.count(e, b.now())
	done := b.pace.done
	b.paceMu.Unlock()
	switch e.Kind {
	case layout.EventPlan:
		b.begin(e)
	case layout.EventStart:
		b.startPiece(e)
	case layout.EventAdvance:
		if bar := b.workers[e.Worker]; bar != nil {
			bar.IncrInt64(e.N)
		}
	case layout.EventDone, layout.EventSkip:
		b.endPiece(e.Worker)
	}
	if b.total != nil {
		b.total.SetCurrent(done)
	}
}

// begin replaces whatever is shown by the bar of one transfer.
func (b *bars) begin(e layout.Event) {
	b.walk.Abort(true)
	if b.total != nil {
		b.total.Abort(true)
	}
	b.total = b.container.New(e.N, mpb.BarStyle().Padding(" "), mpb.BarPriority(-1),
		mpb.PrependDecorators(decor.Counters(decor.SizeB1000(0), "% .1f / % .1f", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.Any(func(decor.Statistics) string {
			b.paceMu.Lock()
			defer b.paceMu.Unlock()
			return strings.TrimPrefix(b.pace.rate(b.now()), ",")
		})))
}

func (b *bars) startPiece(e layout.Event) {
	if e.Descriptor.Size < barSize {
		return
	}
	b.endPiece(e.Worker)
	b.workers[e.Worker] = b.container.New(e.Descriptor.Size, mpb.BarStyle().Filler("-").Tip("-").Padding(" "),
		mpb.BarRemoveOnComplete(), mpb.BarPriority(e.Worker),
		mpb.PrependDecorators(decor.Counters(decor.SizeB1000(0), "% .1f / % .1f", decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.Name("  "+shortDigest(e.Descriptor.Digest))))
}

func (b *bars) endPiece(worker int) {
	if bar := b.workers[worker]; bar != nil {
		bar.Abort(true)
		delete(b.workers, worker)
	}
}

// close leaves the last state of the total bar on the screen.
func (b *bars) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.closed = true
	b.walk.Abort(true)
	for worker := range b.workers {
		b.endPiece(worker)
	}
	if b.total != nil {
		b.total.Abort(false)
	}
	b.container.Wait()
}
