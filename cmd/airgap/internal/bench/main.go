//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"airgap/layout/disk"
)

// options are the flags.
type options struct {
	output, airgap, tools, work string
	only                        string
	keep                        bool
	size                        int
	runs                        int
	latency                     latencyOptions
	headSize                    int
	scale                       string
	scaleLimit                  time.Duration
	pairs                       int
	judge                       judgeOptions
	serveBlob                   int
	serveRequests               int

	floor, scalePhases string // what this program does for itself
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var o options
	if err := o.parse(os.Args[1:]); err != nil {
		os.Exit(2)
	}
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func (o *options) parse(args []string) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.output, "o", "", "write the page to this `file`; without, print it")
	f.StringVar(&o.airgap, "airgap", filepath.Join("bin", "airgap"), "the airgap `program` to measure")
	f.StringVar(&o.tools, "tools", defaultTools(), "`folder` of the peers that are no Debian packages")
	f.StringVar(&o.work, "work", filepath.Join(os.TempDir(), "airgap-bench"), "working `folder`; wants ten times -size")
	f.StringVar(&o.only, "only", "main,latency,head,scale,verify,judge,delta,serve", "the `workloads` to run; what the page says of others stays")
	f.BoolVar(&o.keep, "keep", false, "leave what the commands wrote in the working folder")
	f.IntVar(&o.size, "size", 575, "main, verify and delta: `MB` of layers")
	f.IntVar(&o.runs, "runs", 5, "main, head and delta: `rounds` that count")
	f.IntVar(&o.latency.images, "latency-images", 200, "latency: how many images")
	f.DurationVar(&o.latency.delay, "latency", 50*time.Millisecond, "latency: how late the registry answers")
	f.IntVar(&o.latency.runs, "latency-runs", 3, "latency: `rounds`, where they fit")
	f.DurationVar(&o.latency.limit, "latency-limit", 4*time.Minute, "latency: for all runs of one tool")
	f.IntVar(&o.headSize, "head-size", 100, "head: `GB` of layers")
	f.StringVar(&o.scale, "scale", "10000,20000,50000,100000", "scale: `numbers` of manifests")
	f.DurationVar(&o.scaleLimit, "scale-limit", 15*time.Minute, "scale: for one number")
	f.IntVar(&o.pairs, "pairs", 40, "verify: `pairs` of imports, judged and not")
	f.IntVar(&o.judge.signatures, "judge-signatures", 10_000, "judge: how many `signatures`")
	f.IntVar(&o.judge.runs, "judge-runs", 3, "judge: `rounds` that count")
	f.IntVar(&o.serveBlob, "serve-blob", 1074, "serve: `MB` of the large blob")
	f.IntVar(&o.serveRequests, "serve-requests", 5000, "serve: `requests` over one connection; four times as many over many")
	f.StringVar(&o.floor, "floor", "", "used by this program itself: copy the blobs of a bundle into a folder")
	f.StringVar(&o.scalePhases, "scale-phases", "", "used by this program itself: measure in process, leave the bundle here")
	return f.Parse(args)
}

// defaultTools is where testdata/interop/install.sh puts the peers.
func defaultTools() string {
	if d := os.Getenv("AIRGAP_TOOLS"); d != "" {
		return d
	}
	gopath, _, _ := strings.Cut(goEnv("GOPATH"), string(filepath.ListSeparator))
	return filepath.Join(gopath, "airgap-tools", "bin")
}

