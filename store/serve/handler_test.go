package serve_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// kinds of content pass the same tests.
var kinds = map[string]func(*testing.T, layouttest.Content) serve.Content{
	"store": func(t *testing.T, c layouttest.Content) serve.Content {
		s, _ := newStore(t, c)
		return s.View()
	},
	"tar": newTar,
}

func each(t *testing.T, content layouttest.Content, fn func(t *testing.T, url string)) {
	for name, make := range kinds {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(serve.New(make(t, content), serve.Options{Failed: func(err error) { t.Error(err) }}))
			defer srv.Close()
			fn(t, srv.URL)
		})
	}
}

// ask sends one request; headers are "Name: value".
func ask(t *testing.T, method, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// Every byte of everything is served, with headers that say what it is.
func TestEverythingIsServed(t *testing.T) {
	content := everything()
	each(t, content, func(t *testing.T, base string) {
		n := 0
		for repo, items := range content.Repositories {
			for _, item := range items {
				if derivedOnly(content, repo, item) {
					continue
				}
				n++
				served(t, base+"/v2/"+serve.Name(repo), item)
			}
		}
		if n < 100 {
			t.Errorf("only %d items", n)
		}
		for _, name := range content.Names {
			ref := name.Reference
			if ref.Tag == "" || layout.IsReferrersTag(ref.Tag) {
				continue
			}
			res, body := ask(t, "GET", base+"/v2/"+serve.Name(ref.Repository)+"/manifests/"+ref.Tag)
			if res.StatusCode != 200 || !bytes.Equal(body, name.Manifest) {
				t.Errorf("%s: %s", ref, res.Status)
			}
		}
	})
}

// derivedOnly says whether an item is only there to be found by a fallback tag: a
// bundle makes that anew where it is needed.
func derivedOnly(c layouttest.Content, repo string, item layouttest.Item) bool {
	return slices.ContainsFunc(c.Names, func(n layout.Name) bool {
		return n.Reference.Repository == repo && n.Descriptor.Digest == item.Descriptor.Digest && layout.IsReferrersTag(n.Reference.Tag)
	})
}

func served(t *testing.T, base string, item layouttest.Item) {
	t.Helper()
	d := item.Descriptor
	url, mediaType := base+"/blobs/"+d.Digest.String(), "application/octet-stream"
	if layout.IsManifest(d.MediaType) {
		url, mediaType = base+"/manifests/"+d.Digest.String(), d.MediaType
	}
	for _, method := range []string{"GET", "HEAD"} {
		res, body := ask(t, method, url)
		want := map[string]string{
			"Content-Type": mediaType, "Docker-Content-Digest": d.Digest.String(), "Etag": `"` + d.Digest.String() + `"`,
			"Content-Length": fmt.Sprint(d.Size), "X-Content-Type-Options": "nosniff",
		}
		for name, value := range want {
			if got := res.Header.Get(name); got != value {
				t.Errorf("%s %s: %s is %q, want %q", method, url, name, got, value)
			}
		}
		if method == "HEAD" && len(body) > 0 || method == "GET" && !bytes.Equal(body, item.Bytes) || res.StatusCode != 200 {
			t.Errorf("%s %s: %s, %d bytes, want %d", method, url, res.Status, len(body), d.Size)
		}
	}
	for _, h := range []string{`"` + d.Digest.String() + `"`, `W/"` + d.Digest.String() + `"`, `"x", "` + d.Digest.String() + `"`, "*"} {
		if res, body := ask(t, "GET", url, "If-None-Match: "+h); res.StatusCode != 304 || len(body) > 0 {
			t.Errorf("%s: with %s: %s", url, h, res.Status)
		}
	}
	if res, _ := ask(t, "GET", url, `If-None-Match: "sha256:0"`); res.StatusCode != 200 {
		t.Errorf("%s: with another digest: %s", url, res.Status)
	}
}

func TestRanges(t *testing.T) {
	content := layouttest.Large(ghcr, 9<<20+7) // more than two pieces
	var layer layouttest.Item
	for _, item := range content.Repositories[ghcr] {
		if len(item.Bytes) > len(layer.Bytes) {
			layer = item
		}
	}
	size := len(layer.Bytes)
	each(t, content, func(t *testing.T, base string) {
		u := base + "/v2/" + ghcr + "/blobs/" + layer.Descriptor.Digest.String()
		if _, body := ask(t, "GET", u); !bytes.Equal(body, layer.Bytes) {
			t.Error("the whole blob is not what it was")
		}
		for _, c := range []struct {
			header   string
			status   int
			from, to int
		}{
			{"bytes=0-0", 206, 0, 1},
			{"bytes=5-", 206, 5, size},
			{"bytes=100-99999", 206, 100, 100000},
			{"bytes=-7", 206, size - 7, size},
			{fmt.Sprintf("bytes=%d-%d", size-1, size+100), 206, size - 1, size},
			{fmt.Sprintf("bytes=%d-", size), 416, 0, 0},
			{"bytes=9-5", 416, 0, 0},
			{"bytes=x", 416, 0, 0},
			{"lines=1-2", 416, 0, 0},
		} {
			res, body := ask(t, "GET", u, "Range: "+c.header)
			if res.StatusCode != c.status || c.status == 206 && !bytes.Equal(body, layer.Bytes[c.from:c.to]) {
				t.Errorf("%s: %s, %d bytes", c.header, res.Status, len(body))
			}
		}
		// A range of something else is not wanted.
		if res, body := ask(t, "GET", u, "Range: bytes=0-0", `If-Range: "sha256:0"`); res.StatusCode != 200 || len(body) != size {
			t.Errorf("If-Range of another: %s, %d bytes", res.Status, len(body))
		}
		if res, _ := ask(t, "GET", u, "Range: bytes=0-0", `If-Range: "`+layer.Descriptor.Digest.String()+`"`); res.StatusCode != 206 {
			t.Errorf("If-Range of the same: %s", res.Status)
		}
	})
}

func TestReferrers(t *testing.T) {
	content := everything()
	each(t, content, func(t *testing.T, base string) {
		with := 0
		for repo, items := range content.Repositories {
			want, types := map[digest.Digest][]string{}, map[digest.Digest]map[string]int{}
			for _, item := range items {
				var doc layouttest.Document
				if !layout.IsManifest(item.Descriptor.MediaType) || json.Unmarshal(item.Bytes, &doc) != nil || doc.Subject == nil {
					continue
				}
				m, err := layout.ParseManifest(item.Descriptor, item.Bytes)
				if err != nil {
					t.Fatal(err)
				}
				s := doc.Subject.Digest
				line, _ := json.Marshal(layout.Descriptor{MediaType: doc.MediaType, Digest: item.Descriptor.Digest, Size: item.Descriptor.Size, ArtifactType: m.ArtifactType, Annotations: doc.Annotations})
				want[s] = append(want[s], string(line))
				if types[s] == nil {
					types[s] = map[string]int{}
				}
				types[s][m.ArtifactType]++
			}
			for _, item := range items {
				s := item.Descriptor.Digest
				u := base + "/v2/" + serve.Name(repo) + "/referrers/" + s.String()
				got := referrers(t, u, "")
				slices.Sort(want[s])
				slices.Sort(got)
				if !slices.Equal(got, want[s]) {
					t.Errorf("%s:\n%s\nwant\n%s", u, strings.Join(got, "\n"), strings.Join(want[s], "\n"))
				}
				for typ, n := range types[s] {
					with++
					if typ == "" {
						continue // no filter
					}
					if got := referrers(t, u+"?artifactType="+url.QueryEscape(typ), "artifactType"); len(got) != n {
						t.Errorf("%s of type %s: %d, want %d", u, typ, len(got), n)
					}
				}
			}
		}
		if with < 10 {
			t.Errorf("only %d subjects and types", with)
		}
		for _, u := range []string{
			"/v2/" + ghcr + "/referrers/" + digest.FromString("nothing").String(),
			"/v2/ghcr.io/no/such/referrers/" + digest.FromString("nothing").String(),
			"/v2/" + ghcr + "/referrers/" + content.Names[0].Descriptor.Digest.String() + "?artifactType=no/such",
		} {
			filter := ""
			if strings.Contains(u, "?") {
				filter = "artifactType"
			}
			if got := referrers(t, base+u, filter); len(got) != 0 {
				t.Errorf("%s: %q", u, got)
			}
		}
	})
}

// referrers returns the entries of a list, as JSON.
func referrers(t *testing.T, u, filters string) []string {
	t.Helper()
	res, body := ask(t, "GET", u)
	var index ocispec.Index
	if err := json.Unmarshal(body, &index); err != nil || res.StatusCode != 200 || index.SchemaVersion != 2 || index.MediaType != layout.MediaTypeIndex ||
		res.Header.Get("Content-Type") != layout.MediaTypeIndex || index.Manifests == nil {
		t.Fatalf("%s: %s %s (%v)", u, res.Status, body, err)
	}
	if got := res.Header.Get("OCI-Filters-Applied"); got != filters {
		t.Errorf("%s: OCI-Filters-Applied %q, want %q", u, got, filters)
	}
	var out []string
	for _, d := range index.Manifests {
		line, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(line))
	}
	return out
}

