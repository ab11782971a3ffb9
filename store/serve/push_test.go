package serve_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"
	"airgap/store/serve/access"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"
)

// writable is a registry that takes what is pushed.
type writable struct {
	*testing.T
	url   string
	dir   string
	store *store.Store
	h     *serve.Handler
	now   time.Time
}

// newWritable serves an empty store; change may change the options.
func newWritable(t *testing.T, push store.PushOptions, change func(*serve.Options)) *writable {
	t.Helper()
	w := &writable{T: t, dir: filepath.Join(t.TempDir(), "store"), now: time.Unix(1_900_000_000, 0)}
	s, err := store.Open(w.dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r, err := s.Check(t.Context(), store.CheckOptions{Hashes: true})
		if err := errors.Join(err, r.Err(), s.Close()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	o := serve.Options{Pusher: s.Pusher(push), Pending: s.PushersView(), Now: func() time.Time { return w.now }, Failed: func(err error) { t.Error(err) }}
	if change != nil {
		change(&o)
	}
	w.store, w.h = s, serve.New(s.View(), o)
	srv := httptest.NewServer(w.h)
	w.url = srv.URL
	t.Cleanup(func() {
		srv.Close()
		if err := w.h.Close(); err != nil {
			t.Error(err)
		}
		if left := w.ingest(); len(left) > 0 {
			t.Errorf("left in ingest: %q", left)
		}
	})
	return w
}

// ingest lists what is being written.
func (w *writable) ingest() (out []string) {
	w.Helper()
	_ = filepath.WalkDir(filepath.Join(w.dir, "ingest"), func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != "alive" {
			out = append(out, path)
		}
		return nil
	})
	return out
}

// answer is how a request was answered.
type answer struct {
	*http.Response
	body []byte
}

// do sends a request. Headers are "Name: value"; path may be a whole address.
func (w *writable) do(method, path string, body io.Reader, headers ...string) answer {
	w.Helper()
	if !strings.HasPrefix(path, "http") {
		path = w.url + path
	}
	req, err := http.NewRequestWithContext(w.Context(), method, path, body)
	if err != nil {
		w.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return answer{res, data}
}

// want does, and wants a status and, for an error, its code.
func (w *writable) want(status int, errorCode, method, path string, body io.Reader, headers ...string) answer {
	w.Helper()
	a := w.do(method, path, body, headers...)
	if a.StatusCode != status || errorCode != "" && code(w.T, a.Response, a.body) != errorCode {
		w.Errorf("%s %s: %s %.200s, want %d %s", method, path, a.Status, a.body, status, errorCode)
	}
	return a
}

// begin begins an upload, and says where it goes on.
func (w *writable) begin(repo string, headers ...string) string {
	w.Helper()
	a := w.want(202, "", "POST", "/v2/"+repo+"/blobs/uploads/", nil, headers...)
	loc := a.Header.Get("Location")
	if !strings.HasPrefix(loc, "/v2/"+repo+"/blobs/uploads/") || a.Header.Get("Range") != "0-0" {
		w.Fatalf("an upload goes on at %q, range %q", loc, a.Header.Get("Range"))
	}
	return loc
}

// blob pushes a blob in one request.
func (w *writable) blob(repo string, data []byte, headers ...string) digest.Digest {
	w.Helper()
	d := digest.FromBytes(data)
	a := w.want(201, "", "POST", "/v2/"+repo+"/blobs/uploads/?digest="+string(d), bytes.NewReader(data), headers...)
	if got := a.Header.Get("Docker-Content-Digest"); got != string(d) {
		w.Errorf("%q is the digest of what was pushed", got)
	}
	return d
}

// push pushes content, blobs first.
func (w *writable) push(content layouttest.Content, headers ...string) {
	w.Helper()
	for repo, items := range content.Repositories {
		for _, item := range items {
			if !layout.IsManifest(item.Descriptor.MediaType) {
				w.blob(repo, item.Bytes, headers...)
			}
		}
		for _, item := range items {
			if layout.IsManifest(item.Descriptor.MediaType) {
				w.manifest(201, "", repo, string(item.Descriptor.Digest)+tagsFor(content, repo, item.Descriptor.Digest), item, headers...)
			}
		}
	}
}

func tagsFor(content layouttest.Content, repo string, dgst digest.Digest) (out string) {
	for _, n := range content.Names {
		if n.Reference.Repository == repo && n.Descriptor.Digest == dgst && n.Reference.Tag != "" {
			out += "&tag=" + n.Reference.Tag
		}
	}
	return strings.Replace(out, "&", "?", 1)
}

// manifest pushes a manifest; ref is a tag or a digest, and parameters.
func (w *writable) manifest(status int, errorCode, repo, ref string, item layouttest.Item, headers ...string) answer {
	w.Helper()
	headers = append([]string{"Content-Type: " + item.Descriptor.MediaType}, headers...)
	return w.want(status, errorCode, "PUT", "/v2/"+repo+"/manifests/"+ref, bytes.NewReader(item.Bytes), headers...)
}

func find(c layouttest.Content, repo string, d layout.Descriptor) layouttest.Item {
	item, _ := c.Find(repo, d.Digest)
	return item
}

// What is pushed is what is pulled; it is said that nobody has admitted it.
func TestPush(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	content := layouttest.Merge(image(ghcr), image(plain))
	w.push(content)
	for repo, items := range content.Repositories {
		for _, item := range items {
			served(t, w.url+"/v2/"+repo, item)
		}
		a := w.want(200, "", "GET", "/v2/"+repo+"/manifests/v1", nil)
		if a.Header.Get("Airgap-Admitted") != "false" {
			t.Errorf("Airgap-Admitted: %q", a.Header.Get("Airgap-Admitted"))
		}
	}
}

// image is an image with a signature and an index over it, with tags.
func image(repo string) layouttest.Content {
	b := layouttest.New(repo)
	img := b.Image("image")
	b.Notary(img, "signature")
	b.Tag("v1", img)
	b.Tag("v1.0", img)
	b.Tag("all", b.Index(img))
	return b.Content()
}

// A blob may come in parts, in one stream, or be asked about in between.
func TestUploads(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	data := bytes.Repeat([]byte("0123456789"), 1000)
	for _, d := range []digest.Digest{digest.FromBytes(data), digest.SHA512.FromBytes(data)} {
		for _, query := range []string{"", "?digest-algorithm=sha256", "?digest-algorithm=sha512"} {
			loc := w.want(202, "", "POST", "/v2/"+ghcr+"/blobs/uploads/"+query, nil).Header.Get("Location")
			a := w.want(202, "", "PATCH", loc, bytes.NewReader(data[:4000]), "Content-Range: 0-3999")
			if a.Header.Get("Range") != "0-3999" {
				t.Errorf("Range: %s", a.Header.Get("Range"))
			}
			w.want(202, "", "PATCH", loc, struct{ io.Reader }{bytes.NewReader(data[4000:6000])}) // chunked, as docker does
			if a := w.want(204, "", "GET", loc, nil); a.Header.Get("Range") != "0-5999" || a.Header.Get("Location") != loc {
				t.Errorf("Range: %s, Location: %s", a.Header.Get("Range"), a.Header.Get("Location"))
			}
			w.want(204, "", "HEAD", loc, nil)
			a = w.want(201, "", "PUT", loc+"?digest="+string(d), bytes.NewReader(data[6000:]), "Content-Range: 6000-9999")
			if got := w.do("GET", a.Header.Get("Location"), nil); !bytes.Equal(got.body, data) {
				t.Errorf("%s: %s, %d bytes", a.Header.Get("Location"), got.Status, len(got.body))
			}
			w.want(404, "BLOB_UPLOAD_UNKNOWN", "GET", loc, nil)
			w.want(202, "", "DELETE", "/v2/"+ghcr+"/blobs/"+string(d), nil)
			w.want(404, "BLOB_UNKNOWN", "GET", "/v2/"+ghcr+"/blobs/"+string(d), nil)
		}
	}
	loc := w.begin(ghcr)
	w.want(204, "", "DELETE", loc, nil)
	w.want(404, "BLOB_UPLOAD_UNKNOWN", "PATCH", loc, bytes.NewReader(data))
}

// A client that names the registry it means finds its uploads under the same name.
func TestUploadOfANamespace(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	loc := w.want(202, "", "POST", "/v2/acme/app/blobs/uploads/?ns=ghcr.io", nil).Header.Get("Location")
	if !strings.HasSuffix(loc, "?ns=ghcr.io") {
		t.Fatal(loc)
	}
	data := []byte("data")
	a := w.want(201, "", "PUT", loc+"&digest="+string(digest.FromBytes(data)), bytes.NewReader(data))
	if got := w.do("GET", a.Header.Get("Location"), nil); string(got.body) != "data" {
		t.Errorf("%s: %s", a.Header.Get("Location"), got.Status)
	}
	w.want(404, "", "GET", "/v2/acme/app/blobs/"+string(digest.FromBytes(data)), nil)
}

// Tags come with the path or as parameters, and are told.
func TestTagParameters(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	c := image(ghcr)
	w.push(c)
	img := find(c, ghcr, c.Names[0].Descriptor)
	a := w.manifest(201, "", ghcr, string(img.Descriptor.Digest)+"?tag=a&tag=b&tag=a", img)
	if got := a.Header.Values("OCI-Tag"); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("OCI-Tag: %q", got)
	}
	for _, tag := range []string{"a", "b"} {
		if a := w.want(200, "", "GET", "/v2/"+ghcr+"/manifests/"+tag, nil); !bytes.Equal(a.body, img.Bytes) {
			t.Errorf("%s is something else", tag)
		}
	}
	for ref, want := range map[string]int{
		"v2?tag=..%2fx": 400, "v2?tag=": 400, "..%2fx": 400, "-x": 400, "v2?tag=" + strings.Repeat("x", 129): 400,
		string(img.Descriptor.Digest) + "?" + strings.Repeat("tag=x&", 101): 414,
	} {
		if a := w.do("PUT", "/v2/"+ghcr+"/manifests/"+ref, bytes.NewReader(img.Bytes), "Content-Type: "+img.Descriptor.MediaType); a.StatusCode != want {
			t.Errorf("%.40s: %s %s, want %d", ref, a.Status, a.body, want)
		}
	}
	subject := layout.Descriptor{MediaType: layout.MediaTypeManifest, Digest: digest.FromString("subject"), Size: 7}
	b := layouttest.New(ghcr)
	r := b.Referrer(subject, "text/spdx+json", "SBOM")
	for _, item := range b.Content().Repositories[ghcr] {
		if item.Descriptor.Digest == r.Digest {
			if a := w.manifest(201, "", ghcr, string(r.Digest), item); a.Header.Get("OCI-Subject") != string(subject.Digest) {
				t.Errorf("OCI-Subject: %q", a.Header.Get("OCI-Subject"))
			}
		} else {
			w.blob(ghcr, item.Bytes)
		}
	}
}

// What go-containerregistry pushes it gets back, and can delete.
func TestGoContainerRegistryPushes(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	idx, err := random.Index(100<<10, 3, 3)
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(w.url, "http://")
	ref, err := name.ParseReference(host + "/" + ghcr + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(ref, idx); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Index(ref)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := idx.Digest()
	if got, err := back.Digest(); err != nil || got != want {
		t.Errorf("%s, pushed was %s (%v)", got, want, err)
	}
	other, err := name.ParseReference(host + "/" + plain + ":copy")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(other, back, remote.WithJobs(1)); err != nil { // mounts
		t.Fatal(err)
	}
	if err := remote.Delete(ref); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Head(ref); err == nil {
		t.Error("it is there")
	}
}

// While the server is about to stop nothing begins, and what has begun can end.
func TestDraining(t *testing.T) {
	drain := &serve.Drain{}
	var all []byte
	w := newWritable(t, store.PushOptions{}, func(o *serve.Options) { o.Drain = drain })
	loc := w.begin(ghcr)
	all = append(all, "data"...)
	w.want(202, "", "PATCH", loc, bytes.NewReader(all))
	if n := w.h.Uploads(); n != 1 {
		t.Errorf("%d uploads go on", n)
	}
	serve.BeginDraining(drain)
	if a := w.want(503, "UNAVAILABLE", "POST", "/v2/"+ghcr+"/blobs/uploads/", nil); a.Header.Get("Retry-After") == "" {
		t.Error("it does not say when to try again")
	}
	w.want(204, "", "GET", loc, nil)
	w.want(201, "", "PUT", loc+"?digest="+string(digest.FromBytes(all)), nil)
	if n := w.h.Uploads(); n != 0 {
		t.Errorf("%d uploads go on", n)
	}
	loc = ""
	serve.EndDraining(drain)
	w.begin(ghcr)
	w.now = w.now.Add(time.Minute)
	if n := w.h.Uploads(); n != 0 {
		t.Errorf("%d uploads go on of which nobody has heard for a minute", n)
	}
}

// pushers are users: ann pushes to ghcr.io, bob to ghcr.io and quay.io, del deletes
// there, and anybody reads quay.io.
func pushers(t *testing.T) *access.Guard {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(canary), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := access.Options{Users: filepath.Join(dir, "users"), Rights: filepath.Join(dir, "rights.yaml")}
	rights := "rules:\n" +
		"- {users: [ann, bob], repositories: ['ghcr.io/**'], actions: [push]}\n" +
		"- {users: [bob], repositories: ['quay.io/**'], actions: [push]}\n" +
		"- {users: [del], repositories: ['ghcr.io/**'], actions: [delete]}\n" +
		"- {users: [reader], repositories: ['ghcr.io/**'], actions: [pull]}\n" +
		"- {users: [anonymous], repositories: ['quay.io/**'], actions: [pull]}\n"
	users := ""
	for _, u := range []string{"ann", "bob", "del", "reader"} {
		users += fmt.Sprintf("%s:%s\n", u, hash)
	}
	for path, text := range map[string]string{o.Users: users, o.Rights: rights} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, err := access.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func as(user string) string { return login(user, canary)[0] }
