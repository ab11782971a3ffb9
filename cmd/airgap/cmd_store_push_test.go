package main

import (
	"bytes"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
)

const pushRepo = "reg.example/team/app"

// What is in quarantine does not get out by its digest, nor does what only that leads
// to; what something else leads to, too, does.
func TestStorePushHoldsBack(t *testing.T) {
	t.Chdir(t.TempDir())
	b := layouttest.New(pushRepo)
	shared, own := b.Image("shared"), b.Image("own")
	bad := b.Index(layouttest.ForPlatform(shared, "linux", "amd64"), layouttest.ForPlatform(own, "linux", "arm64"))
	good := b.Index(layouttest.ForPlatform(shared, "linux", "amd64"))
	sbom := b.Referrer(own, "application/spdx+json", "SBOM")
	b.Tag("bad", bad)
	b.Tag("good", good)
	fillStore(t, b.Content())
	hideInStore(t, pushRepo, "no signature", bad)
	reg := startRegistry(t, true)
	for what, c := range map[string]struct {
		d    layout.Descriptor
		want int
	}{"hidden": {bad, exitRefused}, "its own child": {own, exitRefused}, "its SBOM": {sbom, exitRefused}, "shared": {shared, 0}, "good": {good, 0}} {
		line := "store push " + pushRepo + "@" + string(c.d.Digest) + " --store s --to " + reg.host
		_, stderr, code := runLine(t, testUI(), strings.Fields(line)...)
		if code != c.want {
			t.Errorf("%s: exit code %d, want %d\n%s", what, code, c.want, stderr)
		}
		client, err := reg.client()
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Resolve(t.Context(), layout.Reference{Repository: reg.host + "/team/app", Digest: c.d.Digest})
		if (err == nil) != (c.want == 0) {
			t.Errorf("%s: asked for it, the registry says %v", what, err)
		}
	}
}

// fillStore imports content into the store s, judged by nobody.
func fillStore(t *testing.T, content layouttest.Content) {
	t.Helper()
	onSession(t, func(s *store.Session) error { return content.Load(t.Context(), s) })
}

// changeStore commits a change to the store s.
func changeStore(t *testing.T, change func(*store.Session) error) {
	t.Helper()
	onSession(t, func(s *store.Session) error {
		if err := change(s); err != nil {
			return err
		}
		return s.Commit(t.Context(), nil)
	})
}

func onSession(t *testing.T, do func(*store.Session) error) {
	t.Helper()
	s, err := store.Open("s", store.Options{})
	if err != nil {
		t.Error(err)
		return
	}
	defer s.Close()
	session, err := s.Begin(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	defer session.Close()
	if err := do(session); err != nil {
		t.Error(err)
	}
}

// An image that comes into quarantine while it is pushed, by itself or by its name
// alone, gets no name, and no line.
func TestStorePushNoticesQuarantine(t *testing.T) {
	for what, hide := range map[string]func(t *testing.T, image layout.Descriptor){
		"image": func(t *testing.T, image layout.Descriptor) { hideInStore(t, pushRepo, "revoked just now", image) },
		"name": func(t *testing.T, _ layout.Descriptor) {
			changeStore(t, func(s *store.Session) error {
				return s.Hold(layout.Reference{Repository: pushRepo, Tag: "v1"}, "revoked just now")
			})
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Chdir(t.TempDir())
			b := layouttest.New(pushRepo)
			image := b.Image("one")
			b.Tag("v1", image)
			fillStore(t, b.Content())
			reg := startRegistry(t, true)
			next, once := reg.next, sync.Once{}
			reg.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256:") {
					once.Do(func() { hide(t, image) })
				}
				next.ServeHTTP(w, r)
			})
			pushIsRefused(t, reg)
		})
	}
}

func pushIsRefused(t *testing.T, reg *testRegistry) {
	t.Helper()
	line := "store push --all --store s --to " + reg.host
	_, stderr, code := runLine(t, testUI(), strings.Fields(line)...)
	if code != exitRefused || !strings.Contains(stderr, "revoked just now") {
		t.Errorf("exit code %d, want %d\n%s", code, exitRefused, stderr)
	}
	client, err := reg.client()
	if err != nil {
		t.Fatal(err)
	}
	if d, err := client.Resolve(t.Context(), layout.Reference{Repository: reg.host + "/team/app", Tag: "v1"}); err == nil {
		t.Errorf("the registry has v1 as %s", d.Digest)
	}
	if out := mustRun(t, 0, "log list --store s --act export"); !strings.Contains(out, "no such lines") {
		t.Error(out)
	}
}

// What others enter meanwhile is no reason to give up, and no line is lost.
func TestStorePushBesideOthers(t *testing.T) {
	t.Chdir(t.TempDir())
	b := layouttest.New(pushRepo)
	b.Tag("v1", b.Image("one"))
	fillStore(t, b.Content())
	type push struct {
		cmd    *exec.Cmd
		stderr *bytes.Buffer
	}
	var pushes []push
	for range 4 {
		cmd, stderr := start(t, nil, "store", "push", "--all", "--store", "s", "--to", startRegistry(t, true).host)
		pushes = append(pushes, push{cmd, stderr})
	}
	for _, p := range pushes {
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, p.stderr)
		}
	}
	out := mustRun(t, 0, "log list --store s --act export")
	if got := strings.Count(out, " export "); got != 4 {
		t.Errorf("%d lines, want 4\n%s", got, out)
	}
	mustRun(t, 0, "log verify --store s")
}
