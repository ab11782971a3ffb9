//go:build interop && linux

package interop

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// plainRegistry serves what is in a folder, in each repository, to anybody, and looks
// at nothing: it holds nothing back.
type plainRegistry struct {
	folder, elsewhere *layoutFolder
	tags              map[string]ocispec.Descriptor // REPOSITORY:TAG
}

var registryPath = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)

func (p *plainRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v2/" {
		return
	}
	if d, ok := strings.CutPrefix(r.URL.Path, elsewherePath); ok {
		serveBlob(w, r, p.elsewhere, digest.Digest(d))
		return
	}
	at := registryPath.FindStringSubmatch(r.URL.Path)
	if at == nil {
		http.NotFound(w, r)
		return
	}
	d := digest.Digest(at[3])
	if tagged, ok := p.tags[at[1]+":"+at[3]]; ok {
		d = tagged.Digest
	}
	if at[2] == "manifests" {
		w.Header().Set("Content-Type", typeOfManifest(p.folder, d))
	}
	serveBlob(w, r, p.folder, d)
}

func serveBlob(w http.ResponseWriter, r *http.Request, f *layoutFolder, d digest.Digest) {
	if d.Validate() != nil {
		http.NotFound(w, r)
		return
	}
	data, err := os.ReadFile(f.path(d))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Docker-Content-Digest", string(d))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// typeOfManifest is what a manifest says that it is.
func typeOfManifest(f *layoutFolder, d digest.Digest) string {
	var m struct{ MediaType string }
	if d.Validate() == nil {
		data, _ := os.ReadFile(f.path(d))
		_ = json.Unmarshal(data, &m) // it may be none
	}
	if m.MediaType == "" {
		return typeManifest
	}
	return m.MediaType
}

// listen listens in the network of a node.
func (n *node) listen(t *testing.T, address string) net.Listener {
	t.Helper()
	// The thread must live on, whatever it did before: children die with the thread
	// that started them (Pdeathsig).
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	theirs, err := os.Open("/proc/" + strconv.Itoa(n.pid) + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal("the node's network: ", err)
	}
	l, err := net.Listen("tcp", address)
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // nothing more can be done on this thread
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serveHTTP serves in the network of a node for as long as the test runs.
func (n *node) serveHTTP(t *testing.T, address string, h http.Handler) {
	t.Helper()
	l := n.listen(t, address)
	s := &http.Server{Handler: h, ReadHeaderTimeout: commandTime}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // until it is closed
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
}
