package layout_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// dockerImage is an image as docker-archives hold it.
type dockerImage struct {
	config []byte
	layers [][]byte
}

func (i dockerImage) id() string        { return digest.FromBytes(i.config).Encoded() }
func (i dockerImage) diff(n int) string { return digest.FromBytes(i.layers[n]).Encoded() }
func v1id(label string) string          { return digest.FromString("v1 " + label).Encoded() }
func dockerJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// newDocker makes an image of layers that hold the given texts.
func newDocker(t testing.TB, label string, layers ...string) dockerImage {
	t.Helper()
	img := dockerImage{}
	var ids []digest.Digest
	for _, l := range layers {
		data := pack(t, member{name: "etc/label", data: []byte(l)})
		img.layers = append(img.layers, data)
		ids = append(ids, digest.FromBytes(data))
	}
	img.config = dockerJSON(t, map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"Labels": map[string]string{"label": label}, "Cmd": nil},
		"container_config": map[string]any{"Config": 1}, "rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	})
	return img
}

type dockerEntry struct {
	Config       string
	RepoTags     []string
	Layers       []string
	LayerSources map[string]any `json:",omitempty"`
}

func dockerManifest(t testing.TB, list ...dockerEntry) member {
	t.Helper()
	return member{name: "manifest.json", data: dockerJSON(t, list)}
}

// dockerSave is what docker save wrote before version 25: a folder for each
// layer of each image; one that is there already is a link to where it is.
func dockerSave(t testing.TB, images ...dockerImage) []member {
	t.Helper()
	if images == nil {
		images = []dockerImage{newDocker(t, "saved", "base", "top")}
	}
	var out []member
	var list []dockerEntry
	at := map[string]string{}
	for n, img := range images {
		e := dockerEntry{Config: img.id() + ".json", RepoTags: []string{fmt.Sprintf("team/app:v%d", n+1)}}
		for i, data := range img.layers {
			dir := v1id(fmt.Sprint(n, i))
			out = append(out, member{name: dir + "/", kind: '5'}, member{name: dir + "/VERSION", data: []byte("1.0")}, member{name: dir + "/json", data: []byte(`{}`)})
			if first, ok := at[img.diff(i)]; ok {
				out = append(out, member{name: dir + "/layer.tar", kind: '2', link: "../" + first})
			} else {
				at[img.diff(i)] = dir + "/layer.tar"
				out = append(out, member{name: dir + "/layer.tar", data: data})
			}
			e.Layers = append(e.Layers, dir+"/layer.tar")
		}
		out = append(out, member{name: img.id() + ".json", data: img.config})
		list = append(list, e)
	}
	return append(out, dockerManifest(t, list...), member{name: "repositories", data: []byte(`{"team/app":{"v1":"x"}}`)})
}

// podmanSave is what podman and skopeo write: layers by diff ID, and old names
// that link to them.
func podmanSave(t testing.TB, img dockerImage) []member {
	t.Helper()
	var out []member
	e := dockerEntry{Config: img.id() + ".json", RepoTags: []string{"docker.io/library/hello:v1"}}
	for i, data := range img.layers {
		name := img.diff(i) + ".tar"
		if !slices.Contains(e.Layers, name) {
			out = append(out, member{name: name, data: data})
		}
		e.Layers = append(e.Layers, name)
		old := v1id("podman" + fmt.Sprint(i))
		out = append(out, member{name: old + "/layer.tar", kind: '2', link: "../" + name}, member{name: old + "/VERSION", data: []byte("1.0")}, member{name: old + "/json", data: []byte(`{}`)})
	}
	return append(out, member{name: img.id() + ".json", data: img.config}, dockerManifest(t, e))
}

// craneTarball is what crane pull writes: the config by digest, layers gzip'd.
func craneTarball(t testing.TB, img dockerImage) []member {
	t.Helper()
	out := []member{{name: "sha256:" + img.id(), data: img.config}}
	e := dockerEntry{Config: "sha256:" + img.id(), RepoTags: []string{"127.0.0.1:5000/hello:v1"}}
	for _, data := range img.layers {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		w.Close()
		name := digest.FromBytes(buf.Bytes()).Encoded() + ".tar.gz"
		if !slices.Contains(e.Layers, name) {
			out = append(out, member{name: name, data: buf.Bytes()})
		}
		e.Layers = append(e.Layers, name)
	}
	return append(out, dockerManifest(t, e))
}

