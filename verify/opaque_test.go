package verify_test

import (
	"crypto"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// Under a rule about children, an index may list what is no manifest, but nothing that an
// engine could read as one: nobody would judge that. Who signs the index vouches for it.
func TestChildThatIsNoManifest(t *testing.T) {
	key := signing.InsecureKey("key")
	tr := pinned(t, nil, map[string]crypto.Signer{"release": key})
	evil := func(mediaType string) func(b *layouttest.Builder) layout.Descriptor {
		return func(b *layouttest.Builder) layout.Descriptor {
			other := layouttest.New(repo)
			d := other.Image("evil")
			item, _ := other.Content().Find(repo, d.Digest)
			return layouttest.ForPlatform(b.Blob(mediaType, item.Bytes), "linux", "amd64")
		}
	}
	blob := func(mediaType, text string) func(b *layouttest.Builder) layout.Descriptor {
		return func(b *layouttest.Builder) layout.Descriptor { return b.Blob(mediaType, []byte(text)) }
	}
	nested := func(of func(b *layouttest.Builder) layout.Descriptor) func(b *layouttest.Builder) layout.Descriptor {
		return func(b *layouttest.Builder) layout.Descriptor { return b.Index(b.Image("good"), of(b)) }
	}
	for what, test := range map[string]struct {
		child func(b *layouttest.Builder) layout.Descriptor
		state verify.State // with the image signed
	}{
		"XML":                             {blob("application/xml", "<x/>"), verify.Passed},
		"BuildKit's cache config":         {blob("application/vnd.buildkit.cacheconfig.v0", `{"layers":[],"records":[]}`), verify.Passed},
		"an image as JSON":                {evil("application/json"), verify.Refused},
		"an image without a type":         {evil(""), verify.Refused},
		"an image, with a parameter":      {evil(layout.MediaTypeManifest + "; charset=utf-8"), verify.Refused},
		"an image, in upper case":         {evil(strings.ToUpper(layout.MediaTypeManifest)), verify.Refused},
		"an image as a layer":             {evil("application/vnd.oci.image.layer.v1.tar"), verify.Refused},
		"an image, as schema 1":           {evil(layout.MediaTypeDockerSchema1), verify.Refused},
		"docker's schema 1":               {blob(layout.MediaTypeDockerSchema1Sig, layouttest.Schema1), verify.Refused},
		"schema 1 as something else":      {blob("application/x", layouttest.Schema1), verify.Refused},
		"what is not even schema 1":       {blob(layout.MediaTypeDockerSchema1Sig, "<x/>"), verify.Refused},
		"in an index below: XML":          {nested(blob("application/xml", "<x/>")), verify.Passed},
		"in an index below: an image":     {nested(evil("application/json")), verify.Refused},
		"a list of manifests":             {blob("application/x", `{"manifests":[]}`), verify.Refused},
		"what another decoder would read": {blob("application/x", `{"a":1} trailing`), verify.Refused},
	} {
		for rule, want := range map[policy.Index]verify.State{policy.IndexChildren: test.state, policy.IndexItself: verify.Passed} {
			f := newFixture(t)
			b := layouttest.New(repo)
			good := b.Image("good")
			index := b.Index(layouttest.ForPlatform(good, "linux", "arm64"), test.child(b))
			b.Tag("v1", index)
			f.content(b.Content())
			f.attach(must(signing.BundleSignature(good, key)), must(signing.BundleSignature(index, key)))
			p := ruled(t, "cosign: {key: release}")
			p.Rules[0].Index = rule
			if v := f.judge(&verify.Judge{Policy: p, Trust: tr}, "v1"); v.State != want {
				t.Errorf("%s, rule about %q: %s (%s), want %s", what, rule, v.State, v.Reason, want)
			}
		}
	}
}

// What is listed as no manifest and absent from one repository is judged as absent there,
// whatever another repository has.
func TestOpaqueChildElsewhere(t *testing.T) {
	judge, key := childrenRule(t)
	f := newFixture(t)
	b, other := layouttest.New(repo), layouttest.New("reg.example/a/first")
	good, xml := b.Image("good"), other.Blob("application/xml", []byte("<x/>"))
	b.Tag("v1", b.Index(good, xml))
	other.Tag("v1", other.Index(other.Image("good"), xml))
	f.content(layouttest.Merge(b.Content(), other.Content()))
	f.attach(must(signing.BundleSignature(good, key)))
	f.Commit()
	refs := []layout.Reference{{Repository: repo, Tag: "v1"}, {Repository: "reg.example/a/first", Tag: "v1"}}
	sparse := func(string, digest.Digest, layout.Descriptor) bool { return true }
	g := must(layout.Walk(t.Context(), f.Source, refs, layout.WalkOptions{MayMiss: sparse}))
	v := must(judge.Graph(t.Context(), f.Source, g)).Verdicts[0]
	if v.State != verify.Passed || !slices.Equal(v.Absent, []digest.Digest{xml.Digest}) {
		t.Errorf("%s (%s), absent %v", v.State, v.Reason, v.Absent)
	}
}
