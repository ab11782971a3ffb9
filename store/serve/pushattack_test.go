package serve_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/serve"

	"github.com/opencontainers/go-digest"
)

// Bytes that are not what their digest says are no blob, whichever way they come.
func TestPushDigestLies(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	data, lie := []byte("data"), digest.FromString("other data")
	base := "/v2/" + ghcr + "/blobs/uploads/"
	w.want(400, "DIGEST_INVALID", "POST", base+"?digest="+string(lie), bytes.NewReader(data))
	for _, d := range []string{string(lie), string(digest.SHA512.FromString("x"))} {
		loc := w.begin(ghcr)
		w.want(202, "", "PATCH", loc, bytes.NewReader(data))
		w.want(400, "DIGEST_INVALID", "PUT", loc+"?digest="+d, nil)
		w.want(404, "BLOB_UPLOAD_UNKNOWN", "PUT", loc+"?digest="+string(digest.FromBytes(data)), nil)
	}
	for _, bad := range []string{"", "sha256:", "sha256:xyz", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:..%2f..%2fetc%2fpasswd", strings.ToUpper(string(lie)), string(lie) + "&digest=" + string(lie)} {
		w.want(400, "DIGEST_INVALID", "POST", base+"?digest="+bad, bytes.NewReader(data))
		w.want(400, "DIGEST_INVALID", "POST", base+"?mount="+bad, nil)
		loc := w.begin(ghcr)
		w.want(400, "DIGEST_INVALID", "PUT", loc+"?digest="+bad, bytes.NewReader(data))
		w.want(204, "", "DELETE", loc, nil) // the client may try again
	}
	w.want(400, "DIGEST_INVALID", "POST", base+"?digest-algorithm=md5", nil)
	if repos, err := w.store.Repositories(t.Context()); err != nil || len(repos) > 0 {
		t.Errorf("repositories %q (%v)", repos, err)
	}
}

// Parts come in order, as long as they say they are.
func TestPushRanges(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	data := bytes.Repeat([]byte("x"), 100)
	loc := w.begin(ghcr)
	w.want(202, "", "PATCH", loc, bytes.NewReader(data[:50]), "Content-Range: 0-49")
	for _, r := range []string{"0-49", "51-100", "49-98", "100-149"} {
		a := w.want(416, "BLOB_UPLOAD_INVALID", "PATCH", loc, bytes.NewReader(data[:50]), "Content-Range: "+r)
		if a.Header.Get("Range") != "0-49" || a.Header.Get("Location") != loc {
			t.Errorf("%s: go on at %q %q", r, a.Header.Get("Location"), a.Header.Get("Range"))
		}
		w.want(416, "BLOB_UPLOAD_INVALID", "PUT", loc+"?digest="+string(digest.FromBytes(data)), bytes.NewReader(data[:50]), "Content-Range: "+r)
	}
	for _, r := range []string{"50", "50-", "-99", "bytes 50-99/100", "99-50", "50-99999999999999999999", "+50-99", "50-99, 50-99"} {
		w.want(400, "BLOB_UPLOAD_INVALID", "PATCH", loc, bytes.NewReader(data[:50]), "Content-Range: "+r)
	}
	w.want(400, "BLOB_UPLOAD_INVALID", "PATCH", loc, bytes.NewReader(data[:50]), "Content-Range: 50-99", "Content-Range: 50-99")
	w.want(400, "SIZE_INVALID", "PATCH", loc, bytes.NewReader(data[:49]), "Content-Range: 50-99")
	w.want(201, "", "PUT", loc+"?digest="+string(digest.FromBytes(data)), bytes.NewReader(data[50:]), "Content-Range: 50-99")

	// One of a length that nobody told before is no use once it was not so long.
	loc = w.begin(ghcr)
	w.want(400, "SIZE_INVALID", "PATCH", loc, struct{ io.Reader }{bytes.NewReader(data)}, "Content-Range: 0-49")
	w.want(404, "BLOB_UPLOAD_UNKNOWN", "GET", loc, nil)
}

