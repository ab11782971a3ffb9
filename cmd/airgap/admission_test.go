package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/store/push"
	"airgap/store/serve"
	"airgap/store/serve/access"
	"airgap/verify/signing"

	"golang.org/x/crypto/bcrypt"
)

// admitting is a registry that judges what is pushed, by reverifyPolicy. ann pushes,
// and anybody reads.
type admitting struct {
	*testing.T
	url  string
	st   *store.Store
	b    *layouttest.Builder
	sent map[string]bool // what ann has pushed
}

func newAdmitting(t *testing.T) *admitting {
	t.Helper()
	t.Chdir(t.TempDir())
	_, _ = reverifyStore(t) // for its policy and its keys
	a := &admitting{T: t, b: layouttest.New(reverifyRepo), sent: map[string]bool{}}
	a.serve("new", testUI())
	return a
}

// serve serves the store in dir.
func (a *admitting) serve(dir string, u *ui) {
	a.Helper()
	st, err := store.Open(dir, store.Options{})
	if err != nil {
		a.Fatal(err)
	}
	push := takeOptions{writable: true, admit: true, maxUploads: 10}
	opts, err := push.options(u, st, &policyOptions{policy: "policy.yaml", trust: "T"})
	if err != nil {
		a.Fatal(err)
	}
	opts.Guard = annPushes(a.T)
	h := serve.New(st.View(), opts)
	srv := httptest.NewServer(h)
	a.Cleanup(func() {
		srv.Close()
		r, err := st.Check(a.Context(), store.CheckOptions{Hashes: true})
		if err := errors.Join(err, r.Err(), h.Close(), st.Close()); err != nil && a.Context().Err() == nil {
			a.Error(err)
		}
	})
	a.url, a.st = srv.URL+"/v2/"+reverifyRepo, st
}

