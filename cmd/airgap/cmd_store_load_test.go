package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// fakeEngine stands for docker: it listens on a unix socket, reads what is to be loaded
// as docker load does, checks it, and knows the images afterwards. It is no docker; the
// real ones are in internal/interop.
type fakeEngine struct {
	socket string

	mu     sync.Mutex
	images map[string]digest.Digest // IDs by name
	files  map[string]bool          // of the last stream
	broken error                    // what was wrong with it

	refuse    func(w http.ResponseWriter) bool // answers a load instead
	otherID   bool
	forgetful bool
}

func startFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	dir, err := os.MkdirTemp("", "eng") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fakeEngine{socket: filepath.Join(dir, "s"), images: map[string]digest.Digest{}}
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: f}}
	srv.Start()
	t.Cleanup(srv.Close)
	return f
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch name, isImage := strings.CutPrefix(r.URL.Path, "/images/"); {
	case r.Method == http.MethodPost && r.URL.Path == "/images/load":
		f.load(w, r)
	case r.Method == http.MethodGet && isImage && strings.HasSuffix(name, "/json"):
		f.mu.Lock()
		id, known := f.images[strings.TrimSuffix(name, "/json")]
		f.mu.Unlock()
		if !known {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"No such image"}`)
			return
		}
		fmt.Fprintf(w, `{"Id":%q}`, id)
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
}

func (f *fakeEngine) load(w http.ResponseWriter, r *http.Request) {
	if f.refuse != nil && f.refuse(w) {
		return
	}
	images, files, err := readArchive(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files, f.broken = files, err
	if err != nil {
		fmt.Fprintf(w, `{"errorDetail":{"message":%q},"error":"x"}`, err)
		return
	}
	for name, id := range images {
		if f.otherID {
			id = digest.FromString("another")
		}
		if !f.forgetful {
			f.images[name] = id
		}
		fmt.Fprintf(w, "{\"stream\":\"Loaded image: %s\\n\"}\r\n", name)
	}
}

// readArchive reads what docker load reads: manifest.json, and all that it names. Every
// file whose name is a digest has to have that.
func readArchive(r io.Reader) (images map[string]digest.Digest, files map[string]bool, err error) {
	files = map[string]bool{}
	var list []struct {
		Config           string
		RepoTags, Layers []string
	}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, nil, err
		}
		if hex, ok := strings.CutPrefix(h.Name, "blobs/sha256/"); ok && digest.FromBytes(data).Encoded() != hex {
			return nil, nil, fmt.Errorf("%s has another digest", h.Name)
		}
		files[h.Name] = true
		if h.Name == "manifest.json" {
			if err := json.Unmarshal(data, &list); err != nil {
				return nil, nil, err
			}
		}
	}
	images = map[string]digest.Digest{}
	for _, one := range list {
		for _, name := range append(one.Layers, one.Config) {
			if !files[name] {
				return nil, nil, fmt.Errorf("manifest.json names %s, which is not there", name)
			}
		}
		for _, tag := range one.RepoTags {
			images[tag] = digest.NewDigestFromEncoded(digest.SHA256, strings.TrimPrefix(one.Config, "blobs/sha256/"))
		}
	}
	if len(images) == 0 {
		return nil, nil, errors.New("no manifest.json, or no image in it")
	}
	return images, files, nil
}

// loadable makes a store s, in the present folder, with images as engines know them,
// a chart, an image without a tag and one in quarantine.
func loadable(t *testing.T) layouttest.Content {
	t.Helper()
	const repo = "docker.io/library/tool"
	b, c := layouttest.New(repo), layouttest.New("ghcr.io/acme/app")
	layer := b.Layer(layerType, "base")
	index := b.Index(
		layouttest.ForPlatform(b.Image("amd64", layer), "linux", "amd64"),
		layouttest.ForPlatform(b.Image("arm64", layer), "linux", "arm64"),
	)
	b.Notary(index, "publisher")
	b.Tag("1", index)
	b.Tag("latest", index)
	hidden := b.Image("hidden")
	b.Tag("bad", hidden)
	c.Tag("2", c.Image("app"))
	c.Pin(c.Image("nameless"))
	c.Tag("chart", c.Referrer(c.Image("app"), "application/vnd.cncf.helm.config.v1+json", "chart"))
	content := layouttest.Merge(b.Content(), c.Content())
	fillStore(t, content)
	hideInStore(t, repo, "no signature", hidden)
	return content
}

func loadInto(t *testing.T, u *ui, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runLine(t, u, append([]string{"store", "load", "--store", "s", "--platform", "linux/amd64"}, args...)...)
}

// Images come into the engine under their original names, all that they need with them
// and nothing that is for another platform.
func TestStoreLoad(t *testing.T) {
	for _, flag := range []string{"--docker", "--podman"} {
		t.Chdir(t.TempDir())
		content := loadable(t)
		e := startFakeEngine(t)
		out, stderr, code := loadInto(t, testUI(), "tool:1", "ghcr.io/acme/app:2", flag, "--address", "unix://"+e.socket, "--format", "json")
		if code != 0 || e.broken != nil {
			t.Fatalf("exit code %d, %v\n%s", code, e.broken, stderr)
		}
		var res storeLoadResult
		if err := json.Unmarshal([]byte(out), &res); err != nil {
			t.Fatal(err)
		}
		if len(e.images) != 2 || e.images["docker.io/library/tool:1"] == "" || e.images["ghcr.io/acme/app:2"] == "" {
			t.Errorf("the engine has %v", e.images)
		}
		for _, img := range res.Images {
			if e.images[img.Reference] != img.ID {
				t.Errorf("%s: ID %s, the engine says %s", img.Reference, img.ID, e.images[img.Reference])
			}
		}
		for _, items := range content.Repositories {
			for _, item := range items {
				if strings.Contains(string(item.Bytes), `"arm64"`) && !layout.IsIndex(item.Descriptor.MediaType) && e.files[layout.BlobPath(item.Descriptor.Digest)] {
					t.Errorf("%s, which is for arm64, was sent", item.Descriptor.Digest)
				}
			}
		}
		if res.Bytes == 0 {
			t.Error("0 bytes")
		}
	}
}

// $DOCKER_HOST is where docker is; what is no socket of this machine is refused, with a
// way round.
func TestStoreLoadByEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	loadable(t)
	e := startFakeEngine(t)
	for flag, name := range map[string]string{"--docker": "DOCKER_HOST", "--podman": "CONTAINER_HOST"} {
		for value, want := range map[string]int{"unix://" + e.socket: 0, "tcp://127.0.0.1:1": exitUsage, "ssh://somewhere": exitUsage, "unix://" + e.socket + "x": exitFailed} {
			u := testUI()
			u.getenv = func(key string) string { return map[string]string{name: value}[key] }
			_, stderr, code := loadInto(t, u, "tool:1", flag)
			if code != want || want != 0 && !strings.Contains(stderr, "hint: ") {
				t.Errorf("%s=%s: exit code %d, want %d\n%s", name, value, code, want, stderr)
			}
		}
	}
}

// What goes wrong in the engine is an error that says what the engine said.
func TestStoreLoadFails(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(e *fakeEngine)
		says  string
	}{
		"refused": {func(e *fakeEngine) {
			e.refuse = func(w http.ResponseWriter) bool {
				w.WriteHeader(http.StatusInternalServerError)
				fmt.Fprint(w, `{"message":"no space \u001b[2J left on device"}`)
				return true
			}
		}, `500 Internal Server Error: no space \x1b[2J left on device`},
		"failed later": {func(e *fakeEngine) {
			e.refuse = func(w http.ResponseWriter) bool {
				fmt.Fprint(w, `{"stream":"Loading"}{"errorDetail":{"message":"layer is odd"},"error":"layer is odd"}`)
				return true
			}
		}, "layer is odd"},
		"no answer": {func(e *fakeEngine) {
			e.refuse = func(w http.ResponseWriter) bool { fmt.Fprint(w, "<html>"); return true }
		}, "its answer cannot be read"},
		"not there":      {func(e *fakeEngine) { e.forgetful = true }, "has none called docker.io/library/tool:1: 404 Not Found: No such image"},
		"another there":  {func(e *fakeEngine) { e.otherID = true }, "docker.io/library/tool:1 is another one there"},
		"nobody listens": {func(e *fakeEngine) { e.socket += "x" }, "is it running"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Chdir(t.TempDir())
			loadable(t)
			e := startFakeEngine(t)
			c.spoil(e)
			out, stderr, code := loadInto(t, testUI(), "tool:1", "--docker", "--address", e.socket)
			if code != exitFailed || !strings.Contains(stderr, c.says) || out != "" {
				t.Errorf("exit code %d, want %d and %q\n%s\n%s", code, exitFailed, c.says, stderr, out)
			}
		})
	}
}

// Damage that shows while the stream is under way ends it: the engine does not get to
// see an end, and the error is the store's.
func TestStoreLoadOfDamage(t *testing.T) {
	t.Chdir(t.TempDir())
	content := loadable(t)
	for _, item := range content.Repositories["docker.io/library/tool"] {
		if item.Descriptor.MediaType == layerType {
			if err := os.WriteFile(filepath.Join("s", filepath.FromSlash(layout.BlobPath(item.Descriptor.Digest))), make([]byte, item.Descriptor.Size), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	e := startFakeEngine(t)
	_, stderr, code := loadInto(t, testUI(), "tool:1", "--docker", "--address", e.socket)
	if code != exitDamaged || len(e.images) > 0 {
		t.Errorf("exit code %d, want %d; the engine has %v\n%s", code, exitDamaged, e.images, stderr)
	}
}

// What is in quarantine is not loaded, nor what an engine has no use for.
func TestStoreLoadRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	content := loadable(t)
	nameless := ""
	for _, n := range content.Names {
		if n.Reference.Tag == "" {
			nameless = n.Reference.String()
		}
	}
	e := startFakeEngine(t)
	for name, want := range map[string]int{"tool:bad": exitRefused, "ghcr.io/acme/app:chart": exitFailed, nameless: exitFailed, "tool:none": exitFailed} {
		if _, stderr, code := loadInto(t, testUI(), "tool:1", name, "--docker", "--address", e.socket); code != want || len(e.images) > 0 {
			t.Errorf("%s: exit code %d, want %d; the engine has %v\n%s", name, code, want, e.images, stderr)
		}
	}
	out, stderr, code := loadInto(t, testUI(), "**", "--docker", "--address", e.socket)
	if code != 0 || len(e.images) != 3 {
		t.Fatalf("exit code %d, the engine has %v\n%s", code, e.images, stderr)
	}
	for _, want := range []string{"3 names are not loaded:", "tool:bad", "in quarantine: no signature", "no container can be started from it (Helm chart)", "it has no tag"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
}

// A file is what the engine would have got, and another import takes it too.
func TestStoreLoadToFile(t *testing.T) {
	t.Chdir(t.TempDir())
	loadable(t)
	mustRun(t, 0, "store load tool:1 ghcr.io/acme/app:2 --store s -o images.tar")
	streamed := mustRun(t, 0, "store load tool:1 ghcr.io/acme/app:2 --store s -o - -q")
	data, err := os.ReadFile("images.tar")
	if err != nil || string(data) != streamed {
		t.Errorf("%d bytes in the file (%v), %d streamed", len(data), err, len(streamed))
	}
	images, _, err := readArchive(strings.NewReader(streamed))
	if err != nil || len(images) != 2 || images["docker.io/library/tool:1"] == "" {
		t.Errorf("%v, %v", images, err)
	}
	mustRun(t, 0, "import images.tar --store again --insecure-skip-verify")
}

// A program that is not there is an error with a way round.
func TestStoreLoadWithoutProgram(t *testing.T) {
	t.Chdir(t.TempDir())
	loadable(t)
	t.Setenv("PATH", t.TempDir())
	_, stderr, code := loadInto(t, testUI(), "tool:1", "--containerd")
	if code != exitFailed || !strings.Contains(stderr, "hint: install it") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
}

func TestStoreLoadUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, line := range []string{
		"--docker", "x", "x --docker --podman", "x --docker -o f", "x -o f --address /s", "x --docker --namespace n",
		"x --docker --address relative", "x --docker --platform linux", "x -o .", "x --docker --to reg.example", "** --docker --all",
	} {
		mustRun(t, exitUsage, "store load --store s "+line)
	}
}
