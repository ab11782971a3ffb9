//go:build interop && linux

package interop

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// randomBundle returns a bundle of an image that nobody else has, as team/app:v1.
func randomBundle(t *testing.T) (bundle string, digest v1.Hash) {
	t.Helper()
	ref, err := name.NewTag(withReferrers(t) + "/team/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(200<<10, 3)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err == nil {
		digest, err = img.Digest()
	}
	if err != nil {
		t.Fatal(err)
	}
	bundle = filepath.Join(t.TempDir(), "bundle.tar")
	run(t, "airgap", "export", ref.String(), "-o", bundle, "-q")
	return bundle, digest
}

func importRandom(t *testing.T, bundle, host string, flags ...string) {
	t.Helper()
	run(t, "airgap", append([]string{"import", bundle, "--to", host, "--insecure-skip-verify", "-q"}, flags...)...)
}

// Distribution goes on saying that it has blobs that its own garbage collection removed
// while it ran. What is imported then can be pulled all the same.
func TestAfterGarbageCollection(t *testing.T) {
	need(t, "airgap", "crane", "registry")
	bundle, digest := randomBundle(t)
	host, file, err := the.distributionIn("registry", "  delete: {enabled: true}", "  cache: {blobdescriptor: inmemory}", "")
	if err != nil {
		t.Fatal(err)
	}
	ref := host + "/team/app"
	importRandom(t, bundle, host)
	run(t, "crane", "validate", "--remote", ref+":v1")
	run(t, "crane", "delete", ref+"@"+digest.String())
	run(t, "registry", "garbage-collect", "--delete-untagged", file)
	importRandom(t, bundle, host)
	run(t, "crane", "validate", "--remote", ref+":v1")
	// With --resend it does not matter what the registry says.
	run(t, "crane", "delete", ref+"@"+digest.String())
	run(t, "registry", "garbage-collect", "--delete-untagged", file)
	importRandom(t, bundle, host, "--resend")
	run(t, "crane", "validate", "--remote", ref+":v1")
}

// A registry whose tags are immutable: a proxy before distribution refuses to write a
// tag that is there, as Harbor (412), ECR (400) and others (409) do. It stands for those.
func TestImmutableTags(t *testing.T) {
	need(t, "airgap", "crane", "registry")
	host, err := the.distribution("registry")
	if err != nil {
		t.Fatal(err)
	}
	one, _ := randomBundle(t)
	two, _ := randomBundle(t)
	for _, status := range []int{http.StatusBadRequest, http.StatusConflict, http.StatusPreconditionFailed} {
		to := immutable(t, host, status) + "/" + the.unique("immutable")
		importRandom(t, one, to)
		importRandom(t, one, to)
		run(t, "crane", "validate", "--remote", to+"/team/app:v1")
		if out := refused(t, "airgap", "import", two, "--to", to, "--insecure-skip-verify", "--overwrite", "-q"); !strings.Contains(out, "immutable") {
			t.Errorf("status %d: %s", status, out)
		}
		run(t, "crane", "validate", "--remote", to+"/team/app:v1")
	}
}

// immutable starts the proxy.
func immutable(t *testing.T, host string, status int) string {
	t.Helper()
	target := &url.URL{Scheme: "http", Host: host}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, tag, ok := strings.Cut(r.URL.Path, "/manifests/")
		if r.Method == http.MethodPut && ok && !strings.Contains(tag, ":") {
			if res, err := http.Head("http://" + host + r.URL.Path); err == nil && res.StatusCode == http.StatusOK {
				http.Error(w, `{"errors":[{"code":"TAG_INVALID","message":"the tag is immutable"}]}`, status)
				return
			}
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}
