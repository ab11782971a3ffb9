package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
)

var update = flag.Bool("update", false, "rewrite testdata/golden and docs/cli.md")

// testUI is a ui that keeps what it is told.
func testUI() *ui {
	return &ui{
		stdin: strings.NewReader(""), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{},
		getenv: func(string) string { return "" },
		now:    func() time.Time { return time.Unix(0, 0) },
	}
}

// runLine runs one command line in this process.
func runLine(t *testing.T, u *ui, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	code = execute(t.Context(), u, append([]string{"airgap"}, args...))
	return u.stdout.(*bytes.Buffer).String(), u.stderr.(*bytes.Buffer).String(), code
}

// goldenFolders writes what the golden commands look at.
func goldenFolders(t *testing.T) {
	t.Helper()
	a := layouttest.New("reg.example/team/app")
	amd, arm := a.Image("amd64"), a.Image("arm64")
	index := a.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"), a.BuildKit(amd))
	a.Tag("v1", index)
	a.Tag("old", a.Image("old"))
	a.Notary(index, "publisher")
	a.Cosign(layout.FormCosignSig, index, "key")
	a.Referrer(amd, "application/spdx+json", "SBOM")
	b := layouttest.New("reg.example/team/app")
	again := b.Image("amd64")
	b.Tag("v1", again)
	b.Tag("new", b.Image("new"))
	b.Notary(again, "publisher")
	for dir, content := range map[string]layouttest.Content{"a": a.Content(), "b": b.Content()} {
		if err := writeFolder(content, dir); err != nil {
			t.Fatal(err)
		}
	}
}

// The JSON of every command is as it was. A change that a program could notice
// needs another apiVersion; a new field does not.
func TestGolden(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	goldenFolders(t)
	for _, c := range []struct {
		file string
		args string
		code int
	}{
		{"export-dry-run.json", "export oci:a --dry-run --platform linux/amd64", 0},
		{"export.json", "export oci:a -o a.tar", 0},
		{"export-b.json", "export oci:b -o b.tar", 0},
		{"inspect.json", "inspect a.tar", 0},
		{"inspect-folder.json", "inspect a", 0},
		{"tree.json", "tree a.tar", 0},
		{"diff.json", "diff a.tar b.tar --exit-code", 1},
		{"diff-same.json", "diff a.tar oci:a --exit-code", 0},
		{"export-delta.json", "export oci:a --since b.tar -o delta.tar", 0},
		{"inspect-delta.json", "inspect delta.tar", 0},
		{"tree-delta.json", "tree delta.tar", 0},
		{"diff-delta.json", "diff a.tar delta.tar --exit-code", 0},
		{"import.json", "import a.tar b --store s --overwrite --insecure-skip-verify", 0},
		{"version.json", "version", 0},
	} {
		stdout, stderr, code := runLine(t, testUI(), append(strings.Fields(c.args), "--format", "json")...)
		if code != c.code {
			t.Fatalf("airgap %s: exit code %d\n%s", c.args, code, stderr)
		}
		compareGolden(t, filepath.Join(golden, c.file), stable(t, c.file, stdout))
	}
	files, err := filepath.Glob(filepath.Join(golden, "*.json"))
	if err != nil || len(files) != 14 {
		t.Errorf("%d golden files, want one for each command line above", len(files))
	}
}

// stable takes out what differs from build to build.
func stable(t *testing.T, file, doc string) string {
	if file != "version.json" {
		return doc
	}
	var v map[string]string
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"version", "go", "platform"} {
		if v[key] == "" {
			t.Errorf("version says no %s", key)
		}
		doc = strings.Replace(doc, `"`+v[key]+`"`, `"…"`, 1)
	}
	return doc
}

func compareGolden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is meant, run go test ./cmd/airgap -update\n%s", filepath.Base(path), got)
	}
}
