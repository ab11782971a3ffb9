//go:build interop && linux

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// stored imports the fixture into a store, and returns its folder.
func stored(t *testing.T, f *fixture) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	run(t, "airgap", "import", "--quiet", "--insecure-skip-verify", exportFixture(t, f), "--store", dir)
	return dir
}

// loadFrom runs airgap store load for both images of the fixture.
func loadFrom(t *testing.T, f *fixture, store string, env []string, flags ...string) {
	t.Helper()
	args := append([]string{"store", "load", f.hello.String() + ":v1", f.tool.String() + ":2", "--store", store, "--quiet"}, flags...)
	runWith(t, invocation{tool: "airgap", args: args, env: env})
}

// What store load puts into an engine has its name, is what it should be, and runs.
func TestStoreLoad(t *testing.T) {
	f := source(t)
	store := stored(t, f)
	t.Run("docker", func(t *testing.T) { storeToDocker(t, f, store) })
	t.Run("podman by its program", func(t *testing.T) {
		p := configurePodman(t)
		loadFrom(t, f, store, p.env, "--podman")
		p.has(t, f)
	})
	t.Run("podman by its socket", func(t *testing.T) {
		p := configurePodman(t)
		loadFrom(t, f, store, nil, "--podman", "--address", p.serve(t))
		p.has(t, f)
	})
	t.Run("containerd", func(t *testing.T) { storeToContainerd(t, f, store) })
	t.Run("by a file", func(t *testing.T) {
		out := filepath.Join(t.TempDir(), "images.tar")
		loadFrom(t, f, store, nil, "-o", out)
		testLoads(t, f, out)
	})
}

func storeToDocker(t *testing.T, f *fixture, store string) {
	docker(t, "version")
	socket, err := dockerd()
	if err != nil {
		t.Fatal(err)
	}
	loadFrom(t, f, store, []string{"DOCKER_HOST=unix://" + socket}, "--docker")
	names := f.names(t)
	t.Cleanup(func() { docker(t, append([]string{"image", "rm"}, keysOf(names)...)...) })
	for name, id := range names {
		if got := strings.TrimSpace(docker(t, "image", "inspect", "--format", "{{.Id}}", name)); got != string(id) {
			t.Errorf("docker: %s has ID %s, want %s", name, got, id)
		}
		greets(t, docker(t, "run", "--rm", "--network=none", name))
	}
}

func storeToContainerd(t *testing.T, f *fixture, store string) {
	ctr := ctr(t)
	socket, err := containerd()
	if err != nil {
		t.Fatal(err)
	}
	space := the.unique("load")
	loadFrom(t, f, store, []string{"CONTAINERD_SNAPSHOTTER=native"}, "--containerd", "--address", socket, "--namespace", space)
	want := map[string]digest.Digest{f.hello.String() + ":v1": f.index.Digest, f.tool.String() + ":2": f.images.tool.Digest}
	listing := ctr("--namespace", space, "images", "list")
	for name, d := range want {
		if !strings.Contains(listing, name+" ") || !strings.Contains(listing, string(d)) {
			t.Errorf("ctr does not list %s as %s:\n%s", name, d, listing)
		}
		greets(t, ctr("--namespace", space, "run", "--rm", "--snapshotter", "native", name, the.unique("container")))
	}
}

// configuredPodman is a podman whose storage is where its configuration says, so that
// whoever runs it finds the same images.
type configuredPodman struct{ env []string }

func configurePodman(t *testing.T) *configuredPodman {
	t.Helper()
	need(t, "podman", "conmon", "runc")
	dir := the.path(the.unique("podman"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Its storage holds mounts for as long as podman has anything in it.
	t.Cleanup(func() { unmountBelow(dir) })
	storage, engine := filepath.Join(dir, "storage.conf"), filepath.Join(dir, "containers.conf")
	for file, text := range map[string]string{
		storage: fmt.Sprintf("[storage]\ndriver = \"vfs\"\ngraphroot = %q\nrunroot = %q\n", dir+"/root", dir+"/run"),
		engine:  fmt.Sprintf("[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"runc\"\ntmp_dir = %q\n", dir+"/tmp"),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &configuredPodman{[]string{"CONTAINERS_STORAGE_CONF=" + storage, "CONTAINERS_CONF=" + engine}}
}

func (p *configuredPodman) run(t *testing.T, args ...string) string {
	t.Helper()
	return runWith(t, invocation{tool: "podman", args: args, env: p.env})
}

// serve starts podman's service, and returns its socket.
func (p *configuredPodman) serve(t *testing.T) string {
	t.Helper()
	socket := the.path(the.unique("pod") + ".sock")
	c, err := the.start("env", append(p.env[:len(p.env):len(p.env)], "podman", "system", "service", "--time=0", "unix://"+socket)...)
	if err == nil {
		err = c.ready(func() error { _, err := os.Stat(socket); return err })
	}
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

func (p *configuredPodman) has(t *testing.T, f *fixture) {
	t.Helper()
	names := f.names(t)
	for name, id := range names {
		if got := strings.TrimSpace(p.run(t, "image", "inspect", "--format", "{{.Id}}", name)); got != id.Encoded() {
			t.Errorf("podman: %s has ID %s, want %s", name, got, id.Encoded())
		}
		runInPodman(t, func(args ...string) string { return p.run(t, args...) }, name)
	}
	same(t, "podman image", strings.Fields(p.run(t, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}")), keysOf(names))
}

// What store push brings into a registry is what came into the store, and verifies.
func TestStorePush(t *testing.T) {
	f := source(t)
	store := stored(t, f)
	for _, kind := range registries {
		t.Run(kind.name, func(t *testing.T) {
			to := kind.host(t)
			for range 2 { // once more changes nothing
				run(t, "airgap", "store", "push", "--all", "--store", store, "--to", to, "--quiet")
				equal(t, take(t, below(to, "team/hello"), "v1", everything), take(t, f.hello, "v1", everything))
				equal(t, take(t, below(to, "team/tool"), "2", everything), take(t, f.tool, "2", everything))
			}
			checkSignatures(t, f, below(to, "team/hello"))
		})
	}
}
