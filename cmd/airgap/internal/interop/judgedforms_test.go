//go:build interop && linux

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"airgap/layout"
	"airgap/verify/signing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// judged has the forms go to a store under a policy, in each way in which something can.
// The base image is signed, and nothing else.
type judged struct {
	*starts
	policy, trust string
	signature     ocispec.Descriptor
	admitted      string // a folder with the base image and its signature
}

const judgedPolicy = `version: airgap.policy/v1
rules:
- name: team
  match: ["reg.example/team/*"]
  index: children
  require: {notary: {stores: ["ca:publisher"], identities: ["*"]}}
`

func newJudged(t *testing.T, s *starts) *judged {
	t.Helper()
	k, err := keysOnce()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	j := &judged{starts: s, policy: filepath.Join(dir, "policy.yaml"), trust: filepath.Join(dir, "trust")}
	if err := os.WriteFile(j.policy, []byte(judgedPolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "airgap", "trust", "init", j.trust)
	run(t, "airgap", "trust", "add", "--trust", j.trust, "--ca", "publisher", the.path(byPublisher+".pem"))
	a, err := signing.Notary(subjectOf(s.base.Descriptor), k.publisher, signing.NotaryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range a.Blobs {
		s.folder.blob(b.Desc.MediaType, b.Data)
	}
	j.signature = s.folder.blob(a.Manifest.MediaType, a.Raw)
	j.admitted = j.layout(t, nil, nil)
	return j
}

// layout writes a folder of the base image, its signature, other things that are named,
// and some that are attached and have no name.
func (j *judged) layout(t *testing.T, named map[string]ocispec.Descriptor, attached []asked) string {
	t.Helper()
	f := newLayoutFolder(filepath.Join(t.TempDir(), "layout"))
	if f.err == nil {
		f.err = os.CopyFS(filepath.Join(f.dir, "blobs"), os.DirFS(filepath.Join(j.folder.dir, "blobs")))
	}
	f.name(baseName+":1", j.base.Descriptor)
	f.index = append(f.index, subjectOf(j.signature))
	for name, d := range named {
		f.name(baseName+":"+name, d)
	}
	for _, x := range attached {
		f.index = append(f.index, subjectOf(x.desc))
	}
	if err := f.finish(); err != nil {
		t.Fatal(err)
	}
	return f.dir
}

// sparse is such a folder that lacks some manifests.
func (j *judged) sparse(t *testing.T, named map[string]ocispec.Descriptor, without []asked) string {
	t.Helper()
	dir := j.layout(t, named, nil)
	for _, x := range without {
		if err := os.Remove((&layoutFolder{dir: dir}).path(x.desc.Digest)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readable are those that airgap can read at all. What it cannot, it refuses.
func (j *judged) readable(t *testing.T, all []asked) []asked {
	t.Helper()
	var out []asked
	for _, x := range all {
		d := subjectOf(x.desc)
		if _, err := layout.ParseManifest(d, j.folder.bytes(d)); err == nil {
			out = append(out, x)
		}
	}
	if len(out) < len(all)/2 {
		t.Fatalf("of %d forms, %d can be read", len(all), len(out))
	}
	return out
}

func (j *judged) judge(args ...string) invocation {
	return invocation{tool: "airgap", args: append(args, "--policy", j.policy, "--trust", j.trust)}
}

// store makes a store of what a folder holds.
func (j *judged) store(t *testing.T, folder string) string {
	t.Helper()
	store := filepath.Join(t.TempDir(), "store")
	runWith(t, j.judge("import", "--quiet", folder, "--store", store))
	return store
}

// attached has the forms arrive with the base image.
func (j *judged) attached(t *testing.T) map[string]bool {
	store := j.store(t, j.layout(t, nil, j.readable(t, j.forms)))
	return servedBy(t, serve(t, "--store", store), j.forms)
}

// pushed has clients push the forms, and the indexes with what they list, each by its
// digest and under a tag.
func (j *judged) pushed(t *testing.T) map[string]bool {
	host := serve(t, "--store", j.store(t, j.admitted), "--writable")
	for _, x := range j.all() {
		j.push(t, host, x.desc, string(x.desc.Digest))
		j.push(t, host, x.desc, the.unique("pushed"))
	}
	return servedBy(t, host, j.all())
}

// admitting has them pushed to a server that judges what is pushed.
func (j *judged) admitting(t *testing.T) map[string]bool {
	host := serve(t, "--store", j.store(t, j.admitted), "--writable", "--admit", "--policy", j.policy, "--trust", j.trust)
	for _, x := range j.forms {
		j.push(t, host, x.desc, string(x.desc.Digest))
	}
	for _, x := range j.indexes {
		j.push(t, host, x.desc, the.unique("pushed"))
	}
	return servedBy(t, host, j.all())
}

// late has an index admitted that lists the forms for linux/amd64, none of which is
// there. Then they come, attached to the base image, and clients push them.
func (j *judged) late(t *testing.T) map[string]bool {
	forms := j.readable(t, j.forms)
	children := []ocispec.Descriptor{subjectOf(j.base.Descriptor)}
	children[0].Platform = &ocispec.Platform{OS: "linux", Architecture: "arm64"}
	for _, x := range forms {
		d := subjectOf(x.desc)
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
		children = append(children, d)
	}
	index := map[string]ocispec.Descriptor{"sparse": j.folder.indexManifest(nil, children...)}
	store := j.store(t, j.sparse(t, index, forms))
	runWith(t, j.judge("import", "--quiet", j.layout(t, nil, forms), "--store", store))
	host := serve(t, "--store", store, "--writable")
	for _, x := range forms {
		j.push(t, host, x.desc, string(x.desc.Digest))
	}
	return servedBy(t, host, forms)
}

// children has unsigned indexes judged that list the forms, one each.
func (j *judged) children(t *testing.T) map[string]bool {
	named, forms := map[string]ocispec.Descriptor{}, map[string]string{}
	for i, x := range j.readable(t, j.forms) {
		for how, change := range map[string]func(*ocispec.Descriptor, ocispec.Descriptor){"plain": nil, "marked": marked, "nowhere": markedForNowhere} {
			tag := fmt.Sprintf("form%d-%s", i, how)
			named[tag], forms[baseName+":"+tag] = j.folder.indexOf(j.base, subjectOf(x.desc), change), x.name
		}
	}
	for i, x := range j.readable(t, j.indexes) {
		tag := fmt.Sprintf("index%d", i)
		named[tag], forms[baseName+":"+tag] = x.desc, x.name
	}
	out, err := the.do(j.judge("verify", "--format", "json", j.layout(t, named, nil)))
	if err == nil {
		t.Error("everything passed")
	}
	var result struct {
		Targets []struct {
			Report struct {
				Verdicts []struct{ Reference, State string }
			}
		}
	}
	parse(t, out, &result)
	if len(result.Targets) != 1 || len(result.Targets[0].Report.Verdicts) != len(named)+1 {
		t.Fatalf("no verdicts on %d images: %v", len(named)+1, err)
	}
	passed := map[string]bool{}
	for _, v := range result.Targets[0].Report.Verdicts {
		passed[forms[v.Reference]] = passed[forms[v.Reference]] || v.State == "passed"
	}
	return passed
}

// servedBy finds out what a server gives to whoever asks.
func servedBy(t *testing.T, host string, all []asked) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, x := range all {
		res, err := http.Get("http://" + host + "/v2/" + baseName + "/manifests/" + string(x.desc.Digest))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		out[x.name] = res.StatusCode == http.StatusOK
	}
	return out
}

// push pushes a manifest and what it lists, as far as that is there and accepted.
func (j *judged) push(t *testing.T, host string, d ocispec.Descriptor, ref string) {
	t.Helper()
	var m struct {
		Config            ocispec.Descriptor
		Layers, Manifests []ocispec.Descriptor
	}
	raw, err := os.ReadFile(j.folder.path(d.Digest))
	if os.IsNotExist(err) {
		return // an index tells where it is
	}
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Manifests {
		j.push(t, host, c, string(c.Digest))
	}
	base := "http://" + host + "/v2/" + baseName
	for _, b := range append(m.Layers, m.Config) {
		if b.Digest == "" {
			continue // an index has no config
		}
		if data, err := os.ReadFile(j.folder.path(b.Digest)); err == nil {
			send(t, http.MethodPost, base+"/blobs/uploads/?digest="+string(b.Digest), typeOctets, data)
		}
	}
	send(t, http.MethodPut, base+"/manifests/"+ref, typeOfManifest(j.folder, d.Digest), raw)
}

func send(t *testing.T, method, url, mediaType string, data []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", mediaType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
}
