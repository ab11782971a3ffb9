//go:build unix

package main

import (
	"fmt"
	"time"
)

const titleServe = "Serving"

func (b *page) serve(s *serveResult) {
	if s == nil {
		return
	}
	b.line("## " + titleServe)
	b.line("")
	for _, l := range s.Loads {
		b.line("%s %d", l.Name, l.Connections)
		for _, g := range l.Group {
			m := g.median()
			b.line("   %s: %.0f/s %s MB/s  cpu %.1f us/req  rss %s", g.Name, rate(m), perSecond(m), float64(m.CPU.Microseconds())/float64(l.Asked), mebibytes(m.RSS))
		}
		low, mid, high, _ := l.Group.paired(nameRegistry, nameServe, wallOf)
		b.line("   x %.2f (%.2f-%.2f)", mid, low, high)
	}
	b.compare(s.Start, "", "", nil)
}

func rate(s sample) float64 { return float64(s.Requests) / max(s.Wall, time.Microsecond).Seconds() }

func perSecond(s sample) string {
	return fmt.Sprintf("%.0f", float64(s.Blobs)/1e6/max(s.Wall, time.Microsecond).Seconds())
}
