package main

import (
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/push"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
)

// rebuilt makes the database of the store in d anew from its ledger.
func rebuilt(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll("ledger"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, exitDone, "log export --store d -o ledger")
	mustRun(t, exitDone, "store rebuild --store d --ledger ledger")
	if err := os.Remove("d/airgap.db.replaced"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, exitDone, "store check --store d")
}

// A child that was absent when its index was admitted is absent after a rebuild, wherever
// its bytes are: an engine that pulls the index would pull it. One that came is served.
func TestRebuildAbsentChild(t *testing.T) {
	const elsewhere = " --map mirror.example/team=reg.example/other"
	for what, test := range map[string]struct {
		steps  string // folders to import, in order; names to remove, with a -
		upload bool   // a client uploads the child as a blob of another repository
		served bool
	}{
		"in another repository":          {"index mirror", false, false},
		"it was in another repository":   {"mirror index", false, false},
		"as a blob":                      {"index", true, false},
		"the index came again":           {"index mirror index", false, false},
		"all of it":                      {"whole mirror", false, true},
		"the other half":                 {"index mirror half", false, true},
		"all of it, then less":           {"whole index", false, true},
		"by its own name":                {"index signed", false, true},
		"by its own name, before":        {"signed index", false, true},
		"by its own name, now removed":   {"index mirror signed -v2", false, true},
		"the index has no name any more": {"index mirror -v1", false, false},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSparse(t)
			const judged = " --store d --policy policy.yaml --trust T"
			for _, step := range strings.Fields(test.steps) {
				switch name, remove := strings.CutPrefix(step, "-"); {
				case remove:
					mustRun(t, exitDone, "store rm reg.example/team/app:"+name+" --store d")
				case step == "mirror":
					mustRun(t, exitDone, "import mirror --insecure-skip-verify --store d"+elsewhere)
				default:
					mustRun(t, exitDone, "import "+step+judged)
				}
			}
			if test.upload {
				uploadBlob(t, s.amd)
			}
			rebuilt(t)
			index, child := layout.Reference{Repository: reverifyRepo, Digest: s.index.Digest}, layout.Reference{Repository: reverifyRepo, Digest: s.amd.Digest}
			arm := layout.Reference{Repository: reverifyRepo, Digest: s.arm.Digest}
			named := !strings.Contains(test.steps, "-v1") // else nothing leads to it any more
			if serves(t, "d", index) != named || serves(t, "d", arm) != named || serves(t, "d", child) != test.served {
				t.Errorf("served: the index %v, its child for arm64 %v, its child for amd64 %v, want %v", serves(t, "d", index), serves(t, "d", arm), serves(t, "d", child), test.served)
			}
			// Nor does the index suffer from what it never had.
			if named {
				if err := os.WriteFile("team.yaml", []byte(strings.Replace(childrenPolicy, "mirror.example/**", "reg.example/other/*", 1)), 0o600); err != nil {
					t.Fatal(err)
				}
				mustRun(t, exitDone, "reverify --store d --policy team.yaml --trust T")
				if !serves(t, "d", index) || serves(t, "d", child) != test.served {
					t.Error("reverify has changed what is served")
				}
			}
			// It is judged with the index when it comes.
			if named && !test.served {
				mustRun(t, exitRefused, "import dev"+judged)
			}
			rebuilt(t)
			if serves(t, "d", child) != test.served {
				t.Error("another rebuild has changed what is served")
			}
		})
	}
}

// uploadBlob uploads an image's manifest as a blob, as a client would to a repository of its
// own.
func uploadBlob(t *testing.T, d layout.Descriptor) {
	t.Helper()
	b := layouttest.New("scratch.example/app")
	if got := b.Image("amd"); got.Digest != d.Digest {
		t.Fatal("not the child")
	}
	s := openStore(t, "d")
	defer s.Close()
	p := s.Pusher(store.PushOptions{})
	for _, item := range b.Content().Repositories["scratch.example/app"] {
		u, err := p.Upload(t.Context(), "scratch.example/app", digest.SHA256)
		if err == nil {
			_, err = u.Write(item.Bytes)
		}
		if err := errors.Join(err, u.Commit(t.Context(), item.Descriptor.Digest)); err != nil {
			t.Fatal(err)
		}
	}
}

// pushing pushes to the store in d, which a judge serves meanwhile.
func pushing(t *testing.T, fn func(a *admitting)) {
	t.Helper()
	t.Run("push", func(t *testing.T) {
		a := &admitting{T: t, b: layouttest.New(reverifyRepo), sent: map[string]bool{}}
		a.serve("d", testUI())
		fn(a)
	})
}

