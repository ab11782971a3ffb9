package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

// Version is what the first line of a policy says.
const Version = "airgap.policy/v1"

// document is the file, as docs/policy.md describes it.
type document struct {
	Version      string                 `yaml:"version"`
	Revocation   string                 `yaml:"revocation"`
	MaxTrustAge  Duration               `yaml:"maxTrustAge"`
	Bundle       *Bundle                `yaml:"bundle"`
	Rules        []rule                 `yaml:"rules"`
	Environments map[string]environment `yaml:"environments"`
}

type environment struct {
	Extends     string   `yaml:"extends"`
	Revocation  string   `yaml:"revocation"`
	MaxTrustAge Duration `yaml:"maxTrustAge"`
	Bundle      *Bundle  `yaml:"bundle"`
	Rules       []rule   `yaml:"rules"`
}

type rule struct {
	Name    string      `yaml:"name"`
	Match   []string    `yaml:"match"`
	Index   Index       `yaml:"index"`
	Require Requirement `yaml:"require"`
	level   int
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	t, err := ParseDuration(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	*d = Duration(t)
	return nil
}

// Load reads the policy in a file, for one of its environments; env is empty for
// a file without any.
func Load(path, env string) (*Policy, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, data, env)
}

// ReadFile reads a policy file of at most MaxBytes.
func ReadFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrPolicy)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err == nil && len(data) > MaxBytes {
		err = fmt.Errorf("larger than %d bytes", MaxBytes)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, err, ErrPolicy)
	}
	return data, nil
}

// Parse reads the policy in data; name is for errors. It knows by what is in it whose
// form it has: ours, that of containers/image, or ClusterImagePolicies.
func Parse(name string, data []byte, env string) (*Policy, error) {
	if read := foreign(data); read != nil {
		if env != "" {
			return nil, fmt.Errorf("%s: it has no environments, so not %.50q: %w", name, env, ErrPolicy)
		}
		return read(name, data)
	}
	p, err := parse(data, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, ErrPolicy)
	}
	p.File, p.Digest = name, digest.FromBytes(data).String()
	return p, nil
}

func parse(data []byte, env string) (*Policy, error) {
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return nil, plain(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document in it")
	}
	if doc.Version != Version {
		return nil, fmt.Errorf("version %.50q, want %s", doc.Version, Version)
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return nil, plain(err)
	}
	if err := checkNodes(&root); err != nil {
		return nil, err
	}
	doc.number(&root)
	if err := doc.check(); err != nil {
		return nil, err
	}
	return doc.policy(env)
}

// checkNodes refuses what YAML lets pass for nothing: an item that is null would
// drop out of its list, and take a requirement with it.
func checkNodes(n *yaml.Node) error {
	switch n.Kind {
	case yaml.AliasNode:
		return nil // looked at where it is defined
	case yaml.SequenceNode:
		if len(n.Content) == 0 {
			return fmt.Errorf("line %d: an empty list", n.Line)
		}
	case yaml.ScalarNode:
		if n.ShortTag() == "!!null" {
			return fmt.Errorf("line %d: nothing is there", n.Line)
		}
	}
	if t := n.ShortTag(); t != "" && !strings.HasPrefix(t, "!!") {
		return fmt.Errorf("line %d: tag %s", n.Line, t)
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == "count" && c.ShortTag() != "!!int" {
			return fmt.Errorf("line %d: count %s is no whole number", c.Line, c.Value)
		}
		if err := checkNodes(c); err != nil {
			return err
		}
	}
	return nil
}

// plain words what the YAML library says, which names Go types.
func plain(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("it is empty")
	}
	s := strings.TrimPrefix(err.Error(), "yaml: ")
	s = strings.TrimPrefix(s, "unmarshal errors:\n  ")
	return errors.New(goTypes.ReplaceAllString(s, "unknown here"))
}

var goTypes = regexp.MustCompile(`not found in type [A-Za-z.]+`)

// policy puts an environment and those that it extends together. A rule replaces
// one of the same name further down.
func (d *document) policy(env string) (*Policy, error) {
	p := &Policy{Environment: env, MaxTrustAge: d.MaxTrustAge, Bundle: d.Bundle}
	revocation, rules := d.Revocation, d.Rules
	switch {
	case env == "" && len(d.Environments) > 0:
		return nil, fmt.Errorf("it has the environments %s; choose one with --env", strings.Join(slices.Sorted(maps.Keys(d.Environments)), ", "))
	case env != "":
		chain, err := d.chain(env)
		if err != nil {
			return nil, err
		}
		for i, e := range chain {
			for j := range e.Rules {
				e.Rules[j].level = i + 1
			}
			revocation = cmp.Or(e.Revocation, revocation)
			p.MaxTrustAge = cmp.Or(e.MaxTrustAge, p.MaxTrustAge)
			p.Bundle = cmp.Or(e.Bundle, p.Bundle)
			rules = override(rules, e.Rules)
		}
	}
	p.StrictRevocation = revocation == "strict"
	count := 0
	for _, r := range rules {
		if err := r.Require.prepare(&count, 0); err != nil {
			return nil, fmt.Errorf("rule %q: %w", r.Name, err)
		}
		p.Rules = append(p.Rules, Rule{Name: r.Name, Match: r.Match, Index: cmp.Or(r.Index, IndexItself), Require: r.Require, level: r.level})
	}
	if len(p.Rules) == 0 {
		return nil, errors.New("there is no rule, so nothing could ever enter")
	}
	return p, checkPatterns(p.Rules)
}

