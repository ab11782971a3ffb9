package verify_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"
)

// childrenRule judges the children of indexes by a key.
func childrenRule(t *testing.T) (*verify.Judge, crypto.Signer) {
	t.Helper()
	key := signing.InsecureKey("key")
	p := ruled(t, "cosign: {key: release}")
	p.Rules[0].Index = policy.IndexChildren
	return &verify.Judge{Policy: p, Trust: pinned(t, nil, map[string]crypto.Signer{"release": key})}, key
}

// asAttestation lists d as BuildKit's attestation about subject.
func asAttestation(d, subject layout.Descriptor, os, arch string) layout.Descriptor {
	d.Platform = &layout.Platform{OS: os, Architecture: arch}
	d.Annotations = map[string]string{layout.AnnotationBuildKitType: layout.BuildKitAttestation, layout.AnnotationBuildKitSubject: subject.Digest.String()}
	return d
}

// artifact is a manifest of a config and layers of any types.
func artifact(b *layouttest.Builder, configType, config string, layers ...layout.Descriptor) layout.Descriptor {
	c := b.Blob(configType, []byte(config))
	return b.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &c, Layers: layers})
}

// Under a rule about children only a BuildKit attestation is exempt that is one by its
// bytes, for no platform, and about a child that passed. Everything else is judged.
func TestDisguisedChild(t *testing.T) {
	const statement = `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"x"}`
	const inToto = "application/vnd.in-toto+json"
	const tarType = "application/vnd.oci.image.layer.v1.tar"
	chain := func(l layout.Descriptor) string {
		return `{"architecture":"amd64","os":"linux","config":{"Cmd":["/run"]},"rootfs":{"type":"layers","diff_ids":["` + l.Digest.String() + `"]}}`
	}
	for what, test := range map[string]struct {
		child func(b *layouttest.Builder, good, evil layout.Descriptor) layout.Descriptor
		state verify.State
	}{
		"an attestation": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			return b.BuildKit(good)
		}, verify.Passed},
		"an attestation with an empty config": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			return asAttestation(artifact(b, layout.MediaTypeEmpty, "{}", b.Blob(inToto, []byte(statement))), good, "unknown", "unknown")
		}, verify.Passed},
		"an attestation for a platform": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			return asAttestation(b.BuildKit(good), good, "linux", "amd64")
		}, verify.Refused},
		"an attestation for none": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			d := b.BuildKit(good)
			d.Platform = nil
			return d
		}, verify.Refused},
		"an attestation about a stranger": {func(b *layouttest.Builder, _, evil layout.Descriptor) layout.Descriptor {
			return b.BuildKit(evil)
		}, verify.Refused},
		"an attestation about itself": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			d := b.BuildKit(good)
			return asAttestation(d, d, "unknown", "unknown")
		}, verify.Refused},
		"text that is no statement": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			return asAttestation(artifact(b, layout.MediaTypeEmpty, "{}", b.Blob(inToto, []byte("{}"))), good, "unknown", "unknown")
		}, verify.Refused},
		"no layers": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			return asAttestation(artifact(b, layout.MediaTypeEmpty, "{}"), good, "unknown", "unknown")
		}, verify.Refused},
		"an image": {func(b *layouttest.Builder, good, evil layout.Descriptor) layout.Descriptor {
			return asAttestation(evil, good, "unknown", "unknown")
		}, verify.Refused},
		"an image, and text": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			return asAttestation(b.Image("evil", b.Layer(tarType, "evil"), b.Blob("text/plain", []byte("hello"))), good, "linux", "arm64")
		}, verify.Refused},
		"an image, and a statement": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			return asAttestation(b.Image("evil", b.Blob(inToto, []byte(statement)), b.Layer(tarType, "evil")), good, "unknown", "unknown")
		}, verify.Refused},
		"a layer that is a statement by its type": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			return asAttestation(artifact(b, layout.MediaTypeEmpty, "{}", b.Layer(inToto, "evil")), good, "unknown", "unknown")
		}, verify.Refused},
		"a config that names layers of others": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			config := chain(b.Layer(tarType, "good 1"))
			return asAttestation(artifact(b, inToto, config, b.Blob(inToto, []byte(statement))), good, "unknown", "unknown")
		}, verify.Refused},
		"a config of another type": {func(b *layouttest.Builder, good, _ layout.Descriptor) layout.Descriptor {
			l := b.Layer(tarType, "evil")
			return asAttestation(artifact(b, "application/octet-stream", chain(l), l), good, "linux", "arm64")
		}, verify.Refused},
		"an index": {func(b *layouttest.Builder, good, evil layout.Descriptor) layout.Descriptor {
			return asAttestation(b.Index(evil), good, "unknown", "unknown")
		}, verify.Refused},
	} {
		judge, key := childrenRule(t)
		f := newFixture(t)
		b := layouttest.New(repo)
		good, evil := b.Image("good"), b.Image("evil")
		child := test.child(b, good, evil)
		b.Tag("v1", b.Index(layouttest.ForPlatform(good, "linux", "amd64"), child))
		f.content(b.Content())
		f.attach(must(signing.BundleSignature(good, key)))
		if v := f.judge(judge, "v1"); v.State != test.state {
			t.Errorf("%s: %s, want %s\n%s", what, v.State, test.state, must(json.Marshal(v)))
		}
	}
}

