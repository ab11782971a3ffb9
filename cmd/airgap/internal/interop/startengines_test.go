//go:build interop && linux

package interop

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// starter is an engine that is asked to start images.
type starter struct {
	name string
	pull func(ref string) error
	// start starts a command of an image that was pulled, and returns what it printed.
	start func(ref string, command ...string) (string, error)
	// mount is like it, with the image as a volume in a container of the base image; nil
	// if the engine has none.
	mount func(ref, base string, command ...string) (string, error)
}

// volumePath is where an image is mounted.
const volumePath = "/volume"

// try asks an engine for an image: S it started, p it was pulled, - neither, and why not.
func (e starter) try(ref, base string, x form) (string, error) {
	if err := e.pull(ref); err != nil {
		return "-", err
	}
	said, err := e.start(ref, cmp.Or(x.command, "/greet"))
	if err != nil && x.volume && e.mount != nil {
		said, err = e.mount(ref, base, "/greet", filepath.Join(volumePath, volumeFile()))
	}
	if err == nil && !strings.Contains(said, greeting) {
		err = fmt.Errorf("it printed %q", said)
	}
	if err != nil {
		return "p", err
	}
	return "S", nil
}

// startersOn starts all engines of this machine's system on a node.
func startersOn(t *testing.T, n *node) []starter {
	t.Helper()
	v := containerdOf(t).withPause(plainHost + "/pause:1")
	socket := n.containerd(t, v, "")
	_, docker := n.dockerd(t, socket)
	return []starter{n.dockerStarter("docker", docker), n.ctrStarter("ctr", v, socket), n.criStarter(t, "CRI", socket, false), n.podmanStarter(t)}
}

// startersOf2 starts the newer containerd on a node.
func startersOf2(t *testing.T, n *node) []starter {
	t.Helper()
	v := containerd2.withPause(plainHost + "/pause:1")
	socket := n.containerd(t, v, "")
	return []starter{
		n.dockerStarter("docker 29", n.dockerdWithStore(t, socket)),
		n.ctrStarter("ctr 2", v, socket), n.ctrStarter("ctr 2 --local", v, socket, "--local"), n.criStarter(t, "CRI 2", socket, true),
	}
}

func (n *node) dockerStarter(name, socket string) starter {
	docker := func(args ...string) (string, error) {
		return the.do(invocation{tool: "docker", on: n, args: append([]string{"--host", "unix://" + socket}, args...)})
	}
	return starter{
		name: name,
		pull: func(ref string) error {
			_, err := docker("pull", "--quiet", ref)
			return err
		},
		start: func(ref string, command ...string) (string, error) {
			return docker(append([]string{"run", "--rm", "--network=none", "--pull=never", ref}, command...)...)
		},
	}
}

func (n *node) ctrStarter(name string, v containerdVersion, socket string, flags ...string) starter {
	space := the.unique("starts")
	ctr := func(args ...string) (string, error) {
		return the.do(invocation{tool: v.tool("ctr"), on: n, args: append([]string{"--address", socket, "--namespace", space}, args...)})
	}
	return starter{
		name: name,
		pull: func(ref string) error {
			_, err := ctr(append(append([]string{"images", "pull", "--plain-http", "--snapshotter", "native"}, flags...), ref)...)
			return err
		},
		start: func(ref string, command ...string) (string, error) {
			said, err := ctr(append([]string{"run", "--rm", "--snapshotter", "native", ref, the.unique("container")}, command...)...)
			if err == nil && said == "" {
				return greeting, nil // it loses what a short container prints, and ends with its exit code
			}
			return said, err
		},
	}
}

func (n *node) podmanStarter(t *testing.T) starter {
	t.Helper()
	podman := podmanOn(t, n)
	start := func(flags []string, ref string, command []string) (string, error) {
		args := []string{"run", "--rm", "--pull=never", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
		return the.do(podman(append(append(append(args, flags...), ref), command...)...))
	}
	return starter{
		name: "podman",
		pull: func(ref string) error {
			_, err := the.do(podman("pull", "--quiet", "--tls-verify=false", ref))
			return err
		},
		start: func(ref string, command ...string) (string, error) { return start(nil, ref, command) },
		mount: func(ref, base string, command ...string) (string, error) {
			return start([]string{"--mount", "type=image,source=" + ref + ",destination=" + volumePath}, base, command)
		},
	}
}

// criStarter asks containerd as the kubelet does, for containers in one pod.
func (n *node) criStarter(t *testing.T, name, socket string, mounts bool) starter {
	t.Helper()
	crictl := func(args ...string) (string, error) {
		endpoint := "unix://" + socket
		out, err := the.do(invocation{tool: "crictl", on: n, args: append([]string{"--runtime-endpoint", endpoint, "--image-endpoint", endpoint, "--timeout", "1m"}, args...)})
		return strings.TrimSpace(out), err
	}
	c := &criNode{crictl: crictl, dir: n.dir, pod: n.path(the.unique("pod") + ".json")}
	text := fmt.Sprintf(`{"metadata": {"name": "starts", "namespace": "default", "uid": "starts"}, "log_directory": %q,
"linux": {"security_context": {"namespace_options": {"network": 2}}}}`, n.path("log"))
	err := os.WriteFile(c.pod, []byte(text), 0o600)
	if err == nil {
		c.sandbox, err = crictl("runp", c.pod)
	}
	if err != nil {
		t.Fatal(err)
	}
	e := starter{
		name: name,
		pull: func(ref string) error {
			_, err := crictl("pull", ref)
			return err
		},
		start: func(ref string, command ...string) (string, error) { return c.start(ref, "", command) },
	}
	if mounts {
		e.mount = func(ref, base string, command ...string) (string, error) { return c.start(base, ref, command) }
	}
	return e
}

// criNode is a pod.
type criNode struct {
	crictl       func(args ...string) (string, error)
	dir          string
	pod, sandbox string
}

func (c *criNode) start(ref, volume string, command []string) (string, error) {
	name := the.unique("container")
	mounts := ""
	if volume != "" {
		mounts = fmt.Sprintf(`, "mounts": [{"container_path": %q, "image": {"image": %q}, "readonly": true}]`, volumePath, volume)
	}
	text := fmt.Sprintf(`{"metadata": {"name": %q}, "image": {"image": %q}, "command": ["%s"], "log_path": "%s.log", "linux": {}%s}`,
		name, ref, strings.ReplaceAll(strings.Join(command, "\x00"), "\x00", `", "`), name, mounts)
	config := filepath.Join(c.dir, name+".json")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", err
	}
	id, err := c.crictl("create", c.sandbox, config, c.pod)
	if err != nil {
		return "", err
	}
	if _, err = c.crictl("start", id); err != nil {
		return "", err
	}
	return c.crictl("logs", "--follow", id)
}
