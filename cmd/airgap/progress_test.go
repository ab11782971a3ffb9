package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/layout"

	"github.com/vbauerster/mpb/v8"
)

// A log gets a line for each tenth, however many events there are.
func TestLines(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	l := &lines{w: &out, what: "export", now: func() time.Time { return now }}
	l.event(layout.Event{Kind: layout.EventPlan, N: 1_000_000, Count: 10})
	l.event(layout.Event{Kind: layout.EventSkip, N: 200_000})
	for range 800 {
		now = now.Add(20 * time.Millisecond)
		l.event(layout.Event{Kind: layout.EventAdvance, N: 1000})
	}
	l.event(layout.Event{Kind: layout.EventDone, N: 1000})
	want := `airgap: export: 30 %, 300.0 kB of 1.0 MB, 50.0 kB/s, 14s left
airgap: export: 40 %, 400.0 kB of 1.0 MB, 50.0 kB/s, 12s left
airgap: export: 50 %, 500.0 kB of 1.0 MB, 50.0 kB/s, 10s left
airgap: export: 60 %, 600.0 kB of 1.0 MB, 50.0 kB/s, 8s left
airgap: export: 70 %, 700.0 kB of 1.0 MB, 50.0 kB/s, 6s left
airgap: export: 80 %, 800.0 kB of 1.0 MB, 50.0 kB/s, 4s left
airgap: export: 90 %, 900.0 kB of 1.0 MB, 50.0 kB/s, 2s left
airgap: export: 100 %, 1.0 MB of 1.0 MB, 50.0 kB/s
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// A slow transfer gets a line now and then, a quick one none.
func TestLinesSlowAndQuick(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(1000, 0)
	l := &lines{w: &out, what: "export", now: func() time.Time { return now }}
	l.manifest(1)
	now = now.Add(lineInterval)
	l.manifest(3)
	l.manifest(2) // late, from another goroutine
	l.event(layout.Event{Kind: layout.EventPlan, N: 1 << 40})
	now = now.Add(lineInterval)
	l.event(layout.Event{Kind: layout.EventAdvance, N: 1 << 20})
	if got := strings.Count(out.String(), "\n"); got != 2 || !strings.Contains(out.String(), "3 manifests found") {
		t.Errorf("%d lines:\n%s", got, out.String())
	}
	out.Reset()
	l.event(layout.Event{Kind: layout.EventPlan, N: 100})
	l.event(layout.Event{Kind: layout.EventAdvance, N: 100})
	if out.Len() != 0 {
		t.Errorf("a quick transfer said %s", out.String())
	}
}

// The bars take events from many goroutines, more bytes than were planned, and
// pieces that never end; and they end.
func TestBars(t *testing.T) {
	var out lockedBuffer
	refresh := make(chan any)
	b := newBars(&out, "export", time.Now, mpb.WithManualRefresh(refresh))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := range 100 {
				b.manifest(n)
			}
		})
	}
	wg.Wait()
	refresh <- time.Time{}
	b.event(layout.Event{Kind: layout.EventAdvance, N: 1}) // before any plan
	b.event(layout.Event{Kind: layout.EventPlan, N: 80_000_000, Count: 8})
	for worker := range 8 {
		wg.Go(func() {
			d := layout.Descriptor{Digest: someDigest, Size: 10_000_000}
			b.event(layout.Event{Kind: layout.EventStart, Worker: worker, Descriptor: d})
			for range 10 {
				b.event(layout.Event{Kind: layout.EventAdvance, Worker: worker, N: 1_500_000})
			}
			if worker%2 == 0 {
				b.event(layout.Event{Kind: layout.EventDone, Worker: worker})
			}
		})
	}
	wg.Wait()
	refresh <- time.Time{}
	b.event(layout.Event{Kind: layout.EventSkip, Worker: 1, N: 5})
	b.close()
	b.close()
	b.event(layout.Event{Kind: layout.EventPlan, N: 1}) // too late
	if !strings.Contains(out.String(), "80.0 MB / 80.0 MB") {
		t.Errorf("%q", out.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func TestProgressChoice(t *testing.T) {
	u := testUI()
	if _, ok := u.progress("x", outputOptions{}).(*lines); !ok {
		t.Error("a log wants lines")
	}
	u.stderrIsTerminal = true
	if _, ok := u.progress("x", outputOptions{quiet: true}).(silence); !ok {
		t.Error("--quiet wants nothing")
	}
	m := u.progress("x", outputOptions{})
	if _, ok := m.(*bars); !ok {
		t.Error("a terminal wants bars")
	}
	m.close()
}