// A child that is not here did not pass. One that engines can have all the same, for the
// index embeds it or says where it is, is refused with the index.
func TestAbsentChild(t *testing.T) {
	for what, test := range map[string]struct {
		listed func(d layout.Descriptor, raw []byte) layout.Descriptor
		state  verify.State
	}{
		"listed":   {func(d layout.Descriptor, _ []byte) layout.Descriptor { return d }, verify.Passed},
		"embedded": {func(d layout.Descriptor, raw []byte) layout.Descriptor { d.Data = raw; return d }, verify.Refused},
		"by urls": {func(d layout.Descriptor, _ []byte) layout.Descriptor {
			d.URLs = []string{"https://e.example/x"}
			return d
		}, verify.Refused},
		"embedded, marked as an attestation": {func(d layout.Descriptor, raw []byte) layout.Descriptor {
			d.Data = raw
			return asAttestation(d, d, "linux", "arm64")
		}, verify.Refused},
	} {
		judge, key := childrenRule(t)
		elsewhere := layouttest.New(repo)
		evil := elsewhere.Image("evil")
		item, _ := elsewhere.Content().Find(repo, evil.Digest)
		f := newFixture(t)
		b := layouttest.New(repo)
		good := b.Image("good")
		child := test.listed(layouttest.ForPlatform(evil, "linux", "arm64"), item.Bytes)
		b.Tag("v1", b.Index(layouttest.ForPlatform(good, "linux", "amd64"), child))
		f.content(b.Content())
		f.attach(must(signing.BundleSignature(good, key)))
		v := f.judge(judge, "v1")
		if v.State != test.state || test.state == verify.Passed && !slices.Contains(v.Absent, evil.Digest) {
			t.Errorf("%s: %s, want %s\n%s", what, v.State, test.state, must(json.Marshal(v)))
		}
		if test.state == verify.Refused && !strings.Contains(v.Reason, "not here") {
			t.Errorf("%s: refused because of %q", what, v.Reason)
		}
		f.content(elsewhere.Content())
		if v := f.judge(judge, "v1"); v.State != verify.Refused || len(v.Absent) != 0 {
			t.Errorf("%s, here: %s, want it judged and refused\n%s", what, v.State, must(json.Marshal(v)))
		}
	}
}

// Embedded data that is another content than its digest says is damage.
func TestEmbeddedLies(t *testing.T) {
	b := layouttest.New(repo)
	d := b.Image("x")
	d.Data = []byte(base64.StdEncoding.EncodeToString([]byte("something else")))
	index := b.Index(d)
	item, _ := b.Content().Find(repo, index.Digest)
	if _, err := layout.ParseManifest(index, item.Bytes); err == nil {
		t.Error("an index that embeds something else is taken")
	}
}

// What is attached and could be started is told of.
func TestUnjudgedAttachments(t *testing.T) {
	judge, key := childrenRule(t)
	f := newFixture(t)
	b := layouttest.New(repo)
	good := b.Image("good")
	b.Tag("v1", good)
	b.Referrer(good, "text/plain", "an SBOM")
	layer := b.Layer("application/octet-stream", "evil")
	config := b.Blob("application/json", []byte(`{}`))
	b.Manifest(layouttest.Document{SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config, Layers: []layout.Descriptor{layer}, Subject: &good})
	f.content(b.Content())
	f.attach(must(signing.BundleSignature(good, key)))
	b.Tag("index", b.Index(layouttest.ForPlatform(good, "linux", "amd64"))) // below an index, too
	f.content(b.Content())
	for _, tag := range []string{"v1", "index"} {
		v := f.judge(judge, tag)
		if v.State != verify.Passed || len(v.Warnings) != 1 || !strings.Contains(v.Warnings[0], "could be started") {
			t.Errorf("%s: %s, %q", tag, v.State, v.Warnings)
		}
	}
}