// checkDocker opens an archive and checks that every root has its image's config
// and layers.
func checkDocker(t *testing.T, what string, members []member, want map[string]dockerImage) {
	t.Helper()
	data := pack(t, members...)
	if err := readAll(t, data); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	r, err := openBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	g, err := walkReader(t, r)
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Roots) != len(want) {
		t.Errorf("%s: %d images, want %d", what, len(g.Roots), len(want))
	}
	for _, root := range g.Roots {
		img, ok := want[root.Reference.Name()]
		n := g.Nodes[root.Descriptor.Digest]
		if !ok || len(n.Blobs) != len(img.layers)+1 {
			t.Errorf("%s: %s has %d blobs", what, root.Reference.Name(), len(n.Blobs))
			continue
		}
		rc, err := r.Open(t.Context(), "", n.Blobs[0].Descriptor())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, img.config) {
			t.Errorf("%s: the config of %s is %.100q, %v", what, root.Reference.Name(), got, err)
		}
		for i, l := range n.Blobs[1:] {
			if l.MediaType == "application/vnd.oci.image.layer.v1.tar" && l.Digest.Encoded() != img.diff(i) {
				t.Errorf("%s: layer %d of %s is %s", what, i, root.Reference.Name(), l.Digest)
			}
		}
	}
}

func TestDockerArchives(t *testing.T) {
	one, two := newDocker(t, "one", "base", "one"), newDocker(t, "two", "base", "two", "base")
	both := map[string]dockerImage{"docker.io/team/app:v1": one, "docker.io/team/app:v2": two}
	saved := dockerSave(t, one, two)
	checkDocker(t, "docker save", saved, both)
	back := slices.Clone(saved)
	slices.Reverse(back)
	checkDocker(t, "docker save, links before their targets", back, both)

	hello := map[string]dockerImage{"docker.io/library/hello:v1": two}
	checkDocker(t, "podman save", podmanSave(t, two), hello)
	checkDocker(t, "crane pull", craneTarball(t, two), map[string]dockerImage{"127.0.0.1:5000/hello:v1": two})

	// crane legacy: as docker save, without folders and with hard links.
	var legacy []member
	for _, m := range saved {
		if m.kind == '2' {
			m.kind, m.link = '1', strings.TrimPrefix(m.link, "../")
		}
		if m.kind != '5' {
			m.name = "./" + m.name
			legacy = append(legacy, m)
		}
	}
	checkDocker(t, "hard links, ./", legacy, both)

	// No name, and one name on two lines.
	anon := dockerSave(t, one)
	for _, tags := range [][]string{nil, {}} {
		e := dockerEntry{Config: one.id() + ".json", RepoTags: tags, Layers: []string{v1id("0 0") + "/layer.tar", v1id("0 1") + "/layer.tar"}}
		anon[len(anon)-2] = dockerManifest(t, e)
		r, err := openBytes(pack(t, anon...))
		if err != nil {
			t.Fatal(err)
		}
		if roots, err := r.Roots(); err != nil || len(roots) != 1 || roots[0].Reference.Digest == "" || roots[0].Reference.Tag != "" {
			t.Errorf("an image without a name: %v, %v", roots, err)
		}
	}
}

// The same archive gives the same manifests each time.
func TestDockerArchiveIsStable(t *testing.T) {
	img := newDocker(t, "stable", "base", "top")
	var first digest.Digest
	for _, members := range [][]member{dockerSave(t, img), podmanSave(t, img), dockerSave(t, img)} {
		r, err := openBytes(pack(t, members...))
		if err != nil {
			t.Fatal(err)
		}
		roots, err := r.Roots()
		if err != nil || len(roots) != 1 {
			t.Fatal(roots, err)
		}
		if first == "" {
			first = roots[0].Descriptor.Digest
		}
		if roots[0].Descriptor.Digest != first {
			t.Errorf("%s and %s for one image", first, roots[0].Descriptor.Digest)
		}
	}
}

