//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTiny runs every workload, very small, to see that the commands are right and
// that everything arrives. Its figures mean nothing.
func TestTiny(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs programs")
	}
	o := &options{}
	if err := o.parse([]string{"-size", "2", "-runs", "1", "-latency-images", "20", "-latency", "1ms",
		"-latency-runs", "1", "-head-size", "1", "-scale", "50,100", "-pairs", "1", "-judge-signatures", "40", "-judge-runs", "1",
		"-serve-blob", "8", "-serve-requests", "20"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.tools, "registry")); err != nil {
		t.Skipf("the peers are not installed (%v); testdata/interop/install.sh does that", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r := tinyRig(ctx, t, o)
	res, err := o.measure(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	page := render(nil, "", res)
	if strings.Contains(page, notMeasured) && !strings.Contains(page, "not run:") {
		t.Errorf("something was not measured:\n%s", page)
	}
	for _, s := range res.Main.Export {
		if len(s.Runs) > 0 && s.median().Written < res.Main.Set.Layers {
			t.Errorf("%s wrote %d bytes, there are %d of layers", s.Name, s.median().Written, res.Main.Set.Layers)
		}
	}
	if s := res.Main.Reexport.find(nameAirgap); s == nil || s.median().Requests == 0 {
		t.Error("the proxy counted no request")
	}
	t.Log(page)
}

// tinyRig works in a folder that goes away, with programs built here.
func tinyRig(ctx context.Context, t *testing.T, o *options) *rig {
	dir := t.TempDir()
	r := &rig{work: dir, tools: o.tools, airgap: filepath.Join(dir, "airgap"), self: filepath.Join(dir, "bench"), say: t.Logf}
	for path, pkg := range map[string]string{r.airgap: "airgap/cmd/airgap", r.self: "airgap/cmd/airgap/internal/bench"} {
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", pkg, err, out)
		}
	}
	if err := r.prepare(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

// The helper reports what a command cost, and what went wrong with one.
func TestMeasure(t *testing.T) {
	r := &rig{work: t.TempDir()}
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := r.measure(t.Context(), [][]string{{"true"}, {"sleep", "0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	if s.Wall < 100*time.Millisecond || s.RSS == 0 || s.RSS > 16<<20 {
		t.Errorf("two small commands cost %+v", s)
	}
	_, err = r.measure(t.Context(), [][]string{{"sh", "-c", "echo because >&2; exit 3"}, {"true"}})
	if err == nil || !strings.Contains(err.Error(), "because") {
		t.Errorf("a command that fails gives %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.measure(ctx, [][]string{{"sleep", "100"}}); err == nil {
		t.Error("a command that takes too long gives no error")
	}
}

// BenchmarkJudge is for profiles; the figures of the page are the program's.
func BenchmarkJudge(b *testing.B) {
	const images = 100
	run, err := newJudgeRun(b.Context(), images, filepath.Join(b.TempDir(), "trust"))
	if err != nil {
		b.Fatal(err)
	}
	for _, kind := range judgeKinds {
		way, err := run.way(kind.name)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(kind.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if good, err := way(b.Context()); err != nil || good != images*kind.share {
					b.Fatalf("%d found good: %v", good, err)
				}
			}
			b.ReportMetric(float64(b.N*images*kind.share)/b.Elapsed().Seconds(), "signatures/s")
		})
	}
}
