package serve_test

import (
	"net/http"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store/serve"
)

// What an index lists under a type that is no manifest's is served as a blob, and never
// as a manifest, though it could be read as one: docker and podman would start it.
func TestOpaqueChildrenAreNoManifests(t *testing.T) {
	const repo = "reg.example/team/app"
	other := layouttest.New(repo)
	evil := other.Image("evil")
	item, _ := other.Content().Find(repo, evil.Digest)
	for _, mediaType := range []string{"application/json", "", "application/xml", layout.MediaTypeDockerSchema1, layout.MediaTypeDockerSchema1Sig} {
		b := layouttest.New(repo)
		posing := layouttest.ForPlatform(b.Blob(mediaType, item.Bytes), "linux", "amd64")
		index := b.Index(layouttest.ForPlatform(b.Image("good"), "linux", "arm64"), posing)
		b.Tag("v1", index)
		each(t, b.Content(), func(t *testing.T, base string) {
			at := base + "/v2/" + serve.Name(repo)
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				for _, accept := range []string{layout.MediaTypeManifest, "*/*", "application/json", mediaType} {
					if res, _ := ask(t, method, at+"/manifests/"+posing.Digest.String(), "Accept: "+accept); res.StatusCode != http.StatusNotFound {
						t.Errorf("%q as a manifest: %s", mediaType, res.Status)
					}
				}
			}
			if res, body := ask(t, http.MethodGet, at+"/blobs/"+posing.Digest.String()); res.StatusCode != http.StatusOK || string(body) != string(item.Bytes) {
				t.Errorf("%q as a blob: %s", mediaType, res.Status)
			}
			if res, _ := ask(t, http.MethodGet, at+"/manifests/v1"); res.StatusCode != http.StatusOK {
				t.Errorf("the index: %s", res.Status)
			}
		})
	}
}
