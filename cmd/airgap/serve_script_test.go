package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// servers are those of all scripts that run, by serverKey.
var servers sync.Map

type serverKey struct {
	ts   *testscript.TestScript
	name string
}

// testServer is an airgap serve in a process of its own.
type testServer struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	done   bool
}

func (s *testServer) stop() error {
	if s.done {
		return nil
	}
	s.done = true
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 100)
	program, err := exec.LookPath("airgap")
	ts.Check(err)
	s := &testServer{cmd: exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0"}, args[1:]...)...)}
	s.cmd.Dir, s.cmd.Stderr = ts.Getenv("WORK"), &s.stderr
	s.cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}
	for _, name := range []string{"AIRGAP_POLICY", "AIRGAP_TRUST", "AIRGAP_STORE"} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	stdout, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	ts.Defer(func() { _ = s.stop() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = s.cmd.Wait()
		ts.Fatalf("airgap serve %s: it did not say where: %s", strings.Join(args[1:], " "), &s.stderr)
	}
	url := strings.TrimSpace(line)
	_, host, ok := strings.Cut(url, "://")
	if !ok {
		ts.Fatalf("airgap serve said %q", line)
	}
	ts.Setenv(args[0], host)
	servers.Store(serverKey{ts, args[0]}, s)
}

func scriptStopServe(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	v, ok := servers.LoadAndDelete(serverKey{ts, args[0]})
	if !ok {
		ts.Fatalf("no server %s", args[0])
	}
	s := v.(*testServer)
	ts.Check(s.stop())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".log"), s.stderr.Bytes(), 0o600))
}

func scriptNames(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	ts.Setenv(args[0], pathHost(args[1]))
}

// scriptCurl asks without following redirects or caring about errors.
func scriptCurl(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	res, err := http.DefaultTransport.RoundTrip(mustRequest(ts, args[0]))
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	_, err = fmt.Fprintf(ts.Stdout(), "%d %s\n%s\n", res.StatusCode, res.Header.Get("Docker-Content-Digest"), body)
	ts.Check(err)
}

func mustRequest(ts *testscript.TestScript, url string) *http.Request {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	ts.Check(err)
	return req
}
