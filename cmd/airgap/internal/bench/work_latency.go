//go:build unix

package main

import (
	"context"
	"errors"
	"time"
)

// latencyResult is what a registry far away gave.
type latencyResult struct {
	Set    *set
	Delay  time.Duration
	Export group
}

type latencyOptions struct {
	images int
	delay  time.Duration
	runs   int
	limit  time.Duration // for all runs of one peer together
}

// runLatency exports many small images from a registry that answers late.
func (r *rig) runLatency(ctx context.Context, o latencyOptions) (*latencyResult, error) {
	s, err := r.openSet(ctx, "latency-"+itoa(o.images), fillLatency(o.images))
	if err != nil {
		return nil, err
	}
	src, err := r.serveSet(ctx, s)
	if err != nil {
		return nil, err
	}
	defer src.stop()
	front, err := newProxy(src.host, o.delay)
	if err != nil {
		return nil, err
	}
	defer front.stop()
	with := func(tool func(*peers) *job) func(n int) *job {
		return func(n int) *job { return tool(&peers{rig: r, set: s, host: front.host, names: s.Names[:n]}) }
	}
	r.say("export from %v away: %d images", o.delay, len(s.Names))
	var jobs []*job
	for _, tool := range []func(int) *job{
		with((*peers).airgapExport),
		with(func(p *peers) *job { return p.regctlExport(false) }),
		with((*peers).orasExport),
	} {
		j, err := r.fit(ctx, tool, o, len(s.Names))
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, front.watch(j))
	}
	res := &latencyResult{Set: s, Delay: o.delay}
	res.Export, err = r.rounds(ctx, false, o.runs, jobs)
	return res, err
}

// fit tries a tool on a few images, which also warms it up, and gives it as many
// images and rounds as the limit allows.
func (r *rig) fit(ctx context.Context, tool func(int) *job, o latencyOptions, images int) (*job, error) {
	probe := tool(min(latencyPerRepository, images))
	if probe.skip != "" {
		return probe, nil
	}
	s, err := r.run(ctx, probe)
	if errors.Is(err, errSlow) {
		probe.skip = err.Error()
		return probe, nil
	}
	if err != nil {
		return nil, err
	}
	n, rounds := share(s.Wall/time.Duration(min(latencyPerRepository, images)), images, o.runs, o.limit)
	j := tool(n)
	j.rounds, j.part, j.whole = rounds, n, images
	return j, nil
}

// share says how many images and rounds fit: all images if that can be, in fewer
// rounds; else one round of whole repositories.
func share(each time.Duration, images, rounds int, limit time.Duration) (n, r int) {
	if all := each * time.Duration(images); all <= limit {
		return images, min(rounds, max(1, int(limit/max(all, 1))))
	}
	n = int(limit/each) / latencyPerRepository * latencyPerRepository
	return min(images, max(n, latencyPerRepository)), 1
}
