package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The demo is only worth something if its checks can fail. world is the state
// after a faultless import, made without airgap; the tests spoil it.
type world struct {
	pub      *publisher
	attached []attachment
	original []item
	dest     repository
	store    string
	prog     *program
}

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{store: t.TempDir(), prog: testProgram(t)}
	w.pub = newPublisher(repository{start(t, true), sourceName})
	w.dest = repository{start(t, false), prefix + "/" + sourceName}
	img, err := pushImage(ctx, w.pub, w.prog, tag)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSigners()
	if err != nil {
		t.Fatal(err)
	}
	if w.attached, err = attachEverything(ctx, w.pub, img, w.prog, s); err != nil {
		t.Fatal(err)
	}
	if w.original, err = w.pub.readBack(ctx); err != nil {
		t.Fatal(err)
	}
	w.carry(t)
	return w
}

// testProgram stands for airgap: the test's own executable, whose content does
// not matter but for its size.
func testProgram(t *testing.T) *program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	prog, err := readProgram(exe)
	if err != nil {
		t.Fatal(err)
	}
	prog.data = []byte("a program")
	return prog
}

func start(t *testing.T, referrersAPI bool) string {
	t.Helper()
	s, err := startRegistry(referrersAPI)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s.host
}

// carry brings everything to dest and into store, as an import should.
func (w *world) carry(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(w.store, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, i := range w.original {
		w.put(t, i)
		if err := os.WriteFile(w.file(i.desc.Digest), i.data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, d := range w.pub.tags {
		w.tag(t, name, w.item(t, d).data)
	}
	for tag, list := range w.fallbacks(t) {
		w.putFallback(t, tag, list)
	}
}

func (w *world) put(t *testing.T, i item) {
	t.Helper()
	var err error
	if i.manifest {
		err = w.dest.putManifest(t.Context(), i.desc.Digest.String(), i.desc.MediaType, i.data)
	} else {
		err = w.dest.putBlob(t.Context(), i.data)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) tag(t *testing.T, name string, data []byte) {
	t.Helper()
	mediaType := ocispec.MediaTypeImageManifest
	if strings.Contains(string(data), `"manifests":`) {
		mediaType = ocispec.MediaTypeImageIndex
	}
	if err := w.dest.putManifest(t.Context(), name, mediaType, data); err != nil {
		t.Fatal(err)
	}
}

// fallbacks are the indexes of what is attached, by tag.
func (w *world) fallbacks(t *testing.T) map[string][]ocispec.Descriptor {
	t.Helper()
	out := map[string][]ocispec.Descriptor{}
	for _, a := range w.attached {
		if a.artifact.Tag != "" {
			continue
		}
		var m ocispec.Manifest
		if err := json.Unmarshal(a.artifact.Raw, &m); err != nil {
			t.Fatal(err)
		}
		d := a.artifact.Manifest
		d.Annotations = m.Annotations
		tag := fallbackTag(a.subject.Digest)
		out[tag] = append(out[tag], d)
	}
	return out
}

func (w *world) putFallback(t *testing.T, tag string, list []ocispec.Descriptor) {
	t.Helper()
	data, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: list})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.dest.putManifest(t.Context(), tag, ocispec.MediaTypeImageIndex, data); err != nil {
		t.Fatal(err)
	}
}

func (w *world) item(t *testing.T, d digest.Digest) item {
	t.Helper()
	i := slices.IndexFunc(w.original, func(i item) bool { return i.desc.Digest == d })
	if i < 0 {
		t.Fatalf("%s was not pushed", d)
	}
	return w.original[i]
}

func (w *world) file(d digest.Digest) string {
	return filepath.Join(w.store, "blobs", "sha256", d.Encoded())
}

// check is what the demo checks at its end.
func (w *world) check(t *testing.T) map[string]error {
	_, content := compareRegistry(t.Context(), w.original, w.dest)
	_, names := compareNames(t.Context(), w.pub.tags, w.attached, w.dest)
	_, signatures := verifySignatures(t.Context(), w.dest, w.attached)
	_, program := pullProgram(t.Context(), w.dest, tag, w.prog.platform)
	return map[string]error{
		"registry":   content,
		"store":      compareStore(w.original, w.store),
		"names":      names,
		"signatures": signatures,
		"program":    program,
	}
}

func TestNothingToFind(t *testing.T) {
	for name, err := range newWorld(t).check(t) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFindsDifferences spoils one thing at a time. fails names the checks that
// have to notice, and no other may.
func TestFindsDifferences(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, w *world)
		fails []string
	}{
		"a fallback index lacks a signature": {func(t *testing.T, w *world) {
			for tag, list := range w.fallbacks(t) {
				w.putFallback(t, tag, list[1:])
			}
		}, []string{"names"}},
		"a fallback index says less of a signature": {func(t *testing.T, w *world) {
			for tag, list := range w.fallbacks(t) {
				list[0].Annotations, list[0].ArtifactType = nil, ""
				w.putFallback(t, tag, list)
			}
		}, []string{"names"}},
		"a cosign tag moved": {func(t *testing.T, w *world) {
			for name := range w.pub.tags {
				if strings.HasSuffix(name, ".sig") {
					w.tag(t, name, w.attached[0].artifact.Raw)
				}
			}
		}, []string{"names"}},
		"a tag too many": {func(t *testing.T, w *world) {
			w.tag(t, "2.0", w.attached[0].artifact.Raw)
		}, []string{"names"}},
		"a file of the store changed": {func(t *testing.T, w *world) {
			if err := os.WriteFile(w.file(w.original[0].desc.Digest), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"store"}},
		"a file of the store is missing": {func(t *testing.T, w *world) {
			if err := os.Remove(w.file(w.original[0].desc.Digest)); err != nil {
				t.Fatal(err)
			}
		}, []string{"store"}},
		"a manifest has another media type": {func(t *testing.T, w *world) {
			a := w.attached[0].artifact
			if err := w.dest.putManifest(t.Context(), a.Manifest.Digest.String(), "application/json", a.Raw); err != nil {
				t.Fatal(err)
			}
		}, []string{"registry"}},
		"everything is lost": {func(t *testing.T, w *world) {
			w.dest.name = "elsewhere"
		}, []string{"registry", "names", "signatures", "program"}},
		"signed by somebody else": {func(t *testing.T, w *world) {
			s, err := newSigners()
			if err != nil {
				t.Fatal(err)
			}
			w.attached[0].check = checkNotary(s.publisher)
		}, []string{"signatures"}},
		"a bundle by another key": {func(t *testing.T, w *world) {
			w.attached[w.find(t, "cosign signature (bundle)")].check = otherKey(t).checkBundle(signing.PredicateCosignSign)
		}, []string{"signatures"}},
		"a tag by another key": {func(t *testing.T, w *world) {
			w.attached[w.find(t, "cosign signature (tag)")].check = otherKey(t).checkSimpleSigning
		}, []string{"signatures"}},
		"an attestation in place of a signature": {func(t *testing.T, w *world) {
			from, to := w.find(t, "SLSA"), w.find(t, "cosign signature (bundle)")
			w.attached[to].artifact, w.attached[to].subject = w.attached[from].artifact, w.attached[from].subject
		}, []string{"signatures"}},
		"signatures of another image": {func(t *testing.T, w *world) {
			for i := range w.attached {
				w.attached[i].subject.Digest = digest.FromString("another")
			}
		}, []string{"names", "signatures"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.spoil(t, w)
			for check, err := range w.check(t) {
				if slices.Contains(c.fails, check) == (err == nil) {
					t.Errorf("%s: %v", check, err)
				}
			}
		})
	}
}

func otherKey(t *testing.T) *releaseKey {
	t.Helper()
	k, err := newReleaseKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) find(t *testing.T, what string) int {
	t.Helper()
	i := slices.IndexFunc(w.attached, func(a attachment) bool { return strings.Contains(a.what, what) })
	if i < 0 {
		t.Fatalf("there is no %s", what)
	}
	return i
}

// TestEverySignatureIsOfItsSubject: no check passes for another manifest.
func TestEverySignatureIsOfItsSubject(t *testing.T) {
	w := newWorld(t)
	for _, a := range w.attached {
		if a.check == nil {
			continue
		}
		a.subject.Digest = digest.FromString("another")
		if err := verifyOne(t.Context(), w.dest, a); err == nil {
			t.Errorf("%s on %s verifies for another manifest", a.what, a.on)
		}
	}
}
