//go:build unix

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// verifyResult is what judging adds to an import.
type verifyResult struct {
	Set    *set
	Import group
}

const (
	nameJudged   = "airgap, judged"
	nameUnjudged = "airgap, not judged"

	// verifyPerImage is how many signatures of an image its policy looks at.
	verifyPerImage = 4
)

type verifyOptions struct {
	mainOptions
	pairs int
}

// runVerify imports the bundle of the main workload into a store, with a policy
// and without, one right after the other, and which of them first in turn.
func (r *rig) runVerify(ctx context.Context, o verifyOptions) (*verifyResult, error) {
	s, err := r.openSet(ctx, "main-"+megabytes(o.size), r.fillMain(o.size, o.roots))
	if err != nil {
		return nil, err
	}
	path, err := r.verifyBundle(ctx, s)
	if err != nil {
		return nil, err
	}
	flags, err := r.judgedBy(requireAll)
	if err != nil {
		return nil, err
	}
	r.say("import into a store, judged and not: %d pairs", o.pairs)
	dir := r.path("out", "store")
	one := func(name, note string, more ...string) *job {
		return &job{name: name, note: note, output: []string{dir},
			commands: [][]string{append([]string{r.airgap, "import", path, "--store", dir, "--quiet"}, more...)}}
	}
	jobs := []*job{
		one(nameJudged, "by a policy that asks for a Notary signature, cosign's, and a signed SBOM", flags...),
		one(nameUnjudged, "with --insecure-skip-verify", "--insecure-skip-verify"),
	}
	res := &verifyResult{Set: s}
	res.Import, err = r.pairs(ctx, o.pairs, jobs)
	return res, err
}

// verifyBundle exports the set, and sees that what is to be judged is judged.
func (r *rig) verifyBundle(ctx context.Context, s *set) (string, error) {
	src, err := r.serveSet(ctx, s)
	if err != nil {
		return "", err
	}
	defer src.stop()
	p := &peers{rig: r, set: s, host: src.host, names: s.Names}
	_, err = r.run(ctx, p.airgapExport())
	return p.out("airgap.tar"), err
}

// pairs runs two jobs n times, after a round that does not count, and changes each
// time which of them is first: the second finds the machine as the first left it.
func (r *rig) pairs(ctx context.Context, n int, jobs []*job) (group, error) {
	out, err := r.rounds(ctx, false, 1, jobs)
	if err != nil {
		return nil, err
	}
	for _, s := range out {
		s.Runs = nil
	}
	for i := range n {
		turn := slices.Clone(jobs)
		if i%2 == 1 {
			slices.Reverse(turn)
		}
		g, err := r.rounds(ctx, false, 1, turn)
		if err != nil {
			return nil, err
		}
		for _, s := range out {
			s.Runs = append(s.Runs, g.find(s.Name).Runs...)
		}
	}
	return out, nil
}

// paired compares runs that were made one right after the other: the quartiles and
// the median of what a cost against b. What slows a machine for a while slows both,
// but a neighbour that comes and goes within a second does not.
func (g group) paired(a, b string, cost func(sample) time.Duration) (low, ratio, high float64, ok bool) {
	x, y := g.find(a), g.find(b)
	if x == nil || y == nil || len(x.Runs) != len(y.Runs) {
		return 0, 0, 0, false
	}
	var ratios []float64
	for i := range x.Runs {
		if d := cost(y.Runs[i]); d > 0 {
			ratios = append(ratios, float64(cost(x.Runs[i]))/float64(d))
		}
	}
	return quantile(ratios, 1, 4), quantile(ratios, 1, 2), quantile(ratios, 3, 4), len(ratios) > 0
}

// undisturbed compares the lower quartiles of a and b. All that disturbs a run makes
// it slower, so that the faster ones say what the work itself costs.
func (g group) undisturbed(a, b string, cost func(sample) time.Duration) (float64, bool) {
	quick := func(name string) float64 {
		var costs []float64
		if s := g.find(name); s != nil {
			for _, r := range s.Runs {
				costs = append(costs, float64(cost(r)))
			}
		}
		return quantile(costs, 1, 4)
	}
	x, y := quick(a), quick(b)
	return x / max(y, 1), x > 0 && y > 0
}

// quantile is the value below which n of m parts are; 0 of none.
func quantile(values []float64, n, m int) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[(len(values)-1)*n/m]
}

func wallOf(s sample) time.Duration { return s.Wall }
func cpuOf(s sample) time.Duration  { return s.CPU }

func (v *verifyResult) goals() []goal {
	var out []goal
	for _, c := range []struct {
		name string
		cost func(sample) time.Duration
	}{{"wall time", wallOf}, {"CPU time", cpuOf}} {
		g := goal{Work: "import into a store, judged by a policy", Goal: fmt.Sprintf("≤ %.2f × the %s of one that is not", goalJudged, c.name), Measured: notMeasured}
		if r, ok := v.Import.undisturbed(nameJudged, nameUnjudged, c.cost); ok {
			g.Measured, g.Verdict = fmt.Sprintf("%.3f ×", r), atMost(r, goalJudged)
		}
		out = append(out, g)
	}
	return out
}
