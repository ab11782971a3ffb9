package layouttest

import (
	"math/rand/v2"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Everything returns one repository with every form of content at once. Its
// roots are the tags v1 and latest (a multi-platform index with all kinds of
// attachments, up to five levels deep), docker, nested, legacy, fallback and
// chart, and one image named by digest alone.
func Everything(repo string) Content {
	b := New(repo)
	multiPlatform(b)
	docker(b)
	nested(b)
	legacy(b)
	fallback(b)
	odd(b)
	return b.Content()
}

// multiPlatform makes what buildx, notation and cosign make together.
func multiPlatform(b *Builder) {
	base := b.Layer(layerType, "base")
	amd := b.Image("amd64", base, b.Layer(layerType, "amd64"))
	arm := b.Image("arm64", base, b.Layer(layerType, "arm64"))
	index := b.Index(
		ForPlatform(amd, "linux", "amd64"), ForPlatform(arm, "linux", "arm64"),
		b.BuildKit(amd), b.BuildKit(arm),
	)
	b.Tag("v1", index)
	b.Tag("latest", index)

	b.Notary(index, "publisher")
	b.Notary(index, "approver")
	b.Referrer(index, "application/vnd.dev.sigstore.bundle.v0.3+json", "bundle")
	for _, form := range layout.CosignForms {
		b.Cosign(form, index, "on the index")
	}
	b.Cosign(layout.FormCosignSig, arm, "on a child")
	b.ReferrerIndex(index, b.Image("collected"))

	// index → child → SBOM → signature → signature by tag
	sbom := b.Referrer(amd, "application/spdx+json", "SBOM")
	signature := b.Notary(sbom, "on the SBOM")
	b.Cosign(layout.FormCosignSig, signature, "on the signature")
}

func docker(b *Builder) {
	amd, arm := b.DockerImage("docker amd64"), b.DockerImage("docker arm64")
	list := b.DockerList(ForPlatform(amd, "linux", "amd64"), ForPlatform(arm, "linux", "arm64"))
	b.Tag("docker", list)
	b.Cosign(layout.FormCosignSig, list, "on a list")
	b.Cosign(layout.FormCosignAtt, amd, "on a docker child")
	b.Notary(arm, "on a docker child")
}

func nested(b *Builder) {
	inner := b.Index(ForPlatform(b.Image("inner"), "linux", "amd64"))
	b.Tag("nested", b.Index(inner, ForPlatform(b.Image("outer"), "linux", "arm64")))
	b.Notary(inner, "on the inner index")
}

func legacy(b *Builder) {
	image := b.Image("legacy")
	b.Tag("legacy", image)
	b.OCIArtifact(image, "OCI artifact manifest")
	b.Notary(b.ORASArtifact(image, "ORAS artifact manifest"), "on an artifact manifest")
}

func fallback(b *Builder) {
	image := b.Image("fallback")
	b.Tag("fallback", image)
	b.Fallback(image, b.Notary(image, "one"), b.Referrer(image, "application/sarif+json", "two"))
}

func odd(b *Builder) {
	config := b.Blob("application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"chart"}`))
	chart := b.Manifest(Document{
		SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config,
		Layers: []layout.Descriptor{b.Blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("chart"))},
	})
	b.Tag("chart", chart)
	b.Pin(b.Image("pinned", b.Blob(layerType, nil), b.Layer(layerType, "base")))
}

// Sparse returns an index of two images of which one is missing.
func Sparse(repo string) Content {
	other := New(repo)
	absent := other.Image("absent")
	b := New(repo)
	b.Tag("sparse", b.Index(ForPlatform(b.Image("present"), "linux", "amd64"), ForPlatform(absent, "linux", "arm64")))
	return b.Content()
}

// Schema1 is a manifest of docker's schema 1.
const Schema1 = `{"schemaVersion":1,"name":"app","tag":"v1","architecture":"s390x","fsLayers":[{"blobSum":"sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"}],"history":[{"v1Compatibility":"{}"}]}`

// Mixed returns an index of an image and of content that is no manifest.
func Mixed(repo string) Content {
	b := New(repo)
	b.Tag("mixed", b.Index(
		ForPlatform(b.Image("mixed"), "linux", "amd64"), b.Blob("application/xml", []byte("<mixed/>")), b.Layer(layerType, "cache"), b.Blob("", []byte("untyped")),
		ForPlatform(b.Blob(layout.MediaTypeDockerSchema1Sig, []byte(Schema1)), "linux", "s390x"),
	))
	return b.Content()
}

// SHA512 returns an index, an image and a referrer with digests of sha512.
func SHA512(repo string) Content {
	b := New(repo)
	b.Algorithm = digest.SHA512
	image := b.Image("sha512")
	index := b.Index(ForPlatform(image, "linux", "amd64"))
	b.Tag("sha512", index)
	b.Notary(index, "on the index")
	return b.Content()
}

// Large returns an image with a layer of size bytes that do not compress.
func Large(repo string, size int) Content {
	b := New(repo)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	b.Tag("large", b.Image("large", b.Blob(layerType, data)))
	return b.Content()
}

// Zeros returns an image with layers that are zeros at the start, in the middle,
// at the end and throughout, which a sink may keep in fewer blocks.
func Zeros(repo string) Content {
	const run = 200 << 10
	b := New(repo)
	var layers []layout.Descriptor
	for _, ones := range [][]int{{run}, {0}, {0, 2 * run}, nil} {
		data := make([]byte, 2*run+1)
		for _, at := range ones {
			data[at] = 1
		}
		layers = append(layers, b.Blob(layerType, data))
	}
	b.Tag("zeros", b.Image("zeros", layers...))
	return b.Content()
}