// A body that ends early leaves an upload that can go on, and a whole blob is none.
func TestPushHalfBodies(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	data := bytes.Repeat([]byte("half"), 50_000)
	d := digest.FromBytes(data)
	loc := w.begin(ghcr)
	half(t, w.url, "PATCH", loc, data)
	var a answer
	for range 1000 { // the server may not have noticed yet
		if a = w.do("GET", loc, nil); a.StatusCode != http.StatusConflict {
			break
		}
	}
	var last int
	if _, err := fmt.Sscanf(a.Header.Get("Range"), "0-%d", &last); err != nil || last < 1 || last >= len(data)-1 {
		t.Fatalf("%s, range %q (%v)", a.Status, a.Header.Get("Range"), err)
	}
	half(t, w.url, "POST", "/v2/"+ghcr+"/blobs/uploads/?digest="+string(d), data)
	w.want(404, "BLOB_UNKNOWN", "GET", "/v2/"+ghcr+"/blobs/"+string(d), nil)
	w.want(201, "", "PUT", loc+"?digest="+string(d), bytes.NewReader(data[last+1:]), fmt.Sprintf("Content-Range: %d-%d", last+1, len(data)-1))
	c := image(ghcr)
	half(t, w.url, "PUT", "/v2/"+ghcr+"/manifests/v1", find(c, ghcr, c.Names[0].Descriptor).Bytes, "Content-Type: "+layout.MediaTypeManifest)
	w.want(404, "MANIFEST_UNKNOWN", "GET", "/v2/"+ghcr+"/manifests/v1", nil)
}

// half sends the head of a request, half of its body, and hangs up.
func half(t *testing.T, base, method, path string, data []byte, headers ...string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n", method, path, len(data), strings.Join(append(headers, ""), "\r\n"))
	if _, err := conn.Write(append([]byte(head), data[:len(data)/2]...)); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("%s %s, half of it: %s", method, path, res.Status)
	}
}

// Blobs and manifests have a size that they may have, whatever was said before.
func TestPushSizes(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, func(o *serve.Options) { o.MaxBlob = 1000 })
	ok, large := bytes.Repeat([]byte("x"), 1000), bytes.Repeat([]byte("x"), 1001)
	w.blob(ghcr, ok)
	base := "/v2/" + ghcr + "/blobs/uploads/"
	w.want(413, "SIZE_INVALID", "POST", base+"?digest="+string(digest.FromBytes(large)), bytes.NewReader(large))
	w.want(413, "SIZE_INVALID", "POST", base+"?digest="+string(digest.FromBytes(large)), struct{ io.Reader }{bytes.NewReader(large)})
	loc := w.begin(ghcr)
	w.want(202, "", "PATCH", loc, bytes.NewReader(ok))
	w.want(413, "SIZE_INVALID", "PATCH", loc, struct{ io.Reader }{strings.NewReader("x")})
	w.want(404, "BLOB_UPLOAD_UNKNOWN", "GET", loc, nil)

	text := `{"schemaVersion":2,"mediaType":"` + layout.MediaTypeIndex + `","manifests":[]}`
	for n, want := range map[int]int{layout.MaxManifestBytes: 201, layout.MaxManifestBytes + 1: 413} {
		padded := []byte(text + strings.Repeat(" ", n-len(text)))
		for _, body := range []io.Reader{bytes.NewReader(padded), struct{ io.Reader }{bytes.NewReader(padded)}} {
			a := w.do("PUT", "/v2/"+ghcr+"/manifests/padded", body, "Content-Type: "+layout.MediaTypeIndex)
			if a.StatusCode != want {
				t.Errorf("%d bytes: %s %s, want %d", n, a.Status, a.body, want)
			}
		}
	}
	endless := io.LimitReader(zeros{}, 1<<40)
	w.want(413, "SIZE_INVALID", "PUT", "/v2/"+ghcr+"/manifests/endless", struct{ io.Reader }{endless}, "Content-Type: "+layout.MediaTypeIndex)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A manifest is of the one type that the request, and itself, say; and can be read in one
