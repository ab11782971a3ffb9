package main

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"
	"airgap/verify/signing"
)

// childrenPolicy judges the children of indexes; dev tags may be anybody's, and images of
// the mirror are another key's.
const childrenPolicy = `version: airgap.policy/v1
rules:
- {name: team, match: ["reg.example/team/*"], index: children, require: {cosign: {key: release}}}
- {name: dev, match: ["reg.example/team/*:dev"], require: {insecureAcceptAnything: true}}
- {name: mirror, match: ["mirror.example/**"], require: {cosign: {key: other}}}
`

// sparse has, in folders of the present one, what meets in one repository:
//
//	index      app:v1, an index that nobody signed; its child for arm64 is signed by
//	           release, that for amd64 is not there
//	dev        app:dev, the child for amd64, signed by nobody
//	mirror     the same as mirror.example/team/app:v9, signed by other
//	mirror2    the same, signed by release too
//	some       that and app:v3, another image, signed by release
//	signed     the same as app:v2, signed by release
//	lax        app:dev, the index of app:v1 with both children, that for amd64 unsigned
//	whole      app:v1 with both children, both signed by release
//	half       app:v1 with the child for amd64 only, signed by release
type sparse struct{ index, arm, amd layout.Descriptor }

func newSparse(t *testing.T) sparse {
	t.Helper()
	t.Chdir(t.TempDir())
	reverifyStore(t) // for its keys
	if err := os.WriteFile("policy.yaml", []byte(childrenPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	// What is in one folder is in no other.
	var s sparse
	folder := func(name, repo string, fill func(b *layouttest.Builder)) {
		t.Helper()
		b := layouttest.New(repo)
		fill(b)
		if err := writeFolder(b.Content(), name); err != nil {
			t.Fatal(err)
		}
	}
	const app = "reg.example/team/app"
	amd := func(b *layouttest.Builder) layout.Descriptor { s.amd = b.Image("amd"); return s.amd }
	arm := func(b *layouttest.Builder) layout.Descriptor { s.arm = b.Image("arm"); return s.arm }
	elsewhere := func(fn func(*layouttest.Builder) layout.Descriptor) layout.Descriptor { return fn(layouttest.New(app)) }
	index := func(b *layouttest.Builder, amd, arm layout.Descriptor) {
		s.index = b.Index(layouttest.ForPlatform(arm, "linux", "arm64"), layouttest.ForPlatform(amd, "linux", "amd64"))
		b.Tag("v1", s.index)
	}
	folder("index", app, func(b *layouttest.Builder) {
		d := arm(b)
		signIn(t, b, d, "release")
		index(b, elsewhere(amd), d)
	})
	folder("dev", app, func(b *layouttest.Builder) { b.Tag("dev", amd(b)) })
	folder("some", app, func(b *layouttest.Builder) {
		d := b.Image("another")
		signIn(t, b, d, "release")
		b.Tag("v3", d)
		b.Tag("dev", amd(b))
	})
	folder("mirror", "mirror.example/team/app", func(b *layouttest.Builder) {
		d := amd(b)
		signIn(t, b, d, "other")
		b.Tag("v9", d)
	})
	folder("mirror2", "mirror.example/team/app", func(b *layouttest.Builder) {
		d := amd(b)
		signIn(t, b, d, "other")
		signIn(t, b, d, "release")
		b.Tag("v9", d)
	})
	folder("signed", app, func(b *layouttest.Builder) {
		d := amd(b)
		signIn(t, b, d, "release")
		b.Tag("v2", d)
	})
	folder("lax", app, func(b *layouttest.Builder) {
		one, two := amd(b), arm(b)
		signIn(t, b, two, "release")
		b.Tag("dev", b.Index(layouttest.ForPlatform(two, "linux", "arm64"), layouttest.ForPlatform(one, "linux", "amd64")))
	})
	folder("half", app, func(b *layouttest.Builder) {
		d := amd(b)
		signIn(t, b, d, "release")
		index(b, d, elsewhere(arm))
	})
	folder("whole", app, func(b *layouttest.Builder) {
		one, two := amd(b), arm(b)
		signIn(t, b, one, "release")
		signIn(t, b, two, "release")
		index(b, one, two)
	})
	return s
}

// signIn adds a signature on d.
func signIn(t *testing.T, b *layouttest.Builder, d layout.Descriptor, key string) {
	t.Helper()
	a, err := signing.BundleSignature(d, signing.InsecureKey(key))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range a.Blobs {
		b.Blob(blob.Desc.MediaType, blob.Data)
	}
	b.Blob(a.Manifest.MediaType, a.Raw)
}

// A child that was absent when its index was admitted has to pass the index's rule,
// whichever of the two comes first, by whatever name and from whatever source.
func TestCompleting(t *testing.T) {
	const mapped = " --map HOST/team=corp.example/team"
	for what, test := range map[string]struct {
		imports string // folders, in order
		flags   string
		last    int // exit code of the last import
	}{
		"a child by a lax rule":         {"index dev", "", exitRefused},
		"a child was there":             {"dev index", "", exitRefused},
		"again under a lax name":        {"index lax", "", exitRefused},
		"by another source":             {"index mirror", mapped, exitRefused},
		"another source was there":      {"mirror index", mapped, exitRefused},
		"a child that passes":           {"index signed", "", exitDone},
		"a child that passes was there": {"signed index", "", exitDone},
		"the other half":                {"index half", "", exitDone},
		"the other half, mapped":        {"index half", mapped, exitDone},
		"all of it":                     {"index whole", "", exitDone},
		"once more":                     {"index half index", "", exitDone},
		"after all of it":               {"whole index", "", exitDone},
		"after all of it, another name": {"whole dev", "", exitDone},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSparse(t)
			folders := strings.Fields(test.imports)
			for i, folder := range folders {
				want := exitDone
				if i == len(folders)-1 {
					want = test.last
				}
				host := "reg.example"
				if folder == "mirror" {
					host = "mirror.example"
				}
				mustRun(t, want, "import "+folder+" --store d --policy policy.yaml --trust T"+strings.ReplaceAll(test.flags, "HOST", host))
			}
			repo := "reg.example/team/app"
			if test.flags != "" {
				repo = "corp.example/team/app"
			}
			completed := serves(t, "d", layout.Reference{Repository: repo, Tag: "v1"}) && serves(t, "d", layout.Reference{Repository: repo, Digest: s.amd.Digest})
			if completed != (test.last == exitDone) {
				t.Errorf("the index and its child are served: %v", completed)
			}
		})
	}
}