func annPushes(t *testing.T) *access.Guard {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := access.Options{Users: filepath.Join(dir, "users"), Rights: filepath.Join(dir, "rights.yaml")}
	err = errors.Join(
		os.WriteFile(o.Users, []byte("ann:"+string(hash)+"\n"), 0o600),
		os.WriteFile(o.Rights, []byte("rules:\n- {users: [ann], repositories: ['**'], actions: [push]}\n- {users: [anonymous], repositories: ['**'], actions: [pull]}\n"), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	g, err := access.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (a *admitting) do(method, path string, body []byte, mediaType, user string) *http.Response {
	a.Helper()
	req, err := http.NewRequestWithContext(a.Context(), method, a.url+path, bytes.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, "secret")
	}
	req.Header.Set("Content-Type", mediaType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		a.Fatal(err)
	}
	res.Body = io.NopCloser(bytes.NewReader(data))
	return res
}

// push pushes a manifest as ann, with what of the content is not there yet, under a tag
// if there is one.
func (a *admitting) push(status int, d layout.Descriptor, tag string) *http.Response {
	a.Helper()
	for _, item := range a.b.Content().Repositories[reverifyRepo] {
		dgst := string(item.Descriptor.Digest)
		if layout.IsManifest(item.Descriptor.MediaType) || a.sent[dgst] {
			continue
		}
		a.sent[dgst] = true
		if res := a.do("POST", "/blobs/uploads/?digest="+dgst, item.Bytes, "", "ann"); res.StatusCode != 201 {
			a.Fatalf("a blob: %s", res.Status)
		}
	}
	if tag == "" {
		tag = string(d.Digest)
	}
	item, _ := a.b.Content().Find(reverifyRepo, d.Digest)
	res := a.do("PUT", "/manifests/"+tag, item.Bytes, d.MediaType, "ann")
	if res.StatusCode != status {
		body, _ := io.ReadAll(res.Body)
		a.Fatalf("%s: %s %s, want %d", tag, res.Status, body, status)
	}
	return res
}

// sign makes a signature of an image; push it to make it count.
func (a *admitting) sign(d layout.Descriptor, key string) layout.Descriptor {
	a.Helper()
	sig, err := signing.BundleSignature(d, signing.InsecureKey(key))
	if err != nil {
		a.Fatal(err)
	}
	for _, blob := range sig.Blobs {
		a.b.Blob(blob.Desc.MediaType, blob.Data)
	}
	return a.b.Blob(sig.Manifest.MediaType, sig.Raw)
}

// readers get it, or nobody but ann does.
func (a *admitting) open(want bool, refs ...string) {
	a.Helper()
	for _, ref := range refs {
		status := 404
		if want {
			status = 200
		}
		if res := a.do("GET", "/manifests/"+ref, nil, "", ""); res.StatusCode != status {
			a.Errorf("%s for readers: %s, want %d", ref, res.Status, status)
		}
		if res := a.do("GET", "/manifests/"+ref, nil, "", "ann"); res.StatusCode != 200 {
			a.Errorf("%s for who pushed it: %s", ref, res.Status)
		}
	}
}

// What nobody has signed is kept for those who push, and given out once it is signed by
// the key that the policy wants; all of it is in the ledger.
func TestAdmit(t *testing.T) {
	a := newAdmitting(t)
	img := a.b.Image("image")
	res := a.push(201, img, "v1")
	if !strings.HasPrefix(res.Header.Get("Warning"), `299 - "not given out yet: `) {
		t.Errorf("Warning: %q", res.Header.Get("Warning"))
	}
	a.open(false, "v1", string(img.Digest))
	layer := "/blobs/" + a.layer(img)
	if res := a.do("GET", layer, nil, "", ""); res.StatusCode != 404 {
		t.Errorf("its layer for readers: %s", res.Status)
	}
	if res := a.do("GET", "/tags/list", nil, "", ""); res.StatusCode != 404 {
		t.Errorf("its tags for readers: %s", res.Status)
	}

	wrong := a.sign(img, "other")
	if res := a.push(201, wrong, ""); res.Header.Get("Warning") == "" {
		t.Error("a signature by the wrong key is given out")
	}
	a.open(false, "v1", string(img.Digest), string(wrong.Digest))

	right := a.sign(img, "release")
	if res := a.push(201, right, ""); res.Header.Get("Warning") != "" {
		t.Errorf("Warning: %q", res.Header.Get("Warning"))
	}
	a.open(true, "v1", string(img.Digest), string(right.Digest), string(wrong.Digest)) // it belongs to an image that passed
	if res := a.do("GET", layer, nil, "", ""); res.StatusCode != 200 {
		t.Errorf("its layer for readers: %s", res.Status)
	}
	if res := a.do("GET", "/manifests/v1", nil, "", ""); res.Header.Get("Airgap-Admitted") != "" {
		t.Error("it passes for not admitted")
	}
	log := mustRun(t, 0, "log list --store new")
	for _, want := range []string{"push", "quarantine", "release", "by ann"} {
		if want == "by ann" {
			want = "ann"
		}
		if !strings.Contains(log, want) {
			t.Errorf("the ledger does not have %q:\n%s", want, log)
		}
	}
}

func (a *admitting) layer(d layout.Descriptor) string {
	a.Helper()
	item, _ := a.b.Content().Find(reverifyRepo, d.Digest)
	m, err := layout.ParseManifest(item.Descriptor, item.Bytes)
	if err != nil {
		a.Fatal(err)
	}
	return string(m.Layers[0].Digest)
}

// The signature may be there first; then the image is given out at once.
func TestAdmitSignatureFirst(t *testing.T) {
	a := newAdmitting(t)
	img := a.b.Image("image")
	sig := a.sign(img, "release")
	a.push(201, sig, "")
	a.open(false, string(sig.Digest))
	if res := a.push(201, img, "v1"); res.Header.Get("Warning") != "" {
		t.Errorf("Warning: %q", res.Header.Get("Warning"))
	}
	a.open(true, "v1", string(sig.Digest))
}

// A signature on an index is one on its children, and on no other image.
func TestAdmitIndex(t *testing.T) {
	a := newAdmitting(t)
	amd, arm, lone := a.b.Image("amd"), a.b.Image("arm"), a.b.Image("lone")
	for _, d := range []layout.Descriptor{amd, arm, lone} {
		a.push(201, d, "")
	}
	index := a.b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(arm, "linux", "arm64"))
	a.push(201, index, "v1")
	a.open(false, "v1", string(amd.Digest), string(arm.Digest))
	a.push(201, a.sign(index, "release"), "")
	a.open(true, "v1", string(index.Digest), string(amd.Digest), string(arm.Digest))
	a.open(false, string(lone.Digest))
	// As clients do that do not see what is there.
	a.push(201, amd, "")
	a.open(true, "v1", string(amd.Digest))
	// An index that nobody signed takes nothing along, nor away.
	a.push(201, a.b.Index(layouttest.ForPlatform(amd, "linux", "amd64"), layouttest.ForPlatform(lone, "linux", "arm")), "v2")
	a.open(false, "v2", string(lone.Digest))
	a.open(true, "v1", string(amd.Digest))
}

// A tag never leads to what was not admitted: one that leads to something that was does
// not move, and a new one is judged by its own rule.
func TestAdmitTags(t *testing.T) {
	a := newAdmitting(t)
	good, bad := a.b.Image("good"), a.b.Image("bad")
	a.push(201, good, "v1")
	a.push(201, a.sign(good, "release"), "")
	a.open(true, "v1")
	a.push(403, bad, "v1")
	a.push(201, bad, "v2")
	a.open(true, "v1")
	a.open(false, "v2")
	if res := a.do("GET", "/manifests/v1", nil, "", ""); res.Header.Get("Docker-Content-Digest") != string(good.Digest) {
		t.Errorf("v1 is %s", res.Header.Get("Docker-Content-Digest"))
	}
	if res := a.push(201, good, "copy"); res.Header.Get("Warning") == "" { // another key's
		t.Error("copy was given out")
	}
	if res := a.do("GET", "/manifests/copy", nil, "", ""); res.StatusCode != 404 {
		t.Errorf("copy: %s", res.Status)
	}
	a.open(true, "v1", string(good.Digest))
	a.push(201, good, "v2") // it led to nothing that is given out
	a.open(true, "v2")
}

// The list of signatures that some clients keep under a tag is taken, and no image: it is
// not judged, and there is nothing wrong with the store because of it.
func TestAdmitFallback(t *testing.T) {
	a := newAdmitting(t)
	img := a.b.Image("image")
	a.push(201, img, "v1")
	sig := a.sign(img, "release")
	a.push(201, sig, "")
	tag, _ := layout.FormReferrersTag.Tag(img.Digest)
	a.push(201, a.b.Fallback(img, sig), tag)
	a.open(true, "v1", tag)
	mustRun(t, 0, "reverify --store new --policy policy.yaml --trust T")
}

// … nor does a list free what it lists: an image that says of itself that it is attached
// to one that was admitted, and is on the list of that.
func TestAdmitListFreesNothing(t *testing.T) {
	a := newAdmitting(t)
	img := a.b.Image("image")
	a.push(201, img, "v1")
	sig := a.sign(img, "release")
	a.push(201, sig, "")
	other := a.b.Image("other")
	item, _ := a.b.Content().Find(reverifyRepo, other.Digest)
	rider := a.b.Blob(layout.MediaTypeManifest, bytes.Replace(item.Bytes, []byte("{"), []byte(`{"subject":{"mediaType":"`+img.MediaType+`","digest":"`+string(img.Digest)+`","size":`+strconv.FormatInt(img.Size, 10)+`},`), 1))
	a.push(201, rider, "")
	a.open(false, string(rider.Digest))
	tag, _ := layout.FormReferrersTag.Tag(img.Digest)
	for _, list := range []layout.Descriptor{a.b.Fallback(img, sig, rider), a.b.Fallback(img, rider), a.b.Fallback(img, sig, other)} {
		item, _ := a.b.Content().Find(reverifyRepo, list.Digest)
		a.do("PUT", "/manifests/"+tag, item.Bytes, list.MediaType, "ann") // taken or not
		a.push(201, a.sign(img, "release"), "")                           // so that it is judged again
		a.open(false, string(rider.Digest))
		a.open(true, "v1")
	}
	mustRun(t, exitRefused, "reverify --store new --policy policy.yaml --trust T")
	a.open(false, string(rider.Digest))
}

// A name does not go back to an image that it led to before, by whatever way: the old
// signatures are as good as ever.
func TestAdmitRollback(t *testing.T) {
	a := newAdmitting(t)
	older, newer := a.b.Image("older"), a.b.Image("newer")
	for _, d := range []layout.Descriptor{older, newer} {
		a.push(201, d, "v1")
		a.push(201, a.sign(d, "release"), "")
		a.open(true, "v1")
		ref := layout.Reference{Repository: reverifyRepo, Tag: "v1"}
		if err := a.st.Pusher(store.PushOptions{}).Delete(t.Context(), push.Removal{Reference: ref}); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []layout.Descriptor{older, a.b.Index(layouttest.ForPlatform(older, "linux", "amd64"))} {
		if d.Digest != older.Digest {
			a.push(201, d, "other")
			a.push(201, a.sign(d, "release"), "")
			a.open(true, "other")
		}
		if res := a.push(201, d, "v1"); !strings.Contains(res.Header.Get("Warning"), "rollback") {
			t.Errorf("Warning: %q", res.Header.Get("Warning"))
		}
		if res := a.do("GET", "/manifests/v1", nil, "", ""); res.StatusCode != 404 {
			t.Errorf("v1: %s", res.Status)
		}
	}
	a.push(201, newer, "v1")
	a.open(true, "v1", string(older.Digest))
}

// What is attached to an admitted image and can be started, or is an index, is judged by
// itself; and nobody takes an admitted image away by attaching something to it.
func TestAdmitAttached(t *testing.T) {
	a := newAdmitting(t)
	img := a.b.Image("image")
	a.push(201, img, "v1")
	a.push(201, a.sign(img, "release"), "")
	sbom := a.b.Referrer(img, "text/spdx+json", "SBOM")
	posing := a.b.ReferrerIndex(img, a.b.Image("posing"))
	a.push(201, sbom, "")
	a.push(201, posing, "")
	a.open(true, "v1", string(sbom.Digest))
	a.open(false, string(posing.Digest))
	for range 20 {
		a.push(201, a.sign(img, "other"), "")
	}
	a.open(true, "v1")
}

// An image that says it is a signature of an admitted one is none: engines start it.
func TestAdmitPosing(t *testing.T) {
	a := newAdmitting(t)
	img := a.b.Image("image")
	a.push(201, img, "v1")
	a.push(201, a.sign(img, "release"), "")
	config := a.b.Blob(layout.MediaTypeImageConfig, []byte("{}"))
	layer := a.b.Blob("application/vnd.dev.cosign.simplesigning.v1+json", []byte("\x1f\x8b\x08 a layer"))
	posing := a.b.Manifest(layouttest.Document{
		SchemaVersion: 2, MediaType: layout.MediaTypeManifest, Config: &config, Layers: []layout.Descriptor{layer}, Subject: &img,
	})
	sig, _ := layout.FormCosignSig.Tag(img.Digest)
	if res := a.push(201, posing, sig); res.Header.Get("Warning") == "" {
		t.Error("no warning that it is held")
	}
	a.open(true, "v1")
	a.open(false, sig, string(posing.Digest))
}

// What was admitted before, by another policy, is not taken away because somebody pushes
// something to it; reverify does that.
func TestAdmitTakesNothingAway(t *testing.T) {
	a := newAdmitting(t)
	old := layouttest.New(reverifyRepo)
	old.Tag("old", old.Image("old"))
	if err := writeFolder(old.Content(), "old"); err != nil {
		t.Fatal(err)
	}
	mustRun(t, 0, "import old --store new --insecure-skip-verify")
	img := old.Content().Names[0].Descriptor
	a.push(201, a.b.Referrer(img, "text/spdx+json", "SBOM"), "")
	a.open(true, "old", string(img.Digest))
	if log := mustRun(t, 0, "log list --store new"); strings.Contains(log, "quarantine") {
		t.Errorf("something was taken away:\n%s", log)
	}
	mustRun(t, exitRefused, "reverify --store new --policy policy.yaml --trust T")
	if res := a.do("GET", "/manifests/old", nil, "", ""); res.StatusCode != 404 {
		t.Errorf("old, judged again: %s", res.Status)
	}
	if res := a.do("GET", "/manifests/old", nil, "", "ann"); res.StatusCode != 404 { // she has not pushed it
		t.Errorf("old, for ann: %s", res.Status)
	}
}

// By a clock that is behind the ledger nothing is taken.
func TestAdmitClockBehind(t *testing.T) {
	a := newAdmitting(t)
	img := a.b.Image("image")
	a.push(201, img, "v1")
	early := testUI()
	early.now = func() time.Time { return time.Unix(0, 0).Add(-time.Hour) }
	a.serve("new", early)
	a.push(500, a.sign(img, "release"), "")
	a.open(false, "v1")
}

// What makes no sense is said before anything is opened.
func TestServePushUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, line := range []string{
		"serve --store s --admit", "serve --store s --max-uploads 3", "serve --store s --max-blob-size 5GB", "serve --store s --allow-sparse",
		"serve --store s --writable --max-uploads 0", "serve --store s --writable --max-blob-size 5XB", "serve --store s --writable --max-blob-size -5",
		"serve --store s --writable --max-blob-size 99999TB", "serve a.tar --writable --insecure-skip-verify", "serve --store s --writable --policy policy.yaml",
	} {
		mustRun(t, exitUsage, line)
	}
	mustRun(t, exitRefused, "serve --store s --writable --admit")
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "5B": 5, "12KB": 12_000, "12kB": 12_000, "500MB": 500_000_000, "20 GB": 20_000_000_000, "2TB": 2_000_000_000_000} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %d (%v), want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "B", "1.5GB", "1GiB", "1e9", "18TB", "99999999999999999999"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%s is %d", text, got)
		}
	}
}

// What is judged is read again, however often it was read before: an image that was
// damaged since is not admitted by its signature. Others are.
func TestAdmitReadsWhatIsJudged(t *testing.T) {
	a := newAdmitting(t)
	img, other := a.b.Image("image"), a.b.Image("other")
	a.push(201, img, "v1")
	a.push(201, other, "v2")
	path := filepath.Join("new", filepath.FromSlash(layout.BlobPath(img.Digest)))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		t.Helper()
		if err := errors.Join(os.Remove(path), os.WriteFile(path, data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write(bytes.Repeat([]byte(" "), len(whole)))
	if res := a.push(201, a.sign(img, "release"), ""); res.Header.Get("Warning") == "" {
		t.Error("a signature of a damaged image is served")
	}
	if res := a.push(201, a.sign(other, "release"), ""); res.Header.Get("Warning") != "" {
		t.Errorf("Warning: %q", res.Header.Get("Warning"))
	}
	write(whole)
	a.open(false, "v1")
	a.open(true, "v2")
	a.push(201, a.b.Referrer(img, "application/spdx+json", "SBOM"), "")
	a.open(true, "v1")
}