// A list that is too long for one answer goes on under another address, and nothing
// of it is lost.
func TestLongReferrers(t *testing.T) {
	b := layouttest.New(ghcr)
	image := b.Image("image")
	b.Tag("v1", image)
	config := b.Blob(layout.MediaTypeEmpty, []byte("{}"))
	const n = 9
	for i := range n {
		b.Manifest(layouttest.Document{
			SchemaVersion: 2, MediaType: layout.MediaTypeManifest, ArtifactType: "application/x", Config: &config, Layers: []layout.Descriptor{config},
			Subject: &image, Annotations: map[string]string{"i": fmt.Sprint(i), "long": strings.Repeat("a", 1<<20)},
		})
	}
	each(t, b.Content(), func(t *testing.T, base string) {
		u, seen, pages := "/v2/"+ghcr+"/referrers/"+image.Digest.String()+"?artifactType=application%2Fx", map[string]bool{}, 0
		for u != "" {
			pages++
			for _, d := range referrers(t, base+u, "artifactType") {
				seen[d] = true
			}
			res, body := ask(t, "GET", base+u)
			if len(body) > layout.MaxManifestBytes {
				t.Errorf("a list of %d bytes", len(body))
			}
			u = following(t, res)
		}
		if len(seen) != n || pages != 3 {
			t.Errorf("%d referrers on %d pages", len(seen), pages)
		}
	})
}

