//go:build unix

package main

import (
	"fmt"
	"time"
)

// results is everything that was measured; what was not is nil.
type results struct {
	Main    *mainResult
	Latency *latencyResult
	Head    *headResult
	Scale   *scaleResult
	Verify  *verifyResult
	Judge   *judgeResult
	Delta   *deltaResult
	Serve   *serveResult
}

// whole says whether every workload ran.
func (r *results) whole() bool {
	return r.Main != nil && r.Latency != nil && r.Head != nil && r.Scale != nil && r.Verify != nil && r.Judge != nil && r.Delta != nil && r.Serve != nil
}

// goal is one line of the table of goals.
type goal struct {
	Work, Goal, Measured, Verdict string
}

// The limits of the goals.
const (
	goalExport      = 1.0 // times crane pull
	goalExportOras  = 4.0 // times faster than oras backup
	goalStore       = 1.3 // times the floor
	goalLatency     = 5.0 // times faster
	goalMemory      = 64 << 20
	goalHead        = time.Second
	goalLinear      = 1.3 // times the cost of a manifest in the smallest set
	goalPerManifest = 2048
	goalJudged      = 1.05 // times the same without a policy
	goalParallel    = 0.9  // of what a second processor gives at best
)

const notMeasured = "not measured"

// atMost and atLeast say whether a goal is met, and else by how much it is not.

func atMost(got, limit float64) string {
	if got <= limit {
		return "met"
	}
	return fmt.Sprintf("**missed by %.0f %%**", (got/limit-1)*100)
}

func atLeast(got, limit float64) string {
	if got >= limit {
		return "met"
	}
	return fmt.Sprintf("**missed by %.0f %%**", (1-got/limit)*100)
}

// goals holds the results against what was aimed at.
func goals(r *results) []goal {
	var out []goal
	if m := r.Main; m != nil {
		out = append(out, m.goals()...)
	}
	if l := r.Latency; l != nil {
		for _, peer := range []string{nameRegctl, nameOras} {
			out = append(out, faster(fmt.Sprintf("export from a registry %v away", l.Delay), peer, l.Export, peer, goalLatency))
		}
	}
	if r.Main != nil { // else it would be about very little
		out = append(out, memoryGoal(r))
	}
	if r.Head != nil {
		out = append(out, r.Head.goals()...)
	}
	if r.Scale != nil {
		out = append(out, r.Scale.goals()...)
	}
	if r.Verify != nil {
		out = append(out, r.Verify.goals()...)
	}
	if r.Judge != nil {
		out = append(out, r.Judge.goals()...)
	}
	if r.Delta != nil {
		out = append(out, r.Delta.goals()...)
	}
	if r.Serve != nil {
		out = append(out, r.Serve.goals()...)
	}
	return out
}

func (h *headResult) goals() []goal {
	var out []goal
	for _, c := range []struct{ what, name string }{{"inspect", nameHuge}, {"verify", nameVerifyHuge}} {
		if s := h.Inspect.find(c.name); s != nil {
			took := s.median().Wall
			out = append(out, goal{
				fmt.Sprintf("%s of a bundle of %s GB", c.what, megabytes(h.Size/1000)), "≤ 1 s",
				seconds(took) + " s", atMost(took.Seconds(), goalHead.Seconds()),
			})
		}
	}
	return out
}

func (m *mainResult) goals() []goal {
	out := []goal{
		slower("export, whole graph, one tar", "crane pull", m.Export, nameCrane, goalExport),
		faster("export, whole graph, one tar", "oras backup", m.Export, nameOras, goalExportOras),
	}
	for _, peer := range []string{nameRegctl, nameOras, nameSkopeo} {
		out = append(out, faster("import into a registry", peer, m.Import, peer, 1))
	}
	out = append(out, slower("import into a store", "the floor", m.Store, nameFloor, goalStore))
	g := goal{Work: "re-export of an unchanged set", Goal: "no layer bytes moved", Measured: notMeasured}
	if s := m.Reexport.find(nameAirgap); s != nil {
		n := s.median().Blobs
		g.Measured = fmt.Sprintf("%s MB of blobs fetched", megabytes(n))
		g.Verdict = map[bool]string{true: "met", false: "**missed**"}[n == 0]
	}
	return append(out, g)
}

