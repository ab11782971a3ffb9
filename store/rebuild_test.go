package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store/ledger"
)

// remembered is what a rebuild needs of a store beside its blobs.
func remembered(t *testing.T, s *Store) (o RebuildOptions) {
	t.Helper()
	names, err := s.Judged().Names(t.Context())
	no(t, err)
	for _, n := range names {
		o.Names = append(o.Names, RebuiltName{Reference: n.Reference, Digest: n.Descriptor.Digest})
	}
	no(t, s.Ledger(func(origin string, l ledger.Log) error {
		for i := range l.Size() {
			e, err := l.Entry(i)
			no(t, err)
			o.Entries = append(o.Entries, e)
		}
		o.Checkpoint = ledger.Checkpoint{Origin: origin, Size: l.Size()}
		o.Checkpoint.Root, err = l.Root(l.Size())
		return err
	}))
	return o
}

// filled is a store with all forms of content, of which nothing but blobs is left.
func filled(t *testing.T) (dir string, all []layouttest.Content, o RebuildOptions) {
	t.Helper()
	dir = t.TempDir()
	s := open(t, dir, Options{})
	all = []layouttest.Content{layouttest.Everything("ghcr.io/acme/app"), layouttest.SHA512("quay.io/acme/sha512"), cosigned("v1")}
	for _, content := range all {
		add(t, s, content)
	}
	session := begin(t, s)
	no(t, session.Log([]byte("one")))
	no(t, session.Log([]byte("two")))
	commit(t, session)
	o = remembered(t, s)
	no(t, s.Close())
	return dir, all, o
}

// A database is made anew from the blobs, the names and the ledger, though the old one
// is gone, or cannot be read.
func TestRebuild(t *testing.T) {
	for _, lose := range []func(path string) error{
		os.Remove,
		func(path string) error { return os.WriteFile(path, []byte("not a database"), 0o600) },
		func(string) error { return nil },
	} {
		dir, all, o := filled(t)
		path := filepath.Join(dir, databaseName)
		no(t, lose(path))
		old, lost := os.ReadFile(path)
		r, err := Rebuild(t.Context(), dir, o)
		no(t, err)
		if len(r.Missing)+len(r.Damaged) > 0 || r.Entries != 2 || (r.Replaced == "") != (lost != nil) {
			t.Errorf("%+v", r)
		}
		if r.Replaced != "" {
			if now, err := os.ReadFile(filepath.Join(dir, r.Replaced)); err != nil || string(now) != string(old) {
				t.Errorf("what was replaced: %v", err)
			}
		}
		s := open(t, dir, Options{})
		sound(t, s)
		for _, content := range all {
			layouttest.CheckSource(t, s, content, layouttest.Traits{})
		}
		if got := entries(t, s); len(got) != 2 || got[0] != "one" {
			t.Errorf("the ledger has %q", got)
		}
		no(t, s.Ledger(func(origin string, l ledger.Log) error { return l.Extends(origin, o.Checkpoint) }))
		if _, err := Rebuild(t.Context(), dir, o); !errors.Is(err, ErrLocked) {
			t.Errorf("beside one who uses it: %v, want ErrLocked", err)
		}
	}
}

// What was in quarantine is, afterwards.
func TestRebuildKeepsQuarantine(t *testing.T) {
	dir, _, o := filled(t)
	for i := range o.Names {
		if o.Names[i].Reference == (layout.Reference{Repository: testRepo, Tag: "v1"}) {
			o.Names[i].Hold = "its key was revoked"
		}
	}
	_, err := Rebuild(t.Context(), dir, o)
	no(t, err)
	s := open(t, dir, Options{ReadOnly: true})
	for _, n := range o.Names {
		if layout.IsDerivedTag(n.Reference.Tag) {
			continue // it goes with its image
		}
		_, err := s.View().Resolve(t.Context(), n.Reference)
		if held := n.Hold != ""; held != errors.Is(err, layout.ErrNotFound) || !held && err != nil {
			t.Errorf("%s: held: %v: %v", n.Reference, held, err)
		}
	}
}