// following is the address in a Link header, or "".
func following(t *testing.T, res *http.Response) string {
	t.Helper()
	link := res.Header.Get("Link")
	if link == "" {
		return ""
	}
	u, ok := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	if !ok || !strings.HasPrefix(u, "/v2/") {
		t.Fatalf("Link: %s", link)
	}
	return u
}

func TestTags(t *testing.T) {
	b := layouttest.New(ghcr)
	image := b.Image("image")
	all := []string{"A", "Z", "_", "a", "b.1", "b.10", "b.2", "latest"}
	for _, tag := range all {
		b.Tag(tag, image)
	}
	other := layouttest.New(hub)
	other.Pin(other.Image("no tag"))
	each(t, layouttest.Merge(b.Content(), other.Content()), func(t *testing.T, base string) {
		for _, c := range []struct {
			query string
			want  []string
			more  bool
		}{
			{"", all, false},
			{"?n=3", all[:3], true},
			{"?n=8", all, false},
			{"?n=100", all, false},
			{"?n=0", nil, false},
			{"?n=0&last=A", nil, false},
			{"?last=b.1", all[5:], false},
			{"?n=2&last=b.1", all[5:7], true},
			{"?n=2&last=b.11", all[6:], false}, // one that is not there
			{"?last=zzz", nil, false},
		} {
			res, body := ask(t, "GET", base+"/v2/"+ghcr+"/tags/list"+c.query)
			var got struct {
				Name string
				Tags []string
			}
			if err := json.Unmarshal(body, &got); err != nil || got.Name != ghcr || got.Tags == nil || !slices.Equal(got.Tags, c.want) || (following(t, res) != "") != c.more {
				t.Errorf("%s: %s %s", c.query, body, res.Header.Get("Link"))
			}
		}
		var walked []string
		for u := "/v2/acme/team/app/tags/list?n=3&ns=ghcr.io"; u != ""; {
			res, body := ask(t, "GET", base+u)
			var got struct{ Tags []string }
			if err := json.Unmarshal(body, &got); err != nil {
				t.Fatal(err)
			}
			walked = append(walked, got.Tags...)
			u = following(t, res)
		}
		if !slices.Equal(walked, all) {
			t.Errorf("from page to page: %q", walked)
		}
		if _, body := ask(t, "GET", base+"/v2/"+hub+"/tags/list"); string(body) != `{"name":"docker.io/library/nginx","tags":[]}` {
			t.Errorf("no tags: %s", body)
		}
	})
}

