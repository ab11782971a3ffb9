//go:build unix

// Command timed runs other commands for the benchmarks and says what they cost.
//
//	timed run     reads a Request from stdin, runs its commands one after the
//	              other and writes a Result to stdout, both JSON
//	timed serve   COMMAND…  runs a server until stdin ends, and writes a Result
//	              with what it cost
//
// It is a program of its own because the system counts the memory of whoever
// starts a process as the peak of the process: vfork shares it until exec. A
// large benchmark that starts a small tool would measure itself. This one has
// next to no memory.
//
// When its stdin ends it ends what it started, so nothing outlives a benchmark
// that was killed.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Request is what to run. All fields but Commands may be empty.
type Request struct {
	Commands [][]string
	Env      []string
	Dir      string
	// Log gets what the commands say.
	Log string
}

// Result is what it cost, all commands together.
type Result struct {
	Wall  time.Duration // from the start of the first to the end of the last
	User  time.Duration
	Sys   time.Duration
	Sync  time.Duration // until everything written was on the disk, after Wall
	RSS   int64         // peak resident memory of the largest, bytes
	Error string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "timed:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "run":
		var req Request
		in := json.NewDecoder(os.Stdin)
		if err := in.Decode(&req); err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(measure(req))
	case len(args) > 1 && args[0] == "serve":
		return serve(exec.Command(args[1], args[2:]...))
	}
	return fmt.Errorf("usage: timed run | timed serve COMMAND…")
}

// measure runs the commands. Everything written earlier goes to the disk first,
// so that nobody waits for what somebody else left behind.
func measure(req Request) Result {
	log, err := os.Create(req.Log)
	if err != nil {
		return Result{Error: err.Error()}
	}
	defer log.Close()
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(gone)
	}()
	syscall.Sync()
	var res Result
	start := time.Now()
	for _, args := range req.Commands {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = req.Env, req.Dir, log, log
		err := wait(cmd, gone)
		if cmd.ProcessState != nil {
			res.add(cmd.ProcessState)
		}
		if err != nil {
			res.Error = fmt.Sprintf("%s: %v", args[0], err)
			break
		}
	}
	res.Wall = time.Since(start)
	syscall.Sync()
	res.Sync = time.Since(start) - res.Wall
	return res
}

func (r *Result) add(p *os.ProcessState) {
	r.User += p.UserTime()
	r.Sys += p.SystemTime()
	if u, ok := p.SysUsage().(*syscall.Rusage); ok {
		r.RSS = max(r.RSS, int64(u.Maxrss)*rssUnit())
	}
}

// rssUnit is what ru_maxrss counts in: the BSDs and Linux have kilobytes.
func rssUnit() int64 {
	if runtime.GOOS == "darwin" {
		return 1
	}
	return 1024
}

// wait runs cmd and ends it if the one who wants to know is gone.
func wait(cmd *exec.Cmd, gone <-chan struct{}) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-gone:
		_ = cmd.Process.Kill()
		return <-done
	}
}

// stopTime is how long a server may take to end by itself.
const stopTime = 5 * time.Second

func serve(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	err := untilStdinEnds(cmd)
	res := Result{Wall: time.Since(start)}
	res.add(cmd.ProcessState)
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(res))
}

func untilStdinEnds(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(gone)
	}()
	select {
	case err := <-done:
		return err
	case <-gone:
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(stopTime):
		_ = cmd.Process.Kill()
		<-done
	}
	return nil
}
