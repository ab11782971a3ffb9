package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/store"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseTarget(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"lay/out", "team/app", "odd/na#me"} {
		if err := os.MkdirAll(filepath.FromSlash(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		in         string
		kind       targetKind
		path, name string
		ref        string
	}{
		{in: "oci:lay", kind: inBundle, path: "lay"},
		{in: "oci:lay#v1", kind: inBundle, path: "lay", name: "v1"},
		{in: "bundle:/media/x", kind: inBundle, path: "/media/x"},
		{in: "bundle:x#reg.example/a:1", kind: inBundle, path: "x", name: "reg.example/a:1"},
		{in: "store:/srv#a@" + someDigest, kind: inStore, path: "/srv", name: "a@" + someDigest},
		// Paths without a scheme.
		{in: "app.tar", kind: inBundle, path: "app.tar"},
		{in: "app.tar#v1", kind: inBundle, path: "app.tar", name: "v1"},
		{in: "lay/out", kind: inBundle, path: "lay/out"},
		{in: "lay/out#v1", kind: inBundle, path: "lay/out", name: "v1"},
		{in: "team/app", kind: inBundle, path: "team/app"},
		{in: "odd/na#me", kind: inBundle, path: "odd/na#me"},
		{in: "odd/na#me#v1", kind: inBundle, path: "odd/na#me", name: "v1"},
		{in: "./missing", kind: inBundle, path: "./missing"},
		{in: "/missing", kind: inBundle, path: "/missing"},
		{in: ".", kind: inBundle, path: "."},
		// References.
		{in: "lay", ref: "docker.io/library/lay:latest"},
		{in: "team/app:1", ref: "docker.io/team/app:1"},
		{in: "reg.example:5000/a/b", ref: "reg.example:5000/a/b:latest"},
		{in: "localhost:5000/a:1@" + someDigest, ref: "localhost:5000/a:1@" + someDigest},
		{in: "reg.example/app.tar:1", ref: "reg.example/app.tar:1"},
	} {
		got, err := parseTarget(c.in)
		ref := ""
		if got.kind == inRegistry {
			ref = got.ref.String()
		}
		if err != nil || got.kind != c.kind || got.path != c.path && c.ref == "" || got.name != c.name || ref != c.ref {
			t.Errorf("parseTarget(%q) = %+v, %v", c.in, got, err)
		}
	}
	for _, in := range []string{"", "oci:", "store:#v1", "UPPER:1", "a b", "reg.example/a@sha256:12", "-x"} {
		if got, err := parseTarget(in); !errors.Is(err, errUsage) {
			t.Errorf("parseTarget(%q) = %+v, %v", in, got, err)
		}
	}
}

func TestPick(t *testing.T) {
	parse := func(s string) layout.Reference {
		ref, err := layout.ParseReference(s)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	all := []layout.Reference{parse("reg.example/a:1"), parse("reg.example/b:1"), parse("docker.io/library/c:2"), parse("reg.example/d@" + someDigest)}
	other := strings.Replace(someDigest, "e3b0", "e3b1", 1)
	for in, want := range map[string]string{
		"":                       "reg.example/a:1 reg.example/b:1 docker.io/library/c:2 reg.example/d@" + someDigest,
		"1":                      "reg.example/a:1 reg.example/b:1",
		"reg.example/a:1":        "reg.example/a:1",
		"c:2":                    "docker.io/library/c:2",
		someDigest:               "reg.example/d@" + someDigest,
		"reg.example/a@" + other: "reg.example/a@" + other, // a child has no name of its own
		"reg.example/z@" + other: "",
		"reg.example/a:2":        "",
		"reg.example/a":          "",
	} {
		got, err := pick(target{path: "x", name: in}, all)
		var names []string
		for _, ref := range got {
			names = append(names, ref.String())
		}
		if strings.Join(names, " ") != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("pick(%q) = %v, %v; want %s", in, names, err, want)
		}
	}
}

func TestArrange(t *testing.T) {
	app := newApp(testUI())
	for in, want := range map[string]string{
		"export REF -o FILE":              "export -o FILE -- REF",
		"export REF -o - --jobs=3 -f - B": "export -o - --jobs=3 -f - -- REF B",
		"export --dry-run A -q B":         "export --dry-run -q -- A B",
		"export A -- -o B":                "export -- A -o B",
		"import - --store s":              "import --store s -- -",
		"import a -o":                     "", // export has it
		"export A -o":                     "export -o -- A",
		"--version":                       "version",
		"nothing -x y":                    "nothing -x y",
		"help export":                     "help export",
		"help nothing":                    "",
	} {
		got, err := arrange(app, append([]string{"airgap"}, strings.Fields(in)...))
		if (err != nil) != (want == "") || err == nil && strings.Join(got[1:], " ") != want {
			t.Errorf("arrange(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestClosest(t *testing.T) {
	names := []string{"export", "import", "inspect", "tree", "diff"}
	for in, want := range map[string]string{
		"exprot": "export", "imprt": "import", "insp": "inspect", "tre": "tree", "dif": "diff", "push": "", "x": "", "serve": "",
	} {
		if got := closest(in, names); got != want {
			t.Errorf("closest(%q) = %q, want %q", in, got, want)
		}
	}
}

// What only reads must not take a mistyped name for an image on docker.io.
func TestHostlessIsRefused(t *testing.T) {
	for in, ok := range map[string]bool{
		"b.taz": false, "nginx": false, "team/none:1": false,
		"docker.io/library/nginx": true, "localhost:5000/a": true, "reg.example/a:1": true, "./a": true, "a.tar": true,
	} {
		got, err := parseTarget(in)
		if err != nil {
			t.Fatal(err)
		}
		if err := withHosts([]target{got}); (err == nil) != ok || err != nil && !errors.Is(err, errUsage) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// A store is known without store:.
func TestStoreByItsPath(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := parseTarget(dir); err != nil || got.kind != inStore {
		t.Errorf("parseTarget(a store) = %+v, %v", got, err)
	}
}

// Only what is there is a path.
func TestParseTargetNoPath(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("ghcr.io", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := parseTarget("ghcr.io/a/b")
	if err != nil || got.kind != inRegistry || got.ref.String() != "ghcr.io/a/b:latest" {
		t.Errorf("%v, %v", got, err)
	}
	for _, long := range []string{"ghcr.io/" + strings.Repeat("a/", 3000) + "b", "ghcr.io/a#" + strings.Repeat("b", 5000), strings.Repeat("a", 5000)} {
		if _, err := parseTarget(long); !errors.Is(err, errUsage) || len(err.Error()) > 500 {
			t.Errorf("%.40s: %.400v", long, err)
		}
	}
}
