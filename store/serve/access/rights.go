package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"airgap/layout"
	"airgap/store/serve/reload"

	"go.yaml.in/yaml/v3"
)

// Limits on a file of rights.
const (
	// MaxRightsBytes is how long the file may be.
	MaxRightsBytes = 1 << 20
	// MaxRules is how many rules it may have, and maxListed how long each list in
	// one may be.
	MaxRules  = 1000
	maxListed = 1000
	// maxGlobBytes is how long the name of a repository may be.
	maxGlobBytes = 512
)

// rights are rules; what none allows is refused.
type rights struct{ rules []rule }

type rule struct {
	users        map[string]bool
	repositories []*regexp.Regexp
	actions      [Delete + 1]bool
}

// document is the file.
type document struct {
	Rules []struct {
		Users        []string `yaml:"users"`
		Repositories []string `yaml:"repositories"`
		Actions      []string `yaml:"actions"`
	} `yaml:"rules"`
}

func readRights(path string) (*rights, error) {
	data, err := reload.ReadFile(path, MaxRightsBytes)
	if err != nil {
		return nil, err
	}
	return parseRights(path, data)
}

func parseRights(path string, data []byte) (*rights, error) {
	doc, err := decode(data)
	if err != nil {
		return nil, &SyntaxError{File: path, Why: strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if len(doc.Rules) > MaxRules {
		return nil, &SyntaxError{File: path, Why: fmt.Sprintf("more than %d rules", MaxRules)}
	}
	r := &rights{}
	for i, d := range doc.Rules {
		made, err := newRule(d.Users, d.Repositories, d.Actions)
		if err != nil {
			return nil, &SyntaxError{File: path, Why: fmt.Sprintf("rule %d: %v", i+1, err)}
		}
		r.rules = append(r.rules, made)
	}
	return r, nil
}

func decode(data []byte) (doc document, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return doc, errors.New("there is nothing in it")
	} else if err != nil {
		return doc, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return doc, errors.New("more than one document in it")
	}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return doc, err
	}
	if line := nothing(&root); line > 0 {
		return doc, fmt.Errorf("line %d: an item that is nothing", line)
	}
	return doc, nil
}

// nothing is the line of an item that is null, which would drop out of its list, or 0.
func nothing(n *yaml.Node) int {
	for _, item := range n.Content { // not what an alias stands for
		if n.Kind == yaml.SequenceNode && item.ShortTag() == "!!null" {
			return item.Line
		}
		if line := nothing(item); line > 0 {
			return line
		}
	}
	return 0
}

func newRule(users, repositories, actions []string) (rule, error) {
	made := rule{users: map[string]bool{}}
	for _, list := range [][]string{users, repositories, actions} {
		if len(list) == 0 || len(list) > maxListed {
			return rule{}, fmt.Errorf("want users, repositories and actions, 1 to %d of each", maxListed)
		}
	}
	for _, name := range users {
		if why := checkName(name); why != "" && name != everyUser && name != anonymousUser {
			return rule{}, fmt.Errorf("users: %s", why)
		}
		made.users[name] = true
	}
	for _, pattern := range repositories {
		if why := checkGlob(pattern); why != "" {
			return rule{}, fmt.Errorf("repositories: %.200q: %s", pattern, why)
		}
		made.repositories = append(made.repositories, layout.Glob(layout.SameHost(pattern)))
	}
	for _, name := range actions {
		i := slices.Index([]string{Pull: "pull", Push: "push", Delete: "delete"}, name)
		if i < 0 {
			return rule{}, fmt.Errorf("actions: %.50q: want pull, push or delete", name)
		}
		made.actions[i], made.actions[Pull] = true, true
	}
	if made.users[anonymousUser] && (made.actions[Push] || made.actions[Delete]) {
		return rule{}, errors.New("actions: anonymous can pull, and no more")
	}
	return made, nil
}

var globGrammar = regexp.MustCompile(`^[A-Za-z0-9._:/*-]+$`)

// checkGlob says why a pattern can fit no repository.
func checkGlob(pattern string) string {
	switch {
	case !globGrammar.MatchString(pattern), len(pattern) > maxGlobBytes, strings.Contains(pattern, "***"):
		return "want the name of a repository, with * and **"
	case !strings.ContainsAny(pattern, "/") && !strings.Contains(pattern, "**"):
		return "want the name in full, as in docker.io/library/nginx"
	case strings.LastIndex(pattern, ":") > strings.LastIndex(pattern, "/"):
		return "rights are for repositories, and not for tags"
	}
	return ""
}

func (r *rights) may(u User, a Action, repo string) bool {
	repo = layout.SameHost(repo)
	return slices.ContainsFunc(r.rules, func(one rule) bool {
		return one.is(u) && a >= 0 && int(a) < len(one.actions) && one.actions[a] &&
			slices.ContainsFunc(one.repositories, func(g *regexp.Regexp) bool { return g.MatchString(repo) })
	})
}

func (one *rule) is(u User) bool {
	if u.Known() {
		return one.users[u.Name] || one.users[everyUser]
	}
	return one.users[anonymousUser]
}

// anonymous says whether whoever gives no name may do anything.
func (r *rights) anonymous() bool {
	return slices.ContainsFunc(r.rules, func(one rule) bool { return one.users[anonymousUser] })
}
