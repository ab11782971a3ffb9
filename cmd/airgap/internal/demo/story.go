package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// story writes the transcript and runs the commands in it.
type story struct {
	out    io.Writer
	binary string // airgap, as an absolute path
	dir    string // where commands run, and where their files are
	home   string // an empty home for them, and their temporary files
	steps  int
}

// step starts a chapter.
func (s *story) step(title string) {
	s.steps++
	title = fmt.Sprintf("%d. %s", s.steps, title)
	fmt.Fprintf(s.out, "\n%s\n%s\n", title, strings.Repeat("-", len(title)))
}

// say writes a paragraph.
func (s *story) say(format string, args ...any) {
	fmt.Fprintf(s.out, "\n"+format+"\n", args...)
}

// item writes a line of a list, or of facts.
func (s *story) item(format string, args ...any) {
	fmt.Fprintf(s.out, "  "+format+"\n", args...)
}

// airgap runs the tool as a user would, shows command and output, and fails
// unless it ends with the exit code wanted. It returns the output.
func (s *story) airgap(ctx context.Context, want int, args ...string) (string, error) {
	return s.run(ctx, want, s.binary, "airgap", args...)
}

// run runs a program under the name that the transcript gives it.
func (s *story) run(ctx context.Context, want int, path, name string, args ...string) (string, error) {
	line := strings.Join(append([]string{name}, args...), " ")
	fmt.Fprintf(s.out, "\n  $ %s\n", line)
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Env = s.dir, s.environment()
	cmd.Stdout, cmd.Stderr = &out, &out // one buffer: the order is kept
	err := cmd.Run()
	text := out.String()
	for l := range strings.Lines(text) {
		fmt.Fprintln(s.out, strings.TrimRight("    "+l, " \n"))
	}
	if ctx.Err() != nil {
		return text, ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return text, fmt.Errorf("%s: %w", line, err)
	}
	code := cmd.ProcessState.ExitCode()
	if want != 0 {
		fmt.Fprintf(s.out, "    (exit code %d)\n", code)
	}
	if code != want {
		return text, fmt.Errorf("%q ended with exit code %d, want %d", line, code, want)
	}
	return text, nil
}

// environment keeps the user's own configuration, credentials and stores out of
// the demo: it is to end the same on every machine.
func (s *story) environment() []string {
	env := []string{"HOME=" + s.home, "TMPDIR=" + s.home, "DOCKER_CONFIG=" + s.home}
	for _, name := range []string{"PATH", "SYSTEMROOT"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
