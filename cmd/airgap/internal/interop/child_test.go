//go:build interop && linux

package interop

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readyTime = 2 * time.Minute       // for a server to answer
	stopTime  = 20 * time.Second      // for a server to end when asked
	pollEvery = 50 * time.Millisecond // between two looks
	logTail   = 4000                  // bytes of a server's log that are told
)

// child is a server that runs beside the tests.
type child struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a server until the tests are over.
func (l *lab) start(tool string, args ...string) (*child, error) {
	return l.startIt(invocation{tool: tool, args: args})
}

func (l *lab) startIt(v invocation) (*child, error) {
	path, args, err := l.command(v)
	if err != nil {
		return nil, err
	}
	c := &child{name: v.tool, log: l.path(l.unique(filepath.Base(v.tool)+"-") + ".log"), done: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd = exec.Command(path, args...)
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = append(l.env(), v.env...), log, log
	// A terminated daemon cleans up; a killed one leaves mounts.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = c.cmd.Wait() // that it ended is all there is to know
		close(c.done)
	}()
	l.atEnd(c.stop)
	return c, nil
}

// ready waits until probe succeeds.
func (c *child) ready(probe func() error) error {
	deadline := time.NewTimer(readyTime)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := probe()
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return fmt.Errorf("%s ended before it was ready:\n%s", c.name, c.tail())
		case <-deadline.C:
			return fmt.Errorf("%s is not ready after %v: %w\n%s", c.name, readyTime, err, c.tail())
		case <-tick.C:
		}
	}
}

func (c *child) tail() []byte {
	data, _ := os.ReadFile(c.log)
	return data[max(0, len(data)-logTail):]
}

// hangUp tells a server to read its configuration again.
func (c *child) hangUp() error { return c.cmd.Process.Signal(syscall.SIGHUP) }

func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-c.done:
	case <-time.After(stopTime):
		fmt.Fprintf(os.Stderr, "interop: %s does not end when asked and is killed\n", c.name)
	}
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) // what is left of its group
	<-c.done
}

// endOrphans kills what servers left behind, which are our children by now.
func endOrphans() {
	for range 10 { // the children of those are ours then
		pids := childPIDs()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
	}
}

func childPIDs() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		// The name, in parentheses, may hold anything.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 && string(fields[1]) == strconv.Itoa(os.Getpid()) {
			out = append(out, pid)
		}
	}
	return out
}

// unmountBelow unmounts what daemons left mounted in dir, the innermost first.
func unmountBelow(dir string) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	var points []string
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	slices.SortFunc(points, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, p := range points {
		if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			fmt.Fprintf(os.Stderr, "interop: unmounting %s: %v\n", p, err)
		}
	}
}
