package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// What is printed for each client is as it was: somebody has it in a file.
func TestMirrors(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "golden", "mirrors", "*"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, client := range []string{"containerd", "docker", "podman", "k3s", "openshift"} {
		for kind, args := range map[string]string{
			".txt":       "docker.io ghcr.io reg.example:5000 --listen 10.0.0.5:5000",
			"-https.txt": "docker.io ghcr.io --listen registry.corp:443 --https --ca /etc/ssl/corp.pem",
		} {
			n++
			stdout, stderr, code := runLine(t, testUI(), append([]string{"mirrors", "--for", client}, strings.Fields(args)...)...)
			if code != 0 || stderr != "" {
				t.Fatalf("%s: exit code %d: %s", client, code, stderr)
			}
			compareGolden(t, filepath.Join("testdata", "golden", "mirrors", client+kind), stdout)
		}
	}
	stdout, _, _ := runLine(t, testUI(), "mirrors", "--for", "k3s", "ghcr.io", "--format", "json")
	compareGolden(t, filepath.Join("testdata", "golden", "mirrors", "k3s.json"), stdout)
	if len(files) != n+1 && !*update {
		t.Errorf("%d golden files, want %d", len(files), n+1)
	}
}

// Registries' names come out of a bundle; what is printed is run by others.
func TestMirrorsOfHostileNames(t *testing.T) {
	for _, host := range []string{"a\"\n", "a\n[host]", "a'b.example", "a.example/../x", "a.example ", "$(x).example", "a%0a.example", "..", ""} {
		if stdout, _, code := runLine(t, testUI(), "mirrors", "--for", "containerd", host); code != exitUsage || stdout != "" {
			t.Errorf("%q: exit code %d: %s", host, code, stdout)
		}
	}
}
