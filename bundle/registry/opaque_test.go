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
	for what, test := range map[string]struct {
		desc layout.Descriptor
		body string
		ok   bool
	}{
		"as a manifest":    {want, `{"list":[]}`, true},
		"other bytes":      {want, `{"list":{}}`, false},
		"more bytes":       {want, `{"list":[]} `, false},
		"nowhere":          {want, "", false},
		"a layer never is": {layer, `{"list":[]}`, false},
	} {
		c := clientFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if test.body == "" || !strings.HasSuffix(r.URL.Path, "/manifests/"+string(want.Digest)) {
				http.NotFound(w, r)
				return
			}
			_, _ = io.WriteString(w, test.body)
		}))
		rc, err := c.Open(t.Context(), repo, test.desc)
		if (err == nil) != test.ok || err != nil && !errors.Is(err, layout.ErrNotFound) {
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
