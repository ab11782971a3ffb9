package bundle

import (
	"fmt"
	"strings"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Mapping says under which repository each repository of a bundle is imported.
// The zero value keeps the names.
type Mapping struct {
	// To is HOST[/PREFIX]: reg.example/team/app becomes HOST/PREFIX/team/app.
	To string
	// Rules replace a prefix of the repository, up to a slash or its end, however its
	// host is spelled ([layout.SameHost]); the longest that fits wins over the others
	// and over To.
	Rules []Rule
}

// Rule replaces the prefix From by To.
type Rule struct{ From, To string }

// ParseRule reads SRC=DST.
func ParseRule(s string) (Rule, error) {
	from, to, ok := strings.Cut(s, "=")
	if !ok || to == "" {
		return Rule{}, fmt.Errorf("mapping %q: want SRC=DST, as in ghcr.io/acme=registry.corp/acme: %w", s, ErrUsage)
	}
	return Rule{strings.Trim(from, "/"), strings.Trim(to, "/")}, nil
}

// samePrefix writes the host of a prefix of repositories in one way.
func samePrefix(from string) string {
	if from == "" {
		return ""
	}
	return strings.TrimSuffix(layout.SameHost(from+"/"), "/")
}

// replace puts To in the place of from.
func (r Rule) replace(repo, from string) (string, bool) {
	rest, ok := strings.CutPrefix(repo, from)
	if !ok || rest != "" && rest[0] != '/' && from != "" {
		return "", false
	}
	return strings.TrimSuffix(r.To+"/"+strings.TrimPrefix(rest, "/"), "/"), true
}

// Repository maps one repository, and refuses what would be no valid name.
func (m Mapping) Repository(repo string) (string, error) {
	out := m.apply(repo)
	ref, err := layout.ParseReference(out)
	if err == nil && ref.Repository != out {
		err = fmt.Errorf("it would be read as %s", ref.Repository)
	}
	if err != nil {
		return "", fmt.Errorf("repository %s would become %q: %v: %w", repo, out, err, ErrUsage)
	}
	return out, nil
}

func (m Mapping) apply(repo string) string {
	// A rule for the repository as it is spelled comes before one of the same length
	// for it in another spelling.
	same, best, out := layout.SameRepository(repo), -1, ""
	for _, spelled := range []bool{true, false} {
		for _, r := range m.Rules {
			from, name := r.From, repo
			if !spelled {
				from, name = samePrefix(r.From), same
			}
			if to, ok := r.replace(name, from); ok && len(samePrefix(r.From)) > best {
				best, out = len(samePrefix(r.From)), to
			}
		}
	}
	if best >= 0 {
		return out
	}
	if m.To == "" {
		return repo
	}
	_, path, _ := strings.Cut(repo, "/")
	return strings.TrimSuffix(m.To, "/") + "/" + path
}

// mapped is where everything of a graph goes.
type mapped struct {
	repos map[string]string
	names []layout.Name
}

func (m Mapping) graph(g *layout.Graph) (*mapped, error) {
	out := &mapped{repos: map[string]string{}}
	for _, repo := range g.Repositories() {
		to, err := m.Repository(repo)
		if err != nil {
			return nil, err
		}
		out.repos[repo] = to
	}
	for _, n := range g.Names() {
		n.Reference.Repository = out.repos[n.Reference.Repository]
		out.names = append(out.names, n)
	}
	return out, checkApart(out.names)
}

// checkApart refuses a mapping that brings two names together.
func checkApart(names []layout.Name) error {
	seen := map[string]digest.Digest{}
	for _, n := range names {
		name := n.Reference.Name()
		if d, ok := seen[name]; ok && d != n.Descriptor.Digest {
			return &layout.Error{Side: layout.SideDestination, Name: name, Digest: n.Descriptor.Digest,
				Err: fmt.Errorf("%s would get the same name", d), Hint: "nothing was written; map them apart with --map SRC=DST"}
		}
		seen[name] = n.Descriptor.Digest
	}
	return nil
}
