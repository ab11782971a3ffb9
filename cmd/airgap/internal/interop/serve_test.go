//go:build interop && linux

package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// served is an airgap serve that runs.
type served struct {
	*child
	url  string
	seen int // bytes of the log that were looked at
}

// startServe runs airgap serve with the flags of v, until the tests are over.
func startServe(v invocation) (*served, error) {
	v.tool, v.args = "airgap", append([]string{"serve", "--access-log"}, v.args...)
	c, err := the.startIt(v)
	if err != nil {
		return nil, err
	}
	s := &served{child: c}
	return s, c.ready(func() error {
		log, err := os.ReadFile(c.log)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(log)) {
			if strings.HasPrefix(line, "http") && strings.HasSuffix(line, "\n") {
				s.url = strings.TrimSpace(line)
				return nil
			}
		}
		return errors.New("it has not said where it listens")
	})
}

// serve runs airgap serve on this machine, at a free port, and returns HOST:PORT.
func serve(t *testing.T, flags ...string) string {
	t.Helper()
	need(t, "airgap")
	s, err := startServe(invocation{args: append(flags, "--listen", "127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(s.url, "http://")
}

// request is a line of the access log.
type request struct {
	Msg, Client, Method, Path, Agent string
	Status                           int
}

// requests are those that were answered since the last time they were asked for.
// A manifest is so small that its answer goes out after the line is written.
func (s *served) requests(t *testing.T) []request {
	t.Helper()
	log, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	var out []request
	for line := range bytes.Lines(log[s.seen:]) {
		var r request
		if json.Unmarshal(line, &r) == nil && r.Msg == "request" {
			out = append(out, r)
		}
	}
	s.seen = len(log)
	return out
}

// Names that the images of the fixture have in the store of original names. The
// port is in one of them, since a path cannot have it.
var origins = []string{"docker.io/library/hello", "ghcr.io/acme/app", "reg.example:5000/team/app"}

// pauseImage is what containerd keeps a pod with, unless told.
const pauseImage = "registry.k8s.io/pause"

var pauseTag = regexp.MustCompile(pauseImage + ":([a-zA-Z0-9._-]+)")

// toolName is what the fixture's other image is called there.
const toolName = "ghcr.io/acme/tool"

// originals is a store that has the fixture's image under each of those names, tag
// v1, with all that is attached to it; the other image, and that of pauses.
func originals(t *testing.T) string {
	t.Helper()
	f, dir := source(t), t.TempDir()
	pause, err := pauseOnce()
	if err != nil {
		t.Fatal(err)
	}
	hello, tool, store := filepath.Join(dir, "hello"), filepath.Join(dir, "tool"), filepath.Join(dir, "store")
	orasBackup(t, hello, f.hello.String())
	orasBackup(t, tool, f.tool.String())
	from := map[string]string{toolName: tool, pauseImage: pause}
	for _, name := range origins {
		from[name] = hello
	}
	for name, bundle := range from {
		run(t, "airgap", "import", "--quiet", "--insecure-skip-verify", bundle, "--as", name, "--store", store)
	}
	return store
}

var pauseOnce = sync.OnceValues(func() (string, error) {
	prog, err := the.buildProgram("pause", pauseSource)
	if err != nil {
		return "", err
	}
	config, err := the.do(invocation{tool: "containerd", args: []string{"config", "default"}})
	if err != nil {
		return "", err
	}
	tag := pauseTag.FindStringSubmatch(config)
	if tag == nil {
		return "", fmt.Errorf("containerd does not say which %s it wants", pauseImage)
	}
	f := newLayoutFolder(the.path("pause-layout"))
	f.name(tag[1], f.image("amd64", file{"pause", 0o755, prog}))
	return f.dir, f.finish()
})
