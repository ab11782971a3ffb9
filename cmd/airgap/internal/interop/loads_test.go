//go:build interop && linux

package interop

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A bundle of ours is loaded as it is, and its containers run; one of a single
// platform too, whose index lists images that are not in it.
func TestLoads(t *testing.T) {
	f := source(t)
	for name, flags := range map[string][]string{"whole": nil, "sparse": {"--platform", "linux/amd64"}} {
		t.Run(name, func(t *testing.T) {
			testLoads(t, f, export(t, append(flags, f.hello.String()+":v1", f.tool.String()+":2")...))
		})
	}
}

func testLoads(t *testing.T, f *fixture, bundle string) {
	for _, tool := range []struct {
		name string
		test func(t *testing.T, f *fixture, bundle string)
	}{{"docker", dockerLoads}, {"podman", podmanLoads}, {"ctr", ctrImports}} {
		t.Run(tool.name, func(t *testing.T) { tool.test(t, f, bundle) })
	}
}

// names are those of the fixture's images, with the digest of the image that
// runs here and that of its config, which is docker's image ID.
func (f *fixture) names(t *testing.T) map[string]digest.Digest {
	t.Helper()
	config := func(r repository, d digest.Digest) digest.Digest {
		return take(t, r, string(d), scope{}).manifests[d].Config.Digest
	}
	return map[string]digest.Digest{
		f.hello.String() + ":v1": config(f.hello, f.amd64.Digest),
		f.tool.String() + ":2":   config(f.tool, f.images.tool.Digest),
	}
}

func dockerLoads(t *testing.T, f *fixture, bundle string) {
	docker(t, "load", "--quiet", "--input", bundle)
	names := f.names(t)
	t.Cleanup(func() { docker(t, append([]string{"image", "rm"}, keysOf(names)...)...) })
	for name, id := range names {
		if got := strings.TrimSpace(docker(t, "image", "inspect", "--format", "{{.Id}}", name)); got != string(id) {
			t.Errorf("docker: %s has ID %s, want %s", name, got, id)
		}
		greets(t, docker(t, "run", "--rm", "--network=none", name))
	}
	got := strings.Fields(docker(t, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"))
	same(t, "docker image", got, keysOf(names))
}

func podmanLoads(t *testing.T, f *fixture, bundle string) {
	podman := podman(t)
	podman("load", "--quiet", "--input", bundle)
	names := f.names(t)
	for name, id := range names {
		if got := strings.TrimSpace(podman("image", "inspect", "--format", "{{.Id}}", name)); got != id.Encoded() {
			t.Errorf("podman: %s has ID %s, want %s", name, got, id.Encoded())
		}
		runInPodman(t, podman, name)
	}
	got := strings.Fields(podman("image", "ls", "--format", "{{.Repository}}:{{.Tag}}"))
	same(t, "podman image", got, keysOf(names))
}

func ctrImports(t *testing.T, f *fixture, bundle string) {
	ctr := ctr(t)
	ctr("images", "import", "--snapshotter", "native", bundle)
	want := map[string]digest.Digest{f.hello.String() + ":v1": f.index.Digest, f.tool.String() + ":2": f.images.tool.Digest}
	listing := ctr("images", "list")
	for name, d := range want {
		found := false
		for line := range strings.Lines(listing) {
			cells := strings.Fields(line)
			found = found || len(cells) > 2 && cells[0] == name && cells[2] == string(d)
		}
		if !found {
			t.Errorf("ctr does not list %s as %s:\n%s", name, d, listing)
		}
		greets(t, ctr("run", "--rm", "--snapshotter", "native", name, the.unique("container")))
	}
	same(t, "ctr image", strings.Fields(ctr("images", "list", "-q")), keysOf(want))
}
