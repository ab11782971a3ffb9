package layout_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
)

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstded(t testing.TB, data []byte, o ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, o...)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

// namedDocker packs an image with names of the writer's choice.
func namedDocker(t testing.TB, img dockerImage, config string, layers ...member) []member {
	t.Helper()
	e := dockerEntry{Config: config, RepoTags: []string{"reg.example/team/app:1"}}
	out := []member{{name: config, data: img.config}}
	for _, l := range layers {
		e.Layers = append(e.Layers, l.name)
		if !slices.ContainsFunc(out, func(m member) bool { return m.name == l.name }) {
			out = append(out, l)
		}
	}
	return append([]member{dockerManifest(t, e)}, out...)
}

// manifest.json says which file is what; the names are the writer's.
func TestDockerArchiveNames(t *testing.T) {
	img := newDocker(t, "names", "one", "two")
	plain, hex := img.layers, func(b []byte) string { return digest.FromBytes(b).Encoded() }
	packed := [][]byte{gzipped(t, plain[0]), gzipped(t, plain[1])}
	small := [][]byte{zstded(t, plain[0]), zstded(t, plain[1])}
	for what, members := range map[string][]member{
		"Jib":                           namedDocker(t, img, "config.json", member{name: hex(packed[0]) + ".tar.gz", data: packed[0]}, member{name: hex(packed[1]) + ".tar.gz", data: packed[1]}),
		"kaniko":                        namedDocker(t, img, "sha256:"+img.id(), member{name: hex(packed[0]) + ".tar.gz", data: packed[0]}, member{name: hex(plain[1]) + ".tar.gz", data: plain[1]}),
		"Bazel, rules_oci":              namedDocker(t, img, "blobs/sha256/"+img.id(), member{name: "blobs/sha256/" + hex(packed[0]) + ".tar.gz", data: packed[0]}, member{name: "blobs/sha256/" + hex(packed[1]) + ".tar.gz", data: packed[1]}),
		"Bazel, rules_docker":           namedDocker(t, img, img.id()+".json", member{name: v1id("a") + "/layer.tar", data: packed[0]}, member{name: v1id("b") + "/layer.tar", data: packed[1]}),
		"blobs by digest":               namedDocker(t, img, "blobs/sha256/"+img.id(), member{name: "blobs/sha256/" + hex(plain[0]), data: plain[0]}, member{name: "blobs/sha256/" + hex(plain[1]), data: plain[1]}),
		"plain names":                   namedDocker(t, img, "config.json", member{name: "layer1.tar", data: plain[0]}, member{name: "layer2.tar", data: plain[1]}),
		"names in folders, with blanks": namedDocker(t, img, "my image/config", member{name: "my image/1", data: plain[0]}, member{name: "my image/Ä", data: plain[1]}),
		"gzip'd by the wrong name":      namedDocker(t, img, "c", member{name: "layer.tar", data: packed[0]}, member{name: "x.tgz", data: packed[1]}),
		"gzip'd by the unpacked digest": namedDocker(t, img, "c", member{name: hex(plain[0]) + ".tar.gz", data: packed[0]}, member{name: hex(plain[1]) + ".tar", data: packed[1]}),
		"zstd":                          namedDocker(t, img, "c", member{name: "1.tar.zst", data: small[0]}, member{name: hex(small[1]) + ".tar.zst", data: small[1]}),
		"./ before names":               namedDocker(t, img, "./c", member{name: "./1", data: plain[0]}, member{name: "./2", data: plain[1]}),
		"in a folder":                   inFolder("saved/", namedDocker(t, img, "c", member{name: "1", data: plain[0]}, member{name: "2", data: packed[1]})),
	} {
		r, err := openBytes(pack(t, members...))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if err := readReader(t, r); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if n := r.PassedOver(); n != (layout.PassedOver{}) {
			t.Errorf("%s: %+v passed over", what, n)
		}
		roots, err := r.Roots()
		if err != nil || len(roots) != 1 || roots[0].Reference.String() != "reg.example/team/app:1" {
			t.Errorf("%s: roots %v, %v", what, roots, err)
		}
	}
}

func inFolder(top string, members []member) []member {
	out := []member{{name: top, kind: '5'}}
	for _, m := range members {
		m.name = top + m.name
		out = append(out, m)
	}
	return out
}

