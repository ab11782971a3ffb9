package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/registry"
	"airgap/layout"
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

func TestAgain(t *testing.T) {
	failed := func(status int, hint string) error {
		return &layout.Error{Side: layout.SideSource, Err: &registry.RequestError{Status: status}, Hint: hint}
	}
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"a server that may recover", failed(503, ""), true},
		{"the same, in a copy that tries no more", fmt.Errorf("x: %w", given{failed(503, "")}), true},
		{"what has advice of its own", failed(429, "lower --jobs"), false},
		{"what will not change", failed(403, ""), false},
		{"damage", &layout.Error{Side: layout.SideBundle, Err: layout.ErrCorrupt}, false},
		{"Ctrl-C", fmt.Errorf("x: %w", &stopped{os.Interrupt}), true},
		{"a cancelled request that has advice", &layout.Error{Err: context.Canceled, Hint: "x"}, true},
	} {
		if got := again(c.err); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// given is an error of a source that has tried often enough.
type given struct{ error }

func (g given) Unwrap() error { return g.error }
func (given) Temporary() bool { return false }

// A damaged source does not get better by running the same again.
func TestExportOfDamagedBundle(t *testing.T) {
	path := exported(t)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Within a layer, which is not read before the bundle is being written.
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.tar")
	_, stderr, code := runLine(t, testUI(), "export", path, "-o", out)
	if code != exitDamaged || !strings.Contains(stderr, "damaged: copy it again") || strings.Contains(stderr, "same command") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if n := strings.Count(stderr, "hint: "); n != 1 {
		t.Errorf("%d hints: %s", n, stderr)
	}
}
