//go:build interop && linux

package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Engines that are told what airgap mirrors prints pull images by their original
// names from airgap serve, and run them: over HTTP at loopback, and over HTTPS with
// an authority that is their owner's own. There is nobody else whom they could ask.
func TestMirrors(t *testing.T) {
	need(t, "airgap", "containerd", "ctr", "runc", "crictl", "dockerd", "docker", "podman", "conmon", "skopeo")
	store := originals(t)
	for _, place := range []struct {
		name   string
		listen string
		https  bool
	}{
		{"http", "127.0.0.1:5000", false},
		{"https", nodeName + ":443", true},
	} {
		t.Run(place.name, func(t *testing.T) {
			m := &mirrored{node: newNode(t), listen: place.listen}
			flags := []string{"--store", store, "--listen", place.listen}
			if place.https {
				m.ca = "/etc/ssl/corp.pem"
				flags = append(flags, m.certificate(t)...)
			}
			m.server = m.serve(t, flags...)
			m.test(t)
		})
	}
}

// mirrored is a node with a server and engines.
type mirrored struct {
	*node
	server *served
	listen string
	ca     string // where engines find the authority; empty for HTTP
}

func (m *mirrored) test(t *testing.T) {
	v := containerdOf(t)
	containerd := m.containerd(t, v, m.mirrors(t, "containerd").config(t, v))
	daemon, docker := m.dockerd(t, containerd)
	for _, e := range []engine{m.ctr(containerd), m.crictl(containerd), m.docker(t, daemon, docker), m.podman(t), m.skopeo()} {
		t.Run(e.name, func(t *testing.T) { m.testEngine(t, e) })
	}
}

// engine is what pulls, and runs.
type engine struct {
	name, client, agent string // client as airgap mirrors knows it
	pull                func(ref string) invocation
	// called is what an image has to be called for the engine to find it.
	called func(name string) string
	// path is what the engine asks serve for to get a manifest of an image.
	path   func(name, tagOrDigest string) string
	reload func(t *testing.T)             // nil if files are read each time
	run    func(t *testing.T, ref string) // nil if it cannot
	// elsewhere says that what serve does not have the engine asks others for.
	elsewhere bool
}

func (m *mirrored) testEngine(t *testing.T, e engine) {
	f := source(t)
	printed := m.mirrors(t, e.client)
	m.put(t, printed)
	if e.reload != nil {
		e.reload(t)
	}
	if m.ca != "" {
		// Else it would not be known whether they look at the certificate.
		ref := e.called(origins[1]) + ":v1"
		if said := refusedWith(t, e.pull(ref)); !strings.Contains(said, "x509") && !strings.Contains(said, m.ca) {
			t.Errorf("without the authority, %s fails with: %s", e.name, said)
		}
		m.trust(t, printed)
	}
	m.server.requests(t)
	for _, name := range origins {
		for _, which := range []string{":v1", "@" + string(f.index.Digest)} {
			ref := e.called(name) + which
			runWith(t, e.pull(ref))
			m.asked(t, e.path(name, which[1:]), e.agent)
			if e.run != nil {
				e.run(t, ref)
			}
		}
	}
	m.testAbsent(t, e)
}

// testAbsent pulls what is not there: an image of another registry's is never given
// for it, and nobody else is asked.
func (m *mirrored) testAbsent(t *testing.T, e engine) {
	for _, name := range []string{"ghcr.io/library/hello", "docker.io/acme/app"} {
		said := refusedWith(t, e.pull(e.called(name)+":v1"))
		m.asked(t, e.path(name, "v1"), e.agent)
		if tried := regexp.MustCompile(`dial tcp|lookup |no such host`).MatchString(said); tried != (e.elsewhere && strings.HasPrefix(name, "docker.io/")) {
			t.Errorf("%s, which is not there: asked elsewhere: %v: %s", name, tried, said)
		}
	}
}

// asked makes sure that a request arrived at the server.
func (m *mirrored) asked(t *testing.T, path, agent string) {
	t.Helper()
	requests := m.server.requests(t)
	for _, r := range requests {
		if r.Path == path && strings.Contains(r.Agent, agent) {
			return
		}
	}
	t.Errorf("%s did not ask for %s, but: %+v", agent, path, requests)
}

// mirrorsPrinted is what airgap mirrors prints as JSON.
type mirrorsPrinted struct {
	Files   []struct{ Path, Text string }
	Remarks []string
}

// mirrors asks for the configuration of a client. Registries are those of the store.
func (m *mirrored) mirrors(t *testing.T, client string) mirrorsPrinted {
	t.Helper()
	args := []string{"mirrors", "--format", "json", "--for", client, "--listen", m.listen, "registry.k8s.io"}
	for _, name := range origins {
		host, _, _ := strings.Cut(name, "/")
		args = append(args, host)
	}
	if m.ca != "" {
		args = append(args, "--https", "--ca", m.ca)
	}
	var p mirrorsPrinted
	parse(t, run(t, "airgap", args...), &p)
	return p
}

// put writes the files that were printed to where they were said to go.
func (m *mirrored) put(t *testing.T, p mirrorsPrinted) {
	t.Helper()
	if len(p.Files) == 0 {
		t.Fatal("no files were printed")
	}
	for _, f := range p.Files {
		m.write(t, f.Path, f.Text)
	}
}

var copyRemark = regexp.MustCompile(`^copy (\S+) to (\S+)$`)

