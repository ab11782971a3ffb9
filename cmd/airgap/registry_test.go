package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"airgap/bundle/registry"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
)

// testRegistry is a registry in this process, with faults to order.
type testRegistry struct {
	host string
	next http.Handler

	mu      sync.Mutex
	fault   string
	fetched int
	stalled chan struct{} // a token for each request that stalls
}

func newTestRegistry(referrers bool) (*testRegistry, *httptest.Server) {
	r := &testRegistry{
		next:    ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(referrers)),
		stalled: make(chan struct{}, 1000),
	}
	srv := httptest.NewServer(r)
	r.host = strings.TrimPrefix(srv.URL, "http://")
	return r, srv
}

// startRegistry is for tests without a script.
func startRegistry(t *testing.T, referrers bool) *testRegistry {
	t.Helper()
	r, srv := newTestRegistry(referrers)
	t.Cleanup(srv.Close)
	return r
}

// layerSize tells layers from all that is small: large-layered fixtures only.
const layerSize = 1<<20 + 1

func (r *testRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/sha256:") {
		if r.isLayer(req) && r.refuse(w, req) {
			return
		}
	}
	r.next.ServeHTTP(w, req)
}

func (r *testRegistry) isLayer(req *http.Request) bool {
	head := httptest.NewRecorder()
	again := req.Clone(req.Context())
	again.Method = http.MethodHead
	r.next.ServeHTTP(head, again)
	size, err := strconv.Atoi(head.Header().Get("Content-Length"))
	return err == nil && size >= layerSize
}

// refuse makes the fault, if there is one, and counts otherwise.
func (r *testRegistry) refuse(w http.ResponseWriter, req *http.Request) bool {
	r.mu.Lock()
	fault := r.fault
	if fault == "" || fault == "one" {
		r.fetched++
	}
	if fault == "one" { // the first goes through
		r.fault = "deny"
	}
	r.mu.Unlock()
	switch fault {
	case "deny":
		w.WriteHeader(http.StatusForbidden)
		return true
	case "stall":
		r.stalled <- struct{}{}
		<-req.Context().Done()
		return true
	}
	return false
}

func (r *testRegistry) setFault(fault string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

// client writes to and reads from the registry, as a publisher would.
func (r *testRegistry) client() (*registry.Client, error) {
	return registry.New(registry.Options{Transport: http.DefaultTransport})
}

type registriesKey struct{}

// registries are those of one script.
type registries struct{ byName map[string]*testRegistry }

func registryNamed(ts *testscript.TestScript, name string) *testRegistry {
	r := ts.Value(registriesKey{}).(*registries).byName[name]
	if r == nil {
		ts.Fatalf("there is no registry %s", name)
	}
	return r
}

func scriptRegistry(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 2)
	r, srv := newTestRegistry(len(args) == 2 && args[1] == "referrers")
	ts.Defer(func() { srv.CloseClientConnections(); srv.Close() })
	ts.Value(registriesKey{}).(*registries).byName[args[0]] = r
	ts.Setenv(args[0], r.host)
}

func scriptLoad(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	content, err := contentNamed(args[0], args[1])
	ts.Check(err)
	c, err := registry.New(registry.Options{Transport: http.DefaultTransport})
	ts.Check(err)
	ts.Check(content.Load(context.Background(), c))
}

func scriptFault(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	switch args[1] {
	case "deny", "stall", "one":
		registryNamed(ts, args[0]).setFault(args[1])
	default:
		ts.Fatalf("no fault %s", args[1])
	}
}

func scriptMend(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	registryNamed(ts, args[0]).setFault("")
}

func scriptAwaitStall(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	<-registryNamed(ts, args[0]).stalled
}

func scriptFetched(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	r := registryNamed(ts, args[0])
	r.mu.Lock()
	got := strconv.Itoa(r.fetched)
	r.fetched = 0
	r.mu.Unlock()
	if got != args[1] {
		ts.Fatalf("%s layers were fetched, want %s", got, args[1])
	}
}