// way.
func TestPushManifestLies(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	index := `{"schemaVersion":2,"mediaType":"` + layout.MediaTypeIndex + `","manifests":[]}`
	for _, c := range []struct{ mediaType, body string }{
		{layout.MediaTypeManifest, index},
		{layout.MediaTypeDockerList, index},
		{"", index},
		{"application/json", index},
		{"*/*", index},
		{layout.MediaTypeIndex + "; charset=utf-8", index},
		{layout.MediaTypeIndex + ", " + layout.MediaTypeManifest, index},
		{layout.MediaTypeDockerSchema1, `{"schemaVersion":1}`},
		{layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[],"manifests":[]}`},
		{layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[],"Manifests":[{}]}`},
		{layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`},
		{layout.MediaTypeManifest, `{"schemaVersion":2,"manifests":[],"layers":[]}`},
		{layout.MediaTypeIndex, index + index},
		{layout.MediaTypeIndex, index[:20]},
		{layout.MediaTypeIndex, ""},
		{layout.MediaTypeIndex, "null"},
		{layout.MediaTypeIndex, strings.Repeat("[", 100_000)},
		{layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[{"mediaType":"` + layout.MediaTypeManifest + `","digest":"sha256:../../../x","size":1}]}`},
		{layout.MediaTypeIndex, `{"schemaVersion":2,"manifests":[{"mediaType":"` + layout.MediaTypeManifest + `","digest":"` + string(digest.FromString("")) + `","size":-1}]}`},
	} {
		a := w.do("PUT", "/v2/"+ghcr+"/manifests/v1", strings.NewReader(c.body), "Content-Type: "+c.mediaType)
		if a.StatusCode != 400 || code(t, a.Response, a.body) != "MANIFEST_INVALID" {
			t.Errorf("%s %.60s: %s %s", c.mediaType, c.body, a.Status, a.body)
		}
	}
	w.want(400, "DIGEST_INVALID", "PUT", "/v2/"+ghcr+"/manifests/"+string(digest.FromString("x")), strings.NewReader(index), "Content-Type: "+layout.MediaTypeIndex)
	w.want(400, "NAME_INVALID", "PUT", "/v2/"+ghcr+"/manifests/sha256:..%2fx", strings.NewReader(index), "Content-Type: "+layout.MediaTypeIndex)
	lists := `{"schemaVersion":2,"config":{"mediaType":"text/x","digest":"` + string(digest.FromString("none")) + `","size":4},"layers":[]}`
	w.want(404, "MANIFEST_BLOB_UNKNOWN", "PUT", "/v2/"+ghcr+"/manifests/v1", strings.NewReader(lists), "Content-Type: "+layout.MediaTypeManifest)
	if repos, err := w.store.Repositories(t.Context()); err != nil || len(repos) > 0 {
		t.Errorf("repositories %q (%v)", repos, err)
	}
}

// Names, ids and digests lead nowhere but where they should.
func TestPushTraversal(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	for _, name := range []string{
		"..", "../x", "a/../../x", "/x", "A/b", "a//b", "a/b/", "ghcr.io/%2e%2e/x", "ghcr.io/..%2fx", "ghcr.io/a%00b", "ghcr.io/a\\b", "ghcr.io/a b", "ghcr.io/" + strings.Repeat("a/", 600) + "a",
	} {
		name = strings.ReplaceAll(name, " ", "%20")
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			for _, rest := range []string{"/blobs/uploads/", "/blobs/uploads/x", "/manifests/v1", "/blobs/" + string(digest.FromString("x"))} {
				a := w.do(method, "/v2/"+name+rest, strings.NewReader(""))
				if a.StatusCode < 400 || a.StatusCode >= 500 {
					t.Errorf("%s /v2/%s%s: %s", method, name, rest, a.Status)
				}
			}
		}
	}
	for _, id := range []string{"..", ".", "%2e%2e", "..%2f..%2fairgap.db", "x", "x?state=y", strings.Repeat("x", 500), "%00"} {
		for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
			a := w.do(method, "/v2/"+ghcr+"/blobs/uploads/"+id, strings.NewReader(""))
			if a.StatusCode < 400 || a.StatusCode >= 500 {
				t.Errorf("%s upload %q: %s", method, id, a.Status)
			}
		}
	}
	if repos, err := w.store.Repositories(t.Context()); err != nil || len(repos) > 0 {
		t.Errorf("repositories %q (%v)", repos, err)
	}
}

