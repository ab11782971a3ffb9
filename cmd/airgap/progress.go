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
		return newBars(u.stderr, what)
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
	start     time.Time // of the transfer
	last      time.Time // of the last line
	total     int64
	done      int64
	moved     int64
	percent   int64
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
	switch e.Kind {
	case layout.EventPlan:
		l.start, l.total = l.now(), e.N
		l.last, l.done, l.moved, l.percent = l.start, 0, 0, 0
		return
	case layout.EventAdvance:
		l.done, l.moved = l.done+e.N, l.moved+e.N
	case layout.EventSkip:
		l.done += e.N
	default:
		return
	}
	if l.total <= 0 {
		return
	}
	now, percent := l.now(), min(100, l.done*100/l.total)
	tenth := percent/linePercent > l.percent/linePercent
	if tenth && now.Sub(l.start) >= lineQuick || now.Sub(l.last) >= lineInterval {
		l.last, l.percent = now, percent
		fmt.Fprintf(l.w, "airgap: %s: %s\n", l.what, l.status(now, percent))
	}
}

// status is "40 %, 1.2 GB of 3.0 GB, 98.0 MB/s, 18s left".
func (l *lines) status(now time.Time, percent int64) string {
	s := fmt.Sprintf("%d %%, %s of %s", percent, humanSize(min(l.done, l.total)), humanSize(l.total))
	elapsed := now.Sub(l.start).Seconds()
	if elapsed <= 0 || l.moved == 0 {
		return s
	}
	rate := float64(l.moved) / elapsed
	s += ", " + humanSize(int64(rate)) + "/s"
	if left := l.total - l.done; left > 0 {
		s += ", " + time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second).String() + " left"
	}
	return s
}

func (l *lines) close() {}
