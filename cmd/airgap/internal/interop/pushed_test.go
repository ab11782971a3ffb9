//go:build interop && linux

package interop

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pusher puts images of the fixture into a repository of airgap serve --writable.
type pusher struct {
	name string
	push func(t *testing.T, f *fixture, to repository)
	want scope // of the fixture's multi-platform image
}

var pushers = []pusher{
	{"skopeo", func(t *testing.T, f *fixture, to repository) {
		run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false",
			"docker://"+f.hello.String()+":v1", "docker://"+to.String()+":v1")
	}, scope{}},
	{"crane", func(t *testing.T, f *fixture, to repository) {
		run(t, "crane", "copy", f.hello.String()+":v1", to.String()+":v1")
	}, scope{}},
	{"oras", func(t *testing.T, f *fixture, to repository) {
		run(t, "oras", "copy", "-r", "--no-tty", "--from-plain-http", "--to-plain-http", f.hello.String()+":v1", to.String()+":v1")
	}, scope{referrers: true}},
	{"regctl", func(t *testing.T, f *fixture, to repository) {
		regctl(t, "image", "copy", "--referrers", "--digest-tags", f.hello.String()+":v1", to.String()+":v1")
	}, everything},
}

// What clients push is there, byte for byte, for everybody who pulls, and the store
// is in order afterwards.
func TestPushed(t *testing.T) {
	f := source(t)
	store := filepath.Join(t.TempDir(), "store")
	host := serve(t, "--store", store, "--writable")
	for _, p := range pushers {
		t.Run(p.name, func(t *testing.T) {
			to := repository{host, "registry.corp/team/" + p.name}
			p.push(t, f, to)
			equal(t, take(t, to, "v1", everything), take(t, f.hello, "v1", p.want))
		})
	}
	t.Run("oras push", func(t *testing.T) { pushFile(t, f, repository{host, "registry.corp/team/file"}) })
	t.Run("crane push", func(t *testing.T) {
		to := repository{host, "registry.corp/team/tarball"}
		run(t, "crane", "push", export(t, f.tool.String()+":2"), to.String()+":2")
		sameImage(t, to, "2", f.tool, f.images.tool)
	})
	t.Run("docker push", func(t *testing.T) { dockerPushes(t, f, repository{host, "registry.corp/team/docker"}) })
	t.Run("podman push", func(t *testing.T) { podmanPushes(t, f, repository{host, "registry.corp/team/podman"}) })
	t.Run("deleted", func(t *testing.T) { checkDeleted(t, f, repository{host, "registry.corp/team/deleted"}) })
	t.Run("ledger", func(t *testing.T) {
		for _, name := range []string{"skopeo", "docker", "file", "deleted"} {
			lines := run(t, "airgap", "log", "list", "--store", store, "--reference", "registry.corp/team/"+name+"*")
			if !strings.Contains(lines, "push") {
				t.Errorf("the ledger has of %s: %s", name, lines)
			}
		}
		run(t, "airgap", "log", "verify", "--store", store)
	})
	t.Run("store", func(t *testing.T) { run(t, "airgap", "store", "check", "--store", store) })
}

