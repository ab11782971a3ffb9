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
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/layout/layouttest"
	"airgap/store/ledger"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
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
			// Some of what is attached can be started: see TestRebuildAdmitsNoRider.
			layouttest.CheckSource(t, s.Judged(), content, layouttest.Traits{})
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

// What could be started, and that clients have pushed, is not given out because it says
// that it is attached to an image: not where it was in quarantine, and not in a repository
// that it was never pushed to. What comes with an image, or nothing can be started from, is.
func TestRebuildDoubts(t *testing.T) {
	for name, test := range map[string]struct {
		names []RebuiltName // of the rider, beside the image
		given bool
	}{
		"elsewhere":  {[]RebuiltName{{Reference: layout.Reference{Repository: "other/repo"}, Pushed: true}}, false},
		"held":       {[]RebuiltName{{Reference: layout.Reference{Repository: testRepo}, Pushed: true, Hold: "not judged"}}, false},
		"quarantine": {[]RebuiltName{{Reference: layout.Reference{Repository: testRepo}, Unnamed: true, Hold: "revoked"}}, false},
		"released":   {[]RebuiltName{{Reference: layout.Reference{Repository: testRepo}, Unnamed: true}}, true},
		"here":       {[]RebuiltName{{Reference: layout.Reference{Repository: testRepo}, Pushed: true}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			b := layouttest.New(testRepo)
			img := b.Image("v1")
			b.Tag("v1", img)
			rider, signature := b.ReferrerIndex(img, b.Image("child")), b.Notary(img, "signature")
			add(t, s, b.Content())
			o := remembered(t, s)
			no(t, s.Close())
			o.Doubted = map[digest.Digest]bool{rider.Digest: true, signature.Digest: true, img.Digest: true}
			for _, n := range test.names {
				n.Reference.Digest, n.Digest = rider.Digest, rider.Digest
				o.Names = append(o.Names, n)
			}
			_, err := Rebuild(t.Context(), dir, o)
			no(t, err)
			v := open(t, dir, Options{ReadOnly: true}).View()
			if !sees(t, v, testRepo, img.Digest) || !sees(t, v, testRepo, signature.Digest) {
				t.Error("the image, or its signature, is not given out")
			}
			if got := sees(t, v, testRepo, rider.Digest); got != test.given {
				t.Errorf("given out: %v, want %v", got, test.given)
			}
		})
	}
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

// What an index lists as no manifest does not become one, though it looks like one.
func TestRebuildKeepsOpaqueChildren(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	other := layouttest.New(testRepo)
	evil := other.Image("evil")
	item, _ := other.Content().Find(testRepo, evil.Digest)
	b := layouttest.New(testRepo)
	b.Tag("v1", b.Index(b.Image("good"), b.Blob("application/json", item.Bytes), b.Blob(layout.MediaTypeDockerSchema1Sig, []byte(layouttest.Schema1))))
	add(t, s, b.Content())
	o := remembered(t, s)
	no(t, s.Close())
	_, err := Rebuild(t.Context(), dir, o)
	no(t, err)
	s = open(t, dir, Options{ReadOnly: true})
	if _, err := s.Resolve(t.Context(), layout.Reference{Repository: testRepo, Digest: evil.Digest}); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("what the index lists as JSON is a manifest: %v", err)
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

// Who has the database open, and knows no lock but that of its file, is not deprived of it:
// an earlier version of airgap.
func TestRebuildBesideAnEarlierVersion(t *testing.T) {
	dir, _, o := filled(t)
	db, err := bbolt.Open(filepath.Join(dir, databaseName), 0o600, &bbolt.Options{ReadOnly: true})
	no(t, err)
	if _, err := Rebuild(t.Context(), dir, o); !errors.Is(err, ErrLocked) {
		t.Errorf("Rebuild = %v, want ErrLocked", err)
	}
	no(t, db.Close())
	_, err = Rebuild(t.Context(), dir, o)
	no(t, err)
	open(t, dir, Options{})
}

// TestRebuildFaults puts every fault at every operation of a rebuild. The store is as
// before, or as it is made anew, or nobody opens it; another rebuild makes it whole.
func TestRebuildFaults(t *testing.T) {
	base, _, o := filled(t)
	all := []layouttest.Content{layouttest.Everything("ghcr.io/acme/app"), cosigned("v1")}
	run := func(dir string, n int, mode disktest.Mode) (*disktest.FS, error) {
		folder, err := disk.Open(dir)
		no(t, err)
		defer folder.Close()
		fsys := disktest.Wrap(folder)
		fsys.Inject(n, mode)
		o := o
		o.fs = fsys
		_, err = Rebuild(t.Context(), dir, o)
		return fsys, err
	}
	clean, err := run(clone(t, base), 0, "")
	no(t, err)
	ops, crashed := clean.Ops(), 0
	for i, op := range ops {
		if op.Op != "rename" && op.Op != "remove" && op.Op != "flush" && op.Op != "mkdir" && i%40 != 0 {
			continue // it reads
		}
		for _, mode := range disktest.Modes {
			if !mode.Applies(op.Op) {
				continue
			}
			dir := clone(t, base)
			fsys, err := run(dir, i+1, mode)
			if !fsys.Fired() {
				t.Errorf("operation %d (%s): %s did not happen", i+1, op, mode)
			}
			if !Is(dir) {
				crashed++
				if s, err := Open(dir, Options{}); !errors.Is(err, layout.ErrCorrupt) {
					t.Errorf("a store without its database: %v", err)
					s.Close()
				}
			}
			if there, _ := os.Stat(filepath.Join(dir, replacedName)); err != nil && there != nil && Is(dir) {
				no(t, os.Remove(filepath.Join(dir, replacedName))) // as is advised
			} else if err != nil || !Is(dir) {
				_, err := Rebuild(t.Context(), dir, o)
				no(t, err)
			}
			s, err := Open(dir, Options{})
			no(t, err)
			sound(t, s)
			for _, content := range all {
				layouttest.CheckSource(t, s.Judged(), content, layouttest.Traits{})
			}
			no(t, s.Close())
			if t.Failed() {
				t.Fatalf("after %s at operation %d (%s)", mode, i+1, op)
			}
		}
	}
	if crashed == 0 {
		t.Error("no crash came between the two databases")
	}
}

// If there is no room for the new database, the old one is there, and is the one.
func TestRebuildPutsTheOldOneBack(t *testing.T) {
	dir, all, o := filled(t)
	folder, err := disk.Open(dir)
	no(t, err)
	defer folder.Close()
	o.fs = &refusingFS{folder, databaseName}
	if _, err := Rebuild(t.Context(), dir, o); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Rebuild = %v, want ErrPermission", err)
	}
	s := open(t, dir, Options{})
	for _, content := range all {
		layouttest.CheckSource(t, s, content, layouttest.Traits{})
	}
	no(t, s.Close())
	o.fs = nil
	if r, err := Rebuild(t.Context(), dir, o); err != nil || r.Replaced != replacedName {
		t.Errorf("%+v, %v", r, err)
	}
}

// refusingFS renames nothing from ingest/ to a name.
type refusingFS struct {
	disk.FS
	name string
}

func (f *refusingFS) Rename(from, to string) error {
	if to == f.name && strings.HasPrefix(from, ingestDir) {
		return fs.ErrPermission
	}
	return f.FS.Rename(from, to)
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

// A client can bring something that says it is attached to an admitted image as a blob,
// or to a repository of its own: a rebuild does not make admitted content of it, nor does
// an import of the image. What nothing can be started from stays attached.
func TestRebuildAdmitsNoRider(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	b := layouttest.New(testRepo)
	img := b.Image("image")
	b.Tag("v1", img)
	b.Referrer(img, "text/spdx+json", "SBOM")
	imported := b.Content()
	add(t, s, imported)
	o := remembered(t, s)
	config := b.Blob(layout.MediaTypeImageConfig, []byte(`{"os":"linux"}`))
	riders := posing(b, img, unpackable(t)["gzip"])
	riders["an index"] = b.ReferrerIndex(img, b.Image("child"))
	riders["an image"] = b.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config, Subject: &img})
	p := s.Pusher(PushOptions{})
	for _, item := range b.Content().Repositories[testRepo] {
		no(t, pushBlob(t, p, "eve.example/hers", item.Bytes, item.Descriptor.Digest))
	}
	no(t, s.Close())

	_, err := Rebuild(t.Context(), dir, o)
	no(t, err)
	s = open(t, dir, Options{})
	for _, what := range []string{"rebuilt", "imported"} {
		if what == "imported" {
			add(t, s, imported)
		}
		layouttest.CheckSource(t, s, imported, layouttest.Traits{})
		for how, d := range riders {
			if sees(t, s.View(), testRepo, d.Digest) {
				t.Errorf("%s: %s is given out", what, how)
			}
		}
	}
	sound(t, s)
}