func TestHostileDockerArchives(t *testing.T) {
	sentinel(t)
	img := newDocker(t, "attacked", "base", "top")
	good := dockerSave(t, img)
	at := func(suffix string) int {
		return slices.IndexFunc(good, func(m member) bool { return strings.HasSuffix(m.name, suffix) })
	}
	layer, config, manifest := at("/layer.tar"), at(img.id()+".json"), at("manifest.json")
	first, second := good[layer].name, v1id("0 1")+"/layer.tar"
	entry := dockerEntry{Config: img.id() + ".json", RepoTags: []string{"a/b:c"}, Layers: []string{first, second}}
	change := func(edit func(e *dockerEntry)) member {
		e := entry
		e.Layers = slices.Clone(e.Layers)
		edit(&e)
		return dockerManifest(t, e)
	}
	recoded := func(edit func(m map[string]any)) []byte {
		var m map[string]any
		if err := json.Unmarshal(img.config, &m); err != nil {
			t.Fatal(err)
		}
		edit(m)
		return dockerJSON(t, m)
	}
	// withConfig puts another config in place, under its right name.
	withConfig := func(data []byte) map[int]member {
		name := digest.FromBytes(data).Encoded() + ".json"
		return map[int]member{config: {name: name, data: data}, manifest: change(func(e *dockerEntry) { e.Config = name })}
	}
	rootfs := func(ids ...any) []byte {
		return recoded(func(m map[string]any) { m["rootfs"] = map[string]any{"diff_ids": ids} })
	}
	link := func(kind byte, target string) map[int]member {
		return map[int]member{layer: {name: first, kind: kind, link: target}}
	}
	raw := func(s string) map[int]member {
		return map[int]member{manifest: {name: "manifest.json", data: []byte(s)}}
	}
	a, b := "sha256:"+img.diff(0), "sha256:"+img.diff(1)
	cases := map[string]map[int]member{
		"config changed":              {config: {name: img.id() + ".json", data: append(bytes.Clone(img.config), ' ')}},
		"config under another name":   {config: {name: v1id("x") + ".json", data: img.config}, manifest: change(func(e *dockerEntry) { e.Config = v1id("x") + ".json" })},
		"config absent":               {manifest: change(func(e *dockerEntry) { e.Config = v1id("x") + ".json" })},
		"config empty":                {manifest: change(func(e *dockerEntry) { e.Config = "" })},
		"config is the manifest":      {manifest: change(func(e *dockerEntry) { e.Config = "manifest.json" })},
		"config outside":              {manifest: change(func(e *dockerEntry) { e.Config = "../../etc/passwd" })},
		"config is a layer":           {manifest: change(func(e *dockerEntry) { e.Config = first })},
		"config is no JSON":           withConfig([]byte("no JSON")),
		"config is null":              withConfig([]byte("null")),
		"config with a key twice":     withConfig(append(bytes.TrimSuffix(img.config, []byte("}")), []byte(`,"architecture":"amd64"}`)...)),
		"config larger than 4 MiB":    withConfig(recoded(func(m map[string]any) { m["x"] = strings.Repeat("x", 4<<20) })),
		"no diff IDs":                 withConfig(rootfs()),
		"one diff ID too few":         withConfig(rootfs(a)),
		"one diff ID too many":        withConfig(rootfs(a, b, a)),
		"diff IDs swapped":            withConfig(rootfs(b, a)),
		"a diff ID of md5":            withConfig(rootfs("md5:d41d8cd98f00b204e9800998ecf8427e", b)),
		"a diff ID that is a path":    withConfig(rootfs("sha256:../../../../etc/passwd", b)),
		"a diff ID in upper case":     withConfig(rootfs("sha256:"+strings.ToUpper(img.diff(0)), b)),
		"an empty diff ID":            withConfig(rootfs("", b)),
		"a diff ID that is a number":  withConfig(rootfs(1, b)),
		"a diff ID of something else": withConfig(rootfs("sha256:"+v1id("x"), b)),
		"one layer too few":           {manifest: change(func(e *dockerEntry) { e.Layers = e.Layers[:1] })},
		"one layer too many":          {manifest: change(func(e *dockerEntry) { e.Layers = append(e.Layers, first) })},
		"layers swapped":              {manifest: change(func(e *dockerEntry) { slices.Reverse(e.Layers) })},
		"a layer absent":              {manifest: change(func(e *dockerEntry) { e.Layers[0] = v1id("x") + "/layer.tar" })},
		"a layer outside":             {manifest: change(func(e *dockerEntry) { e.Layers[0] = "../../etc/passwd" })},
		"a layer that is the config":  {manifest: change(func(e *dockerEntry) { e.Layers[0] = e.Config })},
		"a layer changed":             {layer: {name: first, data: append(bytes.Clone(img.layers[0]), 0)}},
		"a layer cut short":           {layer: {name: first, data: img.layers[0][:100]}},
		"a layer empty":               {layer: {name: first}},
		"a link to itself":            link('2', "layer.tar"),
		"a link to itself by ../":     link('2', "../"+first),
		"a link to nothing":           link('2', "../"+v1id("x")+"/layer.tar"),
		"a link to the config":        link('2', "../"+img.id()+".json"),
		"a link to the manifest":      link('2', "../manifest.json"),
		"a link outside":              link('2', "../../"+second),
		"a link far outside":          link('2', "../../../../etc/passwd"),
		"an absolute link":            link('2', "/"+second),
		"a link without ../":          link('2', second),
		"a link to nowhere":           link('2', ""),
		"a link to a folder":          link('2', "../"+v1id("0 1")),
		"a link to another layer":     link('2', "../"+second),
		"a hard link to the config":   link('1', img.id()+".json"),
		"a hard link outside":         link('1', "../"+second),
		"a hard link, absolute":       link('1', "/"+second),
		"links in a circle":           {layer: {name: first, kind: '2', link: "../" + second}, layer + 4: {name: second, kind: '2', link: "../" + first}},
		"the manifest is a link":      {manifest: {name: "manifest.json", kind: '2', link: "repositories"}},
		"no image":                    raw(`[]`),
		"null":                        raw(`null`),
		"an object":                   raw(`{}`),
		"no JSON":                     raw(`[`),
		"trailing data":               raw(`[] []`),
		"an image that is null":       raw(`[null]`),
		"an empty image":              raw(`[{}]`),
		"a key twice":                 raw(strings.Replace(string(good[manifest].data), `"Config"`, `"Config":"x","Config"`, 1)),
		"10,001 times one image":      {manifest: dockerManifest(t, slices.Repeat([]dockerEntry{{Config: entry.Config, Layers: entry.Layers}}, 10_001)...)},
		"deep":                        raw(strings.Repeat("[", 1000) + strings.Repeat("]", 1000)),
		"not text":                    raw("[{\"Config\":\"\xff\"}]"),
		"empty":                       raw(""),
		"10,001 images":               raw("[" + strings.TrimSuffix(strings.Repeat("{},", 10_001), ",") + "]"),
		"100,001 names":               {manifest: change(func(e *dockerEntry) { e.RepoTags = slices.Repeat([]string{"a/b:c"}, 100_001) })},
		"17 MiB":                      raw("[" + strings.Repeat(" ", 17<<20) + "]"),
	}
	if err := readAll(t, pack(t, good...)); err != nil {
		t.Fatalf("without an attack: %v", err)
	}
	for what, edits := range cases {
		bad := slices.Clone(good)
		for i, m := range edits {
			if bad[i].name == "" || m.name == "" {
				t.Fatalf("%s: a broken test", what)
			}
			bad[i] = m
		}
		data := pack(t, bad...)
		if err := readAll(t, data); err == nil || !classified(err) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := openBytes(data); err == nil && strings.Contains(what, "diff ID") && what != "diff IDs swapped" && what != "a diff ID of something else" {
			t.Errorf("%s: opens", what)
		}
	}
}