// An upload is its user's, in its repository; an id that somebody learned is no use.
func TestUploadsAreApart(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, func(o *serve.Options) { o.Guard = pushers(t) })
	loc := w.begin(ghcr, as("ann"))
	id := loc[strings.LastIndexByte(loc, '/')+1:]
	for _, method := range []string{"GET", "HEAD", "PATCH", "PUT", "DELETE"} {
		path := loc + "?digest=" + string(digest.FromString(""))
		w.want(404, "", method, path, nil, as("bob"))
		w.want(404, "", method, strings.Replace(path, ghcr, "ghcr.io/acme/other", 1), nil, as("ann"))
		w.want(403, "", method, path, nil, as("reader"))
		w.want(403, "", method, path, nil, as("del"))
		w.want(401, "", method, path, nil)
	}
	if len(id) < 20 || strings.Contains(id, "ann") {
		t.Errorf("the id %q can be guessed", id)
	}
	w.want(204, "", "GET", loc, nil, as("ann"))
	w.want(204, "", "DELETE", loc, nil, as("ann"))
}

// Row 22, writing: who may not do it learns nothing, and changes nothing.
func TestPushRights(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, func(o *serve.Options) { o.Guard = pushers(t) })
	c := layouttest.Merge(image(ghcr), image(plain))
	w.push(c, as("bob"))
	blob := string(c.Repositories[ghcr][0].Descriptor.Digest)
	none := string(digest.FromString("none"))
	item := find(c, ghcr, c.Names[0].Descriptor)
	requests := []struct {
		method, path, right string
		body                []byte
	}{
		{"POST", "/blobs/uploads/", "push", nil},
		{"POST", "/blobs/uploads/?mount=" + blob + "&from=" + plain, "push", nil},
		{"POST", "/blobs/uploads/?digest=" + string(digest.FromString("x")), "push", []byte("x")},
		{"PATCH", "/blobs/uploads/x", "push", []byte("x")},
		{"PUT", "/blobs/uploads/x?digest=" + blob, "push", nil},
		{"DELETE", "/blobs/uploads/x", "push", nil},
		{"PUT", "/manifests/v2", "push", item.Bytes},
		{"DELETE", "/manifests/none", "delete", nil},
		{"DELETE", "/manifests/" + none, "delete", nil},
		{"DELETE", "/blobs/" + none, "delete", nil},
	}
	may := map[string]map[string]bool{"ann": {"push": true}, "bob": {"push": true}, "del": {"delete": true}}
	for _, repo := range []string{ghcr, "ghcr.io/acme/none"} {
		for _, user := range []string{"ann", "bob", "del", "reader", ""} {
			var headers []string
			want := 401
			if user != "" {
				headers, want = []string{as(user)}, 403
			}
			for _, r := range requests {
				a := w.do(r.method, "/v2/"+repo+r.path, bytes.NewReader(r.body), append(headers, "Content-Type: "+layout.MediaTypeManifest)...)
				allowed := a.StatusCode != 401 && a.StatusCode != 403
				if allowed != may[user][r.right] || !allowed && a.StatusCode != want {
					t.Errorf("%q: %s %s of %s: %s", user, r.method, r.path, repo, a.Status)
				}
			}
		}
	}
	if n := w.h.Uploads(); n > 20 {
		t.Errorf("%d uploads", n)
	}
}

// A blob is mounted from where its user may read, and from nowhere else.
func TestMountRights(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, func(o *serve.Options) { o.Guard = pushers(t) })
	secret := w.blob("quay.io/acme/theirs", []byte("theirs"), as("bob"))
	w.begin("ghcr.io/acme/app", as("ann"))
	for _, from := range []string{"&from=quay.io/acme/theirs", "", "&from=quay.io/acme/none", "&from=..%2fx"} {
		a := w.do("POST", "/v2/ghcr.io/acme/app/blobs/uploads/?mount="+string(secret)+from, nil, as("del"))
		if a.StatusCode != 403 {
			t.Errorf("from %q: %s", from, a.Status)
		}
	}
	// quay.io is read by those without a name alone: not by ann.
	for _, from := range []string{"&from=quay.io/acme/theirs", ""} {
		a := w.want(202, "", "POST", "/v2/ghcr.io/acme/app/blobs/uploads/?mount="+string(secret)+from, nil, as("ann"))
		if a.Header.Get("Docker-Content-Digest") != "" {
			t.Error("it tells that there is one")
		}
	}
	w.want(404, "BLOB_UNKNOWN", "GET", "/v2/ghcr.io/acme/app/blobs/"+string(secret), nil, as("ann"))
	w.want(201, "", "POST", "/v2/ghcr.io/acme/app/blobs/uploads/?mount="+string(secret), nil, as("bob"))
}

