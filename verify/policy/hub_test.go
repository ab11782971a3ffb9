package policy_test

import (
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify/policy"
)

// hubSpellings are names under which Docker Hub answers with one image.
var hubSpellings = []string{
	"x:1", "library/x:1", "docker.io/x:1", "docker.io/library/x:1", "Docker.io/library/x:1", "docker.io:443/library/x:1",
	"index.docker.io/x:1", "index.docker.io:443/library/x:1", "index.docker.io:80/x:1", "INDEX.docker.io:443/x:1",
	"registry-1.docker.io/library/x:1", "registry-1.docker.io:443/library/x:1", "registry-1.docker.io/x:1",
	"registry.docker.io/library/x:1", "registry.hub.docker.com/library/x:1",
}

// The maker of a bundle chooses which host of Docker Hub a name has, and must not choose
// the rule by it.
func TestHubInEverySpelling(t *testing.T) {
	own := func(pattern string) func() (*policy.Policy, error) {
		return func() (*policy.Policy, error) {
			return policy.Parse("p", []byte(head+"- {name: strict, match: [\""+pattern+"\"], require: {reject: true}}\n- {name: lax, match: [\"**\"], require: {insecureAcceptAnything: true}}\n"), "")
		}
	}
	scope := func(scope string) func() (*policy.Policy, error) {
		return func() (*policy.Policy, error) {
			return policy.FromContainers("p", []byte(`{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"`+scope+`": [{"type": "reject"}]}}}`))
		}
	}
	glob := func(glob string) func() (*policy.Policy, error) {
		return func() (*policy.Policy, error) {
			return clusterPolicies(t, cluster("p", `{images: [{glob: "`+glob+`"}], authorities: [{static: {action: fail}}]}`)+"---\n"+cluster("q", `{images: [{glob: "**"}], authorities: [{static: {action: pass}}]}`)), nil
		}
	}
	notation := func() (*policy.Policy, error) {
		return policy.FromNotation("p", []byte(`{"version": "1.0", "trustPolicies": [
			{"name": "strict", "registryScopes": ["docker.io/library/x"], "signatureVerification": {"level": "strict"}, "trustStores": ["ca:a"], "trustedIdentities": ["*"]},
			{"name": "lax", "registryScopes": ["*"], "signatureVerification": {"level": "skip"}}]}`))
	}
	for what, load := range map[string]func() (*policy.Policy, error){
		"own": own("docker.io/library/*"), "own, whole": own("docker.io/**"), "own, other host": own("registry-1.docker.io/library/*"), "own, port": own("index.docker.io:443/**"),
		"scope": scope("docker.io"), "scope, repository": scope("docker.io/library/x"), "scope, namespace": scope("docker.io/library"), "scope, tag": scope("docker.io/library/x:1"),
		"scope, other host": scope("registry-1.docker.io"), "scope, port": scope("index.docker.io:443/library"),
		"glob": glob("docker.io/**"), "glob, index": glob("index.docker.io/library/*"), "glob, other host": glob("registry-1.docker.io/library/x*"), "glob, short": glob("*"), "glob, within": glob("inde**"),
		"notation": notation,
	} {
		p, err := load()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, name := range hubSpellings {
			ref, err := layout.ParseReference(name)
			if err != nil {
				t.Fatal(err)
			}
			r := p.For(ref)
			if r == nil {
				t.Errorf("%s: no rule for %s", what, name)
				continue
			}
			if lax := r.Require.InsecureAnything; lax {
				t.Errorf("%s: %s gets past it", what, name)
			}
		}
	}
}

// Under policy.json an image has to meet what is for docker.io, and what is for the
// domain of the host that it is called by.
func TestHubByItsDomain(t *testing.T) {
	for scopes, strict := range map[string]string{
		`"*.docker.io": [{"type": "reject"}]`: "registry-1.docker.io/library/x:1", `"*.com": [{"type": "reject"}]`: "registry.hub.docker.com/library/x:1",
		`"docker.io": [{"type": "reject"}], "*.docker.io": [{"type": "insecureAcceptAnything"}]`: "registry-1.docker.io/library/x:1",
	} {
		p := containers(t, `{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {`+scopes+`}}}`)
		ref, err := layout.ParseReference(strict)
		if err != nil {
			t.Fatal(err)
		}
		r := p.For(ref)
		rejects := r.Require.Nothing
		for _, part := range r.Require.AllOf {
			rejects = rejects || part.Nothing
		}
		if !rejects {
			t.Errorf("%s: %s gets past it", scopes, strict)
		}
	}
}

// What is written for another host of Docker Hub is said to be read as docker.io.
func TestHubPatternWarnings(t *testing.T) {
	for pattern, warn := range map[string]string{
		"registry-1.docker.io/library/*": "is read as docker.io/library/*", "index.docker.io:443/team/x": "is read as docker.io/team/x",
		"*.docker.io/**": "write docker.io", "*docker.io/**": "", "*/library/*": "", "registry*/team/*": "", "docker.io/**": "",
	} {
		p, err := policy.Parse("p", []byte(head+"- name: r\n  match: [\""+pattern+"\"]\n  require: {reject: true}\n"), "")
		if err != nil {
			t.Fatal(err)
		}
		if w := strings.Join(p.Warnings(), "\n"); (w == "") != (warn == "") || !strings.Contains(w, warn) {
			t.Errorf("%s: %q, want %q", pattern, w, warn)
		}
	}
}