// Two images of one name: which of them was meant?
func TestDockerArchiveNameTwice(t *testing.T) {
	one, two := newDocker(t, "one", "x"), newDocker(t, "two", "y")
	members := dockerSave(t, one, two)
	for i, m := range members {
		members[i].data = bytes.ReplaceAll(m.data, []byte("team/app:v2"), []byte("team/app:v1"))
	}
	r, err := openBytes(pack(t, members...))
	if err != nil {
		t.Fatal(err)
	}
	_, err = walkReader(t, r)
	if !errors.Is(err, layout.ErrUnsupported) || !strings.Contains(fmt.Sprint(err), "docker.io/team/app:v1") {
		t.Errorf("Walk = %v, want ErrUnsupported and the name", err)
	}
}

// A chain of links, as long as it ends, is followed.
func TestDockerArchiveLinkChain(t *testing.T) {
	img := newDocker(t, "chain", "only")
	for _, n := range []int{1, 3, 7, 8, 100} {
		members := []member{{name: img.id() + ".json", data: img.config}}
		for i := range n {
			members = append(members, member{name: v1id(fmt.Sprint(i)) + "/layer.tar", kind: '2', link: "../" + v1id(fmt.Sprint(i+1)) + "/layer.tar"})
		}
		members = append(members, member{name: v1id(fmt.Sprint(n)) + "/layer.tar", data: img.layers[0]},
			dockerManifest(t, dockerEntry{Config: img.id() + ".json", RepoTags: []string{"a/b:c"}, Layers: []string{v1id("0") + "/layer.tar"}}))
		err := readAll(t, pack(t, members...))
		if (err == nil) != (n <= 8) {
			t.Errorf("%d links: %v", n, err)
		}
		if err != nil && (!errors.Is(err, layout.ErrLimit) || errors.Is(err, layout.ErrCorrupt) || !strings.Contains(err.Error(), "more than 8 links")) {
			t.Errorf("%d links: %v, want ErrLimit", n, err)
		}
	}
}