// checkDeleted has tools delete what they pushed, and push it again.
func checkDeleted(t *testing.T, f *fixture, to repository) {
	name := to.String() + ":2"
	push := func() { run(t, "crane", "copy", f.tool.String()+":2", name) }
	for what, remove := range map[string]func(){
		"regctl tag delete":    func() { regctl(t, "tag", "delete", name) },
		"crane delete":         func() { run(t, "crane", "delete", to.at(f.images.tool)) },
		"oras manifest delete": func() { run(t, "oras", "manifest", "delete", "--force", "--plain-http", to.at(f.images.tool)) },
		"skopeo delete":        func() { run(t, "skopeo", "delete", "--tls-verify=false", "docker://"+name) },
	} {
		push()
		remove()
		if _, err := to.get("manifests", "2"); !errors.Is(err, errAbsent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	push()
	equal(t, take(t, to, "2", everything), take(t, f.tool, "2", everything))
}

// pushFile has oras push a file and attach another to it.
func pushFile(t *testing.T, f *fixture, to repository) {
	dir := t.TempDir()
	for _, name := range []string{"model.bin", "card.md"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("this is "+name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"push", "--no-tty", "--plain-http", "--artifact-type", "application/x-model", to.String() + ":1", "model.bin"},
		{"attach", "--no-tty", "--plain-http", "--artifact-type", "application/x-card", to.String() + ":1", "card.md"},
	} {
		runWith(t, invocation{tool: "oras", dir: dir, args: args})
	}
	if inv := take(t, to, "1", everything); len(inv.manifests) != 2 || len(inv.attached) != 1 {
		t.Errorf("%d manifests and %v attached, want one to the other", len(inv.manifests), inv.attached)
	}
}

// dockerPushes has docker pull an image and push it: it packs layers anew.
func dockerPushes(t *testing.T, f *fixture, to repository) {
	name := to.String() + ":v1"
	docker(t, "pull", "--quiet", f.hello.String()+":v1")
	docker(t, "tag", f.hello.String()+":v1", name)
	t.Cleanup(func() { docker(t, "image", "rm", name, f.hello.String()+":v1") })
	docker(t, "push", "--quiet", name)
	sameImage(t, to, "v1", f.hello, f.amd64)
}

func podmanPushes(t *testing.T, f *fixture, to repository) {
	podman := podman(t)
	podman("pull", "--quiet", "--tls-verify=false", f.hello.String()+":v1")
	podman("push", "--quiet", "--tls-verify=false", f.hello.String()+":v1", to.String()+":v1")
	sameImage(t, to, "v1", f.hello, f.amd64)
}

// An image that was admitted can be signed where it is served: by cosign in either
// form, by notation, with an SBOM on which there are signatures too. All of them and
// airgap accept that. What could be started, or would change what a name stands for,
// is refused.
func TestSignedWhereItIsServed(t *testing.T) {
	f := source(t)
	store := originals(t)
	host := serve(t, "--store", store, "--writable")
	tool := repository{host, toolName}
	refusedWith(t, verifyStored(t, f, store))

	m := &maker{fixture: &fixture{images: f.images, host: host, keys: f.keys, hello: tool, tool: tool}}
	m.index = f.images.tool // signIndex signs that
	m.signIndex()
	m.signSBOM()
	if m.err != nil {
		t.Fatal(m.err)
	}
	for _, d := range []ocispec.Descriptor{m.index, m.sbom} {
		checkCosign(t, f, "verify", tool.at(d))
		checkCosign(t, f, "verify", tool.at(d), "--new-bundle-format=false")
		checkNotation(t, f, tool.at(d), byPublisher)
	}
	checkCosign(t, f, "verify-attestation", tool.at(m.index), "--type", "custom")
	checkNotation(t, f, tool.at(m.index), byCLI)
	runWith(t, verifyStored(t, f, store))
	t.Run("refused", func(t *testing.T) { checkAdmittedStays(t, f, tool) })
	run(t, "airgap", "store", "check", "--store", store)
}

// verifyStored asks for a signature of the fixture's in each of three forms.
func verifyStored(t *testing.T, f *fixture, store string) invocation {
	t.Helper()
	dir := t.TempDir()
	trust, policy := filepath.Join(dir, "trust"), filepath.Join(dir, "policy.yaml")
	text := `version: airgap.policy/v1
rules:
- name: tools
  match: ["` + toolName + `"]
  require:
    allOf:
    - cosign: {key: release}
    - notary: {stores: ["ca:publisher"], identities: ["*"]}
    - notary: {stores: ["ca:cli"], identities: ["*"]}
`
	if err := os.WriteFile(policy, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "airgap", "trust", "init", trust)
	run(t, "airgap", "trust", "add", "--trust", trust, "--key", "release", f.keys.cosign+".pub")
	run(t, "airgap", "trust", "add", "--trust", trust, "--ca", "publisher", the.path(byPublisher+".pem"))
	run(t, "airgap", "trust", "add", "--trust", trust, "--ca", "cli", filepath.Join(f.keys.notation[byCLI], "notation", "localkeys", "interop.crt"))
	return invocation{tool: "airgap", args: []string{"verify", "store:" + store + "#" + toolName + ":2", "--policy", policy, "--trust", trust}}
}

// checkAdmittedStays has clients try to put others in the place of what was admitted.
func checkAdmittedStays(t *testing.T, f *fixture, tool repository) {
	for what, said := range map[string]string{
		"another image under a new tag": refused(t, "crane", "copy", f.hello.String()+":v1", tool.String()+":new"),
		"another image under its tag":   refused(t, "crane", "copy", f.hello.String()+":v1", tool.String()+":2"),
		"another image by docker's way": refused(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false",
			"docker://"+f.hello.String()+":v1", "docker://"+tool.String()+":2"),
	} {
		if !strings.Contains(strings.ToLower(said), "denied") {
			t.Errorf("%s: %s", what, said)
		}
	}
	if got := tool.digestOf(t, "2"); got != f.images.tool.Digest {
		t.Errorf("2 is %s now", got)
	}
	if tags := run(t, "crane", "ls", tool.String()); strings.Contains(tags, "new") {
		t.Errorf("tags %s", tags)
	}
}
