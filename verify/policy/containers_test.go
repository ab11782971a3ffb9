package policy_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify/policy"
	"airgap/verify/signing"
)

// keyPEM is a public key as cosign writes it.
func keyPEM(t testing.TB, seed string) []byte {
	t.Helper()
	data, err := signing.PublicKeyPEM(signing.InsecureKey(seed))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func quoted(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// signedWith is a sigstoreSigned requirement by a key, and more fields.
func signedWith(t testing.TB, seed, more string) string {
	return `{"type":"sigstoreSigned","keyData":` + quoted(t, base64.StdEncoding.EncodeToString(keyPEM(t, seed))) + more + `}`
}

func containers(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("policy.json", []byte(text), "")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// The most specific scope decides, as containers/image looks them up.
func TestContainersScopes(t *testing.T) {
	const tagged, reject, anything = `[{"type":"insecureAcceptAnything"},{"type":"reject"}]`, `[{"type":"reject"}]`, `[{"type":"insecureAcceptAnything"}]`
	p := containers(t, `{"default":`+reject+`,"transports":{
	 "dir":{"":`+anything+`},
	 "docker":{
	  "reg.example":`+reject+`,
	  "reg.example:5000":`+reject+`,
	  "reg.example/team":`+reject+`,
	  "reg.example/team/app":`+reject+`,
	  "reg.example/team/app:v1":`+tagged+`,
	  "docker.io/library/busybox":`+anything+`,
	  "*.example":`+reject+`,
	  "*.sub.example":`+reject+`
	 }}}`)
	for image, want := range map[string]string{
		"reg.example/team/app:v1": "reg.example/team/app:v1", "reg.example/team/app:v2": "reg.example/team/app",
		"reg.example/team/app@sha256:" + strings.Repeat("0", 64): "reg.example/team/app",
		"reg.example/team/application:v1":                        "reg.example/team", "reg.example/team/app/sub:v1": "reg.example/team/app",
		"reg.example/teams/app:v1": "reg.example", "reg.example:5000/team/app:v1": "reg.example:5000",
		"reg.example:5001/team/app:v1": "*.example", "other.example/x:v1": "*.example", "a.b.sub.example/x:v1": "*.sub.example",
		"reg.example:443/team/app:v2": "reg.example/team/app", "REG.example:443/x:v1": "reg.example",
		"sub.example/x:v1": "*.example", "example/x:v1": "**", "notexample.org/x:v1": "**",
		"busybox": "docker.io/library/busybox", "docker.io/library/busybox:v1": "docker.io/library/busybox", "busybox2": "**",
	} {
		ref, err := layout.ParseReference(image)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(image, "@") {
			ref.Tag = ""
		}
		if r := p.For(ref); r == nil || r.Match[0] != want {
			t.Errorf("%s: %+v, want the rule for %s", image, r, want)
		}
	}
	if r := p.For(layout.Reference{Repository: "reg.example/team/app", Tag: "v1"}); len(r.Require.AllOf) != 2 {
		t.Errorf("%+v: a list asks for all of it", r.Require)
	}
	if list := p.Sorted(); list[1].Name != "reg.example/team/app:v1" || list[2].Name != "reg.example/team/app" || list[len(list)-1].Name != "default" {
		t.Errorf("in this order: %v", list)
	}
	// An images' rule for another transport never applies, and that is said.
	if w := p.Warnings(); len(w) != 1 || !strings.Contains(w[0], "dir") {
		t.Errorf("warnings %q", w)
	}
}

// A transport's own default comes before the one for all.
func TestContainersDefaults(t *testing.T) {
	p := containers(t, `{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker":{"":[{"type":"reject"}]}}}`)
	if r := p.For(layout.Reference{Repository: "reg.example/x", Tag: "v1"}); !r.Require.Nothing {
		t.Errorf("%+v", r)
	}
}

// Every form of signedIdentity, for images by tag and by digest.
func TestSignedIdentity(t *testing.T) {
	const byDigest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	const repo = "mirror.example:5000/vendor/app"
	for _, c := range []struct{ identity, image, signed, answer string }{
		{``, repo + ":v1", repo + ":v1", "yes"},
		{``, repo + ":v1", repo + ":v2", "no"},
		{``, repo + ":v1", repo, "no"},
		{``, repo + byDigest, repo + ":v2", "yes"},
		{``, repo + byDigest, repo, "no"},
		{``, repo + byDigest, "reg.example/other:v2", "no"},
		{``, repo + ":v1", "", "no"},
		{``, repo + ":v1", "A b", "no"},
		{`{"type":"matchRepoDigestOrExact"}`, repo + ":v1", repo + ":v1", "yes"},
		{`{"type":"matchExact"}`, repo + ":v1", repo + ":v1", "yes"},
		{`{"type":"matchExact"}`, repo + ":v1", repo + ":v2", "no"},
		{`{"type":"matchExact"}`, repo + byDigest, repo + ":v1", "no"},
		{`{"type":"matchExact"}`, repo + ":v1", repo, "no"},
		{`{"type":"matchRepository"}`, repo + ":v1", repo + ":v2", "yes"},
		{`{"type":"matchRepository"}`, repo + ":v1", repo, "yes"},
		{`{"type":"matchRepository"}`, repo + ":v1", repo + "2", "no"},
		{`{"type":"matchRepository"}`, "docker.io/library/busybox:v1", "busybox", "yes"},
		{`{"type":"exactReference","dockerReference":"vendor.example/app:v1"}`, repo + ":v1", "vendor.example/app:v1", "yes"},
		{`{"type":"exactReference","dockerReference":"vendor.example/app:v1"}`, repo + ":v1", repo + ":v1", "no"},
		{`{"type":"exactReference","dockerReference":"busybox:v1"}`, repo + ":v1", "docker.io/library/busybox:v1", "yes"},
		{`{"type":"exactRepository","dockerRepository":"vendor.example/app"}`, repo + ":v1", "vendor.example/app", "yes"},
		{`{"type":"exactRepository","dockerRepository":"vendor.example/app"}`, repo + ":v1", "vendor.example/app:v9", "yes"},
		{`{"type":"exactRepository","dockerRepository":"vendor.example/app"}`, repo + ":v1", repo, "no"},
		{`{"type":"remapIdentity","prefix":"mirror.example:5000/vendor","signedPrefix":"vendor.example"}`, repo + ":v1", "vendor.example/app:v1", "yes"},
		{`{"type":"remapIdentity","prefix":"mirror.example:5000/vendor","signedPrefix":"vendor.example"}`, repo + ":v1", "vendor.example/app:v2", "no"},
		{`{"type":"remapIdentity","prefix":"mirror.example:5000/vendor","signedPrefix":"vendor.example"}`, repo + byDigest, "vendor.example/app:v2", "yes"},
		{`{"type":"remapIdentity","prefix":"mirror.example:5000","signedPrefix":"vendor.example/x"}`, repo + ":v1", "vendor.example/x/vendor/app:v1", "yes"},
		{`{"type":"remapIdentity","prefix":"mirror.example:5000/vend","signedPrefix":"vendor.example"}`, repo + ":v1", "vendor.example/or/app:v1", "no"},
		{`{"type":"remapIdentity","prefix":"mirror.example:5000/vend","signedPrefix":"vendor.example"}`, repo + ":v1", repo + ":v1", "yes"},
	} {
		more := ""
		if c.identity != "" {
			more = `,"signedIdentity":` + c.identity
		}
		p := containers(t, `{"default":[`+signedWith(t, "key", more)+`]}`)
		ref, err := layout.ParseReference(c.image)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(c.image, "@") {
			ref.Tag = ""
		}
		err = p.For(ref).Require.Cosign.Reference.Accepts(c.signed)
		if (err == nil) != (c.answer == "yes") || err != nil && !errors.Is(err, policy.ErrReference) {
			t.Errorf("%s: %s signed as %q: %v, want %s", c.identity, c.image, c.signed, err, c.answer)
		}
		// Nobody may ask without saying about which image.
		if strings.Contains(c.identity, "exact") {
			continue
		}
		if p.Rules[0].Require.Cosign.Reference.Accepts(c.signed) == nil {
			t.Errorf("%s: accepts %q for no image", c.identity, c.signed)
		}
	}
}

// What a policy.json must not say, and what of it is not supported: each is an error
// that says what and where, and none is skipped.
func TestContainersAttacks(t *testing.T) {
	key := signedWith(t, "key", "")
	scope := func(s string) string {
		return "{\"default\":[{\"type\":\"reject\"}],\n\"transports\":{\"docker\":{\n" + s + "}}}"
	}
	image := func(requirement string) string { return scope(`"reg.example/app":[` + requirement + `]`) }
	rekor := `,"rekorPublicKeyData":` + quoted(t, base64.StdEncoding.EncodeToString(keyPEM(t, "log")))
	two := base64.StdEncoding.EncodeToString(append(keyPEM(t, "a"), keyPEM(t, "b")...))
	for what, c := range map[string]struct{ text, want string }{
		"no default":            {`{"transports":{}}`, "no default"},
		"unknown field":         {`{"default":[{"type":"reject"}],"x":1}`, "x: not a field"},
		"field in another case": {`{"default":[{"type":"reject"}],"Transports":{}}`, "Transports: not a field"},
		"default twice":         {`{"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]}`, "default: given twice"},
		"behind the end":        {`{"default":[{"type":"reject"}]} {}`, "behind its end"},
		"cut off":               {`{"default":[{"type":"reject"}]`, "no JSON"},
		"empty default":         {`{"default":[]}`, "default: an empty list"},
		"null default":          {`{"default":null}`, "default: null"},
		"null requirement":      {`{"default":[null]}`, "default[0]: null"},
		"no list":               {`{"default":{"type":"reject"}}`, "default: an object"},
		"transports a list":     {`{"default":[{"type":"reject"}],"transports":[]}`, "transports: a list"},
		"transport a list":      {`{"default":[{"type":"reject"}],"transports":{"dir":[]}}`, "transports.dir: a list"},
		"scope twice":           {scope("\"reg.example/app\":[{\"type\":\"reject\"}],\n\"reg.example/app\":[{\"type\":\"reject\"}]"), `line 4: transports.docker["reg.example/app"]: given twice`},
		"scope empty list":      {scope(`"reg.example/app":[]`), `line 3: transports.docker["reg.example/app"]: an empty list`},
		"scope by digest":       {scope(`"reg.example/app@sha256:` + strings.Repeat("0", 64) + `":[{"type":"reject"}]`), "digest is not supported"},
		"wildcard inside":       {scope(`"reg.*.example":[{"type":"reject"}]`), "want a registry"},
		"wildcard and path":     {scope(`"*.example/app":[{"type":"reject"}]`), "subdomains"},
		"scope with a space":    {scope(`"reg.example/ app":[{"type":"reject"}]`), "want a registry"},
		"scope, slash at end":   {scope(`"reg.example/":[{"type":"reject"}]`), "want a registry"},

		"no type":              {image(`{}`), "no type"},
		"type no string":       {image(`{"type":1}`), "[0].type: a number"},
		"unknown type":         {image(`{"type":"signedByAnybody"}`), "signedByAnybody"},
		"type in another case": {image(`{"type":"Reject"}`), "not known"},
		"signedBy":             {image(`{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}`), `line 3: transports.docker["reg.example/app"][0]: type signedBy (GPG) is not supported`},
		"signedBy among":       {image(key + `,{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}`), "[1]: type signedBy"},
		"signedBy in default":  {`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]}`, "default[0]: type signedBy"},
		"signedBaseLayer":      {image(`{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}`), "signedBaseLayer is not supported"},
		"reject and more":      {image(`{"type":"reject","keyData":"x"}`), "keyData: not a field"},
		"anything and more":    {image(`{"type":"insecureAcceptAnything","signedIdentity":{"type":"matchExact"}}`), "signedIdentity: not a field"},

		"no key":              {image(`{"type":"sigstoreSigned"}`), "no key"},
		"two sources":         {image(signedWith(t, "key", `,"keyPath":"/k"`)), "both keyPath and keyData"},
		"unknown in signed":   {image(signedWith(t, "key", `,"rekorPublicKeyURL":"x"`)), "rekorPublicKeyURL: not a field"},
		"type twice":          {image(signedWith(t, "key", `,"type":"reject"`)), "type: given twice"},
		"fulcio, no log":      {image(`{"type":"sigstoreSigned","fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"}}`), "fulcio without a rekorPublicKey"},
		"fulcio and a key":    {image(signedWith(t, "key", rekor+`,"fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"}`)), "both a key and fulcio"},
		"fulcio, no issuer":   {image(`{"type":"sigstoreSigned"` + rekor + `,"fulcio":{"caPath":"/c","subjectEmail":"e"}}`), "fulcio: no oidcIssuer"},
		"fulcio, empty email": {image(`{"type":"sigstoreSigned"` + rekor + `,"fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":""}}`), "subjectEmail: it is empty"},
		"fulcio, no CA":       {image(`{"type":"sigstoreSigned"` + rekor + `,"fulcio":{"oidcIssuer":"i","subjectEmail":"e"}}`), "no certificates"},
		"fulcio, two CAs":     {image(`{"type":"sigstoreSigned"` + rekor + `,"fulcio":{"caPath":"/c","caData":"AA==","oidcIssuer":"i","subjectEmail":"e"}}`), "both caPath and caData"},
		"fulcio, bad CA":      {image(`{"type":"sigstoreSigned"` + rekor + `,"fulcio":{"caData":"AA==","oidcIssuer":"i","subjectEmail":"e"}}`), "certificates in PEM form"},
		"fulcio, more":        {image(`{"type":"sigstoreSigned"` + rekor + `,"fulcio":{"caData":"AA==","oidcIssuer":"i","subjectEmail":"e","x":1}}`), "fulcio.x: not a field"},
		"pki":                 {image(`{"type":"sigstoreSigned","pki":{"caRootsPath":"/c","subjectEmail":"e"}}`), "pki is not supported"},
		"key no base64":       {image(`{"type":"sigstoreSigned","keyData":"&"}`), "keyData: no base64"},
		"key no key":          {image(`{"type":"sigstoreSigned","keyData":"AAAA"}`), "keyData: no public key"},
		"key no string":       {image(`{"type":"sigstoreSigned","keyData":7}`), "keyData: a number"},
		"two keys in one":     {image(`{"type":"sigstoreSigned","keyData":"` + two + `"}`), "behind the key"},
		"no keys in list":     {image(`{"type":"sigstoreSigned","keyDatas":[]}`), "keyDatas: an empty list"},
		"null in list":        {image(`{"type":"sigstoreSigned","keyDatas":[null]}`), "keyDatas[0]: null"},
		"no file":             {image(`{"type":"sigstoreSigned","keyPath":"/nonexistent/key.pub"}`), "no such file"},
		"a device":            {image(`{"type":"sigstoreSigned","keyPath":"/dev/zero"}`), "no regular file"},
		"rekor, two":          {image(signedWith(t, "key", `,"rekorPublicKeyPath":"/k","rekorPublicKeyData":"x"`)), "both rekorPublicKeyPath"},
		"rekor, no key":       {image(signedWith(t, "key", `,"rekorPublicKeyData":"AAAA"`)), "rekorPublicKeyData: no public key"},
		"rekor, none":         {image(signedWith(t, "key", `,"rekorPublicKeyDatas":[]`)), "rekorPublicKeyDatas: an empty list"},

		"identity a string":       {image(signedWith(t, "key", `,"signedIdentity":"matchExact"`)), "signedIdentity: a string"},
		"identity null":           {image(signedWith(t, "key", `,"signedIdentity":null`)), "signedIdentity: null"},
		"identity unknown":        {image(signedWith(t, "key", `,"signedIdentity":{"type":"matchAnything"}`)), "matchAnything"},
		"identity, unknown field": {image(signedWith(t, "key", `,"signedIdentity":{"type":"matchExact","dockerReference":"a/b:c"}`)), "dockerReference: not a field"},
		"reference without tag":   {image(signedWith(t, "key", `,"signedIdentity":{"type":"exactReference","dockerReference":"reg.example/a"}`)), "a tag or a digest"},
		"repository with tag":     {image(signedWith(t, "key", `,"signedIdentity":{"type":"exactRepository","dockerRepository":"reg.example/a:v1"}`)), "a repository alone"},
		"no reference":            {image(signedWith(t, "key", `,"signedIdentity":{"type":"exactReference"}`)), "no dockerReference"},
		"empty reference":         {image(signedWith(t, "key", `,"signedIdentity":{"type":"exactReference","dockerReference":""}`)), "it is empty"},
		"prefix with a tag":       {image(signedWith(t, "key", `,"signedIdentity":{"type":"remapIdentity","prefix":"reg.example/a:v1","signedPrefix":"b.example"}`)), "prefix"},
		"no prefix":               {image(signedWith(t, "key", `,"signedIdentity":{"type":"remapIdentity","signedPrefix":"b.example"}`)), "no prefix"},
		"nested too deep":         {`{"default":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "nested"},
	} {
		p, err := policy.Parse("policy.json", []byte(c.text), "")
		if err == nil || p != nil || !errors.Is(err, policy.ErrPolicy) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%s", what, err, c.want, c.text)
		}
	}
	if _, err := policy.Parse("policy.json", []byte(`{"default":[{"type":"reject"}]}`), "prod"); !errors.Is(err, policy.ErrPolicy) {
		t.Errorf("an environment that it does not have: %v", err)
	}
}

// Keys come from files too, and each is named by its fingerprint.
func TestContainersKeys(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for _, seed := range []string{"a", "b"} {
		paths = append(paths, filepath.Join(dir, seed+".pub"))
		if err := os.WriteFile(paths[len(paths)-1], keyPEM(t, seed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b64 := func(seed string) string { return base64.StdEncoding.EncodeToString(keyPEM(t, seed)) }
	for fields, n := range map[string]int{
		`"keyPath":` + quoted(t, paths[0]): 1, `"keyPaths":` + quoted(t, paths): 2, `"keyData":` + quoted(t, b64("a")): 1,
		`"keyDatas":` + quoted(t, []string{b64("a"), b64("b")}): 2,
	} {
		for _, rekor := range []string{"", `,"rekorPublicKeyPath":` + quoted(t, paths[1]), `,"rekorPublicKeyDatas":` + quoted(t, []string{b64("a"), b64("b")})} {
			p := containers(t, fmt.Sprintf(`{"default":[{"type":"sigstoreSigned",%s%s}]}`, fields, rekor))
			c := p.Rules[0].Require.Cosign
			if got := len(c.Pinned.Fingerprints()); got != n || c.Log != (rekor != "") || len(c.Pinned.Roots) != min(1, len(rekor)) {
				t.Errorf("%s%s: %d keys, log %v, %d roots", fields, rekor, got, c.Log, len(c.Pinned.Roots))
			}
			if !strings.Contains(p.Rules[0].Require.Describe(), c.Pinned.Fingerprints()[0]) {
				t.Errorf("%s does not name the key", p.Rules[0].Require.Describe())
			}
		}
	}
}

func FuzzContainers(f *testing.F) {
	f.Add([]byte(`{"default":[{"type":"reject"}],"transports":{"docker":{"reg.example/app:v1":[{"type":"insecureAcceptAnything"}],"*.example":[{"type":"reject"}]},"dir":{"":[]}}}`))
	f.Add([]byte(`{"default":[` + signedWith(f, "key", `,"signedIdentity":{"type":"remapIdentity","prefix":"a.example","signedPrefix":"b.example/c"}`) + `]}`))
	f.Add([]byte(`{"default":[` + signedWith(f, "key", `,"signedIdentity":{"type":"exactReference","dockerReference":"busybox:v1"}`) + `]}`))
	f.Add([]byte(`{"default":[{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]}`))
	f.Add([]byte("{\"default\":[\n{\"type\":\"reject\"}],\"default\":[]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.FromContainersWith("p", data, func(string) ([]byte, error) { return nil, os.ErrNotExist })
		if (p == nil) == (err == nil) || err != nil && !errors.Is(err, policy.ErrPolicy) {
			t.Fatalf("%v, %v", p, err)
		}
		if p == nil {
			return
		}
		// Every image has a rule, and what a rule asks for is one thing.
		for _, ref := range []layout.Reference{{Repository: "reg.example/app", Tag: "v1"}, {Repository: "docker.io/library/x", Tag: "latest"}, {}} {
			r := p.For(ref)
			if r == nil {
				t.Fatalf("no rule for %s", ref)
			}
			if c := r.Require.Cosign; c != nil && (c.Reference == nil || len(c.Pinned.Keys) == 0 || c.Reference.Accepts("") == nil) {
				t.Fatalf("%+v asks for nothing", c)
			}
		}
	})
}

// Whoever makes a bundle chooses how a registry is spelled, and must not choose the
// rule by it.
func TestScopesInEverySpelling(t *testing.T) {
	const lax, strict = `[{"type": "insecureAcceptAnything"}]`, `[{"type": "reject"}]`
	doc := func(scopes string) string {
		return `{"default": ` + lax + `, "transports": {"docker": {` + scopes + `}}}`
	}
	for _, scopes := range []string{
		`"reg.example:443": ` + strict, `"reg.example:80/team": ` + strict, `"REG.example/team": ` + strict, `"reg.example": ` + strict,
		`"reg.example:443": ` + lax + `, "reg.example/team": ` + strict, `"reg.example": ` + lax + `, "reg.example:443/team": ` + strict,
		`"reg.example:443": ` + strict + `, "*.example": ` + lax,
	} {
		p, err := policy.FromContainers("policy.json", []byte(doc(scopes)))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"reg.example/team/app:1", "reg.example:443/team/app:1", "reg.example:80/team/app:1", "REG.example:0443/team/app:1"} {
			ref, err := layout.ParseReference(name)
			if err != nil {
				t.Fatal(err)
			}
			if r := p.For(ref); r == nil || !r.Require.Nothing {
				t.Errorf("%s, %s: %+v", scopes, name, r)
			}
		}
	}
	for _, scopes := range []string{`"reg.example": ` + lax + `, "reg.example:443": ` + strict, `"reg.example/a": ` + lax + `, "REG.example/a": ` + lax} {
		if _, err := policy.FromContainers("policy.json", []byte(doc(scopes))); !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("%s: %v", scopes, err)
		}
	}
}
