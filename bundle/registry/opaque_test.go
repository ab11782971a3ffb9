package registry

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
)

// What an index lists under an unknown type is found where the registry keeps it, among
// the blobs or among the manifests, and held against its digest.
func TestOpaqueContentKeptAsManifest(t *testing.T) {
	want := layouttest.New(repo).Blob("application/vnd.example.list+json", []byte(`{"list":[]}`))
	layer := layouttest.New(repo).Blob("application/vnd.oci.image.layer.v1.tar", []byte(`{"list":[]}`))
	old := layouttest.New(repo).Blob(layout.MediaTypeDockerSchema1Sig, []byte(`{"list":[]}`))
	for what, test := range map[string]struct {
		desc layout.Descriptor
		body string
		err  error
	}{
		"as a manifest":         {want, `{"list":[]}`, nil},
		"other bytes":           {want, `{"list":{}}`, layout.ErrNotFound},
		"more bytes":            {want, `{"list":[]} `, layout.ErrNotFound},
		"nowhere":               {want, "", layout.ErrNotFound},
		"a layer never is":      {layer, `{"list":[]}`, layout.ErrNotFound},
		"schema 1":              {old, `{"list":[]}`, nil},
		"schema 1 with another": {old, `{"list":{}}`, layout.ErrUnsupported}, // digest, that of the payload
		"schema 1 nowhere":      {old, "", layout.ErrNotFound},
	} {
		c := clientFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if test.body == "" || !strings.HasSuffix(r.URL.Path, "/manifests/"+string(want.Digest)) {
				http.NotFound(w, r)
				return
			}
			_, _ = io.WriteString(w, test.body)
		}))
		rc, err := c.Open(t.Context(), repo, test.desc)
		if !errors.Is(err, test.err) || test.err == nil && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err == nil {
			if data, err := io.ReadAll(rc); err != nil || string(data) != test.body {
				t.Errorf("%s: %q, %v", what, data, err)
			}
			rc.Close()
		}
	}
}
