package layout_test

import (
	"testing"

	"airgap/layout"
)

// Docker Hub is one registry by whatever of its hosts, in any case, and with the port that
// a client would take anyway.
func TestDockerHubIsOneRegistry(t *testing.T) {
	for name, want := range map[string]struct{ parsed, same string }{
		"x":                                 {"docker.io/library/x", "docker.io/library/x"},
		"docker.io/x":                       {"docker.io/library/x", "docker.io/library/x"},
		"docker.io:443/x":                   {"docker.io/library/x", "docker.io/library/x"},
		"Docker.io/team/x":                  {"docker.io/team/x", "docker.io/team/x"},
		"index.docker.io/x":                 {"docker.io/library/x", "docker.io/library/x"},
		"index.docker.io:443/library/x":     {"docker.io/library/x", "docker.io/library/x"},
		"INDEX.docker.io:0443/x":            {"docker.io/library/x", "docker.io/library/x"},
		"index.docker.io:80/team/x":         {"docker.io/team/x", "docker.io/team/x"},
		"registry-1.docker.io/library/x":    {"registry-1.docker.io/library/x", "docker.io/library/x"},
		"registry-1.docker.io:443/x":        {"registry-1.docker.io:443/x", "docker.io/library/x"},
		"registry.docker.io/team/x":         {"registry.docker.io/team/x", "docker.io/team/x"},
		"registry.hub.docker.com/library/x": {"registry.hub.docker.com/library/x", "docker.io/library/x"},
		"index.docker.io:5000/x":            {"index.docker.io:5000/x", "index.docker.io:5000/x"},
		"index.docker.io.example/x":         {"index.docker.io.example/x", "index.docker.io.example/x"},
		"reg.example/index.docker.io/x":     {"reg.example/index.docker.io/x", "reg.example/index.docker.io/x"},
		"Reg.example:443/x":                 {"Reg.example:443/x", "reg.example/x"},
		"[2001:db8::80]/x":                  {"[2001:db8::80]/x", "[2001:db8::80]/x"},
		"[2001:db8::1]:443/x":               {"[2001:db8::1]:443/x", "[2001:db8::1]/x"},
	} {
		ref, err := layout.ParseReference(name + ":1")
		if err != nil {
			t.Fatal(err)
		}
		if ref.Repository != want.parsed {
			t.Errorf("%s is read as %s, want %s", name, ref.Repository, want.parsed)
		}
		if same := layout.SameRepository(ref.Repository); same != want.same {
			t.Errorf("%s is the same as %s, want %s", name, same, want.same)
		}
	}
}
