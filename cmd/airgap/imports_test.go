package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rule is what the packages of one folder may import of this module, and which
// libraries belong to it alone.
type rule struct {
	folder string
	may    []string
}

// The table of docs/architecture.md.
var importRules = []rule{
	{"layout", []string{"layout"}},
	{"verify", []string{"verify", "layout"}},
	{"store", []string{"store", "layout"}},
	{"bundle", []string{"bundle", "layout", "verify"}},
	{enclaveFolder, []string{"bundle", "layout", "verify", "store"}},
	{"cmd", []string{"cmd", enclaveFolder, "bundle", "layout", "verify", "store"}},
}

// enclaveFolder is the folder of the isolated side's use cases: alone of all in bundle it may
// import store.
const enclaveFolder = "bundle/enclave"

// owners say where a library may be imported: a folder, or several. Tests may import
// any.
var owners = map[string]string{
	"oras.land/":                             "bundle",
	"github.com/google/go-containerregistry": "bundle",
	"go.etcd.io/bbolt":                       "store",
	"github.com/urfave/cli":                  "cmd",
	"github.com/vbauerster/mpb":              "cmd",
	"github.com/notaryproject/":              "verify",
	"github.com/sigstore/":                   "verify",
	"cel.dev/":                               "verify",
	"go.yaml.in/yaml":                        "verify store",
	"github.com/prometheus/":                 "store",
}

// helpers are programs that test and show this one; they start registries.
var helpers = []string{"airgap/cmd/airgap/internal/"}

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestImports(t *testing.T) {
	packages := listPackages(t)
	seen := map[string]int{}
	for _, p := range packages {
		if slices.ContainsFunc(helpers, func(h string) bool { return strings.HasPrefix(p.ImportPath, h) }) {
			continue
		}
		folder := folderOf(p.ImportPath)
		seen[folder]++
		for _, imp := range p.Imports {
			if why := forbidden(folder, imp); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, why)
			}
			if forTests(imp) && !forTests(p.ImportPath) {
				t.Errorf("%s imports %s, which is for tests", p.ImportPath, imp)
			}
		}
		for _, imp := range slices.Concat(p.TestImports, p.XTestImports) {
			// A test shows a package with its users, never the command.
			if folderOf(imp) == "cmd" && folder != "cmd" {
				t.Errorf("a test of %s imports %s", p.ImportPath, imp)
			}
		}
	}
	for _, r := range importRules {
		if seen[r.folder] == 0 {
			t.Errorf("no package in %s was looked at", r.folder)
		}
	}
}

func listPackages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "airgap/...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// folderOf returns the top folder of a package of ours, [enclaveFolder], or "".
func folderOf(path string) string {
	rest, ok := strings.CutPrefix(path, "airgap/")
	if rest == enclaveFolder || strings.HasPrefix(rest, enclaveFolder+"/") {
		return enclaveFolder
	}
	folder, _, _ := strings.Cut(rest, "/")
	if !ok {
		return ""
	}
	return folder
}

// forbidden says why a package of folder must not import imp, or "".
func forbidden(folder, imp string) string {
	i := slices.IndexFunc(importRules, func(r rule) bool { return r.folder == folder })
	if i < 0 {
		return "there is no rule for " + folder
	}
	if f := folderOf(imp); f != "" && !slices.Contains(importRules[i].may, f) {
		return folder + " may import " + strings.Join(importRules[i].may, ", ") + " only"
	}
	if folder == "layout" && (imp == "net" || strings.HasPrefix(imp, "net/")) {
		return "layout knows no network"
	}
	for lib, owner := range owners {
		if strings.HasPrefix(imp, lib) && !slices.Contains(strings.Fields(owner), folder) {
			return "it belongs to " + owner
		}
	}
	return ""
}

// forTests says whether a package is for tests alone: package testing, and those of
// ours whose name ends in "test".
func forTests(path string) bool {
	return path == "testing" || strings.HasPrefix(path, "testing/") || folderOf(path) != "" && strings.HasSuffix(path, "test")
}

// The test would pass as well if it forbade nothing.
func TestForbidden(t *testing.T) {
	for _, c := range [][2]string{
		{"layout", "airgap/bundle"}, {"layout", "net/http"}, {"layout", "net"}, {"verify", "airgap/store"}, {"verify", "airgap/bundle"},
		{"store", "airgap/verify"}, {"store", "airgap/bundle/registry"}, {"bundle", "airgap/store"}, {"bundle", "airgap/bundle/enclave"}, {"bundle", "airgap/cmd/airgap"}, {enclaveFolder, "airgap/cmd/airgap"}, {"store", "airgap/bundle/enclave"},
		{"cmd", "go.etcd.io/bbolt"}, {"bundle", "go.etcd.io/bbolt"}, {"store", "oras.land/oras-go/v2/registry"},
		{"verify", "github.com/google/go-containerregistry/pkg/name"}, {"bundle", "github.com/sigstore/sigstore-go/pkg/verify"},
		{"layout", "github.com/urfave/cli/v2"}, {"extra", "fmt"}, {"bundle", "go.yaml.in/yaml/v3"}, {"cmd", "github.com/prometheus/client_golang/prometheus"},
	} {
		if forbidden(c[0], c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
	for path, want := range map[string]bool{
		"testing": true, "testing/synctest": true, "airgap/verify/verifytest": true, "airgap/layout/layouttest": true,
		"airgap/verify": false, "net/http/httptest": false,
	} {
		if forTests(path) != want {
			t.Errorf("%s is for tests: want %v", path, want)
		}
	}
	for _, c := range [][2]string{
		{"layout", "airgap/layout/disk"}, {"bundle", "airgap/verify"}, {"bundle", "net/http"}, {"cmd", "airgap/store"}, {"cmd", "airgap/bundle/enclave"}, {enclaveFolder, "airgap/store"}, {enclaveFolder, "airgap/bundle/custody"},
		{"bundle", "oras.land/oras-go/v2"}, {"verify", "github.com/notaryproject/notation-go"}, {"store", "go.etcd.io/bbolt"},
		{"verify", "go.yaml.in/yaml/v3"}, {"store", "go.yaml.in/yaml/v3"},
	} {
		if why := forbidden(c[0], c[1]); why != "" {
			t.Errorf("%s must not import %s: %s", c[0], c[1], why)
		}
	}
}
