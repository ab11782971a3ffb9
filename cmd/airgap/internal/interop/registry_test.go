//go:build interop && linux

package interop

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// kindOfRegistry is a registry to run the tests with.
type kindOfRegistry struct {
	name      string
	tool      string // the binary; empty for the one in this process
	referrers bool   // it has the referrers API
	shared    func() (string, error)
}

var registries = []kindOfRegistry{
	{"go-containerregistry", "", true, nil},
	{"distribution", "registry", false, sync.OnceValues(func() (string, error) { return the.distribution("registry") })},
	{"docker-registry", "docker-registry", false, sync.OnceValues(func() (string, error) { return the.distribution("docker-registry") })},
}

// host returns HOST:PORT/PREFIX to put things under; nothing is there yet.
func (k kindOfRegistry) host(t *testing.T) string {
	t.Helper()
	if k.shared == nil {
		return withReferrers(t)
	}
	need(t, k.tool)
	h, err := k.shared()
	if err != nil {
		t.Fatal(err)
	}
	return h + "/" + the.unique("dst")
}

// withReferrers starts an empty registry in this process that has the referrers
// API, for one test.
func withReferrers(t *testing.T) string {
	s := inProcess()
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func inProcess() *httptest.Server {
	return httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true)))
}

// distribution starts a registry that keeps its content in files, and has no
// referrers API; more lines can be added to its configuration.
func (l *lab) distribution(tool string, config ...string) (string, error) {
	addr, _, err := l.distributionIn(tool, config...)
	return addr, err
}

// distributionIn also returns the registry's configuration file.
func (l *lab) distributionIn(tool string, config ...string) (addr, file string, err error) {
	if addr, err = freeAddress(); err != nil {
		return "", "", err
	}
	dir := l.path(l.unique("registry"))
	file = dir + ".yml"
	text := fmt.Sprintf("version: 0.1\nlog: {level: warn}\nhttp: {addr: %q}\nstorage:\n  filesystem: {rootdirectory: %s}\n", addr, dir)
	text += strings.Join(config, "\n")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", "", err
	}
	c, err := l.start(tool, "serve", file)
	if err != nil {
		return "", "", err
	}
	return addr, file, c.ready(func() error {
		res, err := http.Get("http://" + addr + "/v2/")
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", addr, res.Status)
		}
		return nil
	})
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
