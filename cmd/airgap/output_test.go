package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestExportReplacesFilesOnly(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("folder", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo("pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", "socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile("list.tar", []byte("a.invalid/x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"tofolder": "folder", "topipe": "pipe", "tonull": "/dev/null", "dangling": "nowhere", "tolist": "list.tar"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for out, want := range map[string]string{
		"folder": "is a folder", "pipe": "is a pipe", "socket": "is a socket", "/dev/null": "is a device",
		"tofolder": "is a folder", "topipe": "is a pipe", "tonull": "is a device", "dangling": "is a link to nothing",
		"list.tar": "would replace the list", "tolist": "would replace the list",
	} {
		before, err := os.Lstat(out)
		if err != nil {
			t.Fatal(err)
		}
		_, stderr, code := runLine(t, testUI(), "export", "-f", "list.tar", "-o", out)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d: %s", out, code, stderr)
		}
		if strings.Contains(stderr, "replace\n") && !strings.Contains(stderr, "-o -") {
			t.Errorf("%s: no way out is shown: %s", out, stderr)
		}
		if after, err := os.Lstat(out); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s is another file: %v", out, err)
		}
	}
}

// A link stays, and the bundle is where it leads.
func TestExportThroughLink(t *testing.T) {
	t.Chdir(t.TempDir())
	r := startRegistry(t, false)
	load(t, r, manyLayers(r.host+"/team/app"))
	if err := os.Mkdir("far", 0o755); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join("far", "app.tar")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, "app.tar"); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := runLine(t, testUI(), "export", r.host+"/team/app:v1", "-o", "app.tar")
	if code != exitDone || !strings.HasPrefix(stdout, "app.tar has ") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	if to, err := os.Readlink("app.tar"); err != nil || to != target {
		t.Errorf("the link is gone: %q, %v", to, err)
	}
	if info, err := os.Lstat(target); err != nil || info.Size() == 0 {
		t.Errorf("the bundle is not where the link leads: %v", err)
	}
}