// Links that go in a circle are named as that, and are no damage.
func TestDockerArchiveLinkCircle(t *testing.T) {
	img := newDocker(t, "circle", "only")
	for _, n := range []int{1, 2, 3, 20} {
		members := []member{{name: img.id() + ".json", data: img.config}}
		for i := range n {
			members = append(members, member{name: v1id(fmt.Sprint(i)) + "/layer.tar", kind: '2', link: "../" + v1id(fmt.Sprint((i+1)%n)) + "/layer.tar"})
		}
		members = append(members, dockerManifest(t, dockerEntry{Config: img.id() + ".json", RepoTags: []string{"a/b:c"}, Layers: []string{v1id("0") + "/layer.tar"}}))
		if err := readAll(t, pack(t, members...)); !errors.Is(err, layout.ErrUnsupported) || errors.Is(err, layout.ErrCorrupt) || !strings.Contains(err.Error(), "circle") {
			t.Errorf("%d links: %v, want ErrUnsupported", n, err)
		}
	}
}

// A name that cannot be used is reported, and the image has its other names.
func TestUnusableNames(t *testing.T) {
	img := newDocker(t, "names", "only")
	other := "reg.example/a/b@sha256:" + strings.Repeat("0", 64)
	tags := []string{"reg.example/a/b:1", other, "", "A/B", "A/B", "reg.example/a/b:2"}
	r, err := openBytes(pack(t, member{name: img.id() + ".json", data: img.config}, member{name: "l.tar", data: img.layers[0]},
		dockerManifest(t, dockerEntry{Config: img.id() + ".json", RepoTags: tags, Layers: []string{"l.tar"}})))
	if err != nil {
		t.Fatal(err)
	}
	if roots, err := r.Roots(); err != nil || len(roots) != 2 {
		t.Errorf("%v, %v", roots, err)
	}
	if got := r.UnusableNames(); !slices.Equal(got, []string{other, "", "A/B"}) {
		t.Errorf("%q", got)
	}

	b := layouttest.New(repo)
	one, two := b.Image("one"), b.Image("two")
	_, r, err = rootsOf(t, b, named(one, "v1"), named(one, "A/B"), named(one, ""), named(one, repo+"@"+string(two.Digest)), named(two, repo+"@"+string(two.Digest)))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.UnusableNames(); !slices.Equal(got, []string{"A/B", repo + "@" + string(two.Digest)}) {
		t.Errorf("%q", got)
	}
}