// The same image is found under each of its addresses, and under no other.
func TestNames(t *testing.T) {
	each(t, everything(), func(t *testing.T, base string) {
		for path, status := range map[string]int{
			"ghcr.io/acme/team/app/manifests/v1":                    200,
			"acme/team/app/manifests/v1?ns=ghcr.io":                 200,
			"docker.io/library/nginx/manifests/v1":                  200,
			"library/nginx/manifests/v1":                            200,
			"library/nginx/manifests/v1?ns=docker.io":               200,
			"nginx/manifests/v1?ns=docker.io":                       200,
			"nginx/manifests/v1":                                    200,
			"reg.example_5000/team/app/manifests/v1":                200,
			"team/app/manifests/v1?ns=reg.example:5000":             200,
			"acme/sha512/manifests/sha512?ns=quay.io":               200,
			"acme/team/app/manifests/v1":                            404,
			"acme/team/app/manifests/v1?ns=quay.io":                 404,
			"ghcr.io/acme/team/app/manifests/v1?ns=ghcr.io":         404,
			"ghcr.io/acme/team/app/manifests/v2":                    404,
			"ghcr.io/acme/team/manifests/v1":                        404,
			"team/app/manifests/v1?ns=reg.example":                  404,
			"library/nginx/manifests/v1?ns=docker.io&ns=ghcr.io":    400,
			"library/nginx/manifests/v1?ns=":                        400,
			"library/nginx/manifests/v1?ns=acme":                    400,
			"library/nginx/manifests/v1?ns=docker.io%2Flibrary":     400,
			"library/nginx/manifests/v1?ns=..":                      400,
			"team/app/manifests/v1?ns=reg.example:5000:1":           400,
			"team/app/manifests/v1?ns=" + strings.Repeat("a.", 200): 400,
		} {
			if res, body := ask(t, "HEAD", base+"/v2/"+path); res.StatusCode != status || len(body) > 0 {
				t.Errorf("%s: %s, want %d", path, res.Status, status)
			}
		}
		_, body := ask(t, "GET", base+"/v2/_catalog")
		if string(body) != `{"repositories":["docker.io/library/nginx","ghcr.io/acme/team/app","quay.io/acme/sha512","reg.example_5000/team/app"]}` {
			t.Errorf("catalog: %s", body)
		}
		res, body := ask(t, "GET", base+"/v2/_catalog?n=1&last=docker.io%2Flibrary%2Fnginx")
		if string(body) != `{"repositories":["ghcr.io/acme/team/app"]}` || following(t, res) != "/v2/_catalog?last=ghcr.io%2Facme%2Fteam%2Fapp&n=1" {
			t.Errorf("catalog, page 2: %s %s", body, res.Header.Get("Link"))
		}
	})
}

