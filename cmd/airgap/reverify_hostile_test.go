package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/verify/signing"
	"airgap/verify/verifytest"
)

// signBy attaches a signature of release.
func signBy(t *testing.T, b *layouttest.Builder, d layout.Descriptor) layout.Descriptor {
	t.Helper()
	a, err := signing.BundleSignature(d, signing.InsecureKey("release"))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range a.Blobs {
		b.Blob(blob.Desc.MediaType, blob.Data)
	}
	return b.Blob(a.Manifest.MediaType, a.Raw)
}

// put brings content into the store s, as an import that asked nobody would.
func put(t *testing.T, b *layouttest.Builder) {
	t.Helper()
	s, err := store.Open("s", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	session, err := s.Begin(t.Context())
	if err == nil {
		err = b.Content().Load(t.Context(), session)
	}
	if err := errors.Join(err, session.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// An image or an index that is attached to one that passed gets nothing out of
// quarantine, and is given out only if it passes itself; the image that it is attached
// to is given out without it.
func TestReverifyRider(t *testing.T) {
	t.Chdir(t.TempDir())
	_, named := reverifyStore(t)
	const judged = " --store s --policy policy.yaml --trust T"
	mustRun(t, exitRefused, "reverify"+judged)
	want := held(t, named)
	if want["bare"] == "" || want["own"] == "" || want["lone"] == "" {
		t.Fatalf("held are %v", want)
	}

	b := layouttest.New(reverifyRepo)
	good := b.Image("one")
	signBy(t, b, good)
	named["rider"] = b.ReferrerIndex(good, b.Image("own"), b.Image("lone"))
	named["attached"] = b.ReferrerIndex(named["rider"], b.Image("attached"))
	named["signed"] = b.ReferrerIndex(good, b.Image("signed and attached"))
	signBy(t, b, named["signed"])
	b.Tag("v1", good)
	if err := writeFolder(b.Content(), "hostile"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, 0, "import hostile"+judged)
	// Until they are judged by themselves.
	want["rider"], want["attached"], want["signed"] = "digest", "digest", "digest"
	compareHeld(t, held(t, named), want)
	mustRun(t, 0, "export store:s#"+reverifyRepo+":v1 -o v1.tar")
	if out := mustRun(t, 0, "tree v1.tar --format json"); strings.Contains(out, string(named["own"].Digest)+`"`) && !strings.Contains(out, "not in the source") {
		t.Errorf("what is in quarantine was exported: %s", out)
	}

	mustRun(t, exitRefused, "reverify"+judged)
	delete(want, "signed")
	compareHeld(t, held(t, named), want)
	for _, what := range []string{"own", "lone", "rider"} {
		if _, _, code := runLine(t, testUI(), "export", "store:s#"+reverifyRepo+"@"+string(named[what].Digest), "-o", "x.tar"); code == 0 {
			t.Errorf("%s was exported", what)
		}
	}
	mustRun(t, 0, "export store:s#"+reverifyRepo+":v1 -o again.tar")
	if out := mustRun(t, 0, "tree again.tar --format json"); strings.Contains(out, string(named["rider"].Digest)) || !strings.Contains(out, string(named["signed"].Digest)) {
		t.Errorf("of what is attached, exported was: %s", out)
	}

	// An image without a name is judged by itself, whatever lists it.
	mustRun(t, 0, "store rm "+reverifyRepo+":v1 "+reverifyRepo+":copy --store s")
	c := layouttest.New(reverifyRepo)
	named["above"] = c.Index(layouttest.ForPlatform(good, "linux", "amd64"))
	delete(named, "copy")
	delete(want, "copy")
	put(t, c)
	mustRun(t, exitRefused, "reverify"+judged)
	want["above"] = "digest"
	compareHeld(t, held(t, named), want)
}

// closedTo lists what of the store s is not given out, by its digest.
func closedTo(t *testing.T, named map[string]layout.Descriptor) string {
	t.Helper()
	s, err := store.Open("s", store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out []string
	for _, what := range []string{"v1", "v1 signature", "crowded", "crowded child", "copy", "index", "child", "bare", "own", "lone"} {
		d, ok := named[what]
		if !ok {
			continue
		}
		if _, err := s.Resolve(t.Context(), layout.Reference{Repository: reverifyRepo, Digest: d.Digest}); errors.Is(err, store.ErrQuarantined) {
			out = append(out, what)
		} else if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	return strings.Join(out, ", ")
}

// More attachments than are looked at keep an image from being judged, and no other: it
// is held, and so is what else does not pass. Its name can be taken away.
func TestReverifyCrowded(t *testing.T) {
	t.Chdir(t.TempDir())
	_, named := reverifyStore(t)
	b := layouttest.New(reverifyRepo)
	named["crowded child"] = b.Image("crowded child")
	named["crowded"] = b.Index(layouttest.ForPlatform(named["crowded child"], "linux", "amd64"))
	signBy(t, b, named["crowded"])
	b.Tag("crowded", named["crowded"])
	empty := b.Blob(layout.MediaTypeEmpty, []byte("{}"))
	subject := named["crowded"]
	for i := range layout.MaxAttached + 1 {
		b.Manifest(layouttest.Document{
			SchemaVersion: 2, MediaType: layout.MediaTypeManifest, ArtifactType: "application/x-junk", Config: &empty,
			Layers: []layout.Descriptor{}, Subject: &subject, Annotations: map[string]string{"n": fmt.Sprint(i)},
		})
	}
	put(t, b)
	const line = "reverify --store s --policy policy.yaml --trust T"
	out := mustRun(t, exitRefused, line+" --dry-run")
	if !strings.Contains(out, "over the limit") || !strings.Contains(out, "app:crowded") {
		t.Errorf("it does not say why: %s", out)
	}
	key, err := signing.PrivateKeyPEM(signing.InsecureKey("desk"))
	if err == nil {
		err = os.WriteFile("desk.key", key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, exitRefused, line+" --record-key desk.key")
	const want = "crowded, crowded child, bare, own, lone"
	if got := closedTo(t, named); got != want {
		t.Errorf("closed are %s, want %s", got, want)
	}
	if out := mustRun(t, 0, "log list --store s --act quarantine"); !strings.Contains(out, "app:crowded") || !strings.Contains(out, "over the limit") {
		t.Errorf("the ledger does not say why: %s", out)
	}
	mustRun(t, exitRefused, line+" --record-key desk.key")
	if out := mustRun(t, 0, "log --store s"); strings.Count(out, "app:crowded") != 1 {
		t.Errorf("judged twice, the ledger is %s", out)
	}
	const any = "version: airgap.policy/v1\nrules:\n- {name: all, match: ['**'], require: {insecureAcceptAnything: true}}\n"
	if err := os.WriteFile("any.yaml", []byte(any), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, exitUndecided, "reverify --store s --policy any.yaml --trust T --dry-run")
	mustRun(t, 0, "store rm reg.example/team/app:crowded --store s --record-key desk.key")
	mustRun(t, exitRefused, line)
	if got := closedTo(t, named); got != want {
		t.Errorf("without its name, closed are %s, want %s", got, want)
	}
}

// Damage keeps those images from being judged that it is part of, and no other; a disk
// that fails ends it, and nothing has changed.
func TestReverifyDamaged(t *testing.T) {
	for _, test := range []struct {
		what, damaged, want string
		damage              func(path string) error
		code                int
	}{
		{"another content", "v1 signature", "v1, v1 signature, copy, bare, own, lone", func(path string) error {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.Repeat("x", len(data))), 0o600)
		}, exitRefused},
		{"a file that is gone", "child", "index, child, bare, own, lone", os.Remove, exitRefused},
		{"a disk that fails", "own", "", func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		}, exitFailed},
	} {
		t.Run(test.what, func(t *testing.T) {
			t.Chdir(t.TempDir())
			_, named := reverifyStore(t)
			path := filepath.Join("s", filepath.FromSlash(layout.BlobPath(named[test.damaged].Digest)))
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(path); err != nil {
				t.Fatal(err)
			}
			mustRun(t, test.code, "reverify --store s --policy policy.yaml --trust T")
			if got := closedTo(t, named); got != test.want {
				t.Errorf("closed are %s, want %s", got, test.want)
			}
		})
	}
}

// One large document that is attached to many images costs more work than is done for
// all of them at once: they are judged apart, and the others are, too.
func TestReverifyWork(t *testing.T) {
	t.Chdir(t.TempDir())
	reverifyStore(t)
	b := layouttest.New(reverifyRepo)
	junk := signing.Document{MediaType: "application/jose+json", Data: bytes.Repeat([]byte{'a'}, 60<<20)}
	for i := range 27 {
		image := b.Image(fmt.Sprint("heavy ", i))
		b.Tag(fmt.Sprint("heavy", i), image)
		a, err := signing.Referrer(image, junk)
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range a.Blobs {
			b.Blob(blob.Desc.MediaType, blob.Data)
		}
		b.Blob(a.Manifest.MediaType, a.Raw)
	}
	put(t, b)
	policy := reverifyPolicy[:strings.Index(reverifyPolicy, "- ")] + "- {name: heavy, match: ['reg.example/team/app:heavy*'], require: {notary: {stores: ['ca:acme'], identities: ['*']}}}\n" +
		reverifyPolicy[strings.Index(reverifyPolicy, "- "):]
	root := signing.CertificatesPEM(verifytest.Root(t, "root").Certs[0])
	if err := errors.Join(os.WriteFile("heavy.yaml", []byte(policy), 0o600), os.WriteFile("root.pem", root, 0o600)); err != nil {
		t.Fatal(err)
	}
	mustRun(t, 0, "trust add --trust T --ca acme root.pem")
	out := mustRun(t, exitRefused, "reverify --store s --policy heavy.yaml --trust T --dry-run")
	for _, want := range []string{"app:heavy26 ", "app:bare ", "would go into quarantine", "in quarantine: 31; "} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q: %.3000s", want, out)
		}
	}
	if strings.Contains(out, "more work than") {
		t.Errorf("some were not judged: %s", out)
	}
}
