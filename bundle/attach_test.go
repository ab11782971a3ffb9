package bundle_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"airgap/bundle"
	"airgap/layout"
	"airgap/layout/disk"
	"airgap/layout/disk/disktest"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/verify"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// sign makes a signature as an addition.
func sign(t *testing.T, repo string, subject layout.Descriptor, key string) bundle.Addition {
	t.Helper()
	a, err := signing.BundleSignature(subject, signing.InsecureKey(key))
	if err != nil {
		t.Fatal(err)
	}
	return bundle.Addition{Repository: repo, Subject: subject.Digest, Artifact: a}
}

func attach(t *testing.T, path string, o bundle.AttachOptions, all ...bundle.Addition) ([]bool, error) {
	t.Helper()
	b, err := bundle.Open(t.Context(), path, bundle.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	return b.Attach(t.Context(), all, o)
}

func mustAttach(t *testing.T, path string, all ...bundle.Addition) []bool {
	t.Helper()
	present, err := attach(t, path, bundle.AttachOptions{}, all...)
	if err != nil {
		t.Fatal(err)
	}
	return present
}

// attached lists what src has attached to a manifest.
func attached(t *testing.T, src layout.Source, repo string, subject layout.Descriptor) map[digest.Digest]bool {
	t.Helper()
	all, err := src.Attached(t.Context(), repo, subject)
	if err != nil {
		t.Fatal(err)
	}
	out := map[digest.Digest]bool{}
	for _, inq := range all {
		for _, d := range inq.Found {
			out[d.Digest] = true
		}
	}
	return out
}

// onlyFile refuses whatever lies beside the bundle.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Everything that was in the bundle is in it afterwards, byte for byte and name
// for name, and what the registry answered is still told; the new signatures are
// found from their subjects, also by those who import it.
func TestAttachToBundle(t *testing.T) {
	content := layouttest.Everything(repo)
	path := export(t, content, bundle.ExportOptions{})
	before := open(t, path)
	g, err := before.Graph(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var adds []bundle.Addition
	for _, n := range g.Manifests() { // an image, an index, a signature: whatever there is
		adds = append(adds, sign(t, repo, n.Descriptor, "a"))
	}
	for i, present := range mustAttach(t, path, adds...) {
		if present {
			t.Errorf("addition %d is said to have been there", i)
		}
	}
	onlyFile(t, path)
	after := open(t, path)
	h, err := after.Graph(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Nodes) != len(g.Nodes)+len(adds) || !maps.Equal(names(h), names(g)) {
		t.Errorf("%d manifests and %d additions make %d; names %v, were %v", len(g.Nodes), len(adds), len(h.Nodes), names(h), names(g))
	}
	kept(t, g, h)
	dst := importAll(t, path, bundle.ImportOptions{})
	for i, n := range g.Manifests() {
		if !attached(t, dst, repo, n.Descriptor)[adds[i].Artifact.Manifest.Digest] {
			t.Errorf("%s %s: its signature is not found", n.Kind, n.Descriptor.Digest)
		}
	}
	for _, item := range content.Repositories[repo] {
		d := item.Descriptor
		if p, _ := g.Nodes[d.Digest]; p == nil && layout.IsManifest(d.MediaType) {
			continue // a registry's own bookkeeping
		}
		rc, err := dst.Open(t.Context(), repo, d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := layout.ReadAll(rc, d); err != nil {
			t.Error(err)
		}
	}
}

func names(g *layout.Graph) map[string]digest.Digest {
	out := map[string]digest.Digest{}
	for _, n := range g.Names() {
		out[n.Reference.String()] = n.Descriptor.Digest
	}
	return out
}

// kept compares what is said of each place of before.
func kept(t *testing.T, before, after *layout.Graph) {
	t.Helper()
	for _, p := range before.Places {
		q, ok := after.Place(p.Repository, p.Digest)
		if !ok {
			t.Errorf("%s is no longer in %s", p.Digest, p.Repository)
			continue
		}
		for form, a := range p.Answers {
			if q.Answers[form] != a {
				t.Errorf("%s: the answer by %s was %s and is %s", p.Digest, form, a, q.Answers[form])
			}
		}
		for _, e := range p.Attached {
			if !slices.ContainsFunc(q.Attached, func(f layout.Edge) bool { return f.Digest == e.Digest && slices.Equal(e.Forms, f.Forms) }) {
				t.Errorf("%s: %v is no longer attached", p.Digest, e)
			}
		}
	}
}

// Signing once more adds, and the same signature is known as such.
func TestAttachTwice(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("a")
	b.Tag("v1", image)
	path := export(t, b.Content(), bundle.ExportOptions{})
	one, two := sign(t, repo, image, "one"), sign(t, repo, image, "two")
	mustAttach(t, path, one)
	was := read(t, path)
	if present := mustAttach(t, path, one, one); !present[0] || !bytes.Equal(read(t, path), was) {
		t.Error("the same signature again: not known, or the bundle changed")
	}
	if present := mustAttach(t, path, one, two); !present[0] || present[1] {
		t.Errorf("present: %v", present)
	}
	found := attached(t, importAll(t, path, bundle.ImportOptions{}), repo, image)
	if len(found) != 2 {
		t.Errorf("%d signatures, want two", len(found))
	}
	// In which order they came is not to be seen.
	other := export(t, b.Content(), bundle.ExportOptions{})
	mustAttach(t, other, two)
	mustAttach(t, other, one)
	if !bytes.Equal(read(t, path), read(t, other)) {
		t.Error("the order of signing shows")
	}
}

// What was left out at the export, and why, is told as before.
func TestAttachToSparseBundle(t *testing.T) {
	b := layouttest.New(repo)
	amd, arm := b.Image("amd64"), b.Image("arm64")
	index := b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"))
	b.Tag("v1", index)
	path := export(t, b.Content(), bundle.ExportOptions{Platforms: []layout.Platform{{OS: "linux", Architecture: "arm64"}}})
	want := open(t, path).Record.LeftOut
	mustAttach(t, path, sign(t, repo, index, "a"))
	after := open(t, path)
	if !slices.Equal(after.Record.LeftOut, want) || len(want) != 1 {
		t.Errorf("left out %v, was %v", after.Record.LeftOut, want)
	}
	if _, err := after.Graph(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := attach(t, path, bundle.AttachOptions{}, sign(t, repo, amd, "a")); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("a signature on what is not in the bundle: %v", err)
	}
}

// A bundle that is private stays private, and a link stays a link.
func TestAttachKeepsModeAndLink(t *testing.T) {
	path := small(t)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.tar")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	b := open(t, link)
	root, err := b.Source().Resolve(t.Context(), b.References()[0])
	if err != nil {
		t.Fatal(err)
	}
	mustAttach(t, link, sign(t, b.References()[0].Repository, root, "a"))
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v", err)
	}
	if info, err = os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Whatever fails, and wherever it is stopped, the file is the bundle that it was
// or the whole new one.
func TestAttachFaults(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("a")
	b.Tag("v1", image)
	path := export(t, b.Content(), bundle.ExportOptions{})
	was, add := read(t, path), sign(t, repo, image, "a")
	run := func(n int, mode disktest.Mode) (*disktest.FS, error) {
		dir, err := disk.Open(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		fsys := disktest.Wrap(dir)
		if n > 0 {
			fsys.Inject(n, mode)
		}
		_, err = attach(t, path, bundle.AttachOptions{FS: fsys}, add)
		return fsys, err
	}
	whole, err := run(0, "")
	if err != nil {
		t.Fatal(err)
	}
	want, faults := read(t, path), 0
	for n, call := range whole.Ops() {
		for _, mode := range disktest.Modes {
			if !mode.Applies(call.Op) {
				continue
			}
			reset(t, path, was)
			fsys, err := run(n+1, mode)
			got := read(t, path)
			switch {
			case !fsys.Fired(): // blobs move in no fixed order
			case err != nil && !bytes.Equal(got, was) && !bytes.Equal(got, want):
				t.Fatalf("%s at %d (%s): %v, and the bundle is neither the old nor the new one", mode, n+1, call, err)
			case err == nil && !bytes.Equal(got, want):
				t.Fatalf("%s at %d (%s): done, and it is not the new one", mode, n+1, call)
			}
			faults++
		}
	}
	if faults < 50 {
		t.Errorf("only %d faults", faults)
	}
}

// reset leaves nothing but the bundle as it was.
func reset(t *testing.T, path string, data []byte) {
	t.Helper()
	left, err := filepath.Glob(path + "*")
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	if err = errors.Join(err, os.WriteFile(path, data, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// A bundle that is damaged, even in a layer alone, is not carried over into a new
// one, and stays as it is.
func TestAttachToDamagedBundle(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("a")
	b.Tag("v1", image)
	path := export(t, b.Content(), bundle.ExportOptions{})
	layer, _ := b.Content().Find(repo, manifestOf(t, b.Content(), image).Layers[0].Digest)
	data := read(t, path)
	data[bytes.Index(data, layer.Bytes)] ^= 1
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := attach(t, path, bundle.AttachOptions{}, sign(t, repo, image, "a")); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if !bytes.Equal(read(t, path), data) {
		t.Error("the damaged bundle changed")
	}
	onlyFile(t, path)
}

func manifestOf(t *testing.T, c layouttest.Content, d layout.Descriptor) *layout.Manifest {
	t.Helper()
	item, _ := c.Find(repo, d.Digest)
	m, err := layout.ParseManifest(d, item.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Of two who sign one bundle at the same time, none undoes the other's signature.
func TestAttachToReplacedBundle(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("a")
	b.Tag("v1", image)
	path := export(t, b.Content(), bundle.ExportOptions{})
	slow := open(t, path)
	mustAttach(t, path, sign(t, repo, image, "quick"))
	was := read(t, path)
	if _, err := slow.Attach(t.Context(), []bundle.Addition{sign(t, repo, image, "slow")}, bundle.AttachOptions{}); !errors.Is(err, disk.ErrBusy) {
		t.Errorf("%v", err)
	}
	if !bytes.Equal(read(t, path), was) {
		t.Error("the other's signature is gone")
	}
	onlyFile(t, path)
}

// What cannot be found from its subject, and what is no bundle of ours, is
// refused.
func TestAttachRefuses(t *testing.T) {
	b := layouttest.New(repo)
	image, another := b.Image("a"), b.Image("b")
	b.Tag("v1", image)
	path := export(t, b.Content(), bundle.ExportOptions{})
	was := read(t, path)
	tag, err := signing.CosignSignature(image, signing.Claim{Reference: repo}, signing.InsecureKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	good := sign(t, repo, image, "a")
	for name, bad := range map[string]bundle.Addition{
		"a tag":           {Repository: repo, Subject: image.Digest, Artifact: tag},
		"another subject": {Repository: repo, Subject: another.Digest, Artifact: good.Artifact},
	} {
		if _, err := attach(t, path, bundle.AttachOptions{}, bad); !errors.Is(err, bundle.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := bundle.Attach(t.Context(), layout.NewMemory(), []bundle.Addition{bad}); !errors.Is(err, bundle.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := bundle.Addition{Repository: "reg.example/other", Subject: image.Digest, Artifact: good.Artifact}
	if _, err := attach(t, path, bundle.AttachOptions{}, other); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("a repository that is not in it: %v", err)
	}
	if !bytes.Equal(read(t, path), was) {
		t.Error("the bundle changed")
	}
	for name, path := range map[string]string{"an unpacked one": unpack(t, path), "another tool's": otherTool(t, b.Content())} {
		if _, err := attach(t, path, bundle.AttachOptions{}, good); !errors.Is(err, bundle.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// In a store and in memory the signature is found from its subject, and nothing
// else changes.
func TestAttachToSink(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("a")
	b.Tag("v1", image)
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	one, two := sign(t, repo, image, "one"), sign(t, repo, image, "two")
	if err := intoStore(t, export(t, b.Content(), bundle.ExportOptions{}), s); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, add := range []bundle.Addition{one, two} {
			session, err := s.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			had := attached(t, s, repo, image)[add.Artifact.Manifest.Digest]
			present, err := bundle.Attach(t.Context(), session, []bundle.Addition{add})
			if err != nil || present[0] != had {
				t.Errorf("present %v, was there: %v, %v", present, had, err)
			}
			session.Close()
		}
	}
	if got := attached(t, s, repo, image); len(got) != 2 {
		t.Errorf("%d signatures, want two", len(got))
	}
	if names, err := s.Names(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("names %v, %v", names, err)
	}
	if r, err := s.Check(t.Context(), store.CheckOptions{Hashes: true}); err != nil || r.Err() != nil {
		t.Error(err, r.Err())
	}
}

// The revocation lists that travel in the bundle stay in it, and still decide.
func TestAttachKeepsRevocationLists(t *testing.T) {
	content, ca, _ := pointed(t)
	list, path := crl(t, ca, 1), filepath.Join(t.TempDir(), "b.tar")
	_, err := exportSel(t, memory(t, content), content.Roots(), bundle.ExportOptions{
		Output: path, FetchList: func(context.Context, string) ([]byte, error) { return list, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, path)
	root, err := b.Source().Resolve(t.Context(), b.References()[0])
	if err != nil {
		t.Fatal(err)
	}
	mustAttach(t, path, sign(t, repo, root, "a"))
	after := open(t, path)
	lists, err := after.RevocationLists(t.Context())
	if err != nil || len(lists) != 1 || !bytes.Equal(lists[0].DER, list) {
		t.Errorf("%d lists, %v", len(lists), err)
	}
	if r, err := judged(t, after, judgeOf(t, ca)); err != nil || r.State != verify.Passed {
		t.Errorf("%v, %v", r, err)
	}
}
