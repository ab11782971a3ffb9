package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"airgap/layout"
	"airgap/layout/layouttest"
)

const repo = "reg.example/team/app"

// load fills f with content, and forgets the requests it took.
func load(t *testing.T, f *fake, content layouttest.Content) {
	t.Helper()
	if err := content.Load(t.Context(), clientFor(t, f)); err != nil {
		t.Fatal(err)
	}
	f.requests()
}

// TestResolveThenOpen is one request together.
func TestResolveThenOpen(t *testing.T) {
	f := &fake{referrers: true}
	content := layouttest.Everything(repo)
	load(t, f, content)
	c := clientFor(t, f)
	d, err := c.Resolve(t.Context(), content.Names[0].Reference)
	if err != nil {
		t.Fatal(err)
	}
	if log := f.requests(); len(log) != 1 {
		t.Errorf("Resolve took %q", log)
	}
	if _, err := readAll(t, c, d); err != nil {
		t.Fatal(err)
	}
	if log := f.requests(); len(log) != 0 {
		t.Errorf("Open after Resolve took %q", log)
	}
}

// TestNothingTwice walks everything: no URL is asked for twice, and no manifest
// comes twice, whether by name or by digest.
func TestNothingTwice(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		f := &fake{referrers: referrers, sparse: true}
		content := layouttest.Everything(repo)
		load(t, f, content)
		roots := content.Roots()
		names := map[string]int{} // tags that lead to the same manifest bring it each
		for _, n := range content.Names {
			if slices.Contains(roots, n.Reference) {
				names[string(n.Descriptor.Digest)]++
			}
		}
		g, err := layout.Walk(t.Context(), clientFor(t, f), roots, layout.WalkOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for d, n := range f.sent {
			if n > max(names[d], 1) {
				t.Errorf("%s came %d times", d, n)
			}
		}
		log := f.requests()
		slices.Sort(log)
		if twice := len(log) - len(slices.Compact(slices.Clone(log))); twice > 0 || len(log) < 50 {
			t.Errorf("%d of %d requests twice", twice, len(log))
		}
		probes := 0
		for _, l := range log {
			if strings.Contains(l, "/referrers/") {
				probes++
			}
		}
		if want := len(g.Nodes); referrers && probes != want || !referrers && probes != 1 {
			t.Errorf("referrers API %v: asked %d times for %d manifests", referrers, probes, want)
		}
	}
}

