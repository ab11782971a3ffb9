//go:build interop && linux

package interop

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Clients find in airgap serve what the registry had where it all comes from, and
// verify it; be it over a store or over a bundle.
func TestServed(t *testing.T) {
	f := source(t)
	for _, over := range []struct {
		name        string
		flags       func() []string
		hello, tool string
	}{
		{"store", func() []string { return []string{"--store", originals(t)} }, "ghcr.io/acme/app", toolName},
		{"bundle", func() []string { return []string{exportFixture(t, f), "--insecure-skip-verify"} },
			pathOf(f.hello), pathOf(f.tool)},
	} {
		t.Run(over.name, func(t *testing.T) {
			host := serve(t, over.flags()...)
			hello, tool := repository{host, over.hello}, repository{host, over.tool}
			checkImported(t, f, hello, tool)
			t.Run("lists", func(t *testing.T) { checkLists(t, f, hello, tool) })
			t.Run("copied", func(t *testing.T) { checkCopied(t, f, hello) })
			t.Run("pulled", func(t *testing.T) { checkPulled(t, f, tool) })
			t.Run("read-only", func(t *testing.T) { checkReadOnly(t, f, hello) })
		})
	}
}

// pathOf is a repository's name below airgap serve.
func pathOf(r repository) string { return strings.Replace(r.String(), ":", "_", 1) }

// checkLists has tools list repositories and tags.
func checkLists(t *testing.T, f *fixture, hello, tool repository) {
	// Some of those who signed left a fallback tag too, though there was no need.
	tags := func(list string) []string {
		return slices.DeleteFunc(strings.Fields(list), func(tag string) bool {
			return strings.HasPrefix(tag, "sha256-") && !strings.Contains(tag, ".")
		})
	}
	want := tags(run(t, "crane", "ls", f.hello.String()))
	if len(want) != cosignTags+1 {
		t.Fatalf("the fixture has tags %q", want)
	}
	same(t, "tag", tags(run(t, "crane", "ls", hello.String())), want)
	same(t, "tag", tags(run(t, "oras", "repo", "tags", "--plain-http", hello.String())), want)
	same(t, "tag", tags(regctl(t, "tag", "list", hello.String())), want)
	for _, list := range [][]string{
		strings.Fields(run(t, "crane", "catalog", hello.host)),
		strings.Fields(run(t, "oras", "repo", "ls", "--plain-http", hello.host)),
	} {
		if !slices.Contains(list, hello.name) || !slices.Contains(list, tool.name) {
			t.Errorf("repositories %q, want %s and %s", list, hello.name, tool.name)
		}
	}
}

// checkCopied has tools carry on what they find, with everything attached.
func checkCopied(t *testing.T, f *fixture, hello repository) {
	byOras := repository{withReferrers(t), "from/oras"}
	run(t, "oras", "copy", "-r", "--no-tty", "--from-plain-http", "--to-plain-http", hello.String()+":v1", byOras.String()+":v1")
	equal(t, take(t, byOras, "v1", everything), take(t, f.hello, "v1", scope{referrers: true}))

	byRegctl := repository{withReferrers(t), "from/regctl"}
	regctl(t, "image", "copy", "--referrers", "--digest-tags", hello.String()+":v1", byRegctl.String()+":v1")
	equal(t, take(t, byRegctl, "v1", everything), take(t, f.hello, "v1", everything))

	byCrane := repository{withReferrers(t), "from/crane"}
	run(t, "crane", "copy", hello.String()+":v1", byCrane.String()+":v1")
	equal(t, take(t, byCrane, "v1", everything), take(t, f.hello, "v1", scope{}))

	byCosign := repository{withReferrers(t), "from/cosign"}
	run(t, "cosign", "copy", "--allow-http-registry", hello.String()+":v1", byCosign.String()+":v1")
	checkCosign(t, f, "verify", byCosign.at(f.index), "--new-bundle-format=false")
}

// checkPulled has tools put an image into a file or a folder.
func checkPulled(t *testing.T, f *fixture, tool repository) {
	dir, want := t.TempDir(), take(t, f.tool, "2", scope{})
	run(t, "oras", "pull", "--no-tty", "--plain-http", "--output", filepath.Join(dir, "oras"), tool.String()+":2")
	run(t, "crane", "pull", tool.String()+":2", filepath.Join(dir, "crane.tar"))
	run(t, "crane", "validate", "--tarball", filepath.Join(dir, "crane.tar"))
	run(t, "oras", "copy", "--no-tty", "--from-plain-http", tool.String()+":2", "--to-oci-layout", filepath.Join(dir, "layout")+":2")
	run(t, "airgap", "export", filepath.Join(dir, "layout"), "--as", "x.example/tool", "--quiet", "-o", filepath.Join(dir, "again.tar"))
	holds(t, filepath.Join(dir, "again.tar"), want)
}

// checkReadOnly has tools try to change something, and understand that they cannot.
func checkReadOnly(t *testing.T, f *fixture, hello repository) {
	for what, said := range map[string]string{
		"crane push": refused(t, "crane", "tag", hello.String()+":v1", "moved"),
		"oras attach": refusedWith(t, invocation{tool: "oras", dir: the.dir, args: []string{
			"attach", "--no-tty", "--plain-http", "--artifact-type", "text/spdx", hello.at(f.index), "old.spdx:text/spdx"}}),
		"cosign sign": refused(t, "cosign", "sign", "-y", "--key", f.keys.cosign+".key", "--allow-http-registry",
			"--use-signing-config=false", "--tlog-upload=false", hello.at(f.index)),
	} {
		if !strings.Contains(said, "read-only") {
			t.Errorf("%s: %s", what, said)
		}
	}
	if got := hello.digestOf(t, "v1"); got != f.index.Digest {
		t.Errorf("v1 is %s now", got)
	}
}