// Nobody can begin more uploads than there is room for, and what is left alone makes
// room.
func TestManyUploads(t *testing.T) {
	const most = 8
	w := newWritable(t, store.PushOptions{}, func(o *serve.Options) { o.MaxUploads, o.UploadIdle = most, time.Minute })
	first := w.begin(ghcr)
	for range most - 1 {
		w.begin(ghcr)
	}
	for range 10_000 {
		a := w.do("POST", "/v2/"+ghcr+"/blobs/uploads/", nil)
		if a.StatusCode != 429 || a.Header.Get("Retry-After") == "" || code(t, a.Response, a.body) != "TOOMANYREQUESTS" {
			t.Fatalf("%s %s", a.Status, a.body)
		}
	}
	if n := len(w.ingest()); n != most {
		t.Errorf("%d files", n)
	}
	w.now = w.now.Add(30 * time.Second)
	w.want(204, "", "GET", first, nil)
	w.now = w.now.Add(40 * time.Second)
	w.want(204, "", "GET", first, nil) // it was asked for
	if n := len(w.ingest()); n != 1 {
		t.Errorf("%d files", n)
	}
	w.begin(ghcr)
}

// Many large manifests at once do not fill the memory; small ones go on.
func TestManyLargeManifests(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	path := "/v2/" + ghcr + "/manifests/large"
	large := strings.Repeat(" ", 1<<20)
	for range 32 {
		body, rest := io.Pipe()
		defer rest.Close()
		req, err := http.NewRequestWithContext(t.Context(), "PUT", w.url+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", layout.MediaTypeManifest)
		go func() {
			if res, err := http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
			}
		}()
		if _, err := rest.Write([]byte(large)); err != nil {
			t.Fatal(err)
		}
	}
	a := w.do("PUT", path, strings.NewReader(large), "Content-Type: "+layout.MediaTypeManifest)
	for tries := 0; a.StatusCode == 400 && tries < 1000; tries++ { // the server has not read all of that yet
		a = w.do("PUT", path, strings.NewReader(large), "Content-Type: "+layout.MediaTypeManifest)
	}
	if a.StatusCode != 429 || code(t, a.Response, a.body) != "TOOMANYREQUESTS" || a.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s", a.Status, a.body)
	}
	w.push(image(ghcr))
}

// What was begun and left alone keeps nobody out for an hour.
func TestUploadsGiveWay(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, func(o *serve.Options) { o.MaxUploads = 2 })
	left, used := w.begin(ghcr), w.begin(ghcr)
	w.now = w.now.Add(50 * time.Second)
	w.want(204, "", "GET", used, nil)
	w.want(429, "TOOMANYREQUESTS", "POST", "/v2/"+ghcr+"/blobs/uploads/", nil)
	w.now = w.now.Add(20 * time.Second)
	w.begin(ghcr)
	w.want(204, "", "GET", used, nil)
	w.want(404, "BLOB_UPLOAD_UNKNOWN", "GET", left, nil)
	if n := len(w.ingest()); n != 2 {
		t.Errorf("%d files", n)
	}
}

// Requests about one upload at the same time do not mix: one goes on, and the blob is
// what one of them sent.
func TestConcurrentUploads(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	loc := w.begin(ghcr)
	data := bytes.Repeat([]byte("x"), 100_000)
	d := digest.FromBytes(data)
	var all sync.WaitGroup
	var mu sync.Mutex
	counts := map[int]int{}
	for range 16 {
		all.Go(func() {
			req, err := http.NewRequest("PUT", w.url+loc+"?digest="+string(d), bytes.NewReader(data))
			if err != nil {
				t.Error(err)
				return
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return // the server hung up on a body that it does not want
			}
			res.Body.Close()
			mu.Lock()
			counts[res.StatusCode]++
			mu.Unlock()
		})
	}
	all.Wait()
	if counts[201] != 1 {
		t.Errorf("answers: %v", counts)
	}
	delete(counts, 201)
	delete(counts, 404)
	delete(counts, 409)
	if len(counts) > 0 {
		t.Errorf("and also: %v", counts)
	}
	if a := w.want(200, "", "GET", "/v2/"+ghcr+"/blobs/"+string(d), nil); !bytes.Equal(a.body, data) {
		t.Error("it is something else")
	}
}

