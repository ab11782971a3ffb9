//go:build interop && linux

package interop

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// crictl asks containerd for what the kubelet asks it for. Containerd pulls by the
// configuration that it was started with, and gets the image of pauses itself.
func (m *mirrored) crictl(socket string) engine {
	crictl := func(args ...string) invocation {
		return invocation{tool: "crictl", on: m.node, args: append([]string{"--runtime-endpoint", "unix://" + socket, "--timeout", "1m"}, args...)}
	}
	return engine{
		name: "crictl", client: "containerd", agent: "containerd/", called: sameName, path: byNamespace,
		pull: func(ref string) invocation { return crictl("pull", ref) },
		run: func(t *testing.T, ref string) {
			t.Helper()
			m.runPod(t, crictl, ref)
		},
	}
}

// runPod runs an image in a pod on the node's own network, which needs no plugins.
func (m *mirrored) runPod(t *testing.T, crictl func(...string) invocation, ref string) {
	t.Helper()
	name := the.unique("pod")
	pod, container := m.path(name+".json"), m.path(name+"-container.json")
	for path, text := range map[string]string{
		pod: fmt.Sprintf(`{"metadata": {"name": %q, "namespace": "default", "uid": %q}, "log_directory": %q,
"linux": {"security_context": {"namespace_options": {"network": 2}}}}`, name, name, m.path(name)),
		container: fmt.Sprintf(`{"metadata": {"name": "hello"}, "image": {"image": %q}, "log_path": "hello.log", "linux": {}}`, ref),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sandbox := strings.TrimSpace(runWith(t, crictl("runp", pod)))
	if images := runWith(t, crictl("images", "--quiet=false")); !strings.Contains(images, pauseImage) {
		t.Errorf("the image of pauses is not there:\n%s", images)
	}
	id := strings.TrimSpace(runWith(t, crictl("create", sandbox, container, pod)))
	runWith(t, crictl("start", id))
	greets(t, runWith(t, crictl("logs", "--follow", id)))
	runWith(t, crictl("rmp", "--force", sandbox))
}