// A child that was in quarantine when its index was admitted is in quarantine after a
// rebuild; one that was released with the index is served.
func TestRebuildQuarantinedChild(t *testing.T) {
	for what, test := range map[string]struct {
		imports string
		signed  bool // the child, before the rebuild
		served  bool
	}{
		"it did not pass":           {"index", false, false},
		"it came with the index":    {"index whole", false, true},
		"it passed, and is part":    {"index", true, true},
		"an import has admitted it": {"index signed", false, true},
	} {
		t.Run(what, func(t *testing.T) {
			s := newSparse(t)
			const judged = " --store d --policy policy.yaml --trust T"
			mustRun(t, exitDone, "import some --partial"+judged) // so that the repository is admitted
			mustRun(t, exitDone, "store rm reg.example/team/app:dev --store d")
			mustRun(t, exitDone, "store gc --store d")
			pushing(t, func(a *admitting) { a.push(201, a.b.Image("amd"), "") })
			for _, folder := range strings.Fields(test.imports) {
				mustRun(t, exitDone, "import "+folder+judged)
			}
			if test.signed {
				pushing(t, func(a *admitting) {
					amd := a.b.Image("amd")
					a.push(201, amd, "")
					a.push(201, a.sign(amd, "release"), "")
				})
			}
			child := layout.Reference{Repository: reverifyRepo, Digest: s.amd.Digest}
			if got := serves(t, "d", child); got != test.served {
				t.Fatalf("before: served: %v, want %v", got, test.served)
			}
			rebuilt(t)
			if got := serves(t, "d", child); got != test.served || !serves(t, "d", layout.Reference{Repository: reverifyRepo, Tag: "v1"}) {
				t.Errorf("served: %v, want %v", got, test.served)
			}
		})
	}
}

// What reverify releases with an image is served after another rebuild.
func TestRebuildReleasedChild(t *testing.T) {
	s := newSparse(t)
	b := layouttest.New(reverifyRepo)
	signIn(t, b, b.Image("amd"), "release")
	b.Pin(s.amd)
	if err := writeFolder(b.Content(), "pinned"); err != nil {
		t.Fatal(err)
	}
	const judged = " --store d --policy policy.yaml --trust T"
	mustRun(t, exitDone, "import whole"+judged)
	mustRun(t, exitDone, "import pinned"+judged)
	mustRun(t, exitDone, "store rm "+reverifyRepo+"@"+string(s.amd.Digest)+" --store d")
	child := layout.Reference{Repository: reverifyRepo, Digest: s.amd.Digest}
	if !serves(t, "d", child) {
		t.Fatal("the child is not served before")
	}
	rebuilt(t) // a client that deletes it leaves the same line
	if serves(t, "d", child) {
		t.Error("the child is served, and nobody has judged it")
	}
	mustRun(t, exitDone, "reverify"+judged)
	for range 2 {
		if !serves(t, "d", child) {
			t.Error("the child is not served")
		}
		rebuilt(t)
	}
}

// A client that deletes a child of an index has deleted it.
func TestRebuildDeletedChild(t *testing.T) {
	s := newSparse(t)
	mustRun(t, exitDone, "import whole --store d --policy policy.yaml --trust T")
	mustRun(t, exitDone, "import mirror --insecure-skip-verify --store d --map mirror.example/team=reg.example/other")
	st := openStore(t, "d")
	child := layout.Reference{Repository: reverifyRepo, Digest: s.amd.Digest}
	po := takeOptions{writable: true, maxUploads: 10}
	o, err := po.options(testUI(), st, &policyOptions{})
	if err == nil {
		err = o.Pusher.Delete(t.Context(), push.Removal{By: "ann", Reference: child})
	}
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	rebuilt(t)
	if serves(t, "d", child) || !serves(t, "d", layout.Reference{Repository: reverifyRepo, Tag: "v1"}) {
		t.Error("the child is served, or its index is not")
	}
}

// What was imported into a registry, and a store only remembers, is in no repository of the
// store after a rebuild.
func TestRebuildOfRemembered(t *testing.T) {
	newSparse(t)
	st := openStore(t, "registry")
	h := serve.New(st.View(), serve.Options{Pusher: st.Pusher(store.PushOptions{})})
	srv := httptest.NewServer(h)
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	mustRun(t, exitDone, "import whole --insecure-skip-verify --store d")
	mustRun(t, exitDone, "import whole --insecure-skip-verify --to "+host+" --memory d")
	if out := mustRun(t, exitDone, "log list --store d --act import --format json"); strings.Count(out, `"kind": "registry"`) != 1 {
		t.Errorf("the ledger says %s", out)
	}
	rebuilt(t)
	if serves(t, "d", layout.Reference{Repository: host + "/team/app", Tag: "v1"}) {
		t.Error("the store serves what was imported into a registry")
	}
	if !serves(t, "d", layout.Reference{Repository: reverifyRepo, Tag: "v1"}) {
		t.Error("the store does not serve what was imported into it")
	}
}

