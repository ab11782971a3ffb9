//go:build unix

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// The text between these is written by hand and kept.
const (
	textBegin = "<!-- written by hand: begin -->"
	textEnd   = "<!-- written by hand: end -->"
)

// defaultText stands where nothing was written yet.
const defaultText = "Nothing has been written here yet."

// keptText takes the hand-written text out of an earlier page.
func keptText(page string) (string, error) {
	if page == "" {
		return defaultText, nil
	}
	_, rest, ok := strings.Cut(page, textBegin)
	text, _, ok2 := strings.Cut(rest, textEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("the page has lost its markers %s and %s; without them the text between them would be lost", textBegin, textEnd)
	}
	return strings.TrimSpace(text), nil
}

// writePage renders the results over the page at path. If not every workload ran,
// what the page says of the others stays.
func writePage(path string, head []string, r *results) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := keptText(string(old))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	page := render(head, text, r)
	if earlier, ok := takeApart(string(old)); ok && !r.whole() {
		if later, ok := takeApart(page); ok {
			page = merge(earlier, later, fmt.Sprintf("From a run of its own: %s.", strings.Join(head, "; "))).String()
		}
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, []byte(page), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// render writes the page. head says where and with what it was measured.
func render(head []string, text string, r *results) string {
	b := &page{}
	b.line("# Benchmarks")
	b.line("")
	b.line("Made by `make bench`; all but the text below the goals is generated. Where nothing else is said figures are of whole")
	b.line("processes, as the system accounts for them; tools ran in turn, in one run, on one machine.")
	b.line("Times are medians, in seconds. Absolute figures move from machine to machine; ratios hold.")
	b.line("")
	for _, h := range head {
		b.line("- " + h)
	}
	b.line("")
	b.line("## Goals")
	b.line("")
	b.table("work|goal|measured|verdict", func(row func(...string)) {
		for _, g := range goals(r) {
			row(g.Work, g.Goal, g.Measured, g.Verdict)
		}
	})
	b.line(textBegin)
	b.line(text)
	b.line(textEnd)
	b.line("")
	b.main(r.Main)
	b.latency(r.Latency)
	b.head(r.Head)
	b.scale(r.Scale)
	b.verify(r.Verify)
	b.judge(r.Judge)
	b.delta(r.Delta)
	b.serve(r.Serve)
	return strings.TrimRight(b.String(), "\n") + "\n"
}

type page struct{ strings.Builder }

func (b *page) line(format string, args ...any) {
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	b.WriteString(format + "\n")
}

// table writes a table; columns are divided by bars.
func (b *page) table(columns string, rows func(row func(...string))) {
	names := strings.Split(columns, "|")
	b.line("| " + strings.Join(names, " | ") + " |")
	b.line("|" + strings.Repeat("---|", len(names)))
	rows(func(cells ...string) { b.line("| " + strings.Join(cells, " | ") + " |") })
	b.line("")
}

func (b *page) main(m *mainResult) {
	if m == nil {
		return
	}
	b.line("## Signed images, from a registry to the disk and on")
	b.line("")
	b.line("%d images in %d repositories: %s MB of layers made of real files, of which all share one of %s MB; %d manifests,",
		len(m.Set.Names), repositories(m.Set), megabytes(m.Set.Layers), megabytes(m.Set.Shared), m.Set.Manifests)
	b.line("%s MB in all. Each image is signed in Notary form and in cosign's bundle and tag forms, and has an", megabytes(m.Set.Bytes))
	b.line("SBOM that is signed too. The registries are distribution's, on loopback, over a file system, without the")
	b.line("referrers API; they take their share of the same processors. \"+ sync\" is the time until everything the")
	b.line("command wrote is on the disk.")
	b.line("")
	b.line("### Registry → disk")
	b.line("")
	b.compare(m.Export, nameAirgap, "written, MB", func(s sample) string { return megabytes(s.Written) })
	b.line("### Disk → empty registry")
	b.line("")
	b.compare(m.Import, nameAirgap, "", nil)
	b.line("### Disk → store")
	b.line("")
	b.compare(m.Store, nameFloor, "written, MB", func(s sample) string { return megabytes(s.Written) })
	b.line("### Unchanged set → the bundle that is there")
	b.line("")
	b.compare(m.Reexport, "", "blobs fetched, MB|requests", func(s sample) string {
		return megabytes(s.Blobs) + " | " + fmt.Sprint(s.Requests)
	})
}

func repositories(s *set) int {
	repos, _ := s.repositories()
	return len(repos)
}

// compare writes a table of jobs that did the same work. Ratios are to the job
// called base. extra gives further columns.
func (b *page) compare(g group, base, extraNames string, extra func(sample) string) {
	columns := []string{"tool", "wall", "fastest–slowest", "+ sync", "CPU", "peak MiB"}
	if extra != nil {
		columns = append(columns, extraNames)
	}
	if base != "" {
		columns = append(columns, "wall, × "+base)
	}
	columns = append(columns, "what it does")
	b.table(strings.Join(columns, "|"), func(row func(...string)) {
		for _, s := range g {
			if len(s.Runs) == 0 {
				row(s.Name, "not run: "+s.Skipped)
				continue
			}
			m := s.median()
			low, high := s.spread()
			cells := []string{s.Name + s.scaled(), seconds(m.Wall), seconds(low) + "–" + seconds(high),
				seconds(m.Wall + m.Sync), seconds(m.CPU), mebibytes(m.RSS)}
			if extra != nil {
				cells = append(cells, extra(m))
			}
			if base != "" {
				r, ok := g.ratio(s.Name, base)
				cells = append(cells, map[bool]string{true: times(r)}[ok])
			}
			row(append(cells, s.Note)...)
		}
	})
}

// scaled says that the figures are of a part of the work.
func (s *series) scaled() string {
	if s.Part == 0 || s.Part == s.Whole {
		return ""
	}
	return fmt.Sprintf(" (%d of %d images, scaled up)", s.Part, s.Whole)
}

func (b *page) latency(l *latencyResult) {
	if l == nil {
		return
	}
	b.line("## A registry %v away", l.Delay)
	b.line("")
	b.line("%d small images in %d repositories, six attachments each (Notary and cosign signatures, an attestation,", len(l.Set.Names), repositories(l.Set))
	b.line("an SBOM and the signature on it): %d manifests. A proxy answers each request %v late; a connection costs", l.Set.Manifests, l.Delay)
	b.line("nothing. A tool that would take minutes runs fewer times, or on fewer images with its figures scaled up,")
	b.line("where it says so; \"fastest–slowest\" is never scaled.")
	b.line("")
	b.compare(l.Export, nameAirgap, "requests|requests a second", func(s sample) string {
		return fmt.Sprintf("%d | %.0f", s.Requests, float64(s.Requests)/max(s.Wall, time.Millisecond).Seconds())
	})
}

func (b *page) head(h *headResult) {
	if h == nil {
		return
	}
	b.line("## Looking at a huge bundle")
	b.line("")
	b.line("Two bundles that differ in nothing but the size of their layers: %s MB and %s MB. The layers of both", megabytes(h.Size), megabytes(h.Small))
	b.line("are holes in the file.")
	b.line("")
	b.compare(h.Inspect, nameSmall, "", nil)
	b.line("`verify` judges three signatures of each image and the one on its SBOM, and reads no layers.")
	b.line("")
}

func (b *page) scale(s *scaleResult) {
	if s == nil {
		return
	}
	b.line("## Many manifests")
	b.line("")
	b.line("Images of one line with four attachments each, in %d repositories. Each cell: microseconds of wall time,", scaleRepositories)
	b.line("microseconds of CPU time, and bytes, all for one manifest. The steps above the commands run in one process,")
	b.line("from and to memory where that can be, and their bytes are what they left on the heap; those of a command")
	b.line("are its peak, the program itself included.")
	b.line("")
	if s.Stopped != "" {
		b.line("Stopped: %s.", s.Stopped)
		b.line("")
	}
	if len(s.Sizes) == 0 {
		return
	}
	columns := "step"
	for _, size := range s.Sizes {
		columns += fmt.Sprintf("|%d", size.Manifests)
	}
	b.table(columns, func(row func(...string)) {
		for i, p := range s.Sizes[0].Phases {
			cells := []string{p.Name}
			for _, size := range s.Sizes {
				cells = append(cells, size.each(size.Phases[i].Wall, size.Phases[i].CPU, size.Phases[i].Heap))
			}
			row(cells...)
		}
		for i, c := range s.Sizes[0].Commands {
			cells := []string{"`" + c.Name + "`"}
			for _, size := range s.Sizes {
				m := size.Commands[i].median()
				cells = append(cells, size.each(m.Wall, m.CPU, m.RSS))
			}
			row(cells...)
		}
	})
}

// each divides what a step took by the number of manifests.
func (s *scaleSize) each(wall, cpu time.Duration, bytes int64) string {
	n := float64(s.Manifests)
	return fmt.Sprintf("%.0f / %.0f / %.0f", float64(wall.Microseconds())/n, float64(cpu.Microseconds())/n, float64(bytes)/n)
}
