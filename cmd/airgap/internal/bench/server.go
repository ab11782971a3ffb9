//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// server is a registry in a process of its own, with its content in a folder.
type server struct {
	host string // 127.0.0.1:port
	cmd  *exec.Cmd
	in   io.Closer    // closing it ends the process
	cost bytes.Buffer // what the helper says of it at the end
}

const serverConfig = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: %q}
  delete: {enabled: true}
http: {addr: %q}
`

// serve starts distribution's registry over dir at host and waits until it answers.
func (r *rig) serve(ctx context.Context, dir, host string) (*server, error) {
	return r.serveConfigured(ctx, serverConfig, dir, host)
}

func (r *rig) serveConfigured(ctx context.Context, config, dir, host string) (*server, error) {
	binary, ok := r.tool("registry")
	if !ok {
		return nil, fmt.Errorf("distribution's registry is not among the tools in %s; testdata/interop/install.sh puts it there", r.tools)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path := r.path("tmp", "registry-"+port(host)+".yml")
	if err := os.WriteFile(path, fmt.Appendf(nil, config, dir, host), 0o644); err != nil {
		return nil, err
	}
	return r.start(ctx, host, binary, "serve", path)
}

func port(host string) string { return host[strings.LastIndex(host, ":")+1:] }

// start runs a server that is to listen at host, and waits until it answers.
func (r *rig) start(ctx context.Context, host string, command ...string) (*server, error) {
	s := &server{host: host, cmd: exec.Command(r.timed, append([]string{"serve"}, command...)...)}
	log, err := os.Create(r.path("tmp", "server-"+port(host)+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Env, s.cmd.Stderr, s.cmd.Stdout = r.env(), log, &s.cost
	in, err := s.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.in = in
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("%w; it said:\n%s", err, tail(log.Name()))
	}
	return s, nil
}

// freeAddress asks the system for a port that nobody uses.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// serverPoll is how long to wait between two looks whether a server is there.
const serverPoll = 2 * time.Millisecond

func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.host+"/v2/", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the registry does not answer: %w", ctx.Err())
		case <-time.After(serverPoll):
		}
	}
}

// stop ends the process and waits for it.
func (s *server) stop() {
	if s != nil {
		s.in.Close()
		_ = s.cmd.Wait()
	}
}

// spent ends the process and says what all of its life has cost.
func (s *server) spent() (sample, error) {
	s.stop()
	var res helperResult
	if err := json.Unmarshal(s.cost.Bytes(), &res); err != nil {
		return sample{}, fmt.Errorf("the helper said %.200q of a server: %w", s.cost.Bytes(), err)
	}
	return sample{CPU: res.User + res.Sys, RSS: res.RSS}, nil
}

// destination is a registry that is empty at the start of each run: a new
// process over a new folder, for the old process remembers what it had.
type destination struct {
	rig  *rig
	dir  string
	host string
	srv  *server
}

func (r *rig) newDestination(dir string) (*destination, error) {
	host, err := freeAddress()
	return &destination{rig: r, dir: dir, host: host}, err
}

// fresh replaces the registry by an empty one at the same address.
func (d *destination) fresh(ctx context.Context) (err error) {
	d.stop()
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	d.srv, err = d.rig.serve(ctx, d.dir, d.host)
	return err
}

func (d *destination) stop() {
	d.srv.stop()
	d.srv = nil
}
