package layout_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"

	"github.com/opencontainers/go-digest"
)

func platforms(t testing.TB, list ...string) (out []layout.Platform) {
	t.Helper()
	for _, s := range list {
		p, err := layout.ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// multi is an index of three platforms with BuildKit attestations, signatures on
// all levels, and what no platform is stated for.
type multi struct {
	b                                *layouttest.Builder
	amd, arm, win                    layout.Descriptor
	attAmd, attArm, attNone, attLost layout.Descriptor
	artifact, index                  layout.Descriptor
	sigIndex, sigAmd, sigArm, sigAtt layout.Descriptor
}

func newMulti() multi {
	b := layouttest.New(repo)
	m := multi{b: b, amd: b.Image("amd"), arm: b.Image("arm"), win: b.Image("win")}
	m.attAmd, m.attArm = b.BuildKit(m.amd), b.BuildKit(m.arm)
	m.attLost = b.BuildKit(layouttest.New("x").Image("elsewhere"))
	m.attNone = b.BuildKit(m.win)
	m.attNone.Annotations[layout.AnnotationBuildKitSubject] = "../../nonsense"
	m.artifact = b.Referrer(m.amd, "application/spdx+json", "listed in the index too")
	arm := layouttest.ForPlatform(m.arm, "linux", "arm64")
	arm.Platform.Variant = "v8"
	m.index = b.Index(layouttest.ForPlatform(m.amd, "linux", "amd64"), arm, layouttest.ForPlatform(m.win, "windows", "amd64"),
		m.attAmd, m.attArm, m.attNone, m.attLost, m.artifact)
	b.Tag("v1", m.index)
	m.sigIndex, m.sigAmd = b.Notary(m.index, "index"), b.Cosign(layout.FormCosignSig, m.amd, "amd")
	m.sigArm, m.sigAtt = b.Notary(m.arm, "arm"), b.Notary(m.attAmd, "attestation")
	return m
}

func TestWalkPlatforms(t *testing.T) {
	m := newMulti()
	always := []layout.Descriptor{m.index, m.sigIndex, m.artifact, m.attNone, m.attLost}
	for what, test := range map[string]struct {
		platforms []string
		want      []layout.Descriptor
		left      []layout.Descriptor
	}{
		"all":               {nil, []layout.Descriptor{m.amd, m.arm, m.win, m.attAmd, m.attArm, m.sigAmd, m.sigArm, m.sigAtt}, nil},
		"amd64":             {[]string{"linux/amd64"}, []layout.Descriptor{m.amd, m.attAmd, m.sigAmd, m.sigAtt}, []layout.Descriptor{m.arm, m.win, m.attArm}},
		"arm64":             {[]string{"linux/arm64"}, []layout.Descriptor{m.arm, m.attArm, m.sigArm}, []layout.Descriptor{m.amd, m.win, m.attAmd}},
		"arm64/v8":          {[]string{"linux/arm64/v8"}, []layout.Descriptor{m.arm, m.attArm, m.sigArm}, []layout.Descriptor{m.amd, m.win, m.attAmd}},
		"two":               {[]string{"linux/arm64", "windows/amd64"}, []layout.Descriptor{m.arm, m.win, m.attArm, m.sigArm}, []layout.Descriptor{m.amd, m.attAmd}},
		"one of two is not": {[]string{"linux/s390x", "linux/amd64"}, []layout.Descriptor{m.amd, m.attAmd, m.sigAmd, m.sigAtt}, []layout.Descriptor{m.arm, m.win, m.attArm}},
	} {
		src, _ := counted(t, load(t, m.b.Content()))
		g, err := layout.Walk(t.Context(), src, []layout.Reference{tag("v1")}, layout.WalkOptions{Platforms: platforms(t, test.platforms...)})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		want := append(slices.Clone(always), test.want...)
		for _, d := range want {
			if g.Nodes[d.Digest] == nil {
				t.Errorf("%s: without %s", what, d.Digest)
			}
		}
		if len(g.Nodes) != len(want) {
			t.Errorf("%s: %d manifests, want %d", what, len(g.Nodes), len(want))
		}
		var lacks []string
		for _, u := range g.Unmatched {
			lacks = append(lacks, u.Reference.Tag+" "+layout.FormatPlatform(u.Platform))
		}
		if what == "one of two is not" && !slices.Equal(lacks, []string{"v1 linux/s390x"}) || what != "one of two is not" && lacks != nil {
			t.Errorf("%s: told to lack %v", what, lacks)
		}
		if len(g.Omitted) != len(test.left) {
			t.Errorf("%s: %d left out, want %d", what, len(g.Omitted), len(test.left))
		}
		for _, o := range g.Omitted {
			if o.Parent != m.index.Digest || o.Reason != layout.ReasonPlatform || !slices.ContainsFunc(test.left, func(d layout.Descriptor) bool { return d.Digest == o.Descriptor.Digest }) {
				t.Errorf("%s: left out %+v", what, o)
			}
		}
		// The index is the one that was signed, and what was left out is known
		// to whoever reads the bundle.
		data, _ := planWith(t, src, g)
		r, err := openBytes(data)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := walkReader(t, r); err != nil || len(again.Nodes) != len(g.Nodes) {
			t.Errorf("%s: read back, %v", what, err)
		}
	}
}

func planWith(t testing.TB, src layout.Source, g *layout.Graph) ([]byte, *layout.Plan) {
	t.Helper()
	plan, err := layout.NewPlan(g, nil)
	if err != nil {
		t.Fatal(err)
	}
	var buf strings.Builder
	s := src
	if h, ok := src.(hooks); ok {
		s = h.Source // it may be read again here
	}
	if err := layout.WriteTar(t.Context(), &buf, s, plan, nil); err != nil {
		t.Fatal(err)
	}
	return []byte(buf.String()), plan
}

// Nothing for the chosen platform: an error that lists what there is, all the way
// down, and nothing half done.
func TestWalkNoPlatform(t *testing.T) {
	m := newMulti()
	nested := layouttest.New(repo)
	inner := nested.Index(layouttest.ForPlatform(nested.Image("i"), "linux", "riscv64"), layouttest.ForPlatform(nested.Image("p"), "linux", "ppc64le"))
	nested.Tag("v1", nested.Index(inner))
	only := layouttest.New(repo)
	x := only.Image("x")
	only.Tag("v1", only.Index(layouttest.ForPlatform(x, "linux", "mips"), only.BuildKit(layouttest.New("x").Image("elsewhere"))))
	for what, test := range map[string]struct {
		content layouttest.Content
		offers  []string
	}{
		"flat":             {withoutArtifact(), []string{"linux/amd64", "linux/arm64"}},
		"nested":           {nested.Content(), []string{"linux/riscv64", "linux/ppc64le"}},
		"only attestation": {only.Content(), []string{"linux/mips"}},
	} {
		_, err := layout.Walk(t.Context(), load(t, test.content), []layout.Reference{tag("v1")}, layout.WalkOptions{Platforms: platforms(t, "linux/s390x")})
		if !errors.Is(err, layout.ErrNotFound) || !strings.Contains(fmt.Sprint(err), "linux/s390x") {
			t.Errorf("%s: %v, want ErrNotFound and the platform", what, err)
		}
		for _, p := range test.offers {
			if !strings.Contains(layout.Hint(err), p) {
				t.Errorf("%s: hint %q does not name %s", what, layout.Hint(err), p)
			}
		}
	}
	// What has no platform of its own is taken as it is.
	ref := layout.Reference{Repository: repo, Digest: m.artifact.Digest}
	if _, err := layout.Walk(t.Context(), load(t, m.b.Content()), []layout.Reference{ref}, layout.WalkOptions{Platforms: platforms(t, "linux/s390x")}); err != nil {
		t.Errorf("%s: %v", ref, err)
	}
	empty := layouttest.New(repo)
	empty.Tag("v1", empty.Index())
	if _, err := layout.Walk(t.Context(), load(t, empty.Content()), []layout.Reference{tag("v1")}, layout.WalkOptions{Platforms: platforms(t, "linux/s390x")}); err != nil {
		t.Errorf("an empty index: %v", err)
	}
}

// Of an image that no index lists, the config says what it is for.
func TestWalkPlatformOfSingleImage(t *testing.T) {
	for what, test := range map[string]struct {
		config, asked string
		lacks         string // of what was asked
		err           error
		says          string
	}{
		"it":                 {`{"os":"linux","architecture":"arm64"}`, "linux/arm64", "", nil, ""},
		"its variant":        {`{"os":"linux","architecture":"arm","variant":"v6"}`, "linux/arm/v6", "", nil, ""},
		"one of two":         {`{"os":"linux","architecture":"arm64"}`, "linux/amd64,linux/arm64", "linux/amd64", nil, ""},
		"another":            {`{"os":"linux","architecture":"arm64"}`, "linux/amd64", "", layout.ErrNotFound, "linux/arm64"},
		"another variant":    {`{"os":"linux","architecture":"arm","variant":"v6"}`, "linux/arm/v7", "", layout.ErrNotFound, "linux/arm/v6"},
		"says nothing":       {`{}`, "linux/amd64", "", nil, ""},
		"says half":          {`{"os":"linux"}`, "windows/amd64", "", nil, ""},
		"no JSON":            {`linux/amd64`, "linux/amd64", "", layout.ErrCorrupt, "config"},
		"another kind":       {`{"os":["linux"],"architecture":"amd64"}`, "linux/amd64", "", layout.ErrCorrupt, "config"},
		"no platform chosen": {`linux/amd64`, "", "", nil, ""},
	} {
		b := layouttest.New(repo)
		config := b.Blob(layout.MediaTypeImageConfig, []byte(test.config))
		image := b.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config,
			Layers: []layout.Descriptor{b.Layer(layerType, "x")}})
		b.Tag("v1", image)
		var asked []layout.Platform
		if test.asked != "" {
			asked = platforms(t, strings.Split(test.asked, ",")...)
		}
		g, err := layout.Walk(t.Context(), load(t, b.Content()), []layout.Reference{tag("v1")}, layout.WalkOptions{Platforms: asked})
		if !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error()+layout.Hint(err), test.says) {
			t.Errorf("%s: %v (%s), want %v, %s", what, err, layout.Hint(err), test.err, test.says)
		}
		lacks := ""
		if err == nil && len(g.Unmatched) > 0 {
			lacks = layout.FormatPlatform(g.Unmatched[0].Platform)
		}
		if lacks != test.lacks {
			t.Errorf("%s: told to lack %q, want %q", what, lacks, test.lacks)
		}
	}
	// A config that cannot be read fails the walk.
	b := layouttest.New(repo)
	b.Tag("v1", b.Image("x"))
	broken := errors.New("broken")
	src := hooks{Source: load(t, b.Content()), open: func(_ string, d layout.Descriptor) error {
		if d.MediaType == layout.MediaTypeImageConfig {
			return broken
		}
		return nil
	}}
	if _, err := layout.Walk(t.Context(), src, []layout.Reference{tag("v1")}, layout.WalkOptions{Platforms: platforms(t, "linux/amd64")}); !errors.Is(err, broken) {
		t.Errorf("an unreadable config: %v", err)
	}
}

