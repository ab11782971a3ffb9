package store

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/layouttest"

	"go.etcd.io/bbolt"
)

func TestNothingIsVisibleBeforeCommit(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := layouttest.Everything(testRepo)
	session := begin(t, s)
	if err := content.Put(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	for _, item := range content.Repositories[testRepo] {
		if _, err := s.Open(t.Context(), testRepo, item.Descriptor); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("Open(%s) = %v, want ErrNotFound", item.Descriptor.Digest, err)
		}
		ref := layout.Reference{Repository: testRepo, Digest: item.Descriptor.Digest}
		if _, err := s.Resolve(t.Context(), ref); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("Resolve(%s) = %v, want ErrNotFound", ref, err)
		}
		other := begin(t, s)
		if has, err := other.Has(t.Context(), testRepo, item.Descriptor); has || err != nil {
			t.Errorf("another session Has = %v, %v", has, err)
		}
	}
	if st, err := s.Stats(t.Context()); err != nil || st != (Stats{}) {
		t.Errorf("Stats = %+v, %v", st, err)
	}
}

func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	add(t, s, image("kept"))
	before := len(files(t, dir, "blobs"))
	session := begin(t, s)
	if err := image("discarded").Put(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	if err := image("kept").Put(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if got := leftovers(t, dir); len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
	if got := len(files(t, dir, "blobs")); got != before {
		t.Errorf("%d blobs, %d before", got, before)
	}
	layouttest.CheckSource(t, s, image("kept"), layouttest.Traits{})
	for name, err := range map[string]error{
		"Put":    putItem(t, session, largest(image("kept"))),
		"Commit": session.Commit(t.Context(), nil),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close = %v, want ErrClosed", name, err)
		}
	}
}

// A Put that fails leaves no file, even while its session goes on.
func TestFailedPutLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	item := largest(image("v1"))
	item.Bytes = item.Bytes[1:]
	session := begin(t, s)
	if err := putItem(t, session, item); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("Put = %v, want ErrCorrupt", err)
	}
	if got := content(t, dir); len(got) != 2 || !strings.HasSuffix(strings.Join(got, ""), claimSuffix) {
		t.Errorf("files are %v, want the database and what the session counts on", got)
	}
	if err := session.Close(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, dir); len(got) != 1 {
		t.Errorf("files are %v, want only the database", got)
	}
}

// Names, content and attachments appear at once, or a crash in between would show
// a part.
func TestCommitIsOneTransaction(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	last := func() (id int) {
		if err := s.view(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
			t.Fatal(err)
		}
		return id
	}
	before := last()
	add(t, s, layouttest.Everything(testRepo))
	if got := last() - before; got != 1 {
		t.Errorf("a commit takes %d transactions", got)
	}
}

// The database appears under its name when it is complete: bbolt could not open a
// half-made one.
func TestCreateIsAtomic(t *testing.T) {
	dir := t.TempDir()
	folder, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	fsys := &renameProbe{FS: folder, probe: func() {
		if got := content(t, dir); len(got) != 1 || strings.Contains(strings.Join(got, " "), filepath.Join(dir, databaseName)) {
			t.Errorf("before the rename: %v", got)
		}
	}}
	open(t, dir, Options{FS: fsys})
	if fsys.probed != 1 {
		t.Errorf("%d renames", fsys.probed)
	}
}

type renameProbe struct {
	disk.FS
	probe  func()
	probed int
}

func (f *renameProbe) Rename(from, to string) error {
	if to == databaseName {
		f.probed++
		f.probe()
	}
	return f.FS.Rename(from, to)
}

// Not every wrong size means a damaged store.
func TestOpenWrongSize(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	add(t, s, content)
	d := largest(content).Descriptor
	d.Size++
	_, err := s.Open(t.Context(), testRepo, d)
	if !errors.Is(err, layout.ErrCorrupt) || layout.Hint(err) != "" {
		t.Errorf("Open = %v (hint %q), want ErrCorrupt without advice", err, layout.Hint(err))
	}
}

func TestSessionsShareContent(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("shared")
	var sessions []*Session
	for range 3 {
		session := begin(t, s)
		if err := content.Put(t.Context(), session); err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, session)
	}
	for i, end := range []func() error{
		sessions[0].Close,
		func() error { return sessions[1].Commit(t.Context(), content.Names) },
		sessions[2].Close,
	} {
		if err := end(); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	layouttest.CheckSource(t, s, content, layouttest.Traits{})
}

