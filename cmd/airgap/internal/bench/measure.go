//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// job is one way to do a piece of work: a tool's commands, run one after the
// other, as the tool wants to be used.
type job struct {
	name     string
	note     string
	commands [][]string
	work     func(context.Context) (sample, error) // instead of commands
	before   func(context.Context) error           // not measured
	after    func(*sample) error                   // not measured; fills in what is to be counted
	output   []string                              // files and folders it writes; removed before, counted after
	rounds   int                                   // at most so many; 0 means all
	part     int                                   // of whole: a tool that is too slow does a part
	whole    int
	skip     string // why it cannot run
}

// limits on the time that anything takes, so that a benchmark always ends.
const (
	runTimeout    = 10 * time.Minute // one run of one job
	serverTimeout = 20 * time.Second // a server's start
)

// errSlow says that a run took longer than runTimeout.
var errSlow = fmt.Errorf("stopped after %v", runTimeout)

// rig is where things are and how they are run.
type rig struct {
	work   string // folder; everything written is below
	tools  string // folder of the peers
	self   string // this program
	timed  string // the helper, built
	airgap string // the program under test
	say    func(format string, args ...any)
}

// env is the environment of all commands: no configuration of the user's, and
// temporary files on the same file system as everything else.
func (r *rig) env() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + r.path("home"), "TMPDIR=" + r.path("tmp"),
		"LANG=C", "OTEL_TRACES_EXPORTER=none",
	}
}

func (r *rig) path(elem ...string) string { return filepath.Join(append([]string{r.work}, elem...)...) }

// prepare makes the folders and builds the helper.
func (r *rig) prepare(ctx context.Context) error {
	for _, d := range []string{"home", "tmp", "out"} {
		if err := os.MkdirAll(r.path(d), 0o755); err != nil {
			return err
		}
	}
	r.timed = r.path("timed")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", r.timed, "airgap/cmd/airgap/internal/bench/timed").CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the helper: %w\n%s", err, out)
	}
	return nil
}

// tool finds a peer among the tools, or else on the path.
func (r *rig) tool(name string) (string, bool) {
	p := filepath.Join(r.tools, name)
	if _, err := os.Stat(p); err == nil {
		return p, true
	}
	p, err := exec.LookPath(name)
	return p, err == nil
}

// rounds runs the jobs in turn, n times, and if warm is set once before that.
func (r *rig) rounds(ctx context.Context, warm bool, n int, jobs []*job) (group, error) {
	out := make(group, len(jobs))
	for i, j := range jobs {
		out[i] = &series{Name: j.name, Note: j.note, Part: j.part, Whole: j.whole, Skipped: j.skip}
	}
	for round := range n + 1 {
		for i, j := range jobs {
			if j.skip != "" || j.rounds > 0 && round > j.rounds || round == 0 && !warm {
				continue
			}
			s, err := r.run(ctx, j)
			switch {
			case errors.Is(err, errSlow) && j.name != nameAirgap:
				// A peer that is too slow is a result, not a failure.
				j.skip, out[i].Skipped, out[i].Runs = err.Error(), err.Error(), nil
				r.say("  %-28s %v", j.name, err)
				continue
			case err != nil:
				return nil, fmt.Errorf("%s: %w", j.name, err)
			}
			r.say("  %-28s %s s  cpu %s s  sync %s s  %s MiB%s", j.name, seconds(s.Wall), seconds(s.CPU),
				seconds(s.Sync), mebibytes(s.RSS), map[bool]string{true: "  (warm-up)"}[round == 0])
			if round > 0 {
				out[i].Runs = append(out[i].Runs, s)
			}
		}
	}
	return out, nil
}

// run does one job once.
func (r *rig) run(ctx context.Context, j *job) (sample, error) {
	for _, p := range j.output {
		if err := os.RemoveAll(p); err != nil {
			return sample{}, err
		}
	}
	if j.before != nil {
		if err := j.before(ctx); err != nil {
			return sample{}, err
		}
	}
	work := j.work
	if work == nil {
		work = func(ctx context.Context) (sample, error) { return r.measure(ctx, j.commands) }
	}
	s, err := work(ctx)
	if err != nil {
		return sample{}, err
	}
	for _, p := range j.output {
		n, err := sizeOf(p)
		if err != nil {
			return sample{}, err
		}
		s.Written += n
	}
	if j.after != nil {
		err = j.after(&s)
	}
	return s, err
}

// helperResult is what the helper says of what it ran.
type helperResult struct {
	Wall, User, Sys, Sync time.Duration
	RSS                   int64
	Error                 string
}

// measure has the helper run commands.
func (r *rig) measure(ctx context.Context, commands [][]string) (sample, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, runTimeout, errSlow)
	defer cancel()
	log := r.path("tmp", "log")
	req, err := json.Marshal(map[string]any{"Commands": commands, "Env": r.env(), "Dir": r.path("out"), "Log": log})
	if err != nil {
		return sample{}, err
	}
	out, err := r.ask(ctx, req)
	if err != nil {
		return sample{}, err
	}
	var res helperResult
	if err := json.Unmarshal(out, &res); err != nil {
		return sample{}, fmt.Errorf("the helper answered %.200q: %w", out, err)
	}
	if res.Error != "" {
		return sample{}, fmt.Errorf("%s; it said:\n%s", res.Error, tail(log))
	}
	return sample{Wall: res.Wall, CPU: res.User + res.Sys, Sync: res.Sync, RSS: res.RSS}, nil
}

// ask starts the helper with a request. Its stdin stays open while it works:
// should this process die, the helper ends what it runs.
func (r *rig) ask(ctx context.Context, req []byte) ([]byte, error) {
	cmd := exec.Command(r.timed, "run")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { in.Close() })()
	_, werr := in.Write(req)
	err = errors.Join(cmd.Wait(), werr)
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, fmt.Errorf("the helper: %w; commands said:\n%s", err, tail(r.path("tmp", "log")))
	}
	return out.Bytes(), nil
}

// tail returns the end of a log.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 2000 {
		_, _ = f.Seek(-2000, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	return strings.TrimSpace(string(b))
}

// sizeOf adds up the regular files at and below path.
func sizeOf(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// parallel runs tasks, as many at once as there are processors.
func parallel(ctx context.Context, n int, task func(context.Context, int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(processors())
	for i := range n {
		g.Go(func() error { return task(ctx, i) })
	}
	return g.Wait()
}