// code is the one in an answer of the specification's form.
func code(t *testing.T, res *http.Response, body []byte) string {
	t.Helper()
	var got struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &got); err != nil || len(got.Errors) != 1 || got.Errors[0].Message == "" || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s: no error of the specification's form: %q", res.Request.URL, body)
		return ""
	}
	return got.Errors[0].Code
}

// untouchable is content that must not be asked for anything.
type untouchable struct {
	serve.Content
	*testing.T
}

const absentHex = "0000000000000000000000000000000000000000000000000000000000000000"

// What is outside the grammar is refused before anything is looked up: the content
// would panic.
func TestHostileRequests(t *testing.T) {
	h := serve.New(untouchable{nil, t}, serve.Options{})
	sha := "sha256:" + absentHex
	for _, c := range []struct {
		path   string
		status int
		code   string
	}{
		{"/v2/../../etc/passwd", 404, "UNSUPPORTED"},
		{"/v2/../manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a/../b/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a//b/manifests/latest", 400, "NAME_INVALID"},
		{"/v2//manifests/latest", 400, "NAME_INVALID"},
		{"/v2/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a%2fb/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a%2Fb/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/%2e%2e/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a%00/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a/manifests/l%61test", 400, "NAME_INVALID"},
		{"/v2/a%5cb/manifests/latest", 400, "NAME_INVALID"},
		{`/v2/a\b/manifests/latest`, 400, "NAME_INVALID"},
		{"/v2/A/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a:1/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a@b/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/-a/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a___b/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a/tags/list/", 404, "UNSUPPORTED"},
		{"/v2/" + absentHex + "/manifests/latest", 400, "NAME_INVALID"}, // an image ID to docker
		{"/v2/" + strings.Repeat("a/", 130) + "a/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/" + strings.Repeat("a/", 5000) + "a/manifests/latest", 400, "NAME_INVALID"},
		{"/v2/a/manifests/", 404, "MANIFEST_UNKNOWN"},
		{"/v2/a/manifests/.tag", 404, "MANIFEST_UNKNOWN"},
		{"/v2/a/manifests/" + strings.Repeat("a", 129), 404, "MANIFEST_UNKNOWN"},
		{"/v2/a/manifests/sha256:abc", 400, "DIGEST_INVALID"},
		{"/v2/a/manifests/sha256:" + strings.ToUpper(strings.Repeat("a", 64)), 400, "DIGEST_INVALID"},
		{"/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", 400, "DIGEST_INVALID"},
		{"/v2/a/blobs/latest", 400, "DIGEST_INVALID"},
		{"/v2/a/blobs/sha512:" + absentHex, 400, "DIGEST_INVALID"},
		{"/v2/a/blobs/sha256:../../" + absentHex[:58], 404, "UNSUPPORTED"},
		{"/v2/a/referrers/latest", 400, "DIGEST_INVALID"},
		{"/v2/a/referrers/", 400, "DIGEST_INVALID"},
		{"/v2/a/blobs/uploads/", 404, "UNSUPPORTED"},
		{"/v2/a/blobs/" + sha + "/x", 404, "UNSUPPORTED"},
		{"/v2/a", 404, "UNSUPPORTED"},
		{"/v2x", 400, "NAME_INVALID"},
		{"/v1/search", 400, "NAME_INVALID"},
		{"/", 400, "NAME_INVALID"},
		{"/v2/_catalog/", 404, "UNSUPPORTED"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			r := httptest.NewRequest(method, "http://x/", nil)
			u, err := url.Parse("http://x" + c.path)
			if err != nil {
				t.Fatal(err)
			}
			r.URL = u
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("%s %.100s: %d, want %d", method, c.path, w.Code, c.status)
			}
			if method == "HEAD" {
				if w.Body.Len() > 0 {
					t.Errorf("HEAD %.100s has a body", c.path)
				}
				continue
			}
			res := w.Result()
			res.Request = r
			if got := code(t, res, w.Body.Bytes()); got != c.code {
				t.Errorf("%.100s: %s, want %s", c.path, got, c.code)
			}
		}
	}
}