func TestCommitAfterAnother(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	content := image("shared")
	first, second := begin(t, s), begin(t, s)
	for _, session := range []*Session{first, second} {
		if err := content.Put(t.Context(), session); err != nil {
			t.Fatal(err)
		}
	}
	for _, session := range []*Session{first, second} {
		if err := session.Commit(t.Context(), content.Names); err != nil {
			t.Fatal(err)
		}
	}
	layouttest.CheckSource(t, s, content, layouttest.Traits{})
	if got := leftovers(t, dir); len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
}

func TestCommitCanBeTriedAgain(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	session := begin(t, s)
	if err := session.Commit(t.Context(), content.Names); !errors.Is(err, layout.ErrNotFound) {
		t.Fatalf("Commit of nothing = %v, want ErrNotFound", err)
	}
	if err := content.Load(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	layouttest.CheckSource(t, s, content, layouttest.Traits{})
}

func TestNamesMove(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for _, label := range []string{"old", "new"} {
		b := layouttest.New(testRepo)
		img := b.Image(label)
		b.Tag("latest", img)
		add(t, s, b.Content())
		layouttest.CheckSource(t, s, b.Content(), layouttest.Traits{})
	}
}

func TestListing(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	a, b := layouttest.New("a.example/x"), layouttest.New("b.example/y")
	img := a.Image("one")
	a.Tag("v1", img)
	a.Tag("v2", img)
	a.Pin(img)
	b.Tag("v1", b.Image("one"))
	add(t, s, layouttest.Merge(b.Content(), a.Content()))

	names, err := s.Names(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range names {
		got = append(got, n.Reference.String())
		if n.Descriptor.Digest != img.Digest || n.Descriptor.MediaType != img.MediaType || n.Descriptor.Size != img.Size {
			t.Errorf("%s leads to %v", n.Reference, n.Descriptor)
		}
	}
	want := "a.example/x:v1 a.example/x:v2 a.example/x@" + string(img.Digest) + " b.example/y:v1"
	if strings.Join(got, " ") != want {
		t.Errorf("names are %v, want %s", got, want)
	}
	repos, err := s.Repositories(t.Context())
	if err != nil || strings.Join(repos, " ") != "a.example/x b.example/y" {
		t.Errorf("repositories are %v, %v", repos, err)
	}
	var size int64
	for _, item := range a.Content().Repositories["a.example/x"] {
		size += item.Descriptor.Size
	}
	st, err := s.Stats(t.Context())
	if want := (Stats{Repositories: 2, Names: 4, Manifests: 2, Blobs: 4, Bytes: size}); err != nil || st != want {
		t.Errorf("Stats = %+v, %v, want %+v", st, err, want)
	}
}

func TestMountFromAnywhere(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	content := image("v1")
	add(t, s, content)
	blob := largest(content).Descriptor
	session := begin(t, s)
	if done, err := session.Mount(t.Context(), "other.example/app", blob, ""); !done || err != nil {
		t.Fatalf("Mount = %v, %v", done, err)
	}
	if err := session.Commit(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	rc, err := s.Open(t.Context(), "other.example/app", blob)
	if err != nil {
		t.Fatal(err)
	}
	rc.Close()
}

func TestHostileNames(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	item := largest(image("v1"))
	session := begin(t, s)
	for _, repo := range []string{"", "a\x00b", "a b", "a\nb", "a\x1b[2J", strings.Repeat("a", maxRepositoryBytes+1)} {
		if err := session.Put(t.Context(), repo, item.Descriptor, bytes.NewReader(item.Bytes)); err == nil {
			t.Errorf("Put takes repository %.40q", repo)
		}
		if done, err := session.Mount(t.Context(), repo, item.Descriptor, ""); done {
			t.Errorf("Mount takes repository %.40q: %v", repo, err)
		}
		if _, err := s.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"}); err == nil {
			t.Errorf("Resolve finds repository %.40q", repo)
		}
	}
	content := image("v1")
	if err := content.Put(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"a\x00b", "a b", "\x1b[2J", strings.Repeat("a", maxTagBytes+1)} {
		n := content.Names[0]
		n.Reference.Tag = tag
		if err := session.Commit(t.Context(), []layout.Name{n}); err == nil {
			t.Errorf("Commit takes tag %.40q", tag)
		}
	}
}

// What a manifest says counts, not what its descriptor claims.
func TestPutRefusesAmbiguousManifests(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	session := begin(t, s)
	for _, raw := range []string{
		`not JSON`,
		`{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}`,
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`,
		`{"schemaVersion":2,"subject":null,"subject":null}`,
	} {
		d := layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: "", Size: int64(len(raw))}
		d.Digest = layouttest.New(testRepo).Blob("", []byte(raw)).Digest
		if err := session.Put(t.Context(), testRepo, d, strings.NewReader(raw)); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("Put(%s) = %v, want ErrCorrupt", raw, err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	for _, missing := range []string{dir, filepath.Join(dir, "nowhere")} {
		if _, err := Open(missing, Options{ReadOnly: true}); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("Open(%s) = %v, want ErrNotFound", missing, err)
		}
	}
	if got, _ := os.ReadDir(dir); len(got) > 0 {
		t.Errorf("to look has made %v", got)
	}
	w := open(t, dir, Options{})
	add(t, w, image("v1"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	one, two := open(t, dir, Options{ReadOnly: true}), open(t, dir, Options{ReadOnly: true})
	for _, s := range []*Store{one, two} {
		layouttest.CheckSource(t, s, image("v1"), layouttest.Traits{})
	}
	if _, err := one.Begin(t.Context()); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Begin = %v, want ErrReadOnly", err)
	}
	add(t, open(t, dir, Options{}), image("v2"))
	for _, s := range []*Store{one, two} { // what others write shows
		layouttest.CheckSource(t, s, image("v2"), layouttest.Traits{})
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	err := s.update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(schemaKey, []byte("3")) })
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {ReadOnly: true}} {
		_, err := Open(dir, o)
		if !errors.Is(err, layout.ErrUnsupported) || layout.Hint(err) == "" {
			t.Errorf("Open = %v (hint %q), want ErrUnsupported", err, layout.Hint(err))
		}
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1", "17", "airgap.db", "creating"} {
		write(t, filepath.Join(dir, ingestDir, name), []byte("left by a crash"))
	}
	open(t, dir, Options{})
	if got := leftovers(t, dir); len(got) > 0 {
		t.Errorf("left over: %v", got)
	}
}

// A file that the database does not list may be torn, whatever its size.
func TestOrphanIsNotTrusted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	content := image("v1")
	for _, item := range content.Repositories[testRepo] {
		write(t, blobFile(dir, item.Descriptor), make([]byte, len(item.Bytes)))
	}
	session := begin(t, s)
	for _, item := range content.Repositories[testRepo] {
		if has, err := session.Has(t.Context(), testRepo, item.Descriptor); has || err != nil {
			t.Errorf("Has = %v, %v", has, err)
		}
		if done, err := session.Mount(t.Context(), testRepo, item.Descriptor, ""); done || err != nil {
			t.Errorf("Mount = %v, %v", done, err)
		}
		if _, err := s.Open(t.Context(), testRepo, item.Descriptor); !errors.Is(err, layout.ErrNotFound) {
			t.Errorf("Open = %v, want ErrNotFound", err)
		}
	}
	if r := sound(t, s); r.Orphans != len(content.Repositories[testRepo]) {
		t.Errorf("%d orphans are counted, want %d", r.Orphans, len(content.Repositories[testRepo]))
	}
	if err := content.Load(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	layouttest.CheckSource(t, s, content, layouttest.Traits{})
}

// damages do to a blob's file what disks do.
var damages = map[string]func([]byte) []byte{
	"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	"cut":     func(b []byte) []byte { return b[:len(b)-1] },
	"longer":  func(b []byte) []byte { return append(b, 0) },
	"gone":    func([]byte) []byte { return nil },
}

func TestDamagedBlob(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			content := image("v1")
			add(t, s, content)
			item := largest(content)
			path := blobFile(dir, item.Descriptor)
			if data := damage(bytes.Clone(item.Bytes)); data != nil {
				write(t, path, data)
			} else if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			rc, err := s.Open(t.Context(), testRepo, item.Descriptor)
			if err == nil {
				_, err = io.ReadAll(rc)
				rc.Close()
			}
			if !errors.Is(err, layout.ErrCorrupt) || layout.Hint(err) == "" {
				t.Errorf("reading = %v (hint %q), want ErrCorrupt", err, layout.Hint(err))
			}
			r, err := s.Check(t.Context(), CheckOptions{Hashes: true})
			if err != nil || len(r.Problems) != 1 || r.Problems[0].Digest != item.Descriptor.Digest || !errors.Is(r.Err(), layout.ErrCorrupt) {
				t.Errorf("Check = %+v, %v", r, err)
			}
			session := begin(t, s)
			if has, err := session.Has(t.Context(), testRepo, item.Descriptor); has || err != nil {
				t.Errorf("Has = %v, %v for a damaged file", has, err)
			}
			if err := content.Load(t.Context(), session); err != nil {
				t.Fatal(err)
			}
			layouttest.CheckSource(t, s, content, layouttest.Traits{})
		})
	}
}