// trust puts the authority to where it was said to be, and to where it was said to
// be copied.
func (m *mirrored) trust(t *testing.T, p mirrorsPrinted) {
	t.Helper()
	ca, err := os.ReadFile(m.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	m.write(t, m.ca, string(ca))
	for _, r := range p.Remarks {
		if c := copyRemark.FindStringSubmatch(r); c != nil && c[1] == m.ca {
			m.write(t, c[2], string(ca))
		}
	}
}

// config is what the remarks say that containerd's configuration has to have.
func (p mirrorsPrinted) config(t *testing.T, v containerdVersion) string {
	t.Helper()
	var table, line string
	for _, r := range p.Remarks {
		if s, ok := strings.CutPrefix(strings.TrimSpace(r), v.label); ok {
			table = strings.TrimSpace(s)
		}
		if s, ok := strings.CutPrefix(strings.TrimSpace(r), "both:"); ok {
			line = strings.TrimSpace(s)
		}
	}
	if table == "" || line == "" {
		t.Fatalf("the remarks do not say how to configure containerd: %q", p.Remarks)
	}
	return table + "\n" + line + "\n"
}

// certificate makes an authority, and a certificate of the node's by it, and returns
// the flags of serve.
func (m *mirrored) certificate(t *testing.T) []string {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the interop tests"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: nodeName}, DNSNames: []string{nodeName},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	var keys [2]*ecdsa.PrivateKey
	for i, c := range []*x509.Certificate{ca, leaf} {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = key
	}
	key, err := x509.MarshalPKCS8PrivateKey(keys[1])
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":  {Type: "CERTIFICATE", Bytes: issue(t, ca, ca, keys[0], keys[0])},
		"tls.pem": {Type: "CERTIFICATE", Bytes: issue(t, leaf, ca, keys[1], keys[0])},
		"tls.key": {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(m.path(name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--cert", m.path("tls.pem"), "--cert-key", m.path("tls.key")}
}

func issue(t *testing.T, c, by *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func sameName(name string) string { return name }

// byNamespace is what is asked by those who say the registry beside the path.
func byNamespace(name, which string) string {
	host, path, _ := strings.Cut(name, "/")
	return fmt.Sprintf("/v2/%s/manifests/%s?ns=%s", path, which, strings.Replace(host, ":", "%3A", 1))
}

// byPath is what is asked by those who have the registry in the path.
func byPath(name, which string) string {
	host, path, _ := strings.Cut(name, "/")
	return fmt.Sprintf("/v2/%s/%s/manifests/%s", strings.Replace(host, ":", "_", 1), path, which)
}

func (m *mirrored) ctr(socket string) engine {
	ctr := func(args ...string) invocation {
		return invocation{tool: "ctr", on: m.node, args: append([]string{"--address", socket, "--namespace", "mirrors"}, args...)}
	}
	return engine{
		name: "ctr", client: "containerd", agent: "containerd/", called: sameName, path: byNamespace,
		pull: func(ref string) invocation {
			return ctr("images", "pull", "--hosts-dir", "/etc/containerd/certs.d", "--snapshotter", "native", ref)
		},
		run: func(t *testing.T, ref string) {
			t.Helper()
			greets(t, runWith(t, ctr("run", "--rm", "--snapshotter", "native", ref, the.unique("container"))))
		},
	}
}

// docker is reloaded: it has been running without mirrors. Of registries but Docker's
// own it has none, so that the server's name is part of their images'.
func (m *mirrored) docker(t *testing.T, daemon *child, socket string) engine {
	docker := func(args ...string) invocation {
		return invocation{tool: "docker", on: m.node, args: append([]string{"--host", "unix://" + socket}, args...)}
	}
	hub := func(name string) bool { return strings.HasPrefix(name, "docker.io/") }
	return engine{
		name: "docker", client: "docker", agent: "docker/", elsewhere: true,
		pull: func(ref string) invocation { return docker("pull", "--quiet", ref) },
		called: func(name string) string {
			if hub(name) {
				return name
			}
			return m.listen + "/" + strings.Replace(name, ":", "_", 1)
		},
		path: func(name, which string) string {
			if hub(name) {
				return byPath(strings.TrimPrefix(name, "docker.io/"), which)
			}
			return byPath(name, which)
		},
		reload: func(t *testing.T) {
			t.Helper()
			if err := daemon.hangUp(); err != nil {
				t.Fatal(err)
			}
			err := daemon.ready(func() error {
				out, err := the.do(docker("info", "--format", "{{json .RegistryConfig.Mirrors}}"))
				if err == nil && !strings.Contains(out, m.listen) {
					err = fmt.Errorf("docker has mirrors %s", out)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		},
		run: func(t *testing.T, ref string) {
			t.Helper()
			greets(t, runWith(t, docker("run", "--rm", "--network=none", "--pull=never", ref)))
		},
	}
}

func (m *mirrored) podman(t *testing.T) engine {
	podman := podmanOn(t, m.node)
	return engine{
		name: "podman", client: "podman", agent: "containers/", called: sameName, path: byPath,
		pull: func(ref string) invocation { return podman("pull", "--quiet", ref) },
		run: func(t *testing.T, ref string) {
			t.Helper()
			runInPodman(t, func(args ...string) string { t.Helper(); return runWith(t, podman(args...)) }, ref)
		},
	}
}

// skopeo copies what podman would pull, index and all.
func (m *mirrored) skopeo() engine {
	return engine{
		name: "skopeo", client: "podman", agent: "skopeo/", called: sameName, path: byPath,
		pull: func(ref string) invocation {
			return invocation{tool: "skopeo", on: m.node, args: []string{
				"copy", "--quiet", "--all", "--preserve-digests", "docker://" + ref, "dir:" + filepath.Join(m.dir, the.unique("skopeo")),
			}}
		},
	}
}
