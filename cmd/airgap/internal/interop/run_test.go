//go:build interop && linux

package interop

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandTime is more than any command here takes, on a slow machine too.
const commandTime = 3 * time.Minute

// find returns the path of a tool: airgap itself, one built from source, or one
// of the system's, which may be where only root looks.
func (l *lab) find(tool string) (string, error) {
	if tool == "airgap" {
		return l.airgap, nil
	}
	dirs := append([]string{l.tools}, filepath.SplitList(os.Getenv("PATH"))...)
	for _, dir := range append(dirs, "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, tool)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed; run testdata/interop/install.sh", tool)
}

// need ends the test if a tool is missing.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := the.find(tool); err != nil {
			if os.Getenv("AIRGAP_INTEROP_ALLOW_MISSING") != "" {
				t.Skip(err)
			}
			t.Fatal(err)
		}
	}
}

// env is all that the tools get to see of this machine's settings. Nobody's
// credentials, proxies or configuration are in it.
func (l *lab) env() []string {
	path := strings.Join([]string{l.tools, os.Getenv("PATH"), "/usr/sbin", "/sbin"}, string(filepath.ListSeparator))
	return []string{
		"PATH=" + path, "LANG=C.UTF-8", "TERM=dumb",
		"HOME=" + l.path("home"), "XDG_RUNTIME_DIR=" + l.path("run"), "TMPDIR=" + l.path("tmp"),
		"COSIGN_PASSWORD=", "NOTATION_EXPERIMENTAL=1",
	}
}

// invocation is one run of a tool.
type invocation struct {
	tool string
	args []string
	dir  string   // to run in; empty means anywhere
	env  []string // beside the lab's
	in   []byte
	on   *node // nil: this machine
}

func (v invocation) String() string { return v.tool + " " + strings.Join(v.args, " ") }

// command is what to run for v.
func (l *lab) command(v invocation) (path string, args []string, err error) {
	if path, err = l.find(v.tool); err != nil || v.on == nil {
		return path, v.args, err
	}
	args = v.on.enter(append([]string{path}, v.args...))
	path, err = l.find("nsenter")
	return path, args, err
}

// do runs a tool and returns what it printed to its standard output. The error
// tells all that it said.
func (l *lab) do(v invocation) (string, error) {
	path, args, err := l.command(v)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTime)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = v.dir, append(l.env(), v.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(v.in), &stdout, &stderr
	ownGroup(cmd)
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w\n%s%s", v, err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// ownGroup has cmd's children end with it, and it with us.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
}

// run is do for what has to succeed, and a tool that has to be there.
func run(t *testing.T, tool string, args ...string) string {
	t.Helper()
	return runWith(t, invocation{tool: tool, args: args})
}

func runWith(t *testing.T, v invocation) string {
	t.Helper()
	need(t, v.tool)
	out, err := the.do(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// refused runs what has to fail, and returns what was said.
func refused(t *testing.T, tool string, args ...string) string {
	t.Helper()
	return refusedWith(t, invocation{tool: tool, args: args})
}

func refusedWith(t *testing.T, v invocation) string {
	t.Helper()
	need(t, v.tool)
	out, err := the.do(v)
	if err == nil {
		t.Fatalf("%s went through, and should not have:\n%s", v, out)
	}
	return err.Error()
}
