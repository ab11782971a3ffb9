//go:build interop && linux

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// node is a machine of its own, as far as engines can tell. What is in its /etc is
// what a test puts there, so that a printed configuration goes where it is said to
// go; and its network is loopback, so that nothing can be had from anywhere but the
// node itself.
type node struct {
	dir string // short: sockets live in it
	pid int
}

// What a node is called, beside localhost. Engines trust 127.0.0.0/8 more than
// other addresses.
const (
	nodeName    = "registry.corp"
	nodeAddress = "10.99.0.1"
)

// newNode makes a node that lasts until the tests are over.
func newNode(t *testing.T) *node {
	t.Helper()
	need(t, "unshare", "nsenter", "ip", "mount")
	n := &node{dir: the.path(the.unique("n"))}
	for name, text := range map[string]string{
		"/etc/hosts":                  "127.0.0.1 localhost\n" + nodeAddress + " " + nodeName + "\n",
		"/etc/passwd":                 "root:x:0:0:root:/root:/bin/sh\n",
		"/etc/group":                  "root:x:0:\n",
		"/etc/resolv.conf":            "",
		"/etc/containers/policy.json": `{"default": [{"type": "insecureAcceptAnything"}]}`,
	} {
		n.write(t, name, text)
	}
	made := filepath.Join(n.dir, "made")
	c, err := the.start("unshare", "--mount", "--net", "--", "sh", "-ec",
		"ip link set lo up; ip address add "+nodeAddress+"/32 dev lo; mount --bind '"+n.dir+"/etc' /etc; touch '"+made+"'; exec sleep infinity")
	if err == nil {
		n.pid = c.cmd.Process.Pid // unshare and sh become sleep
		err = c.ready(func() error {
			_, err := os.Stat(made)
			return err
		})
	}
	if err != nil {
		t.Fatal("making a node: ", err)
	}
	return n
}

// enter is what nsenter is told to run a command in the node.
func (n *node) enter(command []string) []string {
	return append([]string{"--mount", "--net", "--target", strconv.Itoa(n.pid), "--"}, command...)
}

// write puts a file below the node's /etc, for as long as the test runs.
func (n *node) write(t *testing.T, name, text string) {
	t.Helper()
	path := n.dir + name
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}

// serve runs airgap serve in the node, with an access log.
func (n *node) serve(t *testing.T, flags ...string) *served {
	t.Helper()
	s, err := startServe(invocation{on: n, args: flags})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// path names something in the node's folder.
func (n *node) path(elem ...string) string {
	return filepath.Join(append([]string{n.dir}, elem...)...)
}

// containerdVersion is what differs in a configuration.
type containerdVersion struct {
	config         int
	label          string // in what airgap mirrors remarks
	images, engine string // plugins
	more           string
	folder         string // of the tools, where they are built from source
	engineMore     string // settings of the engine
}

// containerd2 is the one that is built from source.
var containerd2 = containerdVersion{
	config: 3, label: "2.x:", images: `"io.containerd.cri.v1.images"`, engine: `"io.containerd.cri.v1.runtime"`, more: nativeUnpack,
	folder: "containerd2",
}

// withPause has pods kept by another image than containerd's own.
func (v containerdVersion) withPause(image string) containerdVersion {
	if v.config == 2 {
		v.engineMore = fmt.Sprintf("sandbox_image = %q\n", image)
	} else {
		v.more += fmt.Sprintf("[plugins.%s.pinned_images]\nsandbox = %q\n", v.images, image)
	}
	return v
}

// tool is where a tool of containerd is.
func (v containerdVersion) tool(name string) string { return filepath.Join(v.folder, name) }

// env has containerd find its own shim.
func (v containerdVersion) env() []string {
	if v.folder == "" {
		return nil
	}
	for _, s := range the.env() {
		if path, ok := strings.CutPrefix(s, "PATH="); ok {
			return []string{"PATH=" + filepath.Join(the.tools, v.folder) + string(filepath.ListSeparator) + path}
		}
	}
	return nil
}

// nativeUnpack has containerd 2 unpack for the snapshotter that works on any file
// system.
const nativeUnpack = `[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux/amd64"
snapshotter = "native"
`

// containerdOf asks containerd which it is.
func containerdOf(t *testing.T) containerdVersion {
	t.Helper()
	if strings.Contains(run(t, "containerd", "--version"), "containerd/v2 ") {
		v := containerd2
		v.folder = ""
		return v
	}
	return containerdVersion{config: 2, label: "1.x:", images: `"io.containerd.grpc.v1.cri".containerd`, engine: `"io.containerd.grpc.v1.cri"`}
}

// containerd runs one that has the interface of Kubernetes, and is told of mirrors
// by lines of its configuration. It asks for no rights that a container may lack. It
// returns its socket.
func (n *node) containerd(t *testing.T, v containerdVersion, mirrors string) string {
	t.Helper()
	socket := n.path("c.sock")
	if len(socket)+len(".ttrpc") > maxSocket {
		t.Fatalf("%s is too long for a socket; set TMPDIR to a shorter folder", socket)
	}
	n.write(t, "/etc/containerd/config.toml", fmt.Sprintf(`version = %d
root = %q
state = %q
[grpc]
address = %q
[plugins.%s]
restrict_oom_score_adj = true
%s[plugins.%s]
snapshotter = "native"
%s%s
`, v.config, n.path("croot"), n.path("cstate"), socket, v.engine, v.engineMore, v.images, mirrors, v.more))
	c, err := the.startIt(invocation{tool: v.tool("containerd"), on: n, env: v.env()})
	if err == nil {
		err = c.ready(func() error {
			_, err := the.do(invocation{tool: v.tool("ctr"), on: n, args: []string{"--address", socket, "version"}})
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return socket
}

// dockerd runs one on that containerd, and returns it with its socket.
func (n *node) dockerd(t *testing.T, containerd string) (*child, string) {
	t.Helper()
	return n.dockerdBy(t, invocation{tool: "dockerd", args: []string{"--storage-driver=vfs"}}, containerd)
}

// dockerdWithStore runs one that is built from source, and keeps its images in
// containerd's store, which has to be of containerd 2.
func (n *node) dockerdWithStore(t *testing.T, containerd string) string {
	t.Helper()
	_, socket := n.dockerdBy(t, invocation{
		tool: "docker29/dockerd", args: []string{
			"--feature=containerd-snapshotter=true", "--feature=time-namespaces=false", // which Debian's runc does not know
			"--storage-driver=native",
		},
		env: []string{"DOCKER_MIN_API_VERSION=1.24"}, // Debian's docker asks for an old one
	}, containerd)
	return socket
}

func (n *node) dockerdBy(t *testing.T, v invocation, containerd string) (*child, string) {
	t.Helper()
	socket := n.path("d.sock")
	v.on, v.args = n, append(v.args,
		"--data-root", n.path("docker"), "--exec-root", n.path("docker-run"),
		"--pidfile", n.path("docker.pid"), "--host", "unix://"+socket, "--containerd", containerd,
		"--iptables=false", "--ip6tables=false", "--bridge=none",
	)
	c, err := the.startIt(v)
	if err == nil {
		err = c.ready(func() error {
			_, err := the.do(invocation{tool: "docker", on: n, args: []string{"--host", "unix://" + socket, "version"}})
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return c, socket
}