func serves(t *testing.T, dir string, ref layout.Reference) bool {
	t.Helper()
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.View().Resolve(t.Context(), ref)
	return err == nil
}

// What is refused for that is left out of a partial import, and says why.
func TestCompletingPartly(t *testing.T) {
	newSparse(t)
	mustRun(t, exitDone, "import index --store d --policy policy.yaml --trust T")
	u := testUI()
	_, stderr, code := runLine(t, u, strings.Fields("import some --store d --policy policy.yaml --trust T --partial")...)
	if code != exitRefused || !strings.Contains(stderr, "dev") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	repo := "reg.example/team/app"
	if serves(t, "d", layout.Reference{Repository: repo, Tag: "dev"}) || !serves(t, "d", layout.Reference{Repository: repo, Tag: "v3"}) {
		t.Error("dev is served, or v3 is not")
	}
}

// The same holds in a registry: of what it has already it is asked, and what it gets later
// is known by a store that remembers.
func TestCompletingInRegistry(t *testing.T) {
	for what, test := range map[string]struct{ imports, flags string }{
		"a child was there":  {"dev index", ""},
		"a child comes late": {"index dev", " --memory m"},
	} {
		t.Run(what, func(t *testing.T) {
			newSparse(t)
			st, err := store.Open("registry", store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			h := serve.New(st.View(), serve.Options{Pusher: st.Pusher(store.PushOptions{})})
			srv := httptest.NewServer(h)
			defer srv.Close()
			folders := strings.Fields(test.imports)
			line := " --to " + strings.TrimPrefix(srv.URL, "http://") + " --policy policy.yaml --trust T" + test.flags
			mustRun(t, exitDone, "import "+folders[0]+line)
			mustRun(t, exitRefused, "import "+folders[1]+line)
		})
	}
}

// What leaves a store is judged by nobody, and completes no index either.
func TestCompletingByStorePush(t *testing.T) {
	const app, mirror, judged = reverifyRepo + ":v1", "mirror.example/team/app:v9", " --policy policy.yaml --trust T"
	for what, test := range map[string]struct {
		imports string   // folders, into the store
		pushes  []string // names, of one push each
		last    int      // exit code of the last
	}{
		"two repositories become one": {"index mirror", []string{app + " " + mirror}, exitRefused},
		"the child later":             {"index mirror", []string{app, mirror}, exitRefused},
		"the child was there":         {"index mirror", []string{mirror, app}, exitRefused},
		"the index again":             {"index mirror", []string{app, app}, exitDone},
		"kept apart":                  {"index mirror", []string{app, mirror + " --map mirror.example=HOST/mirror"}, exitDone},
		"the child of the index":      {"index signed", []string{app, reverifyRepo + ":v2"}, exitDone},
		"both":                        {"index signed", []string{app + " " + reverifyRepo + ":v2"}, exitDone},
		"judged":                      {"index mirror", []string{app, mirror + judged}, exitRefused},
		"judged, and passes":          {"index mirror2", []string{app, mirror + judged}, exitDone},
		"judged there, and passes":    {"index mirror2", []string{mirror, app + judged}, exitDone},
		"judged together, and passes": {"index mirror2", []string{app + " " + mirror + judged}, exitDone},
	} {
		t.Run(what, func(t *testing.T) {
			newSparse(t)
			_, to := registryOf(t)
			for _, folder := range strings.Fields(test.imports) {
				mustRun(t, exitDone, "import "+folder+" --store d --policy policy.yaml --trust T")
			}
			for i, names := range test.pushes {
				want := exitDone
				if i == len(test.pushes)-1 {
					want = test.last
				}
				names, flags, _ := strings.Cut(strings.ReplaceAll(names, "HOST", to), " --")
				if flags != "" {
					flags = " --" + flags
				}
				mustRun(t, want, "store push "+names+" --store d --to "+to+flags)
			}
		})
	}
}

// Nor when the registry has both under another name already.
func TestCompletingNameByStorePush(t *testing.T) {
	newSparse(t)
	st, to := registryOf(t)
	mustRun(t, exitDone, "import lax --insecure-skip-verify --to "+to+" --map reg.example="+to)
	line := " --store d --policy policy.yaml --trust T"
	mustRun(t, exitDone, "import index"+line)
	mustRun(t, exitRefused, "store push --all --store d --to "+to)
	if _, err := st.View().Resolve(t.Context(), layout.Reference{Repository: "team/app", Tag: "v1"}); err == nil {
		t.Error("v1 is served")
	}
	// What an import brought by a strict name, another name of the store does not complete.
	_, to = registryOf(t)
	mustRun(t, exitDone, "import index --memory m --policy policy.yaml --trust T --to "+to)
	mustRun(t, exitDone, "import lax --store m --insecure-skip-verify")
	mustRun(t, exitRefused, "store push --all --store m --to "+to)
}

// Nor one that an import brought to the registry, if the store remembers that.
func TestCompletingByStorePushAfterImport(t *testing.T) {
	newSparse(t)
	_, to := registryOf(t)
	line := " --policy policy.yaml --trust T"
	mustRun(t, exitDone, "import mirror --store d"+line)
	mustRun(t, exitDone, "import index --memory d --to "+to+line)
	mustRun(t, exitRefused, "store push --all --store d --to "+to)
}

// A client cannot complete an index with what the index's rule does not pass.
func TestAdmitCompleting(t *testing.T) {
	s := newSparse(t)
	mustRun(t, exitDone, "import index --store new --policy policy.yaml --trust T")
	a := &admitting{T: t, b: layouttest.New(reverifyRepo), sent: map[string]bool{}}
	a.serve("new", testUI())
	amd := a.b.Image("amd")
	if amd.Digest != s.amd.Digest {
		t.Fatal("not the child")
	}
	a.push(201, amd, "dev")
	a.open(false, "dev", string(amd.Digest))
	a.open(true, "v1", string(s.arm.Digest))
	// Nor within an index of its own, under whatever tag.
	other := a.b.Index(layouttest.ForPlatform(amd, "linux", "amd64"))
	a.push(201, other, "dev")
	a.open(false, "dev", string(amd.Digest), string(other.Digest))
	a.push(201, amd, "dev")
	a.push(201, a.sign(amd, "release"), "")
	a.open(true, "dev", "v1", string(amd.Digest))
}

// pushedToMapped is a store whose index came from reg.example to corp.example, where a policy
// accepts anything, and to which a client has pushed the absent child as dev.
func pushedToMapped(t *testing.T, policy string) (s sparse, a *admitting, child layout.Descriptor) {
	t.Helper()
	s = newSparse(t)
	mustRun(t, exitDone, "import index --store new --policy policy.yaml --trust T --map reg.example=corp.example")
	policy += `- {name: corp, match: ["corp.example/**"], require: {insecureAcceptAnything: true}}` + "\n"
	if err := os.WriteFile("policy.yaml", []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	a = &admitting{T: t, b: layouttest.New(reverifyRepo), sent: map[string]bool{}}
	a.serve("new", testUI())
	a.url = strings.TrimSuffix(a.url, reverifyRepo) + "corp.example/team/app"
	child = a.b.Image("amd")
	a.push(201, child, "dev")
	return s, a, child
}

// Nor can it complete an index that came from elsewhere, by what the rule for that place
// does not pass.
func TestAdmitCompletingMapped(t *testing.T) {
	for what, policy := range map[string]string{
		"by the rule for its name": strings.ReplaceAll(childrenPolicy, "mirror.example/**", "mirror.example/never"),
		"without a rule":           strings.ReplaceAll(childrenPolicy, `"reg.example/team/*"`, `"reg.example/team/other"`),
	} {
		t.Run(what, func(t *testing.T) {
			s, a, amd := pushedToMapped(t, policy)
			a.open(false, "dev", string(amd.Digest))
			a.open(true, "v1", string(s.arm.Digest))
			other := a.b.Image("another")
			a.push(201, other, "dev")
			a.open(true, "dev", string(other.Digest))
		})
	}
}

// Nor does a child that comes late, and stays in quarantine, take the index away when the
// store is judged again; it comes out of quarantine by no name that the index's rule does
// not pass.
func TestReverifyLateChild(t *testing.T) {
	line := " --store new --policy policy.yaml --trust T"
	for what, late := range map[string]func(t *testing.T, s sparse){
		"pushed": func(t *testing.T, s sparse) {
			mustRun(t, exitDone, "import index"+line)
			a := &admitting{T: t, b: layouttest.New(reverifyRepo), sent: map[string]bool{}}
			a.serve("new", testUI())
			a.push(201, a.b.Image("amd"), "dev")
		},
		"pushed before": func(t *testing.T, s sparse) {
			a := &admitting{T: t, b: layouttest.New(reverifyRepo), sent: map[string]bool{}}
			a.serve("new", testUI())
			a.push(201, a.b.Image("amd"), "v5") // which does not pass
			mustRun(t, exitDone, "import index"+line)
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSparse(t)
			late(t, s)
			for range 2 {
				runLine(t, testUI(), strings.Fields("reverify"+line)...)
				for ref, want := range map[layout.Reference]bool{
					{Tag: "v1"}: true, {Digest: s.index.Digest}: true, {Digest: s.arm.Digest}: true,
					{Digest: s.amd.Digest}: false, {Tag: "dev"}: false, {Tag: "v5"}: false,
				} {
					if ref.Repository = reverifyRepo; serves(t, "new", ref) != want {
						t.Errorf("%s: served is %v", ref, !want)
					}
				}
			}
			// Once it passes with the index, it is served.
			a := &admitting{T: t, b: layouttest.New(reverifyRepo), sent: map[string]bool{}}
			a.serve("new", testUI())
			amd := a.b.Image("amd")
			a.push(201, a.sign(amd, "release"), "")
			runLine(t, testUI(), strings.Fields("reverify"+line)...)
			if !serves(t, "new", layout.Reference{Repository: reverifyRepo, Digest: amd.Digest}) || !serves(t, "new", layout.Reference{Repository: reverifyRepo, Tag: "v1"}) {
				t.Error("a child that passes is not served")
			}
		})
	}
}

// The same holds for an index that came from elsewhere, by the rule for its name there,
// whatever rule it has here.
func TestReverifyLateChildMapped(t *testing.T) {
	s, a, amd := pushedToMapped(t, strings.ReplaceAll(childrenPolicy, "mirror.example/**", "mirror.example/never"))
	for range 2 {
		runLine(t, testUI(), strings.Fields("reverify --store new --policy policy.yaml --trust T")...)
		a.open(false, "dev", string(amd.Digest))
		a.open(true, "v1", string(s.arm.Digest))
	}
}

// An index that somebody attaches, and whose children are not all there, is not released:
// it would keep out those that come later.
func TestSparseAttached(t *testing.T) {
	newSparse(t)
	b := layouttest.New(reverifyRepo)
	img := b.Image("image")
	signIn(t, b, img, "release")
	arm := b.Image("arm")
	signIn(t, b, arm, "release")
	attached := b.ReferrerIndex(img, arm, layouttest.New(reverifyRepo).Image("amd"))
	b.Tag("v7", img)
	if err := writeFolder(b.Content(), "attached"); err != nil {
		t.Fatal(err)
	}
	line := " --policy policy.yaml --trust T"
	st, to := registryOf(t)
	mustRun(t, exitDone, "import attached --to "+to+line)
	if _, err := st.View().Resolve(t.Context(), layout.Reference{Repository: "team/app", Digest: attached.Digest}); err == nil {
		t.Error("it came into a registry")
	}
	mustRun(t, exitDone, "import attached --store d"+line)
	runLine(t, testUI(), strings.Fields("reverify --store d"+line)...)
	if ref := (layout.Reference{Repository: reverifyRepo, Digest: attached.Digest}); serves(t, "d", ref) {
		t.Error("a store serves it")
	}
	mustRun(t, exitDone, "import dev --store d"+line)
}

// An index that no tag leads to any more is served by its digest, and is not completed
// either.
func TestCompletingLoose(t *testing.T) {
	s := newSparse(t)
	line := " --store d --policy policy.yaml --trust T"
	mustRun(t, exitDone, "import index"+line)
	mustRun(t, exitDone, "store rm reg.example/team/app:v1 --store d")
	mustRun(t, exitRefused, "import dev"+line)
	if !serves(t, "d", layout.Reference{Repository: reverifyRepo, Digest: s.index.Digest}) {
		t.Error("the index is not served, and the test says nothing")
	}
}

// An index whose rule is gone from the policy is not completed by what another rule passes.
func TestCompletingWithoutRule(t *testing.T) {
	newSparse(t)
	line := " --store d --policy policy.yaml --trust T"
	mustRun(t, exitDone, "import index"+line)
	less := strings.Replace(childrenPolicy, `- {name: team, match: ["reg.example/team/*"], index: children, require: {cosign: {key: release}}}`+"\n", "", 1)
	if err := os.WriteFile("policy.yaml", []byte(less), 0o600); err != nil || less == childrenPolicy {
		t.Fatal(err)
	}
	mustRun(t, exitRefused, "import dev"+line)
}
