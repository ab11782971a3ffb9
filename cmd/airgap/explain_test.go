package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// exported is a bundle of one image with large layers.
func exported(t *testing.T) string {
	t.Helper()
	r := startRegistry(t, false)
	load(t, r, manyLayers(r.host+"/team/app"))
	path := filepath.Join(t.TempDir(), "app.tar")
	if _, stderr, code := runLine(t, testUI(), "export", r.host+"/team/app:v1", "-o", path); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	return path
}

// Reading from the registry that is imported into is no reading from a source.
func TestImportNamesDestination(t *testing.T) {
	host := closedPort(t)
	_, stderr, code := runLine(t, testUI(), "import", exported(t), "--to", host, "--insecure-skip-verify")
	if code != exitRegistry || !strings.Contains(stderr, "airgap: destination "+host+"/") || strings.Contains(stderr, "source") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
