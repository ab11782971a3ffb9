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
	b.line("`airgap serve` over a store and distribution's registry over a file system, with the same content: %d small", len(s.Set.Names)-1)
	b.line("images in %d repositories, six attachments each (%d manifests), and one with a layer of %s MB.", repositories(s.Set)-1, s.Set.Manifests, megabytes(s.Large))
	b.line("distribution's has its cache in memory, as in its own example, and no log. Each run starts a registry, checks in the")
	b.line("first round that what it gives hashes to its digest, warms up, and ends it; the two take turns, and each is first")
	b.line("as often. Clients are on this machine, speak plain HTTP over connections that are kept, and take their share of")
	b.line("the same processors. \"×\" is how many times as fast airgap is, pair by pair: the median, and between the")
	b.line("quartiles. CPU and peak memory are the registry's, over all of its life; all files are in the page cache.")
	b.line("")
	b.line("### Pulling large blobs")
	b.line("")
	b.served(s, loadLarge, "MB/s", "CPU s a GB")
	b.line("### Small answers")
	b.line("")
	b.served(s, loadSmall, "requests a second", "CPU µs each")
	b.line("distribution has no referrers API: it is asked for the tag that clients keep instead, which is one manifest;")
	b.line("airgap makes a list of the manifests that are attached.")
	b.line("")
	b.line("### Pushing")
	b.line("")
	b.line("Into an empty registry: a blob is a POST and a PUT. airgap answers when the disk has it, and its ledger a line for each")
	b.line("manifest. distribution does not wait for the disk, so here the time until it has everything (sync) counts for both.")
	b.line("")
	b.served(s, loadPush, "a second", "CPU ms each")
	b.line("### Start")
	b.line("")
	b.line("From the start of the process until it has answered with a manifest. The bundle has %s MB, of which the layers", megabytes(s.Huge))
	b.line("are holes.")
	b.line("")
	b.compare(s.Start, "", "", nil)
}

// served writes a table of the loads of one kind. rate and each say what is in it.
func (b *page) served(s *serveResult, kind loadKind, rate, each string) {
	names := []string{nameServe, nameRegistry}
	columns := "asked for|connections"
	for _, what := range []string{rate, each, "peak MiB"} {
		for _, n := range names {
			columns += "|" + n + ", " + what
		}
		if what == rate {
			columns += "|×|quartiles"
		}
	}
	b.table(columns, func(row func(...string)) {
		for _, l := range s.Loads {
			if l.Kind != kind {
				continue
			}
			cells := []string{l.Name, itoa(l.Connections)}
			for _, n := range names {
				cells = append(cells, l.rate(n))
			}
			low, mid, high, _ := l.Group.paired(nameRegistry, nameServe, l.cost)
			cells = append(cells, times(mid), fmt.Sprintf("%.2f–%.2f", low, high))
			for _, n := range names {
				cells = append(cells, l.cpu(n))
			}
			for _, n := range names {
				cells = append(cells, l.of(n, func(m sample) string { return mebibytes(m.RSS) }))
			}
			row(cells...)
		}
	})
}

// cost is the time that counts.
func (l *servedLoad) cost(s sample) time.Duration {
	if l.Kind == loadPush {
		return s.Wall + s.Sync
	}
	return s.Wall
}

func (l *servedLoad) of(name string, cell func(sample) string) string {
	if s := l.Group.find(name); s != nil {
		return cell(s.median())
	}
	return notMeasured
}

// rate is in MB/s where many bytes move, and in requests a second.
func (l *servedLoad) rate(name string) string {
	return l.of(name, func(m sample) string {
		took := max(l.cost(m), time.Microsecond).Seconds()
		switch {
		case l.Kind == loadLarge:
			return fmt.Sprintf("%.0f", float64(m.Blobs)/1e6/took)
		case l.Large:
			return fmt.Sprintf("%.1f (%.0f MB/s)", float64(m.Requests)/took, float64(m.Blobs)/1e6/took)
		}
		return fmt.Sprintf("%.0f", float64(m.Requests)/took)
	})
}

func (l *servedLoad) cpu(name string) string {
	return l.of(name, func(m sample) string {
		each := float64(m.CPU.Microseconds()) / float64(l.Asked)
		switch {
		case l.Kind == loadLarge:
			return fmt.Sprintf("%.2f", m.CPU.Seconds()*1e9/float64(max(m.Blobs, 1)))
		case l.Large:
			return fmt.Sprintf("%.0f", each/1000)
		case l.Kind == loadPush:
			return fmt.Sprintf("%.1f", each/1000)
		}
		return fmt.Sprintf("%.0f", each)
	})
}

// The limits of the goals about serving.
const (
	goalPull      = 1.0 // times the throughput of distribution's registry
	goalManifests = 1.5 // times its rate
	goalServing   = time.Second
)

func (s *serveResult) goals() []goal {
	pull := goal{Work: fmt.Sprintf("pull of a blob of %s MB, %d at once", megabytes(s.Large), servePulls),
		Goal: fmt.Sprintf("≥ %.1f × the throughput of distribution's registry", goalPull), Measured: notMeasured}
	memory := goal{Work: fmt.Sprintf("memory of serve while %d clients pull it", serveClients), Goal: "≤ 64 MiB", Measured: notMeasured}
	var rates []goal
	for _, l := range s.Loads {
		_, mid, _, ok := l.Group.paired(nameRegistry, nameServe, l.cost)
		if !ok {
			continue
		}
		switch {
		case l.Kind == loadLarge && l.Connections == servePulls:
			pull.Measured, pull.Verdict = times(mid), atLeast(mid, goalPull)
		case l.Kind == loadLarge:
			peak := l.Group.find(nameServe).median().RSS
			memory.Measured, memory.Verdict = mebibytes(peak)+" MiB", atMost(float64(peak), goalMemory)
		case l.Kind == loadSmall && (l.Name == loadByTag || l.Name == loadByDigest):
			rates = append(rates, goal{fmt.Sprintf("%s, %d at once", l.Name, l.Connections),
				fmt.Sprintf("≥ %.1f × the rate of distribution's registry", goalManifests), times(mid), atLeast(mid, goalManifests)})
		}
	}
	start := goal{Work: fmt.Sprintf("start of serve over a bundle of %s GB, to its first manifest", megabytes(s.Huge/1000)), Goal: "≤ 1 s", Measured: notMeasured}
	if g := s.Start.find(nameStartHuge); g != nil {
		took := g.median().Wall
		start.Measured, start.Verdict = seconds(took)+" s", atMost(took.Seconds(), goalServing.Seconds())
	}
	return append(append([]goal{pull}, rates...), memory, start)
}
