package layout_test

import (
	"io"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// What an index lists that is no manifest is carried as a blob, and is no node.
func TestIndexListsNoManifest(t *testing.T) {
	b := layouttest.New(repo)
	image := layouttest.ForPlatform(b.Image("image"), "linux", "amd64")
	other := layouttest.New(repo)
	posing := other.Image("disguised")
	item, _ := other.Content().Find(repo, posing.Digest)
	disguised := b.Blob("application/json", item.Bytes)
	untyped := b.Blob("", []byte("no type"))
	xml := b.Blob("application/xml", []byte("<x/>"))
	index := b.Index(image, xml, disguised, untyped)
	b.Tag("v1", index)
	m := loaded(t, b.Content())
	for _, platforms := range [][]layout.Platform{nil, {{OS: "linux", Architecture: "amd64"}}} {
		g, err := layout.Walk(t.Context(), m, []layout.Reference{{Repository: repo, Tag: "v1"}}, layout.WalkOptions{Platforms: platforms})
		if err != nil {
			t.Fatal(err)
		}
		n := g.Nodes[index.Digest]
		if len(g.Nodes) != 2 || len(n.Blobs) != 3 || len(n.Children) != 1 || n.HasConfig {
			t.Fatalf("%d manifests, index with %d blobs and %d children", len(g.Nodes), len(n.Blobs), len(n.Children))
		}
		for _, l := range g.Layers() {
			if l.Digest == xml.Digest {
				t.Error("it is a layer, which a delta may leave out before anybody has judged it")
			}
		}
	}
	for d, want := range map[*layout.Descriptor]bool{&xml: false, &disguised: true, &untyped: false} {
		open := func(d layout.Descriptor) (io.ReadCloser, error) { return m.Open(t.Context(), repo, d) }
		if why, err := layout.ReadsAsManifest(*d, open); err != nil || (why != "") != want {
			t.Errorf("ReadsAsManifest(%s) = %q, %v, want %v", d.MediaType, why, err, want)
		}
	}
}

// A sparse layout may lack what is no manifest, too.
func TestIndexListsAbsentContent(t *testing.T) {
	b := layouttest.New(repo)
	index := b.Index(b.Image("image"), layouttest.New("x").Blob("application/xml", []byte("<absent/>")))
	roots, r, err := rootsOf(t, b, named(index, "v1"))
	if err != nil || len(roots) != 1 {
		t.Fatal(roots, err)
	}
	g, err := walkReader(t, r)
	if err != nil || len(g.Omitted) != 1 || g.Omitted[0].Reason != layout.ReasonAbsent {
		t.Errorf("%v, left out %+v", err, g)
	}
}

func TestMayBeManifest(t *testing.T) {
	big := strings.Repeat(" ", 4<<20)
	for text, want := range map[string]bool{
		"": false, " ": false, "<x/>": false, "[]": false, "null": false, `"config"`: false, "\x1f\x8b{": false, `{}`: false,
		`{"layers":[],"records":[]}`: false, `{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicate":{"config":1}}`: false,
		`{"config":{}}`: true, `{"CONFIG":{}}`: true, ` {"manifests":[]}`: true, "\ufeff{\"fsLayers\":[]}": true, `{"schemaVersion":2}`: true,
		`{"mediaType":"x"}`: true, `{"ſchemaVersion":2}`: true, `{"layers":[]} {"config":{}}`: true, `{"a":1`: true,
		"{" + big: true, big + " <": false,
	} {
		if got := layout.MayBeManifest([]byte(text)); got != want {
			t.Errorf("MayBeManifest(%.40q) = %v, want %v", text, got, want)
		}
	}
}