func readAll(t *testing.T, c *Client, d layout.Descriptor) ([]byte, error) {
	t.Helper()
	rc, err := c.Open(t.Context(), repo, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// giving is a handler that gives one manifest to every request.
func giving(mediaType string, data []byte, change func(http.Header)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if mediaType != "" {
			w.Header().Set("Content-Type", mediaType)
		} else {
			w.Header()["Content-Type"] = nil
		}
		if change != nil {
			change(w.Header())
		}
		_, _ = w.Write(data)
	}
}

func TestResolveRefuses(t *testing.T) {
	image := []byte(`{"schemaVersion":2,"mediaType":"` + layout.MediaTypeManifest + `","config":{}}`)
	bare := []byte(`{"schemaVersion":2,"config":{}}`)
	other := digest.FromString("other")
	big := append(bytes.Clone(bare), bytes.Repeat([]byte(" "), layout.MaxManifestBytes)...)
	set := func(k, v string) func(http.Header) { return func(h http.Header) { h.Set(k, v) } }
	for name, test := range map[string]struct {
		h    http.HandlerFunc
		want error // nil: accepted
	}{
		"as it should be":              {giving(layout.MediaTypeManifest, image, nil), nil},
		"type only in header":          {giving(layout.MediaTypeManifest+"; charset=utf-8", bare, nil), nil},
		"type only in document":        {giving("", image, nil), nil},
		"vague header":                 {giving("application/json", image, nil), nil},
		"right digest header":          {giving(layout.MediaTypeManifest, image, set(digestHeader, string(digest.FromBytes(image)))), nil},
		"wrong digest header":          {giving(layout.MediaTypeManifest, image, set(digestHeader, string(other))), layout.ErrCorrupt},
		"strange digest header":        {giving(layout.MediaTypeManifest, image, set(digestHeader, "md5:abc")), layout.ErrCorrupt},
		"index as manifest":            {giving(layout.MediaTypeIndex, image, nil), layout.ErrCorrupt},
		"docker as OCI":                {giving(layout.MediaTypeDockerManifest, image, nil), layout.ErrCorrupt},
		"no type at all":               {giving("", bare, nil), layout.ErrUnsupported},
		"the shape of both":            {giving("application/json", []byte(`{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}`), nil), layout.ErrUnsupported},
		"the shape of another version": {giving("application/json", []byte(`{"config":{},"layers":[]}`), nil), layout.ErrUnsupported},
		"a config that is none":        {giving("application/json", []byte(`{"schemaVersion":2,"config":[],"layers":[]}`), nil), layout.ErrUnsupported},
		"unknown type":                 {giving("application/vnd.example+json", bare, nil), layout.ErrUnsupported},
		"schema 1":                     {giving(layout.MediaTypeDockerSchema1Sig, []byte(`{"schemaVersion":1}`), nil), layout.ErrUnsupported},
		"schema 1 in disguise":         {giving("application/json", []byte(`{"schemaVersion":1}`), nil), layout.ErrUnsupported},
		"web page":                     {giving("text/html", []byte("<html>"), nil), layout.ErrCorrupt},
		"too large":                    {giving(layout.MediaTypeManifest, big, nil), layout.ErrLimit},
		"too large, undisclosed":       {giving(layout.MediaTypeManifest, big, set("Transfer-Encoding", "chunked")), layout.ErrLimit},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, layout.ErrLimit},
		"gzip":                {giving(layout.MediaTypeManifest, image, set("Content-Encoding", "gzip")), layout.ErrCorrupt},
		"nothing":             {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) }, layout.ErrNotFound},
		"unknown name as 400": {func(w http.ResponseWriter, r *http.Request) { fail(w, 400, "NAME_UNKNOWN") }, layout.ErrNotFound},
		"refused":             {func(w http.ResponseWriter, r *http.Request) { fail(w, 403, "MANIFEST_UNKNOWN") }, ErrRegistry},
		"down":                {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, ErrRegistry},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientFor(t, test.h)
			ref := layout.Reference{Repository: repo, Tag: "v1"}
			d, err := c.Resolve(t.Context(), ref)
			if test.want == nil {
				if err != nil || d.MediaType != layout.MediaTypeManifest || d.Digest != digest.FromBytes(image) && d.Digest != digest.FromBytes(bare) {
					t.Errorf("Resolve = %v, %v", d, err)
				}
				return
			}
			var le *layout.Error
			if !errors.Is(err, test.want) || !errors.Is(err, ErrRegistry) || !errors.As(err, &le) ||
				le.Side != layout.SideSource || le.Name != ref.String() {
				t.Errorf("Resolve = %v, %v; want %v", d, err, test.want)
			}
			if test.want == ErrRegistry && errors.Is(err, layout.ErrNotFound) {
				t.Errorf("%v is taken for not found", err)
			}
			if strings.HasPrefix(name, "schema 1") && !strings.Contains(layout.Hint(err), "schema 2") {
				t.Errorf("hint %q", layout.Hint(err))
			}
		})
	}
}

