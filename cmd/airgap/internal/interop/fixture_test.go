//go:build interop && linux

package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"airgap/verify/signing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// fixture is signed images in a registry. Everything is signed by the tools that
// people sign with, and by package signing.
type fixture struct {
	images
	host  string     // of the registry
	hello repository // :v1, multi-platform, with everything attached
	tool  repository // :2, one platform, nothing attached
	sbom  ocispec.Descriptor
	keys  *keys
}

// What is attached: on the index, its amd64 child and the SBOM.
const (
	helloReferrers = 5 // cosign signature and attestation, two Notary signatures, SBOM
	sbomReferrers  = 2 // cosign signature, Notary signature
	cosignTags     = 5 // index: .sig, .att, .sbom; child: .sig; SBOM: .sig
)

// keys are the parties' keys, made once.
type keys struct {
	cosign, wrong string // paths, without .key and .pub
	publisher     signing.Chain
	notation      map[string]string // configuration folders, by who is trusted
}

// The parties of notation.
const (
	byPublisher = "publisher" // signs with package signing
	byCLI       = "cli"       // signs with notation itself
	byNobody    = "nobody"    // has signed nothing
)

var (
	imagesOnce = sync.OnceValues(func() (*images, error) { return the.buildImages() })
	keysOnce   = sync.OnceValues(func() (*keys, error) { return the.makeKeys() })

	// One registry with the referrers API and one without.
	fixtureAPI = sync.OnceValues(func() (*fixture, error) {
		s := inProcess()
		the.atEnd(s.Close)
		return the.makeFixture(strings.TrimPrefix(s.URL, "http://"))
	})
	fixtureTags = sync.OnceValues(func() (*fixture, error) {
		host, err := the.distribution("registry")
		if err != nil {
			return nil, err
		}
		return the.makeFixture(host)
	})
)

// source returns signed images in a registry with the referrers API.
func source(t *testing.T) *fixture { return made(t, fixtureAPI) }

// sourceWithoutAPI returns the like in a registry that has none.
func sourceWithoutAPI(t *testing.T) *fixture { return made(t, fixtureTags) }

func made(t *testing.T, f func() (*fixture, error)) *fixture {
	t.Helper()
	need(t, "airgap", "cosign", "notation", "oras", "registry")
	fx, err := f()
	if err != nil {
		t.Fatal("making the fixture: ", err)
	}
	return fx
}

// maker runs one tool after another, up to the first error.
type maker struct {
	*fixture
	err error
}

func (l *lab) makeFixture(host string) (*fixture, error) {
	im, err := imagesOnce()
	if err != nil {
		return nil, err
	}
	k, err := keysOnce()
	if err != nil {
		return nil, err
	}
	f := &fixture{images: *im, host: host, keys: k}
	f.hello, f.tool = repository{host, "team/hello"}, repository{host, "team/tool"}
	m := &maker{fixture: f}
	m.run("oras", "copy", "--from-oci-layout", im.dir+":v1", "--to-plain-http", f.hello.String()+":v1")
	m.run("oras", "copy", "--from-oci-layout", im.dir+":2", "--to-plain-http", f.tool.String()+":2")
	m.signIndex()
	m.signSBOM()
	m.cosign("sign", f.amd64, "--new-bundle-format=false")
	return f, m.err
}

func (m *maker) run(tool string, args ...string) string {
	return m.do(invocation{tool: tool, args: args})
}

func (m *maker) do(v invocation) string {
	if m.err != nil {
		return ""
	}
	out, err := the.do(v)
	m.err = err
	return out
}

func (m *maker) signIndex() {
	predicate := m.file("predicate.json", `{"builder":"interop"}`)
	m.cosign("sign", m.index)
	m.cosign("sign", m.index, "--new-bundle-format=false")
	m.cosign("attest", m.index, "--predicate", predicate, "--type", "custom")
	m.cosign("attest", m.index, "--predicate", predicate, "--type", "custom", "--new-bundle-format=false")
	m.notary(m.index)
	m.do(invocation{
		tool: "notation", args: []string{"sign", "--insecure-registry", m.hello.at(m.index)},
		env: []string{"XDG_CONFIG_HOME=" + m.keys.notation[byCLI]},
	})
	tag := strings.Replace(string(m.index.Digest), ":", "-", 1) + ".sbom"
	m.do(invocation{
		tool: "oras", dir: the.dir,
		args: []string{"push", "--plain-http", m.hello.String() + ":" + tag, m.file("old.spdx", "SPDXVersion: SPDX-2.3\n") + ":text/spdx"},
	})
}

// signSBOM attaches an SBOM and signs that.
func (m *maker) signSBOM() {
	name := m.file("sbom.json", `{"spdxVersion":"SPDX-2.3","name":"hello"}`)
	out := m.do(invocation{
		tool: "oras", dir: the.dir,
		args: []string{"attach", "--plain-http", "--format", "json", "--artifact-type", "application/spdx+json", m.hello.at(m.index), name + ":application/spdx+json"},
	})
	if m.err == nil {
		m.err = json.Unmarshal([]byte(out), &m.sbom)
	}
	m.cosign("sign", m.sbom)
	m.cosign("sign", m.sbom, "--new-bundle-format=false")
	m.notary(m.sbom)
}

// file writes a file to attach, and returns its name in the lab's folder.
func (m *maker) file(name, text string) string {
	if m.err == nil {
		m.err = os.WriteFile(the.path(name), []byte(text), 0o644)
	}
	return name
}

func (m *maker) cosign(verb string, d ocispec.Descriptor, flags ...string) {
	args := append([]string{
		verb, "-y", "--key", m.keys.cosign + ".key", "--allow-http-registry", "--use-signing-config=false", "--tlog-upload=false",
	}, flags...)
	m.do(invocation{tool: "cosign", args: append(args, m.hello.at(d)), dir: the.dir})
}

// notary attaches a signature made by package signing. oras pushes it, for it
// knows what to do where there is no referrers API.
func (m *maker) notary(d ocispec.Descriptor) {
	if m.err != nil {
		return
	}
	d = ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	// go-containerregistry's referrers API takes the config's media type for the
	// artifactType, whatever the manifest says.
	a, err := signing.Notary(d, m.keys.publisher, signing.NotaryOptions{TypeInConfig: true})
	if err != nil {
		m.err = fmt.Errorf("Notary signature: %w", err)
		return
	}
	for _, b := range a.Blobs {
		m.pipe(b.Data, "blob", "push", "--plain-http", "--size", fmt.Sprint(b.Desc.Size), m.hello.at(b.Desc), "-")
	}
	m.pipe(a.Raw, "manifest", "push", "--plain-http", m.hello.at(a.Manifest), "-")
}

func (m *maker) pipe(data []byte, args ...string) {
	m.do(invocation{tool: "oras", args: args, in: data})
}
