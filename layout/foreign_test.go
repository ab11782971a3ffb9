package layout_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

// Layouts as other tools write them, made here in their form: what each lists,
// how it names, in which order it packs.

// annotated returns d with annotations, key and value by turns.
func annotated(d layout.Descriptor, kv ...string) layout.Descriptor {
	d.Annotations = map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		d.Annotations[kv[i]] = kv[i+1]
	}
	return d
}

const refName = layout.AnnotationRefName

// signed is an index with attachments of every form on every level, as a registry
// without the referrers API has it: with fallback tags.
type signed struct {
	b        *layouttest.Builder
	index    layout.Descriptor
	children []layout.Descriptor // as the index lists them
	attached []layout.Descriptor // by subject
	tags     map[string]layout.Descriptor
}

func newSigned(cosign bool) signed {
	b := layouttest.New(repo)
	amd, arm := b.Image("amd"), b.Image("arm")
	s := signed{b: b, tags: map[string]layout.Descriptor{}}
	s.children = []layout.Descriptor{layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"), b.BuildKit(amd)}
	s.index = b.Index(s.children...)
	sbom := b.Referrer(amd, "application/spdx+json", "SBOM")
	onIndex, onSBOM := b.Notary(s.index, "index"), b.Notary(sbom, "SBOM")
	legacy := b.ORASArtifact(arm, "legacy")
	s.attached = []layout.Descriptor{sbom, onIndex, onSBOM, legacy}
	s.fallback(s.index, onIndex)
	s.fallback(amd, sbom)
	s.fallback(sbom, onSBOM)
	s.fallback(arm, legacy)
	if cosign {
		for _, form := range layout.CosignForms {
			name, _ := form.Tag(s.index.Digest)
			s.tags[name] = b.Cosign(form, s.index, "index")
		}
		name, _ := layout.FormCosignSig.Tag(arm.Digest)
		s.tags[name] = b.Cosign(layout.FormCosignSig, arm, "arm")
	}
	return s
}

func (s signed) fallback(subject, referrer layout.Descriptor) {
	name, _ := layout.FormReferrersTag.Tag(subject.Digest)
	s.tags[name] = s.b.Fallback(subject, referrer)
}

// wants lists every digest that has to be reached.
func (s signed) wants() (out []digest.Digest) {
	out = append(out, s.index.Digest)
	for _, d := range append(slices.Clone(s.children), s.attached...) {
		out = append(out, d.Digest)
	}
	for name, d := range s.tags {
		if _, _, ok := layout.ParseCosignTag(name); ok {
			out = append(out, d.Digest)
		}
	}
	return out
}

// without drops blobs of these digests.
func without(members []member, drop ...layout.Descriptor) []member {
	return slices.DeleteFunc(members, func(m member) bool {
		return slices.ContainsFunc(drop, func(d layout.Descriptor) bool { return m.name == layout.BlobPath(d.Digest) })
	})
}

var folders = []member{{name: "blobs/", kind: '5'}, {name: "blobs/sha256/", kind: '5'}}

func layoutFile(data string) member       { return member{name: "oci-layout", data: []byte(data)} }
func indexFile(data []byte) member        { return member{name: "index.json", data: data} }
func bare(b *layouttest.Builder) []member { return blobs(b.Content()) }
func pretty(t testing.TB, raw []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := json.Indent(&buf, raw, "", "   "); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// foreign is one tool's layout, what its roots are called, and what they lead to.
type foreign struct {
	members []member
	roots   []string // names; "" stands for a root without a tag
	wants   []digest.Digest
	left    int // children that are not there
}

func foreignLayouts(t testing.TB) map[string]foreign {
	t.Helper()
	out := map[string]foreign{}

	// oras backup of a whole repository: bare tags (fallback and cosign tags
	// among them), then every other manifest, untagged; dirs first, index last.
	s := newSigned(true)
	list := []layout.Descriptor{annotated(s.index, refName, "v1")}
	for _, name := range slices.Sorted(maps.Keys(s.tags)) {
		list = append(list, annotated(s.tags[name], refName, name))
	}
	list = append(append(list, s.children...), s.attached...)
	out["oras backup"] = foreign{slices.Concat(folders, bare(s.b), []member{indexFile(indexJSON(t, list...)), layoutFile(`{"imageLayoutVersion":"1.0.0"}`)}), []string{":v1"}, s.wants(), 0}

	// oras copy -r of one tag: no fallback indexes.
	s = newSigned(false)
	list = append(append([]layout.Descriptor{annotated(s.index, refName, "v1")}, s.attached...), s.children...)
	drop := slices.Collect(maps.Values(s.tags))
	out["oras copy -r"] = foreign{append([]member{layoutFile(layoutJSON), indexFile(indexJSON(t, list...))}, without(bare(s.b), drop...)...), []string{":v1"}, s.wants(), 0}

	// regctl image copy --referrers --digest-tags: tagged manifests only;
	// referrers are reached through the fallback indexes.
	s = newSigned(true)
	list = []layout.Descriptor{annotated(s.index, refName, "v1", "org.opencontainers.image.created", "2026-01-01T00:00:00Z")}
	for _, name := range slices.Sorted(maps.Keys(s.tags)) {
		list = append(list, annotated(s.tags[name], refName, name))
	}
	out["regctl ocidir"] = foreign{append([]member{layoutFile(layoutJSON), indexFile(indexJSON(t, list...))}, bare(s.b)...), []string{":v1"}, s.wants(), 0}

	// regctl image export, by name and by digest: full name and an empty or bare tag.
	for what, names := range map[string][2]string{"regctl export": {repo + ":v1", "v1"}, "regctl export by digest": {repo + "@" + string(s.index.Digest), ""}} {
		root := names[0]
		if names[1] == "" {
			root = repo + "@"
		}
		out[what] = foreign{slices.Concat([]member{layoutFile(layoutJSON), indexFile(indexJSON(t, annotated(s.index, layout.AnnotationContainerdName, names[0], refName, names[1])))},
			folders, bare(s.b)), []string{root}, s.wants()[:1+len(s.children)+len(s.attached)], 0}
	}

	// cosign save: kinds instead of names; referrers are blobs that nothing lists.
	s = newSigned(true)
	sig, _ := layout.FormCosignSig.Tag(s.index.Digest)
	att, _ := layout.FormCosignAtt.Tag(s.index.Digest)
	kind := func(d layout.Descriptor, k string) layout.Descriptor {
		return annotated(d, "kind", "dev.cosignproject.cosign/"+k)
	}
	list = []layout.Descriptor{kind(s.index, "imageIndex"), kind(s.tags[sig], "sigs"), kind(s.tags[att], "atts")}
	wants := append(slices.Clone(s.wants()[:1+len(s.children)+len(s.attached)]), s.tags[sig].Digest, s.tags[att].Digest)
	out["cosign save"] = foreign{append([]member{layoutFile(layoutJSON), indexFile(indexJSON(t, list...))}, bare(s.b)...), []string{""}, wants, 0}

	// skopeo: dirs, blobs, index.json without media type, oci-layout with a blank.
	s = newSigned(false)
	raw := []byte(strings.Replace(string(indexJSON(t, annotated(s.index, refName, "docker.io/library/hello:v1"))), `"mediaType":"application/vnd.oci.image.index.v1+json",`, "", 1))
	out["skopeo oci-archive"] = foreign{slices.Concat(folders, bare(s.b), []member{indexFile(raw), layoutFile(`{"imageLayoutVersion": "1.0.0"}`)}),
		[]string{"docker.io/library/hello:v1"}, s.wants(), 0}
	out["skopeo without a name"] = foreign{slices.Concat(folders, bare(s.b), []member{indexFile(indexJSON(t, s.index)), layoutFile(layoutJSON)}), []string{""}, s.wants(), 0}

	// ctr images export --platform: the whole index, one child; a manifest.json beside it.
	s = newSigned(false)
	gone := append([]layout.Descriptor{s.children[1], s.attached[3]}, slices.Collect(maps.Values(s.tags))...)
	wants = slices.DeleteFunc(s.wants(), func(d digest.Digest) bool { return d == gone[0].Digest || d == gone[1].Digest })
	out["ctr export"] = foreign{slices.Concat(folders, without(bare(s.b), gone...),
		[]member{indexFile(indexJSON(t, annotated(s.index, layout.AnnotationContainerdName, repo+":v1", refName, "v1"))), {name: "manifest.json", data: []byte(`[]`)}, layoutFile(layoutJSON)}),
		[]string{repo + ":v1"}, wants, 1}

	// crane pull --format oci: pretty-printed, no name, and an artifactType that
	// does not mean artifact.
	s = newSigned(false)
	typed := s.index
	typed.ArtifactType = layout.MediaTypeImageConfig
	out["crane oci"] = foreign{append([]member{layoutFile("{\n   \"imageLayoutVersion\": \"1.0.0\"\n}"), indexFile(pretty(t, indexJSON(t, typed)))}, bare(s.b)...), []string{""}, s.wants(), 0}
	return out
}

func TestForeignLayouts(t *testing.T) {
	for what, f := range foreignLayouts(t) {
		t.Run(what, func(t *testing.T) {
			tarred, err := openBytes(pack(t, f.members...))
			if err != nil {
				t.Fatal(err)
			}
			var files []member
			for _, m := range f.members {
				if m.kind != '5' {
					files = append(files, m)
				}
			}
			folder, err := openFolder(t, unpack(t, files...))
			if err != nil {
				t.Fatal(err)
			}
			for form, r := range map[string]*layout.Reader{"tar": tarred, "folder": folder} {
				checkForeign(t, form, r, f)
			}
		})
	}
}

func checkForeign(t *testing.T, form string, r *layout.Reader, f foreign) {
	t.Helper()
	roots, err := r.Roots()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range roots {
		ref := n.Reference
		if ref.Tag == "" {
			ref.Digest = ""
			names = append(names, strings.TrimPrefix(ref.Repository+"@", "@"))
		} else {
			names = append(names, ref.Name())
		}
	}
	if !slices.Equal(names, f.roots) || r.Own() {
		t.Errorf("%s: roots %q, want %q; own: %v", form, names, f.roots, r.Own())
	}
	g, err := walkReader(t, r)
	if err != nil {
		t.Fatalf("%s: %v", form, err)
	}
	for _, d := range f.wants {
		if g.Nodes[d] == nil {
			t.Errorf("%s: %s is lost", form, d)
		}
	}
	if len(g.Nodes) != len(f.wants) || len(g.Omitted) != f.left {
		t.Errorf("%s: %d manifests, want %d; %d left out, want %d", form, len(g.Nodes), len(f.wants), len(g.Omitted), f.left)
	}
	if err := readReader(t, r); err != nil {
		t.Errorf("%s: %v", form, err)
	}
}

// rootsOf opens a layout of blobs and a list, and returns the names of its roots.
func rootsOf(t *testing.T, b *layouttest.Builder, list ...layout.Descriptor) ([]layout.Name, *layout.Reader, error) {
	t.Helper()
	r, err := openBytes(pack(t, append([]member{layoutFile(layoutJSON), indexFile(indexJSON(t, list...))}, bare(b)...)...))
	if err != nil {
		return nil, nil, err
	}
	roots, err := r.Roots()
	return roots, r, err
}

// Whatever index.json lists is reached from the roots, and nothing is a root that
// belongs to another.
func TestRootsLoseNothing(t *testing.T) {
	b := layouttest.New(repo)
	image, other := b.Image("image"), b.Image("other")
	index := b.Index(image)
	absent := layouttest.New("x").Image("absent")
	orphan, sig := b.Notary(absent, "its subject is not there"), b.Notary(image, "sig")
	onOrphan := b.Notary(orphan, "on the orphan")
	cosign := func(form layout.Form, of layout.Descriptor) string { name, _ := form.Tag(of.Digest); return name }
	fallback := b.Index(sig)
	wrongFallback := b.Index(orphan, other)
	for what, test := range map[string]struct {
		list  []layout.Descriptor
		roots []digest.Digest
	}{
		"a child beside its index":                {[]layout.Descriptor{image, index}, []digest.Digest{index.Digest}},
		"a child with a name of its own":          {[]layout.Descriptor{named(image, "amd"), index}, []digest.Digest{image.Digest, index.Digest}},
		"a signature beside its image":            {[]layout.Descriptor{sig, image}, []digest.Digest{image.Digest}},
		"a signature alone, its subject unlisted": {[]layout.Descriptor{sig}, []digest.Digest{sig.Digest}},
		"a signature without its subject":         {[]layout.Descriptor{orphan}, []digest.Digest{orphan.Digest}},
		"and a signature on that":                 {[]layout.Descriptor{onOrphan, orphan}, []digest.Digest{orphan.Digest}},
		"a cosign tag beside its image":           {[]layout.Descriptor{named(other, cosign(layout.FormCosignSig, image)), image}, []digest.Digest{image.Digest}},
		"a cosign tag without its image":          {[]layout.Descriptor{named(other, cosign(layout.FormCosignSig, absent))}, []digest.Digest{other.Digest}},
		"cosign tags in a circle":                 {[]layout.Descriptor{named(other, cosign(layout.FormCosignSig, image)), named(image, cosign(layout.FormCosignSig, other))}, []digest.Digest{other.Digest}},
		"a cosign tag of another's signature":     {[]layout.Descriptor{named(orphan, cosign(layout.FormCosignSig, image)), image}, []digest.Digest{image.Digest, orphan.Digest}},
		"a fallback tag beside its image":         {[]layout.Descriptor{named(fallback, cosign(layout.FormReferrersTag, image)), image}, []digest.Digest{image.Digest}},
		"a fallback tag without its image":        {[]layout.Descriptor{named(fallback, cosign(layout.FormReferrersTag, absent))}, []digest.Digest{fallback.Digest}},
		"a fallback tag that is the image":        {[]layout.Descriptor{named(image, cosign(layout.FormReferrersTag, image)), image}, []digest.Digest{image.Digest}},
		"a fallback tag that is another image":    {[]layout.Descriptor{named(other, cosign(layout.FormReferrersTag, image)), image}, []digest.Digest{image.Digest, other.Digest}},
		"a fallback tag that lists what is not":   {[]layout.Descriptor{named(wrongFallback, cosign(layout.FormReferrersTag, image)), image, orphan, other}, []digest.Digest{image.Digest, orphan.Digest, other.Digest}},
		"cosign's marks without an image":         {[]layout.Descriptor{annotated(other, "kind", "dev.cosignproject.cosign/sigs")}, []digest.Digest{other.Digest}},
		"one manifest, two names":                 {[]layout.Descriptor{named(image, "a"), named(image, "b"), image, image}, []digest.Digest{image.Digest, image.Digest}},
		"one name, twice":                         {[]layout.Descriptor{named(image, "a"), named(image, "a")}, []digest.Digest{image.Digest}},
		"nothing":                                 {nil, nil},
	} {
		roots, r, err := rootsOf(t, b, test.list...)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		var got []digest.Digest
		for _, n := range roots {
			got = append(got, n.Descriptor.Digest)
			if d, err := r.Resolve(t.Context(), n.Reference); err != nil || d.Digest != n.Descriptor.Digest {
				t.Errorf("%s: %s resolves to %s, %v", what, n.Reference, d.Digest, err)
			}
		}
		slices.Sort(got)
		slices.Sort(test.roots)
		if !slices.Equal(got, test.roots) {
			t.Errorf("%s: roots %v, want %v", what, got, test.roots)
		}
	}
}

func TestRootNames(t *testing.T) {
	b := layouttest.New(repo)
	one, two := b.Image("one"), b.Image("two")
	for name, want := range map[string]string{
		"v1": ":v1", "hello:v1": "docker.io/library/hello:v1", "reg.example/a/b": "reg.example/a/b:latest", "reg.example:5000/a:b": "reg.example:5000/a:b", "": "@", "a b": "@", "-x": "@",
		"A/B": "@", "..": "@", "a/../b": "@", "/etc/passwd": "@", strings.Repeat("a", 200): "@", "\x1b[2J": "@", "v1\n": "@",
		repo + "@" + string(one.Digest):                repo + "@",
		repo + "@" + string(two.Digest):                repo + "@", // another's digest: only the repository is believed
		repo + ":v1@" + string(one.Digest):             repo + ":v1",
		repo + ":v1@" + string(two.Digest):             repo + "@",
		repo + "@md5:d41d8cd98f00b204e9800998ecf8427e": "@",
	} {
		roots, _, err := rootsOf(t, b, named(one, name))
		if err != nil || len(roots) != 1 {
			t.Errorf("%q: %v, %v", name, roots, err)
			continue
		}
		ref := roots[0].Reference
		got := ref.Repository + "@"
		if ref.Tag != "" {
			got = ref.Name()
		}
		if got != want || ref.Digest != "" && ref.Digest != one.Digest {
			t.Errorf("%q is read as %q (%s), want %q", name, got, ref.Digest, want)
		}
	}
	for what, list := range map[string][]layout.Descriptor{
		"a tag":       {named(one, "v1"), named(two, "v1")},
		"a full name": {named(one, repo+":v1"), annotated(two, layout.AnnotationContainerdName, repo+":v1")},
	} {
		roots, r, err := rootsOf(t, b, list...)
		if err != nil || len(roots) != 2 {
			t.Errorf("%s of two manifests: %v, %v, want both", what, roots, err)
			continue
		}
		var refs []layout.Reference
		for _, n := range roots {
			if n.Reference.Digest != n.Descriptor.Digest || n.Reference.Tag != "v1" {
				t.Errorf("%s of two manifests: %s, want the tag and the digest", what, n.Reference)
			}
			refs = append(refs, n.Reference)
			if _, err := layout.Walk(t.Context(), r, []layout.Reference{n.Reference}, layout.WalkOptions{}); err != nil {
				t.Errorf("%s of two manifests, one of them: %v", what, err)
			}
		}
		_, err = layout.Walk(t.Context(), r, refs, layout.WalkOptions{})
		if !errors.Is(err, layout.ErrUnsupported) || !strings.Contains(fmt.Sprint(err), string(two.Digest)) || !strings.Contains(layout.Hint(err), "#sha256:") {
			t.Errorf("%s of two manifests, both: %v (hint %q), want ErrUnsupported, the digests and how to choose", what, err, layout.Hint(err))
		}
	}
}

// Cosign tags in full say which repository they are for.
func TestTagsOfTwoRepositories(t *testing.T) {
	b := layouttest.New(repo)
	image, one, two := b.Image("image"), b.Image("sig one"), b.Image("sig two")
	sig, _ := layout.FormCosignSig.Tag(image.Digest)
	list := []layout.Descriptor{named(image, repo+":v1"), named(image, repoB+":v1"), named(one, repo+":"+sig), named(two, repoB+":"+sig)}
	_, r, err := rootsOf(t, b, list...)
	if err != nil {
		t.Fatal(err)
	}
	g, err := walkReader(t, r)
	if err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]digest.Digest{repo: one.Digest, repoB: two.Digest} {
		if p, _ := g.Place(where, image.Digest); len(p.Attached) != 1 || p.Attached[0].Digest != want {
			t.Errorf("%s: attached %v, want %s", where, p.Attached, want)
		}
	}
	// Under a name that the layout does not know, it cannot tell them apart: an
	// error, not a choice.
	if _, err := layout.Walk(t.Context(), r, []layout.Reference{{Repository: "new.example/name", Digest: image.Digest}}, layout.WalkOptions{}); !errors.Is(err, layout.ErrUnsupported) {
		t.Errorf("under another name: %v, want ErrUnsupported", err)
	}
	_, r, err = rootsOf(t, b, named(image, "v1"), named(one, repo+":"+sig))
	if err != nil {
		t.Fatal(err)
	}
	if g, err := layout.Walk(t.Context(), r, []layout.Reference{{Repository: "new.example/name", Tag: "v1"}}, layout.WalkOptions{}); err != nil || g.Nodes[one.Digest] == nil {
		t.Errorf("one signature, under another name: %v", err)
	}
}

// Two images and cosign's marks: whose signature is it?
func TestCosignSaveOfTwo(t *testing.T) {
	b := layouttest.New(repo)
	sig := annotated(b.Image("sig"), "kind", "dev.cosignproject.cosign/sigs")
	if roots, _, err := rootsOf(t, b, b.Image("one"), b.Image("two"), sig); !errors.Is(err, layout.ErrUnsupported) {
		t.Errorf("%v, %v, want ErrUnsupported", roots, err)
	}
}

// A search that is cancelled ends, and the next one starts anew.
func TestAttachedCancelled(t *testing.T) {
	s := newSigned(true)
	members := append([]member{layoutFile(layoutJSON), indexFile(indexJSON(t, named(s.index, "v1")))}, bare(s.b)...)
	for name, open := range map[string]func() (*layout.Reader, error){
		"tar":    func() (*layout.Reader, error) { return openBytes(pack(t, members...)) },
		"folder": func() (*layout.Reader, error) { return openFolder(t, unpack(t, members...)) },
	} {
		r, err := open()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Attached(ctx, repo, s.index); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
		if answers, err := r.Attached(t.Context(), repo, s.index); err != nil || len(answers[0].Found) == 0 {
			t.Errorf("%s, the next time: %v, %v", name, answers, err)
		}
	}
}

// Manifests that no index lists, in every shape in which they can be told.
func TestUnlistedAttachments(t *testing.T) {
	b := layouttest.New(repo)
	image := b.Image("image")
	subject := layout.Descriptor{MediaType: image.MediaType, Digest: image.Digest, Size: image.Size}
	empty := b.Blob(layout.MediaTypeEmpty, []byte("{}"))
	doc := func(edit func(d *layouttest.Document)) []byte {
		d := layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &empty, Layers: []layout.Descriptor{empty}, Subject: &subject}
		edit(&d)
		data, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	plain := doc(func(*layouttest.Document) {})
	for what, test := range map[string]struct {
		raw   []byte
		found bool
		fails bool
	}{
		"a manifest":              {plain, true, false},
		"behind white space":      {append(bytes.Repeat([]byte(" \n\t\r"), 10), plain...), true, false},
		"behind much white space": {append(bytes.Repeat([]byte("\n"), 3000), plain...), true, false},
		"before white space":      {append(bytes.Clone(plain), '\n'), true, false},
		"pretty-printed":          {pretty(t, plain), true, false},
		"without a media type":    {doc(func(d *layouttest.Document) { d.MediaType = "" }), true, false},
		"an index": {doc(func(d *layouttest.Document) {
			d.MediaType, d.Config, d.Layers, d.Manifests = layout.MediaTypeIndex, nil, nil, []layout.Descriptor{image}
		}), true, false},
		"an index, no media type": {doc(func(d *layouttest.Document) {
			d.MediaType, d.Config, d.Layers, d.Manifests = "", nil, nil, []layout.Descriptor{image}
		}), true, false},
		"an ORAS artifact": {doc(func(d *layouttest.Document) {
			d.MediaType, d.Config, d.Layers, d.Blobs = layout.MediaTypeORASManifest, nil, nil, []layout.Descriptor{empty}
		}), true, false},
		"of something else":          {doc(func(d *layouttest.Document) { d.Subject = &empty }), false, false},
		"of nothing":                 {doc(func(d *layouttest.Document) { d.Subject = nil }), false, false},
		"of another media type":      {doc(func(d *layouttest.Document) { d.MediaType = "application/json" }), false, false},
		"an SBOM with a subject":     {[]byte(`{"subject":"x","bomFormat":"CycloneDX"}`), false, false},
		"a statement":                {[]byte(`{"_type":"x","subject":[{"name":"a","digest":{"sha256":"b"}}]}`), false, false},
		"a list":                     {[]byte(`[{"subject":1}]`), false, false},
		"text":                       {[]byte("{not JSON"), false, false},
		"white space":                {bytes.Repeat([]byte(" "), 600), false, false},
		"nothing at all":             {nil, false, false},
		"a key twice":                {bytes.Replace(plain, []byte(`{"schemaVersion"`), []byte(`{"config":null,"schemaVersion"`), 1), false, true},
		"a layer of a negative size": {bytes.Replace(plain, []byte(`"size":2}]`), []byte(`"size":-2}]`), 1), false, true},
		"a manifest and an index":    {doc(func(d *layouttest.Document) { d.Manifests = []layout.Descriptor{image} }), false, true},
	} {
		b := layouttest.New(repo)
		b.Image("image")
		b.Blob(layout.MediaTypeEmpty, []byte("{}"))
		d := b.Blob("application/octet-stream", test.raw)
		r, err := openBytes(pack(t, append([]member{layoutFile(layoutJSON), indexFile(indexJSON(t, named(image, "v1")))}, bare(b)...)...))
		if err != nil {
			t.Fatal(err)
		}
		answers, err := r.Attached(t.Context(), repo, image)
		if (err != nil) != test.fails || err != nil && !strings.Contains(err.Error(), string(d.Digest)) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		found := false
		for _, q := range answers {
			found = found || slices.ContainsFunc(q.Found, func(f layout.Descriptor) bool { return f.Digest == d.Digest })
		}
		if found != test.found {
			t.Errorf("%s: found %v, want %v", what, found, test.found)
		}
		if test.found {
			if g := walk(t, r, tag("v1")); g.Nodes[d.Digest] == nil {
				t.Errorf("%s: is not walked to", what)
			}
		}
	}
}
