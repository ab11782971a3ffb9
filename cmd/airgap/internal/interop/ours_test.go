//go:build interop && linux

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A bundle of ours has everything, and other tools read it as it is.
func TestOurBundle(t *testing.T) {
	f := source(t)
	bundle := exportFixture(t, f)
	t.Run("holds what the registry has", func(t *testing.T) {
		holds(t, bundle, take(t, f.hello, "v1", everything), take(t, f.tool, "2", everything))
	})
	for _, tool := range []struct {
		name string
		test func(t *testing.T, f *fixture, bundle string)
	}{
		{"skopeo", skopeoReads}, {"oras", orasReads}, {"regctl", regctlReads}, {"crane", craneReads},
		{"tar", listedByGNU}, {"bsdtar", listedByBSD}, {"python3", listedByPython},
	} {
		t.Run(tool.name, func(t *testing.T) {
			tool.test(t, f, bundle)
		})
	}
}

func skopeoReads(t *testing.T, f *fixture, bundle string) {
	for _, c := range []struct {
		name, flag string
		want       digest.Digest
	}{
		{f.hello.String() + ":v1", "--all", f.index.Digest},
		{f.hello.String() + ":v1", "--multi-arch=system", f.amd64.Digest},
		{f.tool.String() + ":2", "--multi-arch=system", f.images.tool.Digest},
	} {
		src, out := "oci-archive:"+bundle+":"+c.name, filepath.Join(t.TempDir(), "out")
		run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", c.flag, src, "dir:"+out)
		if got := fileDigest(t, filepath.Join(out, "manifest.json")); got != c.want {
			t.Errorf("skopeo copied %s, want %s", got, c.want)
		}
	}
	src := "oci-archive:" + bundle + ":" + f.tool.String() + ":2"
	var seen struct {
		Digest digest.Digest
		Layers []digest.Digest
	}
	parse(t, run(t, "skopeo", "inspect", src), &seen)
	if seen.Digest != f.images.tool.Digest || len(seen.Layers) != 2 {
		t.Errorf("skopeo inspect says %+v, want digest %s", seen, f.images.tool.Digest)
	}
}

func orasReads(t *testing.T, f *fixture, bundle string) {
	want := take(t, f.hello, "v1", scope{referrers: true})
	for _, args := range [][]string{
		{"--oci-layout", bundle + "@" + string(f.index.Digest)},
		{"--oci-layout-path", bundle, f.hello.String() + ":v1"},
		{"--oci-layout", unpack(t, bundle) + "@" + string(f.index.Digest)},
	} {
		checkDiscovered(t, want, args...)
	}
	to := repository{withReferrers(t), "from/oras"}
	run(t, "oras", "copy", "-r", "--no-tty", "--from-oci-layout", bundle+"@"+string(f.index.Digest), "--to-plain-http", to.String()+":v1")
	equal(t, take(t, to, "v1", everything), want)
}

// referrer is a node of the tree that oras discover draws.
type referrer struct {
	Digest    digest.Digest
	Referrers []referrer
}

// edges lists the tree as an inventory does.
func (r referrer) edges() []string {
	var out []string
	for _, c := range r.Referrers {
		out = append(out, string(r.Digest)+" <- "+string(c.Digest))
		out = append(out, c.edges()...)
	}
	return out
}

// checkDiscovered has oras find the referrers of the index, and theirs.
func checkDiscovered(t *testing.T, want *inventory, args ...string) {
	t.Helper()
	var root referrer
	parse(t, run(t, "oras", append([]string{"discover", "--no-tty", "--format", "json"}, args...)...), &root)
	got := root.edges()
	if len(got) != helloReferrers+sbomReferrers {
		t.Errorf("oras discover %v finds %d referrers, want %d", args, len(got), helloReferrers+sbomReferrers)
	}
	for _, edge := range got {
		if !want.attached[edge] {
			t.Errorf("oras discover %v finds %s, which was not there", args, edge)
		}
	}
}

func regctlReads(t *testing.T, f *fixture, bundle string) {
	to := repository{withReferrers(t), "from/regctl"}
	name := f.hello.String() + ":v1"
	regctl(t, "image", "import", "--name", name, to.String()+":v1", bundle)
	equal(t, take(t, to, "v1", everything), take(t, f.hello, "v1", scope{}))

	dir := "ocidir://" + unpack(t, bundle)
	for ref, want := range map[string]digest.Digest{
		dir + "@" + string(f.index.Digest): f.index.Digest,
		dir + "@" + string(f.sbom.Digest):  f.sbom.Digest,
		dir + ":v1":                        f.index.Digest,
		dir + ":2":                         f.images.tool.Digest,
	} {
		if got := regctl(t, "manifest", "head", ref); got != string(want) {
			t.Errorf("regctl manifest head %s says %s, want %s", ref, got, want)
		}
	}
	regctl(t, "image", "copy", dir+"@"+string(f.images.tool.Digest), to.String()+":2")
	equal(t, take(t, to, "2", everything), take(t, f.tool, "2", everything))
}

// regctl runs regctl, which has to be told that loopback speaks plain http.
func regctl(t *testing.T, args ...string) string {
	t.Helper()
	var flags []string
	for _, a := range args {
		if host, _, ok := strings.Cut(a, "/"); ok && strings.HasPrefix(host, "127.0.0.1:") {
			flags = append(flags, "--host", "reg="+host+",tls=disabled")
		}
	}
	return strings.TrimSpace(run(t, "regctl", slices.Concat(flags, args)...))
}

// crane takes archives of one image, and folders with one entry or as a whole.
func craneReads(t *testing.T, f *fixture, _ string) {
	bundle := export(t, f.tool.String()+":2")
	run(t, "crane", "validate", "--tarball", bundle)
	to := repository{withReferrers(t), "from/crane"}
	run(t, "crane", "push", bundle, to.String()+":2")
	got, want := take(t, to, "2", scope{}), take(t, f.tool, "2", scope{})
	same(t, "blob", keysOf(got.blobs), keysOf(want.blobs))

	dir := unpack(t, bundle)
	run(t, "crane", "push", "--index", dir, to.String()+":whole")
	index := fileDigest(t, filepath.Join(dir, "index.json"))
	if got := to.digestOf(t, "whole"); got != index {
		t.Errorf("crane pushed %s, want index.json as it is, %s", got, index)
	}
	for d := range want.digests() {
		if whole := take(t, to, "whole", scope{}); !whole.digests()[d] {
			t.Errorf("crane did not push %s", d)
		}
	}
}

func parse(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
}

func fileDigest(t *testing.T, name string) digest.Digest {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(data)
}