// A name that is a digest has to be that of the file, and every byte of a layer is held
// against the config, or against its name.
func TestDockerArchiveNamesDamaged(t *testing.T) {
	img := newDocker(t, "names", "one", "two")
	other := newDocker(t, "other", "three").layers[0]
	hex := func(b []byte) string { return digest.FromBytes(b).Encoded() }
	packed := gzipped(t, img.layers[0])
	second := member{name: "2", data: img.layers[1]}
	flipped := bytes.Clone(packed)
	flipped[len(flipped)/2] ^= 1
	for what, test := range map[string]struct {
		members []member
		want    error
	}{
		"config under another's digest":   {namedDocker(t, img, hex(other)+".json", member{name: "1", data: packed}, second), layout.ErrCorrupt},
		"a layer that is another":         {namedDocker(t, img, "c", member{name: "1", data: other}, second), layout.ErrCorrupt},
		"a gzip'd layer that is another":  {namedDocker(t, img, "c", member{name: "1", data: gzipped(t, other)}, second), layout.ErrCorrupt},
		"a gzip'd layer with a flip":      {namedDocker(t, img, "c", member{name: "1", data: flipped}, second), layout.ErrCorrupt},
		"and one named by its digest":     {namedDocker(t, img, "c", member{name: hex(packed) + ".tar.gz", data: flipped}, second), layout.ErrCorrupt},
		"a gzip'd layer cut short":        {namedDocker(t, img, "c", member{name: "1", data: packed[:len(packed)-9]}, second), layout.ErrIncomplete},
		"a layer compressed with xz":      {namedDocker(t, img, "c", member{name: "1", data: []byte("\xfd7zXZ\x00....")}, second), layout.ErrUnsupported},
		"a layer that is there twice":     {append(namedDocker(t, img, "c", member{name: "1", data: img.layers[0]}, second), member{name: "1", data: other}), layout.ErrCorrupt},
		"a layer by a path that leads up": {namedDocker(t, img, "c", member{name: "1", data: img.layers[0]}, member{raw: ustar("x/../1", '0', octal(0), "", nil), name: "x/../1"}), layout.ErrUnsupported},
	} {
		if err := readAll(t, pack(t, test.members...)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", what, err, test.want)
		}
	}
}