func goEnv(name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func (o *options) run(ctx context.Context) error {
	switch {
	case o.floor != "":
		from, to, _ := strings.Cut(o.floor, string(filepath.ListSeparator))
		return floor(ctx, from, to)
	case o.scalePhases != "":
		n, err := strconv.Atoi(o.scale)
		if err != nil {
			return err
		}
		s, err := scalePhases(ctx, n, o.scalePhases)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	r, release, err := o.rig(ctx)
	if err != nil {
		return err
	}
	defer release()
	head := []string{machine(), r.versions()}
	res, err := o.measure(ctx, r)
	if err != nil {
		// The page is for whole runs; what there is must not be lost.
		fmt.Print(render(head, defaultText, res))
		return err
	}
	if o.output == "" {
		fmt.Print(render(head, defaultText, res))
		return nil
	}
	return writePage(o.output, head, res)
}

// rig prepares the working folder, which is for one benchmark at a time.
func (o *options) rig(ctx context.Context) (*rig, func(), error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	r := &rig{tools: o.tools, self: self, say: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}}
	if r.work, err = filepath.Abs(o.work); err != nil {
		return nil, nil, err
	}
	if r.airgap, err = filepath.Abs(o.airgap); err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(r.airgap); err != nil {
		return nil, nil, fmt.Errorf("%w; make builds it", err)
	}
	if err := os.MkdirAll(r.work, 0o755); err != nil {
		return nil, nil, err
	}
	lock, err := os.Create(r.path("lock"))
	if err != nil {
		return nil, nil, err
	}
	if err := disk.Lock(lock); err != nil {
		return nil, nil, fmt.Errorf("%s: another benchmark is running: %w", r.work, err)
	}
	release := func() {
		if !o.keep {
			_ = errors.Join(os.RemoveAll(r.path("out")), os.RemoveAll(r.path("tmp")))
		}
		lock.Close()
	}
	return r, release, r.prepare(ctx)
}

// workload is one that -only can name.
type workload struct {
	name string
	run  func(context.Context, *options, *rig, *results) error
}

var workloads = []workload{
	{"main", func(ctx context.Context, o *options, r *rig, res *results) (err error) {
		res.Main, err = r.runMain(ctx, mainOptions{int64(o.size) * 1e6, o.runs, o.roots()})
		return err
	}},
	{"latency", func(ctx context.Context, o *options, r *rig, res *results) (err error) {
		res.Latency, err = r.runLatency(ctx, o.latency)
		return err
	}},
	{"head", func(ctx context.Context, o *options, r *rig, res *results) (err error) {
		res.Head, err = r.runHead(ctx, headOptions{int64(o.headSize) * 1e9, o.runs})
		return err
	}},
	{"scale", func(ctx context.Context, o *options, r *rig, res *results) error {
		sizes, err := numbers(o.scale)
		if err == nil {
			res.Scale, err = r.runScale(ctx, scaleOptions{sizes, o.scaleLimit})
		}
		return err
	}},
	{"verify", func(ctx context.Context, o *options, r *rig, res *results) (err error) {
		res.Verify, err = r.runVerify(ctx, verifyOptions{mainOptions{int64(o.size) * 1e6, o.runs, o.roots()}, o.pairs})
		return err
	}},
	{"judge", func(ctx context.Context, o *options, r *rig, res *results) (err error) {
		res.Judge, err = r.runJudge(ctx, o.judge)
		return err
	}},
	{"delta", func(ctx context.Context, o *options, r *rig, res *results) (err error) {
		res.Delta, err = r.runDelta(ctx, mainOptions{int64(o.size) * 1e6, o.runs, o.roots()})
		return err
	}},
	{"serve", func(ctx context.Context, o *options, r *rig, res *results) (err error) {
		res.Serve, err = r.runServe(ctx, serveOptions{
			images: o.latency.images, blob: int64(o.serveBlob) * 1e6, requests: o.serveRequests, runs: o.runs, huge: int64(o.headSize) * 1e9,
		})
		return err
	}},
}

// measure runs the workloads that -only names. With an error it returns what was
// measured before.
func (o *options) measure(ctx context.Context, r *rig) (*results, error) {
	res := &results{}
	for name := range strings.SplitSeq(o.only, ",") {
		i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
		if i < 0 {
			return res, fmt.Errorf("there is no workload %q", name)
		}
		if err := workloads[i].run(ctx, o, r, res); err != nil {
			return res, fmt.Errorf("%s: %w", name, err)
		}
	}
	return res, nil
}

// roots are where real files are found on most machines, Go's own first.
func (o *options) roots() []string {
	return []string{goEnv("GOROOT"), o.tools, "/usr/lib", "/usr/bin", "/usr/share", goEnv("GOMODCACHE")}
}

func numbers(list string) ([]int, error) {
	var out []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < scalePerImage {
			return nil, fmt.Errorf("-scale %q: want numbers of at least %d", list, scalePerImage)
		}
		out = append(out, n)
	}
	return out, nil
}