// TestShape: a manifest of which nobody says what it is, is told by its shape; and what
// lists it may know better.
func TestShape(t *testing.T) {
	for data, want := range map[string]string{
		`{"schemaVersion":2,"config":{},"layers":[]}`: layout.MediaTypeManifest,
		`{"schemaVersion":2,"manifests":[]}`:          layout.MediaTypeIndex,
	} {
		for _, header := range []string{"", "application/json", "application/octet-stream", "text/plain; charset=utf-8"} {
			c := clientFor(t, giving(header, []byte(data), nil))
			d, err := c.Resolve(t.Context(), layout.Reference{Repository: repo, Tag: "v1"})
			if err != nil || d.MediaType != want {
				t.Errorf("%s as %q is %q, %v", data, header, d.MediaType, err)
			}
			for _, listed := range layout.ManifestTypes {
				d.MediaType = listed
				_, err := readAll(t, clientFor(t, giving(header, []byte(data), nil)), d)
				if same := layout.IsIndex(listed) == layout.IsIndex(want); same != (err == nil) {
					t.Errorf("%s listed as %s: %v", data, listed, err)
				}
			}
		}
	}
}

// TestResolveDigest: a digest given with a tag is what counts.
func TestResolveDigest(t *testing.T) {
	data := []byte(`{"schemaVersion":2,"config":{}}`)
	h := giving(layout.MediaTypeManifest, data, nil)
	for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		ref := layout.Reference{Repository: repo, Tag: "v1", Digest: alg.FromBytes(data)}
		if d, err := clientFor(t, h).Resolve(t.Context(), ref); err != nil || d.Digest != ref.Digest {
			t.Errorf("Resolve(%s) = %v, %v", ref, d, err)
		}
		ref.Digest = alg.FromString("other")
		if d, err := clientFor(t, h).Resolve(t.Context(), ref); !errors.Is(err, layout.ErrCorrupt) {
			t.Errorf("Resolve(%s) = %v, %v, want ErrCorrupt", ref, d, err)
		}
	}
}

// TestHostileNames: nothing that is not in the grammar becomes part of a URL.
func TestHostileNames(t *testing.T) {
	f := &fake{}
	c := clientFor(t, f)
	for _, ref := range []layout.Reference{
		{Repository: "reg.example/../x", Tag: "v1"},
		{Repository: "reg.example/a?b", Tag: "v1"},
		{Repository: "user:pw@reg.example/a", Tag: "v1"},
		{Repository: "reg.example", Tag: "v1"},
		{Repository: "", Tag: "v1"},
		{Repository: repo, Tag: "../../x"},
		{Repository: repo, Tag: "v1?x=y"},
		{Repository: repo, Tag: ""},
		{Repository: repo, Digest: "sha256:../x"},
	} {
		if d, err := c.Resolve(t.Context(), ref); err == nil {
			t.Errorf("Resolve(%q) = %v", ref, d)
		}
		name := layout.Name{Reference: ref, Descriptor: layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("")}, Manifest: []byte{}}
		if err := c.Commit(t.Context(), []layout.Name{name}); err == nil && ref.Tag != "" {
			t.Errorf("Commit(%q) succeeds", ref)
		}
	}
	if log := f.requests(); len(log) > 0 {
		t.Errorf("asked %q", log)
	}
}

// TestKeepBounded: the cache gives up the oldest, and Open asks again.
func TestKeepBounded(t *testing.T) {
	var k takeOnce
	const n = 40
	for i := range n {
		k.keep(repo, digest.FromString(fmt.Sprint(i)), make([]byte, 4<<20))
	}
	if k.size > maxKept || len(k.order) != len(k.bytes) || len(k.order) != maxKept/(4<<20) {
		t.Errorf("keeps %d bytes in %d, %d", k.size, len(k.order), len(k.bytes))
	}
	last := digest.FromString(fmt.Sprint(n - 1))
	if _, ok := k.take(repo, digest.FromString("0")); ok {
		t.Error("the oldest is still there")
	}
	if _, ok := k.take("reg.example/other", last); ok {
		t.Error("another repository's")
	}
	if data, ok := k.take(repo, last); !ok || len(data) != 4<<20 {
		t.Error("the newest is gone")
	}
	if _, ok := k.take(repo, last); ok {
		t.Error("taken twice")
	}
}