// Nothing can be written, whatever the path, and nothing is looked up for it.
func TestReadOnly(t *testing.T) {
	h := serve.New(untouchable{nil, t}, serve.Options{})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "PROPFIND"} {
		for _, path := range []string{"/v2/", "/v2/a/blobs/uploads/", "/v2/a/manifests/v1", "/v2/a/blobs/sha256:" + absentHex, "/v2/%2e%2e/", "/healthz", "/"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Method = method
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			res := w.Result()
			res.Request = r
			if w.Code != 405 || res.Header.Get("Allow") != "GET, HEAD" || code(t, res, w.Body.Bytes()) != "UNSUPPORTED" {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
	r := httptest.NewRequest("GET", "/v2/", strings.NewReader("body"))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 400 || w.Result().Header.Get("Connection") != "close" {
		t.Errorf("GET with a body: %d", w.Code)
	}
}

func TestUnknown(t *testing.T) {
	each(t, everything(), func(t *testing.T, base string) {
		sha := "sha256:" + absentHex
		for path, want := range map[string]string{
			ghcr + "/manifests/none":                        "MANIFEST_UNKNOWN",
			ghcr + "/manifests/" + sha:                      "MANIFEST_UNKNOWN",
			"ghcr.io/no/such/manifests/v1":                  "MANIFEST_UNKNOWN",
			ghcr + "/blobs/" + sha:                          "BLOB_UNKNOWN",
			ghcr + "/blobs/sha512:" + absentHex + absentHex: "BLOB_UNKNOWN",
			"ghcr.io/no/such/blobs/" + sha:                  "BLOB_UNKNOWN",
			"ghcr.io/no/such/tags/list":                     "NAME_UNKNOWN",
		} {
			res, body := ask(t, "GET", base+"/v2/"+path)
			if got := code(t, res, body); res.StatusCode != 404 || got != want {
				t.Errorf("%s: %s %s, want %s", path, res.Status, got, want)
			}
		}
		for _, path := range []string{ghcr + "/tags/list?n=-1", ghcr + "/tags/list?n=x", ghcr + "/tags/list?n=99999999999999999999", "_catalog?n=1.5"} {
			if res, body := ask(t, "GET", base+"/v2/"+path); res.StatusCode != 400 || code(t, res, body) != "UNSUPPORTED" {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
		for _, path := range []string{"/v2/", "/v2", "/healthz"} {
			if res, _ := ask(t, "GET", base+path); res.StatusCode != 200 {
				t.Errorf("%s: %s", path, res.Status)
			}
		}
		// Some clients encode the colon.
		d := layouttest.Everything(ghcr).Names[0].Descriptor.Digest.String()
		if res, _ := ask(t, "GET", base+"/v2/"+ghcr+"/manifests/"+strings.Replace(d, ":", "%3A", 1)); res.StatusCode != 200 {
			t.Errorf("an encoded colon: %s", res.Status)
		}
	})
}

// A blob of one repository is not given out under another's name.
func TestRepositoriesAreApart(t *testing.T) {
	a, b := layouttest.New(ghcr), layouttest.New(hub)
	image, other := a.Image("a"), b.Image("b")
	a.Tag("v1", image)
	b.Tag("v1", other)
	each(t, layouttest.Merge(a.Content(), b.Content()), func(t *testing.T, base string) {
		for _, item := range a.Content().Repositories[ghcr] {
			kind := "blobs"
			if layout.IsManifest(item.Descriptor.MediaType) {
				kind = "manifests"
			}
			if res, _ := ask(t, "GET", base+"/v2/"+hub+"/"+kind+"/"+item.Descriptor.Digest.String()); res.StatusCode != 404 {
				t.Errorf("%s of another repository: %s", kind, res.Status)
			}
		}
		if res, _ := ask(t, "GET", base+"/v2/"+ghcr+"/blobs/"+image.Digest.String()); res.StatusCode != 404 {
			t.Errorf("a manifest as a blob: %s", res.Status)
		}
	})
}

// Damage is never sent for good: manifests are always hashed, blobs when it is asked
// for, and a blob of another size is no blob.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		what   string
		verify serve.Verify
		cut    bool // else a bit is flipped
		kind   string
		tag    string
		status int
	}{
		{"a manifest", serve.VerifySize, false, "manifests", "v1", 500},
		{"a manifest", serve.VerifySize, true, "manifests", "v1", 500},
		{"a blob that is too short", serve.VerifySize, true, "blobs", "", 500},
		{"a blob, found by who asked for it", serve.VerifySize, false, "blobs", "", 200},
		{"a blob, looked at once", serve.VerifyOnce, false, "blobs", "", 500},
		{"a blob, looked at always", serve.VerifyAlways, false, "blobs", "", 500},
	} {
		b := layouttest.New(ghcr)
		image := b.Image("image")
		b.Tag("v1", image)
		layer := b.Content().Repositories[ghcr][0].Descriptor
		s, dir := newStore(t, b.Content())
		d := layer.Digest
		if c.kind == "manifests" {
			d = image.Digest
		}
		damage(t, filepath.Join(dir, layout.BlobPath(d)), c.cut)
		var told []error
		h := serve.New(s.View(), serve.Options{Verify: c.verify, Failed: func(err error) { told = append(told, err) }})
		point := c.tag
		if point == "" {
			point = d.String()
		}
		for _, header := range []string{"", "bytes=0-0"} {
			r := httptest.NewRequest("GET", "/v2/"+ghcr+"/"+c.kind+"/"+point, nil)
			if header != "" {
				r.Header.Set("Range", header)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if want := c.status; w.Code != want && (want != 200 || w.Code != 206) {
				t.Errorf("%s: %d, want %d", c.what, w.Code, want)
			}
			if c.status == 500 && strings.Contains(w.Body.String(), dir) {
				t.Errorf("%s: the answer tells where the store is", c.what)
			}
		}
		if (len(told) > 0) != (c.status == 500) {
			t.Errorf("%s: told of %v", c.what, told)
		}
	}
}

func damage(t *testing.T, path string, cut bool) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if cut {
		data = data[:len(data)-1]
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// What was whole once is sent without being hashed again, or is not.
func TestVerifyOnceAndAlways(t *testing.T) {
	for verify, want := range map[serve.Verify]int{serve.VerifyOnce: 200, serve.VerifyAlways: 500} {
		b := layouttest.New(ghcr)
		b.Tag("v1", b.Image("image"))
		layer := b.Content().Repositories[ghcr][0]
		s, dir := newStore(t, b.Content())
		h := serve.New(s.View(), serve.Options{Verify: verify})
		get := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/v2/"+ghcr+"/blobs/"+layer.Descriptor.Digest.String(), nil))
			return w
		}
		if w := get(); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), layer.Bytes) {
			t.Fatalf("%d, %d bytes", w.Code, w.Body.Len())
		}
		damage(t, filepath.Join(dir, layout.BlobPath(layer.Descriptor.Digest)), false)
		if w := get(); w.Code != want {
			t.Errorf("mode %d: %d, want %d", verify, w.Code, want)
		}
	}
}

// A store that is open for reading is served while others read it.
func TestReadOnlyStore(t *testing.T) {
	b := layouttest.New(ghcr)
	b.Tag("v1", b.Image("image"))
	s, dir := newStore(t, b.Content())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := store.Open(dir, store.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		w := httptest.NewRecorder()
		serve.New(r.View(), serve.Options{}).ServeHTTP(w, httptest.NewRequest("GET", "/v2/"+ghcr+"/manifests/v1", nil))
		if w.Code != 200 {
			t.Errorf("%d", w.Code)
		}
	}
}
