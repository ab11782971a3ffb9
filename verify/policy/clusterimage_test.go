package policy_test

import (
	"errors"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify/policy"
)

// cluster is a ClusterImagePolicy with this spec, in flow style.
func cluster(name, spec string) string {
	return "---\napiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

func clusterPolicies(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.yaml", []byte(text), "")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// authority is one by a key, and more fields.
func authority(t testing.TB, seed, more string) string {
	return "{key: {data: " + quoted(t, string(keyPEM(t, seed))) + "}" + more + "}"
}

// Globs fit as policy-controller's do.
func TestImageGlobs(t *testing.T) {
	for _, c := range []struct {
		image, glob string
		fits        bool
	}{
		{"foo", "index.docker.io/library/foo:latest", true}, {"foo", "index.docker.io/library/foo:*", true}, {"foo", "index.docker.io/library/*", true},
		{"foo", "index.docker.io/library/*:latest", true}, {"foo", "index.docker.io/*/*", true}, {"foo", "index.docker.io/**", true},
		{"foo", "inde**", true}, {"foo", "**", true}, {"foo", "foo", true}, {"foo", "foo*", true}, {"foo", "*", true},
		{"user/app", "index.docker.io/user/app:latest", true}, {"user/app", "index.docker.io/user/*", true}, {"user/app", "*/*", true}, {"user/app", "user/app", true},
		{"ghcr.io/foo/bar", "ghcr.io/*/*", true}, {"ghcr.io/foo/bar", "ghcr.io/**", true}, {"ghcr.io/foo", "ghcr.io/*/*", false},
		{"ghcr.io/foo", "ghcr.io/foo*", true}, {"ghcr.io/foo", "ghcr.io/foo", true}, {"ghcr.io/foo:v1", "ghcr.io/foo", false},
		{"ghcr.io/foo:v1", "ghcr.io/foo:v1", true}, {"ghcr.io/foo:v1", "ghcr.io/foo:v2", false}, {"ghcr.io/foo:v1", "ghcr.io/foo*", true},
		{"prefix-ghcr.io/foo", "ghcr.io/foo", false}, {"ghcr.io/foo-suffix", "ghcr.io/foo", false}, {"ghcrxio/foo", "ghcr.io/**", false},
		{"ghcr.io/foo/bar:v1", "ghcr.io/*", false}, {"ghcr.io/foo", "*", false}, {"ghcr.io/foo", "*/*", false},
		// Nobody gets past a policy by another spelling of a registry.
		{"ghcr.io:443/foo/bar", "ghcr.io/foo/**", true}, {"ghcr.io/foo/bar", "ghcr.io:443/foo/**", true}, {"docker.io/library/foo:v1", "index.docker.io/**", true},
		{"docker.io/library/foo:v1", "docker.io/library/**", true},
	} {
		p := clusterPolicies(t, cluster("p", `{images: [{glob: "`+c.glob+`"}], authorities: [{static: {action: pass}}]}`))
		ref, err := layout.ParseReference(c.image)
		if err != nil {
			t.Fatal(err)
		}
		if r := p.For(ref); (r != nil) != c.fits {
			t.Errorf("%s for %s: %v, want %v", c.glob, c.image, r != nil, c.fits)
		}
	}
}

// An image that several policies are for has to meet all of them; one that none is
// for is refused.
func TestClusterPoliciesAll(t *testing.T) {
	p := clusterPolicies(t, "# first nothing\n---\n"+
		cluster("everything", `{images: [{glob: "**"}], authorities: [{static: {action: pass}}]}`)+
		cluster("team", `{images: [{glob: "reg.example/team/**"}], authorities: [`+authority(t, "a", ", name: one")+`, `+authority(t, "b", "")+`]}`)+"---\n")
	names := map[string]string{"reg.example/team/app": "everything and team", "other.example/app": "everything"}
	for repo, want := range names {
		r := p.For(layout.Reference{Repository: repo, Tag: "v1"})
		if r == nil || r.Name != want {
			t.Fatalf("%s: %+v, want %s", repo, r, want)
		}
	}
	r := p.For(layout.Reference{Repository: "reg.example/team/app", Tag: "v1"})
	if len(r.Require.AllOf) != 2 || len(r.Require.AllOf[1].AnyOf) != 2 || !r.Require.AllOf[0].InsecureAnything {
		t.Errorf("%s", r.Require.Describe())
	}
	if n := r.Require.AllOf[1].AnyOf[1].Name; n != "team/authority-1" {
		t.Errorf("the second is named %q", n)
	}
	only := clusterPolicies(t, cluster("team", `{images: [{glob: "reg.example/team/**"}], authorities: [{static: {action: pass}}]}`))
	if r := only.For(layout.Reference{Repository: "reg.example/other", Tag: "v1"}); r != nil {
		t.Errorf("%+v is for an image that it is not for", r)
	}
	if w := strings.Join(p.Warnings(), "\n"); w != "" {
		t.Errorf("warnings %q", w)
	}
}

// What policy-controller's fields become.
func TestClusterAuthorities(t *testing.T) {
	one := func(a string) *policy.Requirement {
		p := clusterPolicies(t, cluster("p", `{images: [{glob: "**"}], mode: enforce, authorities: [`+a+`]}`))
		return &p.Rules[0].Require
	}
	const id = `keyless: {url: "https://fulcio.sigstore.dev", identities: [{issuer: i, subject: s}, {issuerRegExp: "^i$", subjectRegExp: "^s$"}]}`
	if r := one("{static: {action: fail, message: no}}"); !r.Nothing {
		t.Errorf("%+v", r)
	}
	if c := one(authority(t, "a", "")).Cosign; c == nil || c.Log || c.Pinned.Log != "" || len(c.Pinned.Keys) != 1 || c.Reference != nil {
		t.Errorf("%+v", c)
	}
	if c := one(authority(t, "a", ", ctlog: {url: \"https://rekor.sigstore.dev\"}")).Cosign; c == nil || !c.Log || c.Pinned.Log != "https://rekor.sigstore.dev" {
		t.Errorf("%+v", c)
	}
	r := one("{" + id + "}")
	if len(r.AnyOf) != 2 || r.AnyOf[0].Cosign.Identity != "s" || r.AnyOf[0].Cosign.Issuer != "i" || r.AnyOf[1].Cosign.IdentityRegexp != "^s$" || r.AnyOf[1].Cosign.Pinned.Authority != "https://fulcio.sigstore.dev" {
		t.Errorf("%s", r.Describe())
	}
	r = one("{" + id + `, attestations: [{name: a, predicateType: spdxjson}, {name: b, predicateType: custom}, {name: c, predicateType: "https://example.com/x"}]}`)
	if len(r.AllOf) != 3 {
		t.Fatalf("%s", r.Describe())
	}
	for i, typ := range []string{"https://spdx.dev/Document", "https://cosign.sigstore.dev/attestation/v1", "https://example.com/x"} {
		if any := r.AllOf[i].AnyOf; len(any) != 2 || any[0].Attestation.PredicateType != typ || any[1].Attestation.SignedBy.IdentityRegexp != "^s$" {
			t.Errorf("%s, want %s", r.AllOf[i].Describe(), typ)
		}
	}
	if r := one(`{keyless: {insecureIgnoreSCT: true, identities: [{issuer: i, subject: s}]}}`); !r.Cosign.Pinned.InsecureNoSCT || r.Cosign.Pinned.Authority != "" {
		t.Errorf("%+v", r.Cosign.Pinned)
	}
	// JSON will do as well.
	text := "{\n\t\"apiVersion\": \"policy.sigstore.dev/v1alpha1\", \"kind\": \"ClusterImagePolicy\", \"metadata\": {\"name\": \"p\", \"labels\": {\"a\": \"b\"}},\n\t\"spec\": {\"images\": [{\"glob\": \"**\"}], \"authorities\": [{\"static\": {\"action\": \"fail\"}}]}, \"status\": {}}"
	if p := clusterPolicies(t, text); !p.Rules[0].Require.Nothing {
		t.Errorf("%+v", p.Rules)
	}
}

// What they must not say, and what of it is not supported.
func TestClusterAttacks(t *testing.T) {
	spec := func(s string) string { return cluster("p", s) }
	with := func(a string) string { return spec(`{images: [{glob: "**"}], authorities: [` + a + `]}`) }
	image := func(glob string) string {
		return spec(`{images: [{glob: "` + glob + `"}], authorities: [{static: {action: pass}}]}`)
	}
	const pass = `{images: [{glob: "**"}], authorities: [{static: {action: pass}}]}`
	keyless := func(s string) string { return with("{keyless: {" + s + "}}") }
	const ids = "identities: [{issuer: i, subject: s}]"
	for what, c := range map[string]struct{ text, want string }{
		"another version": {strings.Replace(spec(pass), "v1beta1", "v1", 1), "v1alpha1 or v1beta1"},
		"another group":   {strings.Replace(spec(pass), "policy.sigstore.dev", "example.com", 1), "apiVersion"},
		"another kind":    {strings.Replace(spec(pass), "kind: Cluster", "kind: ", 1), "kind"},
		"second kind":     {spec(pass) + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {}\n", "apiVersion"},
		"second not one":  {spec(pass) + "---\n- x\n", "a list"},
		"two of one name": {spec(pass) + spec(pass), "two policies are named"},
		"no name":         {"apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {}\nspec: " + pass, "name"},
		"odd name":        {cluster("a/b", pass), "lower-case"},
		"no spec":         {"apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: p}\n", "no spec"},
		"null spec":       {spec(""), "spec: null"},
		"unknown field":   {spec(`{images: [{glob: "**"}], authority: []}`), "spec.authority: not a field"},
		"at the top":      {spec(pass) + "extra: 1\n", "extra: not a field"},
		"a key twice":     {spec(`{images: [{glob: "**"}], authorities: [{static: {action: fail}}], authorities: [{static: {action: pass}}]}`), "given twice"},
		"an alias":        {spec(`{images: &i [{glob: "**"}], authorities: *i}`), "alias"},
		"a merge":         {spec(`{images: [{glob: "**"}], authorities: [{<<: {static: {action: pass}}}]}`), "plain string"},
		"a tag":           {spec(`{images: [{glob: !!binary "AAAA"}], authorities: [{static: {action: pass}}]}`), "tag"},
		"broken":          {spec("{"), "line"},

		"no images":         {spec(`{authorities: [{static: {action: pass}}]}`), "no images"},
		"empty images":      {spec(`{images: [], authorities: [{static: {action: pass}}]}`), "an empty list"},
		"null image":        {spec(`{images: [null], authorities: [{static: {action: pass}}]}`), "null"},
		"no glob":           {spec(`{images: [{}], authorities: [{static: {action: pass}}]}`), "glob"},
		"glob by digest":    {image("reg.example/a@sha256:" + strings.Repeat("0", 64)), "digest is not supported"},
		"glob expression":   {image("[a-z]*"), "letters, digits"},
		"regex in images":   {spec(`{images: [{regex: ".*"}], authorities: [{static: {action: pass}}]}`), "regex: not a field"},
		"mode warn":         {spec(`{mode: warn, images: [{glob: "**"}], authorities: [{static: {action: pass}}]}`), "mode warn is not supported"},
		"mode off":          {spec(`{mode: off, images: [{glob: "**"}], authorities: [{static: {action: pass}}]}`), "mode"},
		"match":             {spec(`{match: [{resource: pods}], images: [{glob: "**"}], authorities: [{static: {action: pass}}]}`), "match is not supported"},
		"policy":            {spec(`{policy: {type: cue, data: x}, images: [{glob: "**"}], authorities: [{static: {action: pass}}]}`), "CUE or Rego"},
		"no authorities":    {spec(`{images: [{glob: "**"}]}`), "no authorities"},
		"none of them":      {spec(`{images: [{glob: "**"}], authorities: []}`), "an empty list"},
		"two, one name":     {with("{name: a, static: {action: pass}}, {name: a, static: {action: fail}}"), `"p/a"`},
		"a name of another": {with("{name: authority-1, static: {action: pass}}, {static: {action: fail}}"), `"p/authority-1"`},

		"nothing in it":     {with("{name: x}"), "0 of key, keyless and static"},
		"two in it":         {with("{static: {action: pass}, keyless: {" + ids + "}}"), "2 of key"},
		"source":            {with(authority(t, "a", ", source: [{oci: reg.example/sigs}]")), "source is not supported"},
		"rfc3161timestamp":  {with(authority(t, "a", ", rfc3161timestamp: {}")), "rfc3161timestamp is not supported"},
		"signatureFormat":   {with(authority(t, "a", ", signatureFormat: new")), "not supported"},
		"action":            {with("{static: {action: maybe}}"), "want pass or fail"},
		"static with more":  {with("{static: {action: pass}, attestations: [{name: a, predicateType: b}]}"), "nothing beside static"},
		"static and ctlog":  {with("{static: {action: pass}, ctlog: {url: \"https://x\"}}"), "nothing beside static"},
		"ctlog, no url":     {with(authority(t, "a", ", ctlog: {}")), "no url"},
		"ctlog, odd url":    {with(authority(t, "a", ", ctlog: {url: rekor}")), "no URL"},
		"ctlog, trust root": {with(authority(t, "a", ", ctlog: {trustRootRef: x}")), "trustRootRef is not supported"},

		"secretRef":      {with("{key: {secretRef: {name: x}}}"), "secretRef is not supported"},
		"kms":            {with(`{key: {kms: "awskms:///x"}}`), "kms is not supported"},
		"kms and data":   {with("{key: {kms: x, data: " + quoted(t, string(keyPEM(t, "a"))) + "}}"), "kms is not supported"},
		"no data":        {with("{key: {}}"), "no data"},
		"no key in it":   {with("{key: {data: x}}"), "no public key"},
		"two keys in it": {with("{key: {data: " + quoted(t, string(keyPEM(t, "a"))+string(keyPEM(t, "b"))) + "}}"), "behind the key"},
		"another hash":   {with("{key: {hashAlgorithm: sha512, data: " + quoted(t, string(keyPEM(t, "a"))) + "}}"), "sha512"},

		"no identities":      {keyless(`url: "https://fulcio.sigstore.dev"`), "no identities"},
		"empty identities":   {keyless("identities: []"), "an empty list"},
		"no issuer":          {keyless("identities: [{subject: s}]"), "without its issuer"},
		"no subject":         {keyless("identities: [{issuer: i}]"), "without its issuer"},
		"empty identity":     {keyless("identities: [{}]"), "want a key, or an identity"},
		"empty subject":      {keyless(`identities: [{issuer: i, subject: ""}]`), "it is empty"},
		"two subjects":       {keyless("identities: [{issuer: i, subject: s, subjectRegExp: s}]"), "more than one"},
		"expression":         {keyless(`identities: [{issuer: i, subjectRegExp: "("}]`), "missing closing"},
		"misspelled":         {keyless("identities: [{issuer: i, subjectRegexp: s}]"), "subjectRegexp: not a field"},
		"ca-cert":            {keyless("ca-cert: {data: x}, " + ids), "ca-cert is not supported"},
		"trustRootRef":       {keyless("trustRootRef: x, " + ids), "trustRootRef is not supported"},
		"url no url":         {keyless("url: fulcio, " + ids), "no URL"},
		"insecureIgnoreSCT":  {keyless("insecureIgnoreSCT: \"true\", " + ids), "a string, want true or false"},
		"attestation policy": {with(authority(t, "a", ", attestations: [{name: a, predicateType: vuln, policy: {type: cue, data: x}}]")), "CUE or Rego"},
		"attestation, type":  {with(authority(t, "a", ", attestations: [{name: a}]")), "no predicateType"},
		"attestation, name":  {with(authority(t, "a", ", attestations: [{predicateType: a}]")), "no name"},
		"no attestations":    {with(authority(t, "a", ", attestations: []")), "an empty list"},
	} {
		p, err := policy.Parse("policy.yaml", []byte(c.text), "")
		if err == nil || p != nil || !errors.Is(err, policy.ErrPolicy) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%s", what, err, c.want, c.text)
		}
	}
}

func FuzzClusterImagePolicies(f *testing.F) {
	f.Add([]byte(cluster("p", `{images: [{glob: "reg.example/**"}], authorities: [`+authority(f, "a", ", ctlog: {url: \"https://x\"}")+`]}`)))
	f.Add([]byte(cluster("p", `{images: [{glob: "*"}], authorities: [{keyless: {identities: [{issuer: i, subjectRegExp: "^s$"}]}, attestations: [{name: a, predicateType: vuln}]}]}`) + cluster("q", `{images: [{glob: "**"}], authorities: [{static: {action: fail}}]}`)))
	f.Add([]byte("---\n---\n"))
	f.Add([]byte(`{"apiVersion":"policy.sigstore.dev/v1beta1","kind":"ClusterImagePolicy"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.FromClusterImagePolicies("p", data)
		if (p == nil) == (err == nil) || err != nil && !errors.Is(err, policy.ErrPolicy) {
			t.Fatalf("%v, %v", p, err)
		}
		if p == nil {
			return
		}
		for _, ref := range []layout.Reference{{Repository: "reg.example/app", Tag: "v1"}, {Repository: "docker.io/library/x", Tag: "latest"}, {}} {
			if r := p.For(ref); r != nil && (r.Name == "" || r.Require.Text() == "") {
				t.Fatalf("%+v", r)
			}
		}
	})
}
