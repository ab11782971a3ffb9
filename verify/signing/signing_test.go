package signing

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var testTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// subjectOf stands for an image: only its descriptor matters here. It carries
// what an index would add, none of which may end up in a manifest of ours.
func subjectOf(name string) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType:    ocispec.MediaTypeImageManifest,
		Digest:       digest.FromString(name),
		Size:         int64(len(name)),
		Platform:     &ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Annotations:  map[string]string{"org.opencontainers.image.ref.name": "latest"},
		ArtifactType: "application/x-noise",
	}
}

func seededChain(t *testing.T, name string) Chain {
	t.Helper()
	opts := TestOptions{InsecureSeed: "chain"}
	ca, err := NewTestCA(name+" root", opts)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Issue(name, opts)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// layer returns the bytes of the artifact's nth layer, found as a client would.
func layer(t *testing.T, a Artifact, n int) (ocispec.Descriptor, []byte) {
	t.Helper()
	desc := manifest(t, a).Layers[n]
	i := slices.IndexFunc(a.Blobs, func(b Blob) bool { return b.Desc.Digest == desc.Digest })
	if i < 0 {
		t.Fatalf("layer %s is not among the blobs", desc.Digest)
	}
	return desc, a.Blobs[i].Data
}

func manifest(t *testing.T, a Artifact) ocispec.Manifest {
	t.Helper()
	var m ocispec.Manifest
	d := json.NewDecoder(bytes.NewReader(a.Raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		t.Fatalf("manifest: %v\n%s", err, a.Raw)
	}
	return m
}

// A form is one function of the package with everything fixed.
type form struct {
	name         string
	make         func() (Artifact, error)
	artifactType string // as the referrers API would list it; empty for tags
	config       string // config.mediaType
	layers       []string
	tag          string
	digest       digest.Digest // of the manifest
}

// forms lists every form. The digests are golden: fixtures elsewhere depend on
// them, and a change of one means that what we write changed.
func forms(t *testing.T) []form {
	subject := subjectOf("image")
	key, other := InsecureKey("a"), InsecureKey("b")
	chain := seededChain(t, "signer")
	claim := Claim{Reference: "registry.example/app", Annotations: map[string]string{"env": "test"}}
	slsa := Attestation{PredicateType: PredicateSLSAProvenance, Predicate: json.RawMessage(`{"buildDefinition": {"note": "a<b & c>d"}}`)}
	tag := "sha256-" + subject.Digest.Encoded()
	const image, empty = ocispec.MediaTypeImageConfig, ocispec.MediaTypeEmptyJSON
	const simple = "application/vnd.dev.cosign.simplesigning.v1+json"
	const env = "application/vnd.dsse.envelope.v1+json"
	const sigType = "application/vnd.dev.cosign.artifact.sig.v1+json"
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	const notaryType = "application/vnd.cncf.notary.signature"
	notary := func(opts NotaryOptions) func() (Artifact, error) {
		opts.SigningTime = testTime
		return func() (Artifact, error) { return Notary(subject, chain, opts) }
	}
	return []form{
		{"notary JWS", notary(NotaryOptions{}),
			notaryType, empty, []string{"application/jose+json"}, "",
			"sha256:47111fd5675b44998cb6ec43a347ee0d799f4121c7f0f725d73eb1f31f970b28"},
		{"notary COSE", notary(NotaryOptions{Format: NotaryCOSE, Metadata: map[string]string{"k": "v"}}),
			notaryType, empty, []string{"application/cose"}, "",
			"sha256:1c0130a55a2a2309fe625a9c096554a7e69d09789323e3f51b70c51fb7815174"},
		{"notary, type in config", notary(NotaryOptions{TypeInConfig: true, Expiry: testTime.AddDate(20, 0, 0)}),
			notaryType, notaryType, []string{"application/jose+json"}, "",
			"sha256:596a71d6f0fd7b3a3d6472db81908e4d459dd8747634c28ecb2ec6f58e9c2ba2"},
		{"cosign signature", func() (Artifact, error) { return CosignSignature(subject, claim, key, other) },
			"", image, []string{simple, simple}, tag + ".sig",
			"sha256:198a1cf5b211a2e9124e823dce66ccc3e330a744c32ec013fb94ec1bf70812b5"},
		{"cosign referrer", func() (Artifact, error) { return CosignSignatureReferrer(subject, claim, key) },
			sigType, sigType, []string{simple}, "",
			"sha256:cdcaa6a645c57c3c422d5b90564e81f313ecc2c5978ad4e0fa63e55f149066a9"},
		{"cosign attestation", func() (Artifact, error) {
			return CosignAttestation(subject, key, slsa, Attestation{PredicateType: PredicateSPDX})
		},
			"", image, []string{env, env}, tag + ".att",
			"sha256:da6ff2b4ad379122253501bc5d2d2ad4de2272c18fe769c36bddeec0469fdbb0"},
		{"cosign SBOM", func() (Artifact, error) {
			return CosignSBOM(subject, "text/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
		},
			"", image, []string{"text/spdx+json"}, tag + ".sbom",
			"sha256:217edab48fec25957ebb31bc677682dc6ba3eb7af1ca15bba4f11665ec6ff005"},
		{"bundle signature", func() (Artifact, error) { return BundleSignature(subject, key) },
			bundleType, empty, []string{bundleType}, "",
			"sha256:d0a3fcda3aaa88a26683b3e502ea927fa3f79a6583fc834b991a6c0014cd9fcb"},
		{"bundle attestation", func() (Artifact, error) { return BundleAttestation(subject, slsa, key) },
			bundleType, empty, []string{bundleType}, "",
			"sha256:3c421f9a4f22d4a0fe44b8f7047de1529f265e3216b675544a594dedac240754"},
		{"document", func() (Artifact, error) {
			return Referrer(subject, Document{MediaType: "application/spdx+json", Data: []byte(`{}`)})
		},
			"application/spdx+json", empty, []string{"application/spdx+json"}, "",
			"sha256:e7fc26db18d0130e5ef462585cff4fe95d873d1c29777997627c2d4c73dc52a7"},
	}
}

func TestForms(t *testing.T) {
	for _, f := range forms(t) {
		t.Run(f.name, func(t *testing.T) {
			a, err := f.make()
			if err != nil {
				t.Fatal(err)
			}
			m := manifest(t, a)
			checkDescriptors(t, a, m)
			if a.Tag != f.tag || a.Manifest.ArtifactType != f.artifactType || m.Config.MediaType != f.config {
				t.Errorf("tag %q, artifact type %q, config %q; want %q, %q, %q",
					a.Tag, a.Manifest.ArtifactType, m.Config.MediaType, f.tag, f.artifactType, f.config)
			}
			var layers []string
			for _, l := range m.Layers {
				layers = append(layers, l.MediaType)
			}
			if !slices.Equal(layers, f.layers) {
				t.Errorf("layers %q, want %q", layers, f.layers)
			}
			if got := a.Manifest.Digest; got != f.digest {
				t.Errorf("the manifest is %s, was %s", got, f.digest)
			}
		})
	}
}

// checkDescriptors holds the promises of Artifact.
func checkDescriptors(t *testing.T, a Artifact, m ocispec.Manifest) {
	t.Helper()
	want := subjectOf("image")
	switch {
	case a.Tag != "" && m.Subject != nil:
		t.Error("a tag form must not have a subject: tools would list it twice")
	case a.Tag == "" && (m.Subject == nil || m.Subject.Digest != want.Digest || m.Subject.Size != want.Size || m.Subject.MediaType != want.MediaType):
		t.Errorf("subject is %+v", m.Subject)
	case a.Tag == "" && (m.Subject.Annotations != nil || m.Subject.Platform != nil || m.Subject.ArtifactType != ""):
		t.Errorf("subject says more than what identifies it: %+v", m.Subject)
	}
	if m.SchemaVersion != 2 || m.MediaType != ocispec.MediaTypeImageManifest {
		t.Errorf("schema %d, media type %q", m.SchemaVersion, m.MediaType)
	}
	if a.Manifest.Digest != digest.FromBytes(a.Raw) || a.Manifest.Size != int64(len(a.Raw)) || a.Manifest.MediaType != m.MediaType {
		t.Errorf("Manifest does not describe Raw: %+v", a.Manifest)
	}
	have := make(map[digest.Digest]int64)
	for _, b := range a.Blobs {
		if b.Desc.Digest != digest.FromBytes(b.Data) || b.Desc.Size != int64(len(b.Data)) {
			t.Errorf("blob is not what it is said to be: %+v", b.Desc)
		}
		if _, twice := have[b.Desc.Digest]; twice {
			t.Errorf("blob %s is there twice", b.Desc.Digest)
		}
		have[b.Desc.Digest] = b.Desc.Size
	}
	for _, d := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if size, ok := have[d.Digest]; !ok || size != d.Size {
			t.Errorf("manifest names %s of %d bytes, blobs are %v", d.Digest, d.Size, have)
		}
	}
}

// TestFreshKeys is the counterpart to the golden digests: with keys and clock
// as they come, everything still works, and differs.
func TestFreshKeys(t *testing.T) {
	one, err := NewTestChain("fresh")
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewTestChain("fresh")
	if err != nil {
		t.Fatal(err)
	}
	if one.Root().Equal(two.Root()) {
		t.Error("two test chains share a root")
	}
	before := time.Now().Truncate(time.Second)
	a, err := Notary(subjectOf("image"), one, NotaryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := time.Parse(time.RFC3339, manifest(t, a).Annotations[ocispec.AnnotationCreated])
	if err != nil || signed.Before(before) || signed.After(time.Now()) {
		t.Errorf("signed at %v (%v), want now", signed, err)
	}
}

func TestRefusals(t *testing.T) {
	good, key, chain := subjectOf("image"), InsecureKey("a"), seededChain(t, "signer")
	claim := Claim{Reference: "registry.example/app"}
	p384 := crypto.Signer(newKeyOn(t, elliptic.P384()))
	long := good
	long.Digest = digest.SHA512.FromString("image")
	noDigest, noType, noSize := good, good, good
	noDigest.Digest, noType.MediaType, noSize.Size = "latest", "", 0
	backwards := Chain{Key: chain.Key, Certs: slices.Clone(chain.Certs)}
	slices.Reverse(backwards.Certs)
	att := Attestation{PredicateType: PredicateSPDX}

	for name, c := range map[string]struct {
		make func() (Artifact, error)
		want error
	}{
		"reference, not digest": {func() (Artifact, error) { return BundleSignature(noDigest, key) }, ErrSubject},
		"no media type":         {func() (Artifact, error) { return CosignSignature(noType, claim, key) }, ErrSubject},
		"no size":               {func() (Artifact, error) { return Notary(noSize, chain, NotaryOptions{}) }, ErrSubject},
		"tag of sha512":         {func() (Artifact, error) { return CosignSignature(long, claim, key) }, ErrSubject},
		"document of nothing":   {func() (Artifact, error) { return Referrer(ocispec.Descriptor{}, Document{MediaType: "a/b"}) }, ErrSubject},
		"P-384":                 {func() (Artifact, error) { return BundleSignature(good, p384) }, ErrKey},
		"nil key":               {func() (Artifact, error) { return BundleSignature(good, nil) }, ErrKey},
		"no keys":               {func() (Artifact, error) { return CosignSignature(good, claim) }, ErrKey},
		"zero chain":            {func() (Artifact, error) { return Notary(good, Chain{}, NotaryOptions{}) }, ErrKey},
		"root first":            {func() (Artifact, error) { return Notary(good, backwards, NotaryOptions{}) }, ErrKey},
		"other key": {func() (Artifact, error) {
			return Notary(good, Chain{Key: key, Certs: chain.Certs}, NotaryOptions{})
		}, ErrKey},
		"format":            {func() (Artifact, error) { return Notary(good, chain, NotaryOptions{Format: 7}) }, ErrContent},
		"no claim":          {func() (Artifact, error) { return CosignSignature(good, Claim{}, key) }, ErrContent},
		"no attestation":    {func() (Artifact, error) { return CosignAttestation(good, key) }, ErrContent},
		"no predicate type": {func() (Artifact, error) { return BundleAttestation(good, Attestation{}, key) }, ErrContent},
		"document, no type": {func() (Artifact, error) { return Referrer(good, Document{}) }, ErrContent},
		"SBOM, no type":     {func() (Artifact, error) { return CosignSBOM(good, "", nil) }, ErrContent},
		"reserved metadata": {func() (Artifact, error) {
			return Notary(good, chain, NotaryOptions{Metadata: map[string]string{"io.cncf.notary.x": ""}})
		}, ErrContent},
		"predicate is an array": {func() (Artifact, error) { a := att; a.Predicate = []byte("[]"); return BundleAttestation(good, a, key) }, ErrContent},
		"predicate is broken":   {func() (Artifact, error) { a := att; a.Predicate = []byte("{"); return BundleAttestation(good, a, key) }, ErrContent},
		"predicate of nothing":  {func() (Artifact, error) { a := att; a.Predicate = []byte{}; return BundleAttestation(good, a, key) }, ErrContent},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := c.make()
			if !errors.Is(err, c.want) {
				t.Fatalf("error is %v, want %v", err, c.want)
			}
			if a.Raw != nil || a.Blobs != nil {
				t.Error("an artifact came with the error")
			}
		})
	}
}

// TestLongDigest: what has no tag takes any digest.
func TestLongDigest(t *testing.T) {
	s := subjectOf("image")
	s.Digest = digest.SHA512.FromString("image")
	a, err := BundleSignature(s, InsecureKey("a"))
	if err != nil {
		t.Fatal(err)
	}
	if m := manifest(t, a); m.Subject.Digest != s.Digest {
		t.Errorf("subject is %s", m.Subject.Digest)
	}
}

// TestPredicateUnchanged: numbers keep their digits and text its letters, as a
// predicate's own signature or digest may depend on them.
func TestPredicateUnchanged(t *testing.T) {
	const predicate = `{"n":12345678901234567890,"f":1.10,"s":"a<b & c>d é","z":1,"a":2}`
	got, err := Statement(subjectOf("image"), Attestation{PredicateType: "x", Predicate: json.RawMessage(predicate)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(got), `"predicate":`+predicate+`}`) {
		t.Errorf("predicate was rewritten:\n%s", got)
	}
}
