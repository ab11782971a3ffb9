//go:build interop && linux

package interop

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// maxSocket is what a unix socket's path can have (sun_path).
const maxSocket = 107

// containerd runs one containerd, of whose images each test has its own
// namespace, and returns its socket.
var containerd = sync.OnceValues(func() (string, error) {
	socket, config := the.path("ctd.sock"), the.path("containerd.toml")
	if len(socket)+len(".ttrpc") > maxSocket {
		return "", fmt.Errorf("%s is too long for a socket; set TMPDIR to a shorter folder", socket)
	}
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		the.path("ctd-root"), the.path("ctd-state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", err
	}
	c, err := the.start("containerd", "--config", config)
	if err != nil {
		return "", err
	}
	return socket, c.ready(func() error {
		_, err := the.do(invocation{tool: "ctr", args: []string{"--address", socket, "version"}})
		return err
	})
})

// dockerd runs one dockerd on that containerd, and returns its socket.
var dockerd = sync.OnceValues(func() (string, error) {
	ctd, err := containerd()
	if err != nil {
		return "", err
	}
	socket, config := the.path("docker.sock"), the.path("docker.json")
	if err := os.WriteFile(config, []byte("{}"), 0o600); err != nil {
		return "", err
	}
	c, err := the.start("dockerd", "--config-file", config, "--data-root", the.path("docker"), "--exec-root", the.path("docker-run"),
		"--pidfile", the.path("docker.pid"), "--host", "unix://"+socket, "--containerd", ctd,
		"--storage-driver=vfs", "--iptables=false", "--ip6tables=false", "--bridge=none")
	if err != nil {
		return "", err
	}
	return socket, c.ready(func() error {
		_, err := the.do(invocation{tool: "docker", args: []string{"--host", "unix://" + socket, "version"}})
		return err
	})
})

func docker(t *testing.T, args ...string) string {
	t.Helper()
	need(t, "containerd", "ctr", "runc", "dockerd", "docker")
	socket, err := dockerd()
	if err != nil {
		t.Fatal(err)
	}
	return run(t, "docker", append([]string{"--host", "unix://" + socket}, args...)...)
}

// ctr returns a function that runs ctr in a namespace of its own.
func ctr(t *testing.T) func(args ...string) string {
	t.Helper()
	need(t, "containerd", "ctr", "runc")
	socket, err := containerd()
	if err != nil {
		t.Fatal(err)
	}
	space := the.unique("ns")
	return func(args ...string) string {
		t.Helper()
		return run(t, "ctr", append([]string{"--address", socket, "--namespace", space}, args...)...)
	}
}

// podman returns a function that runs podman with a storage of its own.
func podman(t *testing.T) func(args ...string) string {
	t.Helper()
	podman := podmanOn(t, nil)
	return func(args ...string) string {
		t.Helper()
		return runWith(t, podman(args...))
	}
}

func podmanOn(t *testing.T, n *node) func(args ...string) invocation {
	t.Helper()
	need(t, "podman", "conmon", "runc")
	dir := the.path(the.unique("podman"))
	// Its storage holds mounts for as long as podman has anything in it.
	t.Cleanup(func() { unmountBelow(dir) })
	flags := []string{
		"--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp",
		"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none", "--runtime", "runc",
	}
	return func(args ...string) invocation {
		return invocation{tool: "podman", args: append(flags[:len(flags):len(flags)], args...), on: n}
	}
}

// runInPodman runs a container. Without the limits podman sets those of the
// machine, which it may not where its own are lower.
func runInPodman(t *testing.T, podman func(...string) string, image string) {
	t.Helper()
	greets(t, podman("run", "--rm", "--network=none", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", image))
}

// greets says whether a container printed what it should.
func greets(t *testing.T, said string) {
	t.Helper()
	if strings.TrimSpace(said) != greeting {
		t.Errorf("the container said %q, want %q", said, greeting)
	}
}
