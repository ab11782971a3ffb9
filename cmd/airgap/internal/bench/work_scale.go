//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"airgap/bundle"
	"airgap/layout"
)

// scaleResult is one size after the other.
type scaleResult struct {
	Sizes []*scaleSize
	// Stopped says which size was not finished, and why.
	Stopped string
}

// scaleSize is what n manifests cost.
type scaleSize struct {
	Manifests int
	Bundle    int64   // bytes
	Phases    []phase // in one process, without a disk or a network where that can be
	Commands  group   // whole commands
}

// phase is one piece of work in process.
type phase struct {
	Name      string
	Wall, CPU time.Duration
	Heap      int64 // what it left on the heap, bytes
}

type scaleOptions struct {
	sizes []int
	limit time.Duration // for one size
}

// scalePerImage is how many manifests belong to an image of this workload, and
// scaleRepositories how many repositories there are.
const (
	scalePerImage     = 5 // itself and formsScale
	scaleRepositories = 100
)

// runScale measures growing sets of manifests. It stops at the first that takes
// too long.
func (r *rig) runScale(ctx context.Context, o scaleOptions) (*scaleResult, error) {
	res := &scaleResult{}
	for _, n := range o.sizes {
		r.say("%d manifests", n)
		within, cancel := context.WithTimeout(ctx, o.limit)
		size, err := r.scaleOne(within, n)
		late := within.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case late:
			res.Stopped = fmt.Sprintf("%d manifests were not done after %v", n, o.limit)
			r.say("  %s", res.Stopped)
			return res, nil
		case err != nil:
			return nil, err
		}
		res.Sizes = append(res.Sizes, size)
	}
	return res, nil
}

// scaleOne runs the phases in a process of their own, for the sake of the heap,
// and then commands on the bundle they made.
func (r *rig) scaleOne(ctx context.Context, n int) (*scaleSize, error) {
	// Each store stays until all is done: a file system may take long to make
	// files where many were deleted just before, as ext4 does for minutes.
	path, copied, store := r.path("out", "scale.tar"), r.path("out", "scale-copy.tar"), r.path("out", "scale-store-"+itoa(n))
	cmd := exec.CommandContext(ctx, r.self, "-scale-phases", path, "-scale", itoa(n))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%d manifests: %w", n, err)
	}
	size := &scaleSize{}
	if err := json.Unmarshal(out.Bytes(), size); err != nil {
		return nil, err
	}
	for _, p := range size.Phases {
		r.say("  %-28s %s s  %s MB of heap", p.Name, seconds(p.Wall), megabytes(p.Heap))
	}
	var err error
	size.Commands, err = r.rounds(ctx, false, 1, []*job{
		{name: "airgap inspect", commands: [][]string{{r.airgap, "inspect", path, "--format", "json"}}},
		{name: "airgap export", commands: [][]string{{r.airgap, "export", path, "-o", copied, "--quiet"}}, output: []string{copied}},
		{name: "airgap import --store", output: []string{store},
			commands: [][]string{{r.airgap, "import", path, "--store", store, "--insecure-skip-verify", "--quiet"}}},
	})
	return size, err
}

// scaleRun is what the steps hand on to each other.
type scaleRun struct {
	path  string
	src   layout.Source
	refs  []layout.Reference
	graph *layout.Graph
	plan  *layout.Plan
	made  *bundle.ExportResult
	open  *bundle.Bundle
}

var scaleSteps = []struct {
	name string
	do   func(context.Context, *scaleRun) error
}{
	{"walk", func(ctx context.Context, r *scaleRun) (err error) {
		r.graph, err = layout.Walk(ctx, r.src, r.refs, layout.WalkOptions{Keep: true})
		return err
	}},
	{"plan", func(_ context.Context, r *scaleRun) (err error) {
		r.plan, err = layout.NewPlan(r.graph, nil)
		return err
	}},
	{"export to a file", func(ctx context.Context, r *scaleRun) (err error) {
		r.graph, r.plan = nil, nil
		r.made, err = bundle.Export(ctx, []bundle.Selection{{Source: r.src, References: r.refs}}, bundle.ExportOptions{Output: r.path})
		return err
	}},
	{"open and prove", func(ctx context.Context, r *scaleRun) (err error) {
		if r.open, err = bundle.Open(ctx, r.path, bundle.OpenOptions{}); err == nil {
			r.graph, err = r.open.Graph(ctx)
		}
		return err
	}},
	{"import into memory", func(ctx context.Context, r *scaleRun) error {
		r.graph = nil
		_, err := bundle.Import(ctx, r.open, layout.NewMemory(), bundle.ImportOptions{InsecureSkipVerify: true})
		return err
	}},
}

// scalePhases makes n manifests in memory and measures every step with them. It
// leaves the bundle at path.
func scalePhases(ctx context.Context, n int, path string) (*scaleSize, error) {
	src := layout.NewMemory()
	refs, err := scaleImages(ctx, src, n/scalePerImage)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(path); err != nil {
		return nil, err
	}
	s, run := &scaleSize{Manifests: n}, &scaleRun{path: path, src: src, refs: refs}
	for _, step := range scaleSteps {
		before, start, used := heap(), time.Now(), cpuTime()
		if err := step.do(ctx, run); err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
		p := phase{Name: step.name, Wall: time.Since(start), CPU: cpuTime() - used}
		p.Heap = max(0, heap()-before)
		s.Phases = append(s.Phases, p)
	}
	s.Bundle = run.made.Size
	runtime.KeepAlive(run)
	return s, run.open.Close()
}

// cpuTime is what this process has used so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// heap is what is in use after everything that can go has gone.
func heap() int64 {
	runtime.GC()
	runtime.GC() // pools let go at the second only
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func scaleImages(ctx context.Context, sink layout.Sink, images int) ([]layout.Reference, error) {
	keys, err := newSigners()
	if err != nil {
		return nil, err
	}
	total := &counts{}
	ps := make([]*publisher, images)
	refs := make([]layout.Reference, images)
	err = parallel(ctx, images, func(ctx context.Context, i int) error {
		refs[i] = layout.Reference{Repository: fmt.Sprintf("registry.example/scale/app-%02d", i%scaleRepositories), Tag: "v" + itoa(i/scaleRepositories)}
		ps[i] = &publisher{sink: sink, repo: refs[i].Repository, signers: keys, counts: total}
		return smallImage(ctx, ps[i], refs[i].Name(), refs[i].Tag, formsScale)
	})
	if err != nil {
		return nil, err
	}
	return refs, commit(ctx, sink, ps...)
}