// While a request about an upload is under way, others about it are turned away.
func TestBusyUpload(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	loc := w.begin(ghcr)
	r, body := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		req, err := http.NewRequest("PATCH", w.url+loc, r)
		if err != nil {
			ended <- err
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			err = res.Body.Close()
			if res.StatusCode != 202 {
				t.Errorf("the first: %s", res.Status)
			}
		}
		ended <- err
	}()
	if _, err := body.Write([]byte("first, ")); err != nil {
		t.Fatal(err)
	}
	for w.do("GET", loc, nil).StatusCode != http.StatusConflict {
	}
	data := []byte("first, last")
	w.want(409, "BLOB_UPLOAD_INVALID", "PATCH", loc, strings.NewReader("other"))
	w.want(409, "BLOB_UPLOAD_INVALID", "PUT", loc+"?digest="+string(digest.FromString("")), nil)
	w.want(409, "BLOB_UPLOAD_INVALID", "DELETE", loc, nil)
	w.now = w.now.Add(24 * time.Hour)
	w.begin(ghcr) // what is under way does not expire
	if _, err := body.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	body.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.want(201, "", "PUT", loc+"?digest="+string(digest.FromBytes(data)), nil)
}

// In a repository with admitted content tags stay, and images cannot be pushed; the
// answer says why and what to do.
func TestPushIntoAdmitted(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	b := layouttest.New(ghcr)
	img := b.Image("admitted")
	b.Tag("v1", img)
	session, err := w.store.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Content().Load(t.Context(), session); err != nil {
		t.Fatal(err)
	}
	other := b.Image("other")
	sig := b.Notary(img, "signature")
	c := b.Content()
	for _, item := range c.Repositories[ghcr] {
		if !layout.IsManifest(item.Descriptor.MediaType) {
			w.blob(ghcr, item.Bytes)
		}
	}
	for _, ref := range []string{"v1", "v2", string(other.Digest), string(other.Digest) + "?tag=v1"} {
		a := w.manifest(403, "DENIED", ghcr, ref, find(c, ghcr, other))
		if !strings.Contains(string(a.body), "airgap import") {
			t.Errorf("no way out: %s", a.body)
		}
	}
	w.manifest(201, "", ghcr, string(sig.Digest), find(c, ghcr, sig))
	a := w.want(200, "", "GET", "/v2/"+ghcr+"/referrers/"+string(img.Digest), nil)
	if !strings.Contains(string(a.body), string(sig.Digest)) {
		t.Errorf("the signature is not there: %s", a.body)
	}
	a = w.want(200, "", "GET", "/v2/"+ghcr+"/manifests/v1", nil)
	if a.Header.Get("Docker-Content-Digest") != string(img.Digest) || a.Header.Get("Airgap-Admitted") != "" {
		t.Errorf("v1 is %s, Airgap-Admitted: %q", a.Header.Get("Docker-Content-Digest"), a.Header.Get("Airgap-Admitted"))
	}
}

// A blob that a manifest lists stays; when it is gone, so is every way to it.
func TestDeleteOverHTTP(t *testing.T) {
	w := newWritable(t, store.PushOptions{}, nil)
	c := image(ghcr)
	w.push(c)
	img := find(c, ghcr, c.Names[0].Descriptor)
	m, err := layout.ParseManifest(img.Descriptor, img.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	layer := "/v2/" + ghcr + "/blobs/" + string(m.Layers[0].Digest)
	w.want(409, "DENIED", "DELETE", layer, nil)
	w.want(202, "", "DELETE", "/v2/"+ghcr+"/manifests/v1", nil)
	w.want(404, "MANIFEST_UNKNOWN", "DELETE", "/v2/"+ghcr+"/manifests/v1", nil)
	w.want(200, "", "GET", "/v2/"+ghcr+"/manifests/v1.0", nil)
	w.want(202, "", "DELETE", "/v2/"+ghcr+"/manifests/"+string(img.Descriptor.Digest), nil) // an index lists it
	w.want(404, "MANIFEST_UNKNOWN", "GET", "/v2/"+ghcr+"/manifests/v1.0", nil)
	w.want(200, "", "GET", "/v2/"+ghcr+"/manifests/all", nil)
	w.want(202, "", "DELETE", layer, nil)
	w.want(404, "BLOB_UNKNOWN", "DELETE", layer, nil)
	w.want(400, "UNSUPPORTED", "DELETE", layer, strings.NewReader("a body"))
}