// cosign's tags come back by what the signatures say they are about, if nobody knows
// their names; whether it is true is for a verifier to say.
func TestRebuildFindsWhatIsSigned(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	b := layouttest.New(testRepo)
	img := b.Image("v1")
	b.Tag("v1", img)
	config := b.Blob(layout.MediaTypeImageConfig, []byte(`{"architecture":"","os":""}`))
	statement := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"subject":[{"digest":{"sha256":%q}}]}`, img.Digest.Encoded()))
	for kind, layer := range map[layout.Form]layout.Descriptor{
		layout.FormCosignSig: b.Blob(simpleSigning, fmt.Appendf(nil, `{"critical":{"image":{"docker-manifest-digest":%q}}}`, img.Digest)),
		layout.FormCosignAtt: b.Blob(dsseEnvelope, fmt.Appendf(nil, `{"payload":%q}`, statement)),
	} {
		tag, _ := kind.Tag(img.Digest)
		b.Tag(tag, b.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config, Layers: []layout.Descriptor{layer}}))
	}
	add(t, s, b.Content())
	o := remembered(t, s)
	o.Names = slices.DeleteFunc(o.Names, func(n RebuiltName) bool { return n.Reference.Tag != "v1" })
	no(t, s.Close())
	_, err := Rebuild(t.Context(), dir, o)
	no(t, err)
	layouttest.CheckSource(t, open(t, dir, Options{}), b.Content(), layouttest.Traits{})
}

// A layer that looks like a signature on an image, or like an image, is a layer.
func TestRebuildIsNotTakenInByLayers(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	b := layouttest.New(testRepo)
	img := b.Image("victim")
	b.Tag("victim", img)
	forged := layouttest.New(testRepo)
	config := forged.Blob(layout.MediaTypeEmpty, []byte("{}"))
	d := forged.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config, Layers: []layout.Descriptor{config}, Subject: &img})
	item, _ := forged.Content().Find(testRepo, d.Digest)
	b.Tag("attacker", b.Image("attacker", b.Blob("application/vnd.oci.image.layer.v1.tar", item.Bytes)))
	add(t, s, b.Content())
	o := remembered(t, s)
	no(t, s.Close())
	_, err := Rebuild(t.Context(), dir, o)
	no(t, err)
	s = open(t, dir, Options{ReadOnly: true})
	if found, err := s.View().Referrers(t.Context(), testRepo, img.Digest); err != nil || len(found) != 0 {
		t.Errorf("attached: %v, %v", found, err)
	}
	layouttest.CheckSource(t, s, b.Content(), layouttest.Traits{})
}

// Files that are not what they are called are told, and not used.
func TestRebuildOfDamage(t *testing.T) {
	dir, _, o := filled(t)
	var victim RebuiltName
	for _, n := range o.Names {
		if n.Reference.Repository == testRepo && !layout.IsDerivedTag(n.Reference.Tag) {
			victim = n
		}
	}
	path := blobFile(dir, layout.Descriptor{Digest: victim.Digest})
	data, err := os.ReadFile(path)
	no(t, err)
	data[len(data)-1] ^= 1
	write(t, path, data)
	write(t, filepath.Join(dir, "blobs", "sha256", "README"), []byte("x"))
	r, err := Rebuild(t.Context(), dir, o)
	no(t, err)
	if len(r.Damaged) != 2 || len(r.Missing) != 1 || r.Missing[0] != victim || r.Left == 0 {
		t.Errorf("%+v", r)
	}
	s := open(t, dir, Options{})
	if r := collect(t, s, CollectOptions{}); r.Orphans == 0 {
		t.Errorf("collected %+v", r)
	}
}

// A rebuild that fails leaves everything as it was.
func TestRebuildFails(t *testing.T) {
	dir, all, o := filled(t)
	edited := o
	edited.Entries = [][]byte{[]byte("one"), []byte("another")}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Rebuild(t.Context(), dir, edited)
	if !errors.Is(err, ledger.ErrFork) {
		t.Errorf("entries of another ledger: %v", err)
	}
	if _, err := Rebuild(cancelled, dir, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	write(t, filepath.Join(dir, replacedName), []byte("x"))
	if _, err := Rebuild(t.Context(), dir, o); !errors.Is(err, fs.ErrExist) || layout.Hint(err) == "" {
		t.Errorf("after an earlier one: %v", err)
	}
	s := open(t, dir, Options{})
	for _, content := range all {
		layouttest.CheckSource(t, s, content, layouttest.Traits{})
	}
	if got := leftovers(t, dir); len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
}
