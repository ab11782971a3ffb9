package main

import (
	"context"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"
)

// startableAttached has a folder "app" of reg.example/team/app:v1, an image signed by
// release, to which much is attached. What must not be given out is named with a "-".
func startableAttached(t *testing.T) map[string]layout.Descriptor {
	t.Helper()
	t.Chdir(t.TempDir())
	reverifyStore(t) // for its keys
	if err := os.WriteFile("policy.yaml", []byte(childrenPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	named := map[string]layout.Descriptor{}
	b := layouttest.New(reverifyRepo)
	img := b.Image("image")
	named["image"], named["sbom"] = img, b.Referrer(img, "application/spdx+json", "sbom")
	signIn(t, b, img, "release")
	attach := func(what string) layout.Descriptor {
		named[what+" child"] = b.Image(what)
		named[what] = b.ReferrerIndex(img, named[what+" child"])
		return named[what]
	}
	signIn(t, b, attach("-unsigned"), "other")
	named["-on unsigned"] = b.ReferrerIndex(named["-unsigned"], b.Image("deep"))
	named["signed"] = attach("signed")
	signIn(t, b, named["signed child"], "release")
	b.Tag("v1", img)
	if err := writeFolder(b.Content(), "app"); err != nil {
		t.Fatal(err)
	}
	return named
}

// compareGiven holds what is given out against the names.
func compareGiven(t *testing.T, named map[string]layout.Descriptor, resolve func(context.Context, layout.Reference) (layout.Descriptor, error)) {
	t.Helper()
	for what, d := range named {
		_, err := resolve(t.Context(), layout.Reference{Repository: reverifyRepo, Digest: d.Digest})
		if given := err == nil; given == strings.HasPrefix(what, "-") {
			t.Errorf("%s: given out is %v (%v)", what, given, err)
		}
	}
}

// A registry has no quarantine: what is attached and could be started comes into it if it
// passes by itself.
func TestImportOfStartableAttachments(t *testing.T) {
	named := startableAttached(t)
	st, to := registryOf(t)
	line := "import app --to " + to + " --map reg.example=" + to + "/reg.example --policy policy.yaml --trust T --memory m"
	_, stderr, code := runLine(t, testUI(), strings.Fields(line)...)
	if code != exitDone || !strings.Contains(stderr, string(named["-unsigned"].Digest)+" was left out: it is attached") {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	compareGiven(t, named, st.View().Resolve)
	if log := mustRun(t, exitDone, "log list --store m --act refuse"); !strings.Contains(log, reverifyRepo+"@"+string(named["-unsigned"].Digest)) {
		t.Errorf("the ledger says\n%s", log)
	}
	u := testUI()
	out, _, code := runLine(t, u, strings.Fields("import app --to "+to+" --insecure-skip-verify --map reg.example="+to+"/asked.nobody")...)
	if _, err := st.View().Resolve(t.Context(), layout.Reference{Repository: "asked.nobody/team/app", Digest: named["-unsigned"].Digest}); err != nil || code != exitDone {
		t.Errorf("without a policy: %v\n%s", err, out)
	}
}

// registryOf is a registry over a new store, and its address.
func registryOf(t *testing.T) (*store.Store, string) {
	t.Helper()
	st, err := store.Open(t.TempDir()+"/registry", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	srv := httptest.NewServer(serve.New(st.View(), serve.Options{Pusher: st.Pusher(store.PushOptions{})}))
	t.Cleanup(srv.Close)
	return st, strings.TrimPrefix(srv.URL, "http://")
}

// Nor has a bundle that is served.
func TestServeOfStartableAttachments(t *testing.T) {
	named := startableAttached(t)
	o := serveOptions{judge: policyOptions{policy: "policy.yaml", trust: "T"}}
	u := testUI()
	s, err := o.openBundle(t.Context(), u, "app")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	compareGiven(t, named, s.Resolve)
}

// An image that did not pass does not come in as an attachment of one that did.
func TestPartOfStartableAttachments(t *testing.T) {
	startableAttached(t)
	b := layouttest.New(reverifyRepo)
	img := b.Image("image")
	signIn(t, b, img, "release")
	refused := b.ReferrerIndex(img, b.Image("child"))
	b.Tag("v1", img)
	b.Tag("v2", refused)
	if err := writeFolder(b.Content(), "part"); err != nil {
		t.Fatal(err)
	}
	st, to := registryOf(t)
	mustRun(t, exitRefused, "import part --partial --to "+to+" --map reg.example="+to+"/reg.example --policy policy.yaml --trust T")
	compareGiven(t, map[string]layout.Descriptor{"image": img, "-refused": refused}, st.View().Resolve)
}

// An attachment that passes completes no index whose rule it does not pass.
func TestCompletingByAttachment(t *testing.T) {
	for what, from := range map[string]string{"an attachment": "index mirror2", "it was there": "mirror2 index", "without the index": "mirror2"} {
		t.Run(what, func(t *testing.T) {
			startableAttached(t)
			m := layouttest.New("mirror.example/team/app")
			img := m.Image("image")
			config := m.Layer(layout.MediaTypeImageConfig, "config")
			attached := m.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config, Subject: &img})
			signIn(t, m, img, "other")
			signIn(t, m, attached, "other")
			m.Tag("v9", img)
			if err := writeFolder(m.Content(), "mirror2"); err != nil {
				t.Fatal(err)
			}
			b := layouttest.New(reverifyRepo)
			arm := b.Image("arm")
			signIn(t, b, arm, "release")
			index := b.Index(layouttest.ForPlatform(arm, "linux", "arm64"), layouttest.ForPlatform(attached, "linux", "amd64"))
			b.Tag("v1", index)
			if err := writeFolder(b.Content(), "index"); err != nil {
				t.Fatal(err)
			}
			st, to := registryOf(t)
			for _, folder := range strings.Fields(from) {
				host := map[string]string{"index": "reg.example", "mirror2": "mirror.example"}[folder]
				_, stderr, _ := runLine(t, testUI(), strings.Fields("import "+folder+" --to "+to+" --map "+host+"="+to+"/reg.example --policy policy.yaml --trust T --memory m")...)
				t.Log(stderr)
			}
			given := func(d layout.Descriptor) bool {
				_, err := st.View().Resolve(t.Context(), layout.Reference{Repository: reverifyRepo, Digest: d.Digest})
				return err == nil
			}
			if given(index) && given(attached) || !given(img) || given(index) != strings.HasPrefix(from, "index") || given(attached) == given(index) {
				t.Errorf("given out: image %v, index %v, attached %v", given(img), given(index), given(attached))
			}
		})
	}
}