func withoutArtifact() layouttest.Content {
	b := layouttest.New(repo)
	amd, arm := b.Image("amd"), b.Image("arm")
	b.Tag("v1", b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"), b.BuildKit(amd)))
	return b.Content()
}

// An index in an index, of which only one has what is wanted.
func TestWalkNestedPlatforms(t *testing.T) {
	b := layouttest.New(repo)
	amd, arm := b.Image("inner amd"), b.Image("outer arm")
	inner := b.Index(layouttest.ForPlatform(amd, "linux", "amd64"))
	b.Tag("v1", b.Index(inner, layouttest.ForPlatform(arm, "linux", "arm64")))
	for p, want := range map[string]layout.Descriptor{"linux/amd64": amd, "linux/arm64": arm} {
		g, err := layout.Walk(t.Context(), load(t, b.Content()), []layout.Reference{tag("v1")}, layout.WalkOptions{Platforms: platforms(t, p)})
		if err != nil || g.Nodes[want.Digest] == nil || g.Nodes[inner.Digest] == nil || len(g.Nodes) != 3 || len(g.Omitted) != 1 {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// What is attached is taken whole: a platform selects among images, and among
// their signatures nothing.
func TestWalkPlatformLeavesAttachmentsAlone(t *testing.T) {
	t.Parallel()
	b := layouttest.New(repo)
	amd, arm := b.Image("amd"), b.Image("arm")
	index := b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"))
	b.Tag("v1", index)
	collected := b.Index(layouttest.ForPlatform(b.Image("tool arm"), "linux", "arm64"), layouttest.ForPlatform(b.Image("tool amd"), "linux", "amd64"))
	b.ReferrerIndex(index, collected)
	// The same index is a root, under the selection, and part of what is
	// attached, outside of it: whichever way it is reached first, it is whole.
	b.Tag("tools", collected)
	mem := load(t, b.Content())
	o := layout.WalkOptions{Platforms: platforms(t, "linux/amd64")}
	var first *layout.Graph
	for seed := range uint64(40) {
		src, _ := counted(t, jittery(mem, seed))
		g, err := layout.Walk(t.Context(), src, []layout.Reference{tag("v1"), tag("tools")}, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Nodes[collected.Digest].Children) != 2 || len(g.Omitted) != 1 {
			t.Fatalf("order %d: %d children are there, %d left out", seed, len(g.Nodes[collected.Digest].Children), len(g.Omitted))
		}
		if first == nil {
			first = g
		}
		if !reflect.DeepEqual(g, first) {
			t.Fatalf("order %d: another graph", seed)
		}
	}
}

func TestMatchPlatform(t *testing.T) {
	for _, test := range []struct {
		want, got string
		match     bool
	}{
		{"linux/amd64", "linux/amd64", true}, {"linux/amd64", "linux/amd64/v3", true}, {"linux/amd64/v3", "linux/amd64", false}, {"linux/amd64/v1", "linux/amd64", true},
		{"linux/arm64", "linux/arm64/v8", true}, {"linux/arm64/v8", "linux/arm64", true}, {"linux/arm64/v9", "linux/arm64", false},
		{"linux/arm/v7", "linux/arm", true}, {"linux/arm/v6", "linux/arm", false}, {"linux/arm", "linux/arm/v6", true}, {"linux/arm/v7", "linux/arm/v6", false},
		{"linux/amd64", "windows/amd64", false}, {"linux/amd64", "linux/arm64", false}, {"linux/ppc64le/x", "linux/ppc64le", false}, {"unknown/unknown", "unknown/unknown", true},
	} {
		p := platforms(t, test.want, test.got)
		if got := layout.MatchPlatform(p[0], p[1]); got != test.match {
			t.Errorf("%s asks for %s: %v", test.want, test.got, got)
		}
	}
	for _, bad := range []string{"", "linux", "linux/", "/amd64", "linux//v8", "linux/arm/v7/x", "linux/arm/"} {
		if p, err := layout.ParsePlatform(bad); err == nil {
			t.Errorf("ParsePlatform(%q) = %v", bad, p)
		}
	}
}

// A sparse index is taken where that is known, child by child.
func TestWalkSparse(t *testing.T) {
	content := layouttest.Sparse(repo)
	mem := load(t, content)
	refs := []layout.Reference{tag("sparse")}
	if _, err := layout.Walk(t.Context(), mem, refs, layout.WalkOptions{}); !errors.Is(err, layout.ErrNotFound) || !strings.Contains(layout.Hint(err), "--platform") {
		t.Errorf("nothing may be missing: %v, hint %q", err, layout.Hint(err))
	}
	var asked []digest.Digest
	g, err := layout.Walk(t.Context(), mem, refs, layout.WalkOptions{MayMiss: func(_ string, parent digest.Digest, child layout.Descriptor) bool {
		asked = append(asked, child.Digest)
		return parent == content.Names[0].Descriptor.Digest
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(asked) != 1 || len(g.Omitted) != 1 || g.Omitted[0].Reason != layout.ReasonAbsent || g.Omitted[0].Descriptor.Digest != asked[0] || g.Omitted[0].Descriptor.Platform == nil {
		t.Errorf("asked about %v, left out %+v", asked, g.Omitted)
	}
	if _, err := layout.Walk(t.Context(), mem, refs, layout.WalkOptions{MayMiss: func(string, digest.Digest, layout.Descriptor) bool { return false }}); !errors.Is(err, layout.ErrNotFound) {
		t.Errorf("this one may not be missing: %v", err)
	}
	// Not there is one thing, not readable another.
	broken := errors.New("broken")
	src := hooks{Source: mem, open: func(_ string, d layout.Descriptor) error {
		if d.Digest == asked[0] {
			return broken
		}
		return nil
	}}
	if _, err := layout.Walk(t.Context(), src, refs, layout.WalkOptions{MayMiss: mayMiss}); !errors.Is(err, broken) {
		t.Errorf("a child that cannot be read: %v, want its error", err)
	}
}

// An attestation about an attestation goes with no image, so it is always taken.
func TestWalkAttestationOfAttestation(t *testing.T) {
	b := layouttest.New(repo)
	img := b.Image("amd")
	about := b.BuildKit(img)
	second, itself := b.BuildKit(about), b.BuildKit(layouttest.New("x").Image("elsewhere"))
	itself.Annotations[layout.AnnotationBuildKitSubject] = itself.Digest.String()
	b.Tag("v1", b.Index(layouttest.ForPlatform(img, "linux", "amd64"), about, second, itself))
	for _, chosen := range [][]layout.Platform{nil, platforms(t, "linux/amd64")} {
		g, err := layout.Walk(t.Context(), load(t, b.Content()), []layout.Reference{tag("v1")}, layout.WalkOptions{Platforms: chosen})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []layout.Descriptor{about, second, itself} {
			if g.Nodes[d.Digest] == nil {
				t.Errorf("with platforms %v, %s is missing", chosen, d.Digest)
			}
		}
	}
}
