//go:build interop && linux

package interop

import (
	"path/filepath"
	"strings"
	"testing"
)

// Each of the ways leads through airgap and another tool, and ends with what the
// fixture's registry has.
func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"over three registries", overThreeRegistries},
		{"unpacked by tar", unpackedByTar},
		{"packed anew by tar", packedAnew},
		{"copied by oras", copiedByORAS},
		{"copied by skopeo, then completed", copiedBySkopeo},
		{"copied by regctl", copiedByRegctl},
	} {
		t.Run(c.name, c.test)
	}
}

// Tags alone, the API, tags alone: what each could list, the next can.
func overThreeRegistries(t *testing.T) {
	f := sourceWithoutAPI(t)
	second := withReferrers(t)
	importTo(t, exportFixture(t, f), second)
	third := registries[2].host(t)
	importTo(t, export(t, below(second, "team/hello").String()+":v1"), third)
	hello := below(third, "team/hello")
	equal(t, take(t, hello, "v1", everything), take(t, f.hello, "v1", everything))
	checkSignatures(t, f, hello)
}

// A folder is as good as the bundle that was unpacked into it.
func unpackedByTar(t *testing.T) {
	f := source(t)
	to := withReferrers(t)
	importTo(t, unpack(t, exportFixture(t, f)), to)
	equal(t, take(t, below(to, "team/hello"), "v1", everything), take(t, f.hello, "v1", everything))
	equal(t, take(t, below(to, "team/tool"), "2", everything), take(t, f.tool, "2", everything))
}

// A bundle that is not as we wrote it is refused, though nothing is missing.
func packedAnew(t *testing.T) {
	dir := unpack(t, exportFixture(t, source(t)))
	out := filepath.Join(t.TempDir(), "anew.tar")
	run(t, "tar", "-C", dir, "-cf", out, "oci-layout", "index.json", "manifest.json", "blobs")
	said := refused(t, "airgap", "import", "--insecure-skip-verify", out, "--to", withReferrers(t))
	if !strings.Contains(said, "exit status 4") {
		t.Errorf("a bundle that GNU tar rewrote is not refused as damaged: %s", said)
	}
}

func copiedByORAS(t *testing.T) {
	f := source(t)
	want := take(t, f.hello, "v1", scope{referrers: true})
	second := repository{strings.Split(registries[1].host(t), "/")[0], the.unique("oras/hello")}
	run(t, "oras", "copy", "-r", "--no-tty", "--from-oci-layout", exportFixture(t, f)+"@"+string(f.index.Digest), "--to-plain-http", second.String()+":v1")
	bundle := export(t, second.String()+":v1")
	holds(t, bundle, want)
	third := withReferrers(t)
	importTo(t, bundle, third)
	equal(t, take(t, below(third, second.name), "v1", everything), want)
}

// skopeo leaves what is attached behind; our import adds that to what is there.
func copiedBySkopeo(t *testing.T) {
	f := source(t)
	bundle := exportFixture(t, f)
	to := registries[1].host(t)
	hello := below(to, "team/hello")
	run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", "oci-archive:"+bundle+":"+f.hello.String()+":v1", "docker://"+hello.String()+":v1")
	equal(t, take(t, hello, "v1", everything), take(t, f.hello, "v1", scope{}))
	importTo(t, bundle, to)
	equal(t, take(t, hello, "v1", everything), take(t, f.hello, "v1", everything))
	checkSignatures(t, f, hello)
}

func copiedByRegctl(t *testing.T) {
	f := source(t)
	second, third := below(registries[1].host(t), "team/hello"), below(registries[2].host(t), "team/hello")
	importTo(t, exportFixture(t, f), strings.TrimSuffix(second.String(), "/team/hello"))
	regctl(t, "image", "copy", "--referrers", "--digest-tags", second.String()+":v1", third.String()+":v1")
	fourth := withReferrers(t)
	importTo(t, export(t, third.String()+":v1"), fourth)
	hello := below(fourth, third.name)
	equal(t, take(t, hello, "v1", everything), take(t, f.hello, "v1", everything))
	checkSignatures(t, f, hello)
}
