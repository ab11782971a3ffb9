package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// program is the airgap executable: the tool that the demo runs and, at the same
// time, the content of the image that it carries.
type program struct {
	path     string
	data     []byte
	build    *debug.BuildInfo
	platform ocispec.Platform // what it was built for
}

// readProgram reads the executable and what the Go toolchain recorded in it.
func readProgram(path string) (*program, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the airgap program: %w; build it with make", err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s is not a program built by Go: %w", path, err)
	}
	p := &program{path: path, data: data, build: info}
	p.platform.OS, p.platform.Architecture = p.setting("GOOS"), p.setting("GOARCH")
	return p, nil
}

// setting returns a build setting, or "".
func (p *program) setting(key string) string {
	for _, s := range p.build.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// provenance is a SLSA provenance predicate (slsa.dev/provenance/v1) that says
// what the executable says of its own making.
func (p *program) provenance() json.RawMessage {
	external := map[string]string{"package": p.build.Path, "go": p.build.GoVersion}
	for _, s := range p.build.Settings {
		external[s.Key] = s.Value
	}
	var deps []any
	for _, m := range p.build.Deps {
		deps = append(deps, map[string]any{"uri": purl(m)})
	}
	out, err := json.Marshal(map[string]any{
		"buildDefinition": map[string]any{
			"buildType":            "urn:airgap:demo:go-build",
			"externalParameters":   external,
			"resolvedDependencies": deps,
		},
		"runDetails": map[string]any{"builder": map[string]string{"id": "urn:airgap:demo"}},
	})
	if err != nil {
		panic(err) // strings and maps of strings always become JSON
	}
	return out
}

// The parts of an SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3) that say
// which modules a program was built from.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		DataLicense   string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Version       string         `json:"versionInfo,omitempty"`
		Download      string         `json:"downloadLocation"`
		FilesAnalyzed bool           `json:"filesAnalyzed"`
		Checksums     []spdxChecksum `json:"checksums,omitempty"`
		External      []spdxExternal `json:"externalRefs,omitempty"`
	}
	spdxChecksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	spdxExternal struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

// sbom lists the Go modules in the program.
func (p *program) sbom(created time.Time) ([]byte, error) {
	sum := digest.FromBytes(p.data)
	const document, root, none = "SPDXRef-DOCUMENT", "SPDXRef-airgap", "NOASSERTION"
	doc := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: document, Name: "airgap",
		Namespace: "urn:airgap:demo:sbom:" + sum.Encoded(),
		Creation:  spdxCreation{created.UTC().Format(time.RFC3339), []string{"Tool: airgap-demo"}},
		Packages: []spdxPackage{{
			ID: root, Name: p.build.Path, Version: p.build.Main.Version, Download: none,
			Checksums: []spdxChecksum{{"SHA256", sum.Encoded()}},
		}},
		Relationships: []spdxRelationship{{document, "DESCRIBES", root}},
	}
	for i, m := range p.build.Deps {
		id := fmt.Sprintf("SPDXRef-module-%d", i+1)
		doc.Packages = append(doc.Packages, spdxPackage{
			ID: id, Name: m.Path, Version: m.Version, Download: none,
			External: []spdxExternal{{"PACKAGE-MANAGER", "purl", purl(m)}},
		})
		doc.Relationships = append(doc.Relationships, spdxRelationship{root, "DEPENDS_ON", id})
	}
	return json.MarshalIndent(doc, "", " ")
}

// purl names a module as scanners do (package-url specification, type golang).
func purl(m *debug.Module) string {
	if m.Replace != nil {
		m = m.Replace
	}
	return "pkg:golang/" + m.Path + "@" + m.Version
}