// A client that pushes an index does not get what it lists of other repositories by a
// rebuild.
func TestRebuildPushedIndex(t *testing.T) {
	s := newSparse(t)
	mustRun(t, exitDone, "import dev --insecure-skip-verify --store d --map reg.example/team=secret.example")
	st := openStore(t, "d")
	po := takeOptions{writable: true, maxUploads: 10}
	o, err := po.options(testUI(), st, &policyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b := layouttest.New("mine.example/app")
	index := b.Index(layouttest.ForPlatform(s.amd, "linux", "amd64"))
	item, _ := b.Content().Find("mine.example/app", index.Digest)
	_, err = o.Pusher.Put(t.Context(), push.Manifest{By: "eve", Repository: "mine.example/app", Tags: []string{"v1"}, Descriptor: index, Bytes: item.Bytes})
	if err := errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	rebuilt(t)
	if serves(t, "d", layout.Reference{Repository: "mine.example/app", Digest: s.amd.Digest}) {
		t.Error("the index was completed from another repository")
	}
	if !serves(t, "d", layout.Reference{Repository: "mine.example/app", Tag: "v1"}) || !serves(t, "d", layout.Reference{Repository: "secret.example/app", Tag: "dev"}) {
		t.Error("what was served is not")
	}
}

// A child that came late to an index, and that the index passed without, stays in quarantine
// when the index is released, and after a rebuild.
func TestRebuildLateChild(t *testing.T) {
	const judged = " --store d --policy policy.yaml --trust T"
	for _, how := range []string{"pushed", "attached"} {
		t.Run(how, func(t *testing.T) {
			s := newSparse(t)
			child := layout.Reference{Repository: reverifyRepo, Digest: s.amd.Digest}
			if how == "pushed" {
				mustRun(t, exitDone, "import index"+judged)
				pushing(t, func(a *admitting) { a.push(201, a.b.Image("amd"), "") })
			} else {
				child.Digest = attachedChild(t)
				mustRun(t, exitDone, "import index2"+judged)
				mustRun(t, exitDone, "import attached"+judged)
			}
			if err := os.WriteFile("none.yaml", []byte("version: airgap.policy/v1\nrules:\n- {name: none, match: [\"**\"], require: {reject: true}}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			v1 := layout.Reference{Repository: reverifyRepo, Tag: "v1"}
			mustRun(t, exitRefused, "reverify --store d --policy none.yaml --trust T")
			runLine(t, testUI(), strings.Fields("reverify"+judged)...) // the child does not pass
			for range 2 {
				if !serves(t, "d", v1) || serves(t, "d", child) {
					t.Fatalf("served: the index %v, its late child %v", serves(t, "d", v1), serves(t, "d", child))
				}
				rebuilt(t)
			}
		})
	}
}

// attachedChild writes a folder index2 with app:v1, an index without its child for amd64, and
// a folder attached with app:v2, the child for arm64, and that for amd64, which is attached
// to it.
func attachedChild(t *testing.T) digest.Digest {
	t.Helper()
	var child layout.Descriptor
	for _, folder := range []string{"attached", "index2"} {
		b := layouttest.New(reverifyRepo)
		arm := b.Image("arm")
		signIn(t, b, arm, "release")
		if folder == "attached" {
			child = b.ReferrerIndex(arm, b.Image("amd"))
			b.Tag("v2", arm)
		} else {
			b.Tag("v1", b.Index(layouttest.ForPlatform(arm, "linux", "arm64"), layouttest.ForPlatform(child, "linux", "amd64")))
		}
		if err := writeFolder(b.Content(), folder); err != nil {
			t.Fatal(err)
		}
	}
	return child.Digest
}

// An index that is attached to an image, and came without a child, does not get it by a
// rebuild either.
func TestRebuildAttachedIndex(t *testing.T) {
	const line = " --store d --policy policy.yaml --trust T"
	s := newSparse(t)
	b := layouttest.New(reverifyRepo)
	arm, other := b.Image("arm"), b.Image("other")
	signIn(t, b, arm, "release")
	signIn(t, b, other, "release")
	index := b.ReferrerIndex(arm, other, s.amd)
	b.Tag("v7", arm)
	if err := writeFolder(b.Content(), "attached"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, exitDone, "import attached"+line)
	mustRun(t, exitDone, "import mirror"+line)
	for range 2 {
		if serves(t, "d", layout.Reference{Repository: reverifyRepo, Digest: index.Digest}) {
			t.Error("the index is served")
		}
		st := openStore(t, "d")
		if _, err := st.Judged().Resolve(t.Context(), layout.Reference{Repository: reverifyRepo, Digest: s.amd.Digest}); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("the repository has the child: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		rebuilt(t)
	}
}
