//go:build interop && linux

package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// Names that bundles of others have or are given.
const (
	far      = "registry.example"
	farHello = far + "/team/hello"
)

// foreign is a bundle that another tool makes.
type foreign struct {
	name  string
	from  func(t *testing.T) *fixture                // if not a registry with the referrers API
	to    func(t *testing.T) string                  // if not into the like
	make  func(t *testing.T, f *fixture, out string) // writes a file or a folder
	as    string                                     // --as, for what has no name in it
	lands string                                     // repository:tag below the registry
	// want is what has to arrive.
	want func(t *testing.T, f *fixture) *inventory
}

// Bundles of others that keep manifests as they were: everything that is in them
// arrives, byte for byte.
func TestForeign(t *testing.T) {
	var all []foreign
	for _, list := range [][]foreign{skopeoMakes, orasMakes, regctlMakes, craneMakes, cosignMakes, ctrMakes} {
		all = append(all, list...)
	}
	for _, b := range all {
		t.Run(b.name, func(t *testing.T) {
			from, to := source, withReferrers
			if b.from != nil {
				from = b.from
			}
			if b.to != nil {
				to = b.to
			}
			f := from(t)
			out := filepath.Join(t.TempDir(), "foreign")
			b.make(t, f, out)
			dst, tag := importForeign(t, out, to(t), b.as, b.lands)
			equal(t, take(t, dst, tag, everything), b.want(t, f))
		})
	}
}

// importForeign imports another's bundle into a registry and into a store, makes
// sure that both got the same, and returns where the first is.
func importForeign(t *testing.T, bundle, to, as, lands string) (repository, string) {
	t.Helper()
	var flags []string
	if as != "" {
		flags = []string{"--as", as}
	}
	importTo(t, bundle, to, flags...)
	name, tag, _ := strings.Cut(lands, ":")
	dst := below(to, name)

	store := filepath.Join(t.TempDir(), "store")
	run(t, "airgap", append([]string{"import", "--quiet", "--insecure-skip-verify", bundle, "--store", store}, flags...)...)
	out := filepath.Join(t.TempDir(), "stored.tar")
	run(t, "airgap", "export", "--quiet", "store:"+store, "-o", out)
	holds(t, out, take(t, dst, tag, everything))
	return dst, tag
}

// only returns a function that takes part of what the fixture has.
func only(s scope, pick func(f *fixture) (repository, digest.Digest)) func(*testing.T, *fixture) *inventory {
	return func(t *testing.T, f *fixture) *inventory {
		t.Helper()
		r, d := pick(f)
		return take(t, r, string(d), s)
	}
}

func helloIndex(f *fixture) (repository, digest.Digest) { return f.hello, f.index.Digest }
func helloAMD64(f *fixture) (repository, digest.Digest) { return f.hello, f.amd64.Digest }
func toolImage(f *fixture) (repository, digest.Digest)  { return f.tool, f.images.tool.Digest }

var skopeoMakes = []foreign{
	{
		name: "skopeo oci-archive", lands: "team/hello:v1", want: only(scope{}, helloAMD64),
		make: func(t *testing.T, f *fixture, out string) { skopeoArchive(t, f, out+":"+farHello+":v1") },
	}, {
		name: "skopeo oci-archive --all", lands: "team/hello:v1", want: only(scope{}, helloIndex),
		make: func(t *testing.T, f *fixture, out string) { skopeoArchive(t, f, out+":"+farHello+":v1", "--all") },
	}, {
		name: "skopeo oci-archive without a name", as: farHello + ":new", lands: "team/hello:new", want: only(scope{}, helloIndex),
		make: func(t *testing.T, f *fixture, out string) { skopeoArchive(t, f, out, "--all") },
	},
}

func skopeoArchive(t *testing.T, f *fixture, to string, flags ...string) {
	t.Helper()
	args := append([]string{"--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"}, flags...)
	run(t, "skopeo", append(args, "docker://"+f.hello.String()+":v1", "oci-archive:"+to)...)
}

var orasMakes = []foreign{
	{
		name: "oras backup of a tag", as: farHello, lands: "team/hello:v1", want: only(scope{referrers: true}, helloIndex),
		make: func(t *testing.T, f *fixture, out string) {
			orasBackup(t, out, f.hello.String()+":v1")
		},
	}, {
		name: "oras backup of a repository", as: farHello, lands: "team/hello:v1", want: only(everything, helloIndex),
		make: func(t *testing.T, f *fixture, out string) { orasBackup(t, out, f.hello.String()) },
	}, {
		name: "oras backup of a repository with fallback tags", from: sourceWithoutAPI, as: farHello, lands: "team/hello:v1", want: only(everything, helloIndex),
		make: func(t *testing.T, f *fixture, out string) { orasBackup(t, out, f.hello.String()) },
	}, {
		name: "oras copy to a layout", as: farHello, lands: "team/hello:v1", want: only(scope{referrers: true}, helloIndex),
		make: func(t *testing.T, f *fixture, out string) {
			run(t, "oras", "copy", "-r", "--no-tty", "--from-plain-http", f.hello.String()+":v1", "--to-oci-layout", out+":v1")
		},
	},
}

// orasBackup writes a tar, which oras does only under names that end so.
func orasBackup(t *testing.T, out, ref string) {
	t.Helper()
	run(t, "oras", "backup", "--no-tty", "--plain-http", "--include-referrers", "--output", out+".tar", ref)
	rename(t, out+".tar", out)
}
