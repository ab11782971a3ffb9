package registry_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"strings"

	"github.com/google/go-containerregistry/pkg/registry"

	airgap "airgap/bundle/registry"
	"airgap/layout"
	"airgap/layout/layouttest"
)

// A client is a sink and a source: what was put and committed is found again by
// name, with everything that is attached to it.
func Example() {
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(new(strings.Builder), "", 0))))
	defer srv.Close()
	repo := strings.TrimPrefix(srv.URL, "http://") + "/team/app"

	client, err := airgap.New(airgap.Options{})
	if err != nil {
		log.Fatal(err)
	}
	b := layouttest.New(repo)
	image := b.Image("image")
	b.Tag("v1", image)
	b.Notary(image, "publisher")
	ctx := context.Background()
	if err := b.Content().Load(ctx, client); err != nil {
		log.Fatal(err)
	}

	found, err := client.Resolve(ctx, layout.Reference{Repository: repo, Tag: "v1"})
	if err != nil {
		log.Fatal(err)
	}
	attached, err := client.Attached(ctx, repo, found)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found.Digest == image.Digest)
	for _, q := range attached {
		fmt.Println(q.Form, q.Answer, len(q.Found))
	}
	// Output:
	// true
	// referrers unsupported 0
	// referrersTag found 1
	// cosignSig none 0
	// cosignAtt none 0
	// cosignSBOM none 0
}