// slower is a goal not to take more than limit times as long as a peer.
func slower(work, what string, g group, peer string, limit float64) goal {
	out := goal{Work: work, Goal: fmt.Sprintf("≤ %.1f × %s", limit, what), Measured: notMeasured}
	if r, ok := g.ratio(nameAirgap, peer); ok {
		out.Measured, out.Verdict = times(r), atMost(r, limit)
	}
	return out
}

// faster is a goal to be at least limit times as fast as a peer.
func faster(work, what string, g group, peer string, limit float64) goal {
	out := goal{Work: work, Goal: fmt.Sprintf("≥ %.0f × faster than %s", limit, what), Measured: notMeasured}
	if limit == 1 {
		out.Goal = "faster than " + what
	}
	if r, ok := g.ratio(peer, nameAirgap); ok {
		out.Measured, out.Verdict = times(r), atLeast(r, limit)
	}
	return out
}

// memoryGoal is about the largest peak of all our commands but those with very
// many manifests, which have a goal of their own.
func memoryGoal(r *results) goal {
	var peak int64
	look := func(g group, names ...string) {
		for _, n := range names {
			if s := g.find(n); s != nil {
				peak = max(peak, s.median().RSS)
			}
		}
	}
	if r.Main != nil {
		for _, g := range []group{r.Main.Export, r.Main.Import, r.Main.Store, r.Main.Reexport} {
			look(g, nameAirgap)
		}
	}
	if r.Latency != nil {
		look(r.Latency.Export, nameAirgap)
	}
	if r.Head != nil {
		look(r.Head.Inspect, nameHuge, nameVerifyHuge)
	}
	if r.Verify != nil {
		look(r.Verify.Import, nameJudged)
	}
	g := goal{Work: "peak memory of any command above", Goal: "≤ 64 MiB", Measured: notMeasured}
	if peak > 0 {
		g.Measured, g.Verdict = mebibytes(peak)+" MiB", atMost(float64(peak), goalMemory)
	}
	return g
}

// goals compares the largest set with the smallest.
func (s *scaleResult) goals() []goal {
	linear := goal{Work: "scale", Goal: fmt.Sprintf("CPU time of a manifest ≤ %.1f × as much among many", goalLinear), Measured: notMeasured}
	memory := goal{Work: "scale", Goal: "≤ 2 KB of memory a manifest", Measured: notMeasured}
	if s.Stopped != "" {
		linear.Measured, linear.Verdict = s.Stopped, "**missed**"
	}
	if len(s.Sizes) < 2 {
		return []goal{linear, memory}
	}
	first, last := s.Sizes[0], s.Sizes[len(s.Sizes)-1]
	name, worst := growth(first, last)
	if s.Stopped == "" {
		linear.Measured = fmt.Sprintf("%s for %s, %d against %d", times(worst), name, last.Manifests, first.Manifests)
		linear.Verdict = atMost(worst, goalLinear)
	}
	command, bytes := memoryEach(first, last)
	memory.Measured = fmt.Sprintf("%d bytes of peak memory for %s", bytes, command)
	memory.Verdict = atMost(float64(bytes), goalPerManifest)
	return []goal{linear, memory}
}

// growth finds the piece of work whose cost for a manifest grew most. CPU time
// tells it better than wall time, of which disks and neighbours have their share.
func growth(first, last *scaleSize) (name string, worst float64) {
	look := func(n string, a, b time.Duration) {
		if a <= 0 {
			return
		}
		r := float64(b) / float64(last.Manifests) / (float64(a) / float64(first.Manifests))
		if r > worst {
			name, worst = n, r
		}
	}
	for i, p := range first.Phases {
		look(p.Name, p.CPU, last.Phases[i].CPU)
	}
	for _, s := range first.Commands {
		if t := last.Commands.find(s.Name); t != nil {
			look(s.Name, s.median().CPU, t.median().CPU)
		}
	}
	return name, worst
}

// memoryEach finds the command whose peak memory grows most with each manifest.
func memoryEach(first, last *scaleSize) (name string, bytes int64) {
	for _, s := range first.Commands {
		t := last.Commands.find(s.Name)
		if t == nil || last.Manifests == first.Manifests {
			continue
		}
		if b := (t.median().RSS - s.median().RSS) / int64(last.Manifests-first.Manifests); b > bytes {
			name, bytes = s.Name, b
		}
	}
	return name, bytes
}
