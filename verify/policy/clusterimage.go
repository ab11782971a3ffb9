package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v3"
)

// FromClusterImagePolicies reads the ClusterImagePolicies of Sigstore's
// policy-controller (policy.sigstore.dev, v1alpha1 and v1beta1) in a YAML or JSON
// file, as many as are in it; name is for errors.
//
// As there, any authority of a policy will do, and an image that several policies are
// for has to meet all of them. An image that none is for is refused; the controller
// leaves that to its configuration. What is not supported is an error that names it;
// docs/policy.md lists it.
func FromClusterImagePolicies(name string, data []byte) (*Policy, error) {
	p, err := (&clusterReader{}).policy(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, ErrPolicy)
	}
	p.File, p.Digest = name, digest.FromBytes(data).String()
	return p, nil
}

// clusterPolicy is one ClusterImagePolicy.
type clusterPolicy struct {
	Rule
	globs []*regexp.Regexp
}

type clusterReader struct{ count int }

func (r *clusterReader) policy(data []byte) (*Policy, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("larger than %d bytes", MaxBytes)
	}
	docs, err := documents(data)
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	var all []clusterPolicy
	for _, doc := range docs {
		c, err := r.one(doc)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o clusterPolicy) bool { return o.Name == c.Name }) {
			return nil, doc.fail("two policies are named %q", c.Name)
		}
		all = append(all, *c)
		p.Rules = append(p.Rules, c.Rule)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no policy in it, so nothing could ever enter")
	}
	p.choose = func(ref layout.Reference) *Rule { return everyOne(all, ref) }
	return p, nil
}

// documents reads those of a file that are not empty.
func documents(data []byte) ([]*node, error) {
	if top := bytes.TrimSpace(data); len(top) > 0 && top[0] == '{' {
		doc, err := readJSON(data)
		return []*node{doc}, err
	}
	var out []*node
	count := 0
	for dec := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var y yaml.Node
		if err := dec.Decode(&y); errors.Is(err, io.EOF) {
			return out, nil
		} else if err != nil {
			return nil, plain(err)
		}
		if len(y.Content) == 0 || y.Content[0].ShortTag() == "!!null" {
			continue
		}
		doc, err := readYAML(y.Content[0], "", &count, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, doc)
	}
}

// everyOne puts the policies together that are for an image: all of them have to be
// met.
func everyOne(all []clusterPolicy, ref layout.Reference) *Rule {
	var found []Rule
	for i := range all {
		if globsFit(all[i].globs, ref) {
			found = append(found, all[i].Rule)
		}
	}
	if len(found) == 0 {
		return nil
	}
	if len(found) == 1 {
		return &found[0]
	}
	out := &Rule{Index: IndexItself}
	var names []string
	for _, r := range found {
		names = append(names, r.Name)
		out.Match = append(out.Match, r.Match...)
		out.Require.AllOf = append(out.Require.AllOf, r.Require)
	}
	out.Name = strings.Join(names, " and ")
	return out
}

var policyName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

const clusterGroup = "policy.sigstore.dev/"

func (r *clusterReader) one(doc *node) (*clusterPolicy, error) {
	// The status is what the controller says of it.
	if err := doc.only(nil, "apiVersion", "kind", "metadata", "spec", "status"); err != nil {
		return nil, err
	}
	version, err := doc.string("apiVersion")
	if err == nil && version != clusterGroup+"v1alpha1" && version != clusterGroup+"v1beta1" {
		err = doc.fail("apiVersion %.100q, want %sv1alpha1 or v1beta1", version, clusterGroup)
	}
	if err != nil {
		return nil, err
	}
	if kind, err := doc.string("kind"); err != nil || kind != "ClusterImagePolicy" {
		return nil, errors.Join(err, doc.fail("kind %.100q, want ClusterImagePolicy", kind))
	}
	for _, key := range []string{"metadata", "spec"} {
		if doc.fields[key] == nil {
			return nil, doc.fail("no %s", key)
		}
		if err := doc.fields[key].is(kindObject); err != nil {
			return nil, err
		}
	}
	name, err := doc.fields["metadata"].string("name")
	if err != nil {
		return nil, err
	}
	if !policyName.MatchString(name) {
		return nil, doc.fields["metadata"].fail("name %.100q: want lower-case letters, digits, - and .", name)
	}
	return r.spec(name, doc.fields["spec"])
}

// refusedSpec are the fields of a spec that are known and not supported.
var refusedSpec = map[string]string{
	"policy": "a policy in CUE or Rego is not supported here; airgap's own policies have conditions in CEL",
	"match":  "match is not supported here: it chooses by the resource in a cluster that wants the image, and here is none",
}

func (r *clusterReader) spec(name string, n *node) (*clusterPolicy, error) {
	if err := n.only(refusedSpec, "images", "authorities", "mode"); err != nil {
		return nil, err
	}
	if mode, err := n.string("mode"); err != nil {
		return nil, err
	} else if mode == "warn" {
		return nil, n.fields["mode"].fail("mode warn is not supported here: nothing enters that does not pass")
	} else if mode != "" && mode != "enforce" {
		return nil, n.fields["mode"].fail("mode %.50q, want enforce", mode)
	}
	c := &clusterPolicy{Rule: Rule{Name: name, Index: IndexItself}}
	images, err := n.items1("images")
	if err != nil {
		return nil, err
	}
	for _, image := range images {
		if err := image.only(nil, "glob"); err != nil {
			return nil, err
		}
		glob, err := image.string("glob")
		if err != nil {
			return nil, err
		}
		g, err := imageGlob(glob)
		if err != nil {
			return nil, image.fail("%w", err)
		}
		c.Match, c.globs = append(c.Match, glob), append(c.globs, g)
	}
	authorities, err := n.items1("authorities")
	if err != nil {
		return nil, err
	}
	var any []Requirement
	for i, a := range authorities {
		req, err := r.authority(name, i, a)
		if err != nil {
			return nil, err
		}
		any = append(any, req)
	}
	c.Require = anyOf(any, n.line)
	if err := c.Require.check(); err != nil {
		return nil, fmt.Errorf("policy %s: %w", name, err)
	}
	return c, nil
}

// items1 is a field that is a list of at least one.
func (n *node) items1(key string) ([]*node, error) {
	if n.fields[key] == nil {
		return nil, n.fail("no %s", key)
	}
	return n.fields[key].list()
}

// anyOf is any of a list; the one, if it has one.
func anyOf(list []Requirement, line int) Requirement {
	if len(list) == 1 {
		return list[0]
	}
	return Requirement{AnyOf: list, line: line}
}
