package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"airgap/layout/layouttest"
)

// start runs airgap in a process of its own; testscript has put it on the path.
func start(t *testing.T, stdin io.Reader, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command("airgap", args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = stdin, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &stderr
}

// A signal ends an export at once, with the code that shells give it.
func TestSignals(t *testing.T) {
	for sig, want := range map[os.Signal]int{os.Interrupt: exitInterrupt, syscall.SIGTERM: exitTerminate} {
		t.Run(sig.String(), func(t *testing.T) {
			r := startRegistry(t, false)
			load(t, r, manyLayers(r.host+"/team/app"))
			r.setFault("stall")
			out := filepath.Join(t.TempDir(), "app.tar")
			cmd, stderr := start(t, nil, "export", r.host+"/team/app:v1", "-o", out)
			<-r.stalled
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != want {
				t.Errorf("exit code %d, want %d\n%s", got, want, stderr)
			}
			if !strings.HasPrefix(stderr.String(), "airgap: stopped") || !strings.Contains(stderr.String(), "run the same command again") {
				t.Errorf("it says %s", stderr)
			}
		})
	}
}

// Waiting for stdin does not keep Ctrl-C from working.
func TestSignalWhileReadingStdin(t *testing.T) {
	for _, args := range [][]string{
		{"export", "-f", "-", "-o", "x.tar"},
		{"import", "-", "--store", "STORE", "--insecure-skip-verify"},
		{"tree", "a.invalid/x", "--username", "me", "--password-stdin"},
	} {
		t.Run(args[0], func(t *testing.T) {
			for i := range args {
				args[i] = strings.Replace(args[i], "STORE", t.TempDir(), 1)
			}
			u := testUI()
			reading := make(chan struct{})
			r, w := io.Pipe()
			defer w.Close()
			u.stdin = &announced{Reader: r, reading: reading}
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan int)
			go func() { done <- execute(ctx, u, append([]string{"airgap"}, args...)) }()
			<-reading
			cancel(&stopped{os.Interrupt})
			if got := <-done; got != exitInterrupt {
				t.Errorf("exit code %d, want %d: %s", got, exitInterrupt, u.stderr)
			}
		})
	}
}

// announced says when somebody first reads it.
type announced struct {
	io.Reader
	reading chan struct{}
}

func (a *announced) Read(p []byte) (int, error) {
	if a.reading != nil {
		close(a.reading)
		a.reading = nil
	}
	return a.Reader.Read(p)
}

func load(t *testing.T, r *testRegistry, content layouttest.Content) {
	t.Helper()
	c, err := r.client()
	if err == nil {
		err = content.Load(t.Context(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A bundle on a terminal helps nobody.
func TestStdoutTerminal(t *testing.T) {
	u := testUI()
	u.stdoutIsTerminal = true
	if _, stderr, code := runLine(t, u, "export", "a.invalid/x", "-o", "-"); code != exitUsage || !strings.Contains(stderr, "stdout is a terminal") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// A stream comes through as it was, in pieces of any size.
func TestContextReader(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	for _, r := range []io.Reader{bytes.NewReader(want), io.MultiReader(bytes.NewReader(want[:7]), bytes.NewReader(want[7:]))} {
		got, err := io.ReadAll(contextReader(t.Context(), r))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	failing := io.MultiReader(strings.NewReader("x"), errReader{})
	if got, err := io.ReadAll(contextReader(t.Context(), failing)); string(got) != "x" || !errors.Is(err, errDisk) {
		t.Errorf("%q, %v", got, err)
	}
}

var errDisk = errors.New("the disk is gone")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errDisk }

func TestDefaultStore(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"AIRGAP_STORE": "/a", "XDG_DATA_HOME": "/b", "HOME": "/c"}, "/a"},
		{map[string]string{"XDG_DATA_HOME": "/b", "HOME": "/c"}, "/b/airgap/store"},
		{map[string]string{"XDG_DATA_HOME": "relative", "HOME": "/c"}, "/c/.local/share/airgap/store"},
		{map[string]string{}, ""},
	} {
		u := testUI()
		u.getenv = func(key string) string { return c.env[key] }
		got, err := u.defaultStore()
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%v: %q, %v", c.env, got, err)
		}
	}
}

func TestReadPassword(t *testing.T) {
	for in, want := range map[string]string{"secret\n": "secret", "secret": "secret", " spaced \r\nmore": " spaced ", "": "", "\n": ""} {
		got, err := readPassword(strings.NewReader(in))
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}
