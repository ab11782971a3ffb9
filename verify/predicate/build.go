package predicate

import (
	"encoding/json"
	"strings"
)

// Build is what SLSA provenance says, of either version. What it does not say is
// empty.
type Build struct {
	Builder   string     `json:"builder,omitempty"`   // the builder's ID, a URI
	Type      string     `json:"type,omitempty"`      // how to read the rest, a URI
	Source    *Material  `json:"source,omitempty"`    // what was built
	Materials []Material `json:"materials,omitempty"` // what went in, the source among them
}

// Material is something that went into a build.
type Material struct {
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"` // hex by algorithm
}

// maxMaterials is how many materials of a build are told; a policy that asks about
// all of them reads the predicate itself.
const maxMaterials = 10_000

// ParseBuild reads SLSA provenance, v0.2 or v1. It returns nil for what is neither.
// A field of another shape than the type's is taken for missing.
func ParseBuild(predicateType string, raw []byte) *Build {
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil
	}
	var b *Build
	switch predicateType {
	case SLSAProvenance02:
		b = parse02(doc)
	case SLSAProvenance1:
		b = parse1(doc)
	}
	if b == nil || len(b.Materials) > maxMaterials {
		return nil
	}
	return b
}

// parse02 reads version 0.2 (slsa.dev/spec/v0.2/provenance, "Schema").
func parse02(doc any) *Build {
	return &Build{
		Builder: text(doc, "builder", "id"), Type: text(doc, "buildType"),
		Source: material(at(doc, "invocation", "configSource")), Materials: materials(at(doc, "materials")),
	}
}

// parse1 reads version 1 (slsa.dev/spec/v1.0/provenance, "Schema"). It leaves the
// shape of externalParameters to the type of build; those of GitHub Actions
// (actions.github.io/buildtypes/workflow/v1), of SLSA's container-based builder
// (slsa.dev/container-based-build/v0.1) and of BuildKit
// (moby/buildkit, docs/attestations/slsa-definitions.md) are read.
func parse1(doc any) *Build {
	d := at(doc, "buildDefinition")
	e := at(d, "externalParameters")
	b := &Build{
		Builder: text(doc, "runDetails", "builder", "id"), Type: text(d, "buildType"),
		Materials: materials(at(d, "resolvedDependencies")),
	}
	if repository := text(e, "workflow", "repository"); repository != "" {
		b.Source = sourceAmong(repository, text(e, "workflow", "ref"), b.Materials)
	} else if b.Source = material(at(e, "configSource")); b.Source == nil {
		b.Source = material(at(e, "source"))
	}
	return b
}

// at follows names, exactly as they are spelled, into objects; nil if there is
// nothing.
func at(v any, path ...string) any {
	for _, name := range path {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

func text(v any, path ...string) string {
	s, _ := at(v, path...).(string)
	return s
}

// material is nil for what says nothing.
func material(v any) *Material {
	m := Material{URI: text(v, "uri")}
	digests, _ := at(v, "digest").(map[string]any)
	for alg, hex := range digests {
		if s, ok := hex.(string); ok {
			if m.Digest == nil {
				m.Digest = map[string]string{}
			}
			m.Digest[alg] = s
		}
	}
	if m.URI == "" && m.Digest == nil {
		return nil
	}
	return &m
}

func materials(v any) []Material {
	list, _ := v.([]any)
	var out []Material
	for _, x := range list {
		if m := material(x); m != nil {
			out = append(out, *m)
		}
	}
	return out
}

// sourceAmong is the material that is a repository at a ref, with its digest; the
// repository alone if none is exactly that.
func sourceAmong(repository, ref string, all []Material) *Material {
	uri := repository
	if ref != "" {
		uri += "@" + ref
	}
	for _, m := range all {
		if strings.TrimPrefix(m.URI, "git+") == uri {
			return &Material{URI: m.URI, Digest: m.Digest}
		}
	}
	return &Material{URI: "git+" + uri}
}
