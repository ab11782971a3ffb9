package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"airgap/layout"
)

// meter shows how far a transfer is. Its methods may be called from many
// goroutines; close may be called twice.
type meter interface {
	manifest(n int)       // while a graph is walked
	event(e layout.Event) // while content moves
	close()
}

// progress chooses a display: bars for people, lines for a log, none if nobody
// wants any.
func (u *ui) progress(what string, o outputOptions) meter {
	switch {
	case o.quiet:
		return silence{}
	case u.stderrIsTerminal:
		return newBars(u.stderr, what, u.now)
	}
	return &lines{w: u.stderr, what: what, now: u.now}
}

type silence struct{}

func (silence) manifest(int)       {}
func (silence) event(layout.Event) {}
func (silence) close()             {}

// A log gets a line when a tenth more is done, or when a line is due; a transfer
// of a few moments gets none.
const (
	linePercent  = 10
	lineInterval = 15 * time.Second
	lineQuick    = 2 * time.Second
)

// lines is progress for a log. It has no clock of its own: what drives it are
// the events.
type lines struct {
	w    io.Writer
	what string
	now  func() time.Time

	mu        sync.Mutex
	pace      pace
	last      time.Time // of the last line
	percent   int64     // in it
	manifests int
}

func (l *lines) manifest(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.manifests = max(l.manifests, n)
	now := l.now()
	if l.last.IsZero() {
		l.last = now
	}
	if now.Sub(l.last) >= lineInterval {
		l.last = now
		fmt.Fprintf(l.w, "airgap: %s: %s found\n", l.what, plural(l.manifests, "manifest"))
	}
}

func (l *lines) event(e layout.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	l.pace.count(e, now)
	if e.Kind == layout.EventPlan {
		l.last, l.percent = now, 0
		return
	}
	if l.pace.total <= 0 {
		return
	}
	percent := l.pace.done * 100 / l.pace.total
	tenth := percent/linePercent > l.percent/linePercent
	if tenth && now.Sub(l.pace.start) >= lineQuick || now.Sub(l.last) >= lineInterval {
		l.last, l.percent = now, percent
		fmt.Fprintf(l.w, "airgap: %s: %d %%, %s of %s%s\n", l.what, percent,
			humanSize(l.pace.done), humanSize(l.pace.total), l.pace.rate(now))
	}
}

func (l *lines) close() {}

// pace is how a transfer gets on. What is there already counts as done, but not
// as speed.
type pace struct {
	start              time.Time
	total, done, moved int64
}

func (p *pace) count(e layout.Event, now time.Time) {
	switch e.Kind {
	case layout.EventPlan:
		*p = pace{start: now, total: e.N}
	case layout.EventAdvance:
		p.moved += e.N
		// What is fetched again after a lost connection is no progress.
		p.done = min(p.done+e.N, p.total)
	case layout.EventSkip:
		p.done = min(p.done+e.N, p.total)
	}
}

// rate is ", 98.0 MB/s, 18s left", as far as that is known.
func (p *pace) rate(now time.Time) string {
	elapsed := now.Sub(p.start).Seconds()
	if elapsed <= 0 || p.moved == 0 {
		return ""
	}
	rate := float64(p.moved) / elapsed
	s := ", " + humanSize(int64(rate)) + "/s"
	if left := p.total - p.done; left > 0 {
		s += ", " + time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second).String() + " left"
	}
	return s
}