// chain lists an environment after those that it extends.
func (d *document) chain(env string) ([]environment, error) {
	var out []environment
	seen := map[string]bool{}
	for name := env; name != ""; {
		e, ok := d.Environments[name]
		if !ok {
			return nil, fmt.Errorf("there is no environment %q; it has %s", name, strings.Join(slices.Sorted(maps.Keys(d.Environments)), ", "))
		}
		if seen[name] {
			return nil, fmt.Errorf("environment %q extends itself", name)
		}
		seen[name] = true
		out = append(out, e)
		name = e.Extends
	}
	slices.Reverse(out)
	return out, nil
}

func override(base, more []rule) []rule {
	out := slices.DeleteFunc(slices.Clone(base), func(r rule) bool {
		return slices.ContainsFunc(more, func(m rule) bool { return m.Name == r.Name })
	})
	return append(out, more...)
}

// number notes the lines of requirements, for errors.
func (d *document) number(root *yaml.Node) {
	if len(root.Content) == 0 {
		return
	}
	top := root.Content[0]
	numberRules(d.Rules, field(top, "rules"))
	envs := field(top, "environments")
	for name, e := range d.Environments {
		numberRules(e.Rules, field(field(envs, name), "rules"))
	}
}

func numberRules(rules []rule, list *yaml.Node) {
	for i := range rules {
		rules[i].Require.number(field(item(list, i), "require"))
	}
}

func (r *Requirement) number(n *yaml.Node) {
	if n == nil {
		return
	}
	r.line = n.Line
	each := func(list []Requirement, n *yaml.Node) {
		for i := range list {
			list[i].number(item(n, i))
		}
	}
	each(r.AllOf, field(n, "allOf"))
	each(r.AnyOf, field(n, "anyOf"))
	if r.AtLeast != nil {
		each(r.AtLeast.Of, field(field(n, "atLeast"), "of"))
	}
	if by := r.signedBy(); by != nil {
		of := "artifact"
		if r.BuildKit != nil {
			of = "buildkit"
		}
		by.number(field(field(n, of), "signedBy"))
	}
}

// field finds a mapping's value, or nil.
func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil {
		return nil
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func item(n *yaml.Node, i int) *yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
		return nil
	}
	return n.Content[i]
}

// check looks at every rule, also of environments that are not asked for.
func (d *document) check() error {
	if err := cmp.Or(d.Bundle.check(), checkRules(d.Revocation, d.Rules)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(d.Environments)) {
		e := d.Environments[name]
		if name == "" {
			return errors.New("an environment without a name")
		}
		if err := cmp.Or(e.Bundle.check(), checkRules(e.Revocation, e.Rules)); err != nil {
			return fmt.Errorf("environment %s: %w", name, err)
		}
		if _, err := d.chain(name); err != nil {
			return err
		}
	}
	return nil
}

// check says whether anybody could have made such a bundle.
func (b *Bundle) check() error {
	if b == nil {
		return nil
	}
	if len(b.Keys) == 0 || slices.Contains(b.Keys, "") {
		return errors.New("bundle: no key in keys; anybody can sign an export")
	}
	return nil
}

func checkRules(revocation string, rules []rule) error {
	if revocation != "" && revocation != "strict" && revocation != "byLevel" {
		return fmt.Errorf("revocation %.50q, want strict or byLevel", revocation)
	}
	names := map[string]bool{}
	for i := range rules {
		r := &rules[i]
		switch {
		case r.Name == "":
			return fmt.Errorf("line %d: a rule without a name", r.Require.line)
		case names[r.Name]:
			return fmt.Errorf("two rules are named %q", r.Name)
		case len(r.Match) == 0:
			return fmt.Errorf("rule %q: no pattern in match, so it is for nothing", r.Name)
		case r.Index != "" && r.Index != IndexItself && r.Index != IndexChildren:
			return fmt.Errorf("rule %q: index %.50q, want %s or %s", r.Name, r.Index, IndexItself, IndexChildren)
		}
		names[r.Name] = true
		if err := r.Require.check(); err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
	}
	return nil
}

// Age is d as a time.Duration.
func (d Duration) Age() time.Duration { return time.Duration(d) }
