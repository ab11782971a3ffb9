package access

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const testRights = `
rules:
- users: ["*"]
  repositories: ["ghcr.io/acme/**"]
  actions: [pull]
- users: [ci]
  repositories: ["ghcr.io/acme/**", "reg.example:5000/ci/*"]
  actions: [push]
- users: [gc]
  repositories: ["**"]
  actions: [delete]
- users: [anonymous]
  repositories: ["docker.io/library/*"]
  actions: [pull]
`

// Each role, each action, each repository. What is not here as allowed is refused.
func TestMay(t *testing.T) {
	repos := []string{"ghcr.io/acme/app", "ghcr.io/acme/a/b", "ghcr.io:443/acme/app", "ghcr.io/acme", "ghcr.io/acme2/app", "evil.example/ghcr.io/acme/app", "docker.io/library/nginx", "docker.io/library/a/b", "reg.example:5000/ci/x", "reg.example/ci/x", "quay.io/other", ""}
	acme := []string{"ghcr.io/acme/app", "ghcr.io/acme/a/b", "ghcr.io:443/acme/app"}
	allowed := map[string]map[Action][]string{
		"":    {Pull: {"docker.io/library/nginx"}},
		"ann": {Pull: acme},
		"ci":  {Pull: append(acme, "reg.example:5000/ci/x"), Push: append(acme, "reg.example:5000/ci/x")},
		"gc":  {Pull: repos, Delete: repos},
		"*":   {Pull: acme}, // nobody has this name; if somebody had, it would be no more
	}
	f := open(t, "ann:"+hashOfX, testRights, false)
	cases := 0
	for name, may := range allowed {
		for _, action := range []Action{Pull, Push, Delete, -1, 3} {
			yes := map[string]bool{}
			for _, repo := range may[action] {
				yes[repo] = true
			}
			for _, repo := range repos {
				cases++
				if got := f.May(User{name}, action, repo); got != yes[repo] {
					t.Errorf("%q, action %d, %s: %v", name, action, repo, got)
				}
			}
		}
	}
	if cases != 300 {
		t.Errorf("%d cases", cases)
	}
	if !f.Welcome(User{}) || !f.Welcome(User{"ann"}) {
		t.Error("not welcome")
	}
}