// What nobody lists is passed over and counted, in a tar as in a folder.
func TestExtraFiles(t *testing.T) {
	good := simple(t)
	comment := paxRecord("comment", strings.Repeat("0", 40))
	for what, test := range map[string]struct {
		members []member
		files   int
	}{
		"nothing":                 {good, 0},
		"AppleDouble":             {append([]member{{name: "._index.json", data: []byte("\x00\x05\x16\x07")}}, good...), 1},
		"a README and a checksum": {append(slices.Clone(good), member{name: "README.md", data: []byte("x")}, member{name: "blobs/sha256/SHA256SUMS", data: []byte("x")}), 2},
		"git archive's header":    {append([]member{{raw: ustar("pax_global_header", 'g', octal(len(comment)), "", comment)}}, good...), 1},
		"a link, a pipe":          {append(slices.Clone(good), member{raw: ustar("latest", '2', octal(0), "index.json", nil)}, member{raw: ustar("p", '6', octal(0), "", nil)}), 2},
		"one of them twice":       {append(slices.Clone(good), member{name: "x", data: []byte("1")}, member{name: "x", data: []byte("2")}), 1},
		"in a folder":             {append(inFolder("my-layout/", good), member{name: "._my-layout", data: []byte("x")}), 1},
	} {
		r, err := openBytes(pack(t, test.members...))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if err := readReader(t, r); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := r.PassedOver().Files; got != test.files {
			t.Errorf("%s: %d files passed over, want %d", what, got, test.files)
		}
	}
	dir := unpack(t, good...)
	for _, name := range []string{"README.md", "._index.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := openFolder(t, dir)
	if err != nil || r.PassedOver().Files != 2 {
		t.Errorf("a folder: %v, %+v passed over, want 2 files", err, r.PassedOver())
	}
}

// Of two layouts in one archive neither is the one that was meant.
func TestExtraFilesTwoFolders(t *testing.T) {
	good := simple(t)
	if _, err := openBytes(pack(t, append(inFolder("a/", good), inFolder("b/", good)...)...)); !errors.Is(err, layout.ErrNotBundle) {
		t.Errorf("two layouts: %v, want ErrNotBundle", err)
	}
	twice := append(inFolder("a/", good), member{name: "a/index.json", data: []byte("{}")})
	if _, err := openBytes(pack(t, twice...)); !errors.Is(err, layout.ErrCorrupt) {
		t.Errorf("index.json twice, in a folder: %v, want ErrCorrupt", err)
	}
	link := append(inFolder("a/", good[:1]), member{raw: ustar("a/index.json", '2', octal(0), "x", nil)})
	if _, err := openBytes(pack(t, link...)); !errors.Is(err, layout.ErrUnsupported) {
		t.Errorf("index.json a link, in a folder: %v, want ErrUnsupported", err)
	}
}

// A bundle of ours with one more file is damaged, whatever the file is.
func TestOwnTarTakesNoExtraFiles(t *testing.T) {
	own, _ := bundled(t, layouttest.Everything(repo))
	for _, name := range []string{"README.md", "._index.json", "repositories"} {
		extra := slices.Concat(own[:len(own)-1024], layout.AppendHeader(nil, name, 0), make([]byte, 1024))
		if _, err := openBytes(extra); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

// A bundle of ours that ends early says how much of it is there.
func TestOwnTarIncomplete(t *testing.T) {
	own, _ := bundled(t, layouttest.Everything(repo))
	for _, n := range []int{0, 1, 100, 511, 512, 600, 4096, len(own) / 2, len(own) - 1500, len(own) - 1024, len(own) - 512, len(own) - 1} {
		_, err := openBytes(own[:n])
		if !errors.Is(err, layout.ErrIncomplete) || !strings.Contains(err.Error(), fmt.Sprintf("incomplete: %d of ", n)) || strings.Contains(err.Error(), "damaged") {
			t.Errorf("the first %d of %d bytes: %v, want incomplete", n, len(own), err)
		}
	}
	_, err := openBytes(own[:len(own)-1])
	if want := fmt.Sprintf("incomplete: %d of %d bytes", len(own)-1, len(own)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("without the last byte: %v, want %q", err, want)
	}
}

func TestNotABundle(t *testing.T) {
	for what, data := range map[string][]byte{
		"a web page": append([]byte("<!DOCTYPE html>"), bytes.Repeat([]byte("<p>"), 1000)...), "text": []byte("docker.io/library/nginx:1.29\n"),
		"a tar of something else": pack(t, member{name: "etc/passwd", data: []byte("root")}),
	} {
		_, err := openBytes(data)
		if !errors.Is(err, layout.ErrNotBundle) || errors.Is(err, layout.ErrCorrupt) || layout.Hint(err) == "" {
			t.Errorf("%s: %v (hint %q), want ErrNotBundle", what, err, layout.Hint(err))
		}
	}
	if _, err := openFolder(t, unpack(t, member{name: "README", data: []byte("x")})); !errors.Is(err, layout.ErrNotBundle) {
		t.Errorf("a folder of something else: %v, want ErrNotBundle", err)
	}
}

// Stores of hauler give image and signature one name, and tell them apart by their kind.
func TestEntriesToldApartByKind(t *testing.T) {
	for _, prefix := range []string{"dev.cosignproject.cosign/", "dev.hauler/"} {
		b := layouttest.New(repo)
		var list, signatures []layout.Descriptor
		for i := range 2 {
			name := fmt.Sprintf("reg.example/team/app%d:1", i)
			entry := func(d layout.Descriptor, kind string) layout.Descriptor {
				return annotated(d, "kind", prefix+kind, layout.AnnotationContainerdName, name, refName, strings.TrimPrefix(name, "reg.example/"))
			}
			image := b.Image(name)
			sig, att := b.Cosign(layout.FormCosignSig, image, name), b.Cosign(layout.FormCosignAtt, image, name)
			referrer := b.Notary(image, name)
			list = append(list, entry(sig, "sigs"), entry(image, "image"), entry(att, "atts"), entry(referrer, "referrers/"+referrer.Digest.Encoded()))
			signatures = append(signatures, sig, att, referrer)
		}
		roots, r, err := rootsOf(t, b, list...)
		if err != nil || len(roots) != 2 {
			t.Fatalf("%s: roots %v, %v, want the images", prefix, roots, err)
		}
		g, err := walkReader(t, r)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range signatures {
			if g.Nodes[d.Digest] == nil {
				t.Errorf("%s: what is attached is lost: %d", prefix, i)
			}
		}
		for i, n := range roots {
			p, _ := g.Place(n.Reference.Repository, n.Descriptor.Digest)
			if len(p.Attached) != 3 || n.Descriptor.Digest != list[4*i+1].Digest {
				t.Errorf("%s: %s has %d attachments, want 3", prefix, n.Reference, len(p.Attached))
			}
		}
	}
}

// A signature whose image is not there does not stand for it.
func TestKindWithoutItsImage(t *testing.T) {
	b := layouttest.New(repo)
	image, absent := b.Image("here"), layouttest.New("x").Image("absent")
	sig := b.Cosign(layout.FormCosignSig, absent, "sig")
	roots, _, err := rootsOf(t, b, annotated(image, refName, repo+":1"), annotated(sig, refName, repo+":2", "kind", "dev.hauler/sigs"))
	if err != nil || len(roots) != 2 {
		t.Fatalf("roots %v, %v", roots, err)
	}
	for _, n := range roots {
		if n.Reference.Tag == "2" {
			t.Errorf("the signature is %s, the name of an image", n.Reference)
		}
	}
}

// An entry of index.json that is no manifest is passed over: image-spec has one in its
// own example.
func TestEntryThatIsNoManifest(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("image")
	xml := annotated(b.Blob("application/xml", []byte("<x/>")), "org.freedesktop.specifications.metainfo.type", "AppStream")
	roots, r, err := rootsOf(t, b, annotated(image, refName, "v1.0"), xml)
	if err != nil || len(roots) != 1 || roots[0].Descriptor.Digest != image.Digest {
		t.Fatalf("roots %v, %v", roots, err)
	}
	if got := r.PassedOver().Entries; got != 1 {
		t.Errorf("%d entries passed over, want 1", got)
	}
}