// Without a file of rights.
func TestMayWithoutRights(t *testing.T) {
	for _, anonymous := range []bool{true, false} {
		f := open(t, "ann:"+hashOfX, "", anonymous)
		for _, action := range []Action{Pull, Push, Delete} {
			if !f.May(User{"ann"}, action, "ghcr.io/acme/app") {
				t.Errorf("ann may not do %d", action)
			}
			if got := f.May(User{}, action, "ghcr.io/acme/app"); got != (anonymous && action == Pull) {
				t.Errorf("anonymous %v: nobody may do %d: %v", anonymous, action, got)
			}
		}
		if f.Welcome(User{}) != anonymous || !f.Welcome(User{"ann"}) {
			t.Error("welcome")
		}
	}
	var none *Guard
	if !none.May(User{}, Delete, "x/y") || !none.Welcome(User{}) || none.Challenge() != "" {
		t.Error("no guard guards")
	}
	if u, err := none.Identify(as("ann", "wrong")); err != nil || u != (User{}) {
		t.Errorf("%v, %v", u, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(Options{Anonymous: true}); err == nil {
		t.Error("a guard over nothing")
	}
	if _, err := Open(Options{Rights: "rights", Anonymous: true}); err == nil {
		t.Error("rights, and something else that says who may pull")
	}
	if _, err := Open(Options{Users: t.TempDir()}); err == nil {
		t.Error("a folder of users")
	}
}

func TestHostileRights(t *testing.T) {
	const good = "- users: [a]\n  repositories: ['**']\n  actions: [pull]\n"
	for name, text := range map[string]string{
		"nothing":               "",
		"a comment":             "# later\n",
		"a list":                good,
		"no YAML":               "rules: [",
		"another field":         "rules:\n" + good + "allow: all\n",
		"another field in one":  "rules:\n" + good + "  deny: [x]\n",
		"a key twice":           "rules:\n" + good + "rules: []\n",
		"a key twice in one":    "rules:\n" + good + "  users: ['*']\n",
		"two documents":         "rules:\n" + good + "---\nrules: []\n",
		"no users":              "rules:\n- repositories: ['**']\n  actions: [pull]\n",
		"an empty list":         "rules:\n- users: []\n  repositories: ['**']\n  actions: [pull]\n",
		"null for users":        "rules:\n- users: \n  repositories: ['**']\n  actions: [pull]\n",
		"null for a user":       "rules:\n- users: [~]\n  repositories: ['**']\n  actions: [pull]\n",
		"null beside a user":    "rules:\n- users: [a, ~]\n  repositories: ['**']\n  actions: [pull]\n",
		"a text for users":      "rules:\n- users: a\n  repositories: ['**']\n  actions: [pull]\n",
		"no repositories":       "rules:\n- users: [a]\n  actions: [pull]\n",
		"no actions":            "rules:\n- users: [a]\n  repositories: ['**']\n",
		"null for a rule":       "rules:\n- ~\n",
		"an action":             "rules:\n- users: [a]\n  repositories: ['**']\n  actions: [Pull]\n",
		"any action":            "rules:\n- users: [a]\n  repositories: ['**']\n  actions: ['*']\n",
		"anonymous pushes":      "rules:\n- users: [anonymous]\n  repositories: ['**']\n  actions: [push]\n",
		"anonymous deletes":     "rules:\n- users: [a, anonymous]\n  repositories: ['**']\n  actions: [pull, delete]\n",
		"a pattern of users":    "rules:\n- users: [\"a\\tb\"]\n  repositories: ['**']\n  actions: [pull]\n",
		"a short name":          "rules:\n- users: [a]\n  repositories: [nginx]\n  actions: [pull]\n",
		"one star":              "rules:\n- users: [a]\n  repositories: ['*']\n  actions: [pull]\n",
		"three stars":           "rules:\n- users: [a]\n  repositories: ['***']\n  actions: [pull]\n",
		"a tag":                 "rules:\n- users: [a]\n  repositories: ['ghcr.io/acme/app:v1']\n  actions: [pull]\n",
		"a digest":              "rules:\n- users: [a]\n  repositories: ['ghcr.io/acme/app@sha256:0']\n  actions: [pull]\n",
		"an expression":         "rules:\n- users: [a]\n  repositories: ['ghcr.io/(a|b)']\n  actions: [pull]\n",
		"an endless name":       "rules:\n- users: [a]\n  repositories: ['ghcr.io/" + strings.Repeat("a", 512) + "']\n  actions: [pull]\n",
		"endless rules":         "rules:\n" + strings.Repeat(good, MaxRules+1),
		"an alias that expands": "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nrules: *b\n",
	} {
		r, err := parseRights("/etc/rights", []byte(text))
		var s *SyntaxError
		if !errors.As(err, &s) || !strings.HasPrefix(err.Error(), "/etc/rights: ") || r != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"rules: []\n", "rules:\n"} {
		r, err := parseRights("rights", []byte(text))
		if err != nil || r.may(User{"a"}, Pull, "x/y") || r.anonymous() {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzRights(f *testing.F) {
	f.Add([]byte(testRights))
	f.Add([]byte("rules: [{users: [anonymous], repositories: ['a/**'], actions: [pull]}]"))
	f.Add([]byte("rules: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRights("rights", data)
		if err != nil {
			var s *SyntaxError
			if !errors.As(err, &s) {
				t.Fatal(err)
			}
			return
		}
		for _, repo := range []string{"ghcr.io/acme/app", "", "a/b"} {
			if r.may(User{}, Push, repo) || r.may(User{}, Delete, repo) {
				t.Fatal("anybody may write")
			}
			if r.may(User{}, Pull, repo) && !r.anonymous() {
				t.Fatal("somebody who is not welcome may pull")
			}
			for _, a := range []Action{Push, Delete} {
				if r.may(User{"u"}, a, repo) && !r.may(User{"u"}, Pull, repo) {
					t.Fatal(fmt.Sprint(a, " without pull"))
				}
			}
		}
	})
}
