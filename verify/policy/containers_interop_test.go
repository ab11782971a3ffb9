//go:build interop

package policy_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/layout"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/trust"

	"github.com/opencontainers/go-digest"
)

// The images and signatures that containers/image (Apache-2.0) is tested with, made by
// cosign and skopeo, and how many verdicts there were when this was written.
const (
	imageModule   = "github.com/containers/image/v5@v5.36.2"
	imageEnv      = "AIRGAP_CONTAINERS_IMAGE" // a checkout of it, instead
	imageVerdicts = 39
)

func imageFixtures(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(imageEnv)
	if dir == "" {
		cmd := exec.Command("go", "mod", "download", "-json", imageModule)
		cmd.Dir = t.TempDir() // outside this module, which must not come to need it
		out, err := cmd.Output()
		var got struct{ Dir, Error string }
		if e := json.Unmarshal(out, &got); e != nil || got.Dir == "" {
			t.Fatalf("cannot fetch %s (%v, %s); set %s to a checkout of it", imageModule, err, got.Error, imageEnv)
		}
		dir = got.Dir
	}
	return filepath.Join(dir, "signature", "fixtures")
}

// stored is a signature as containers/image keeps it beside an image.
type stored struct {
	MimeType    string            `json:"mimeType"`
	Payload     []byte            `json:"payload"`
	Annotations map[string]string `json:"annotations"`
}

func readStored(t *testing.T, path string) stored {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := bytes.Cut(data, []byte("\x00sigstore-json\n"))
	var s stored
	if err := json.Unmarshal(text, &s); !ok || err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return s
}

// The folders of fixtures, of which links are left out in a module: whose manifest it
// is, and whose signatures.
var imageFolders = map[string]struct {
	manifest   string
	signatures []string
}{
	"valid":              {"dir-img-cosign-valid", []string{"dir-img-cosign-valid/signature-1"}},
	"valid-2":            {"dir-img-cosign-valid", []string{"dir-img-cosign-valid/signature-1", "dir-img-cosign-valid-2/signature-2"}},
	"mixed":              {"dir-img-cosign-valid", []string{"unknown-cosign-key.signature", "dir-img-cosign-valid/signature-1"}},
	"unknown-key":        {"dir-img-cosign-valid", []string{"unknown-cosign-key.signature"}},
	"other-attachment":   {"dir-img-cosign-valid", []string{"dir-img-cosign-other-attachment/signature-1"}},
	"unsigned":           {"dir-img-cosign-valid", nil},
	"modified-manifest":  {"dir-img-cosign-modified-manifest", []string{"dir-img-cosign-valid/signature-1"}},
	"valid-with-tag":     {"dir-img-cosign-valid-with-tag", []string{"dir-img-cosign-valid-with-tag/signature-1"}},
	"key-rekor-valid":    {"dir-img-cosign-key-rekor-valid", []string{"dir-img-cosign-key-rekor-valid/signature-1"}},
	"fulcio-rekor-valid": {"dir-img-cosign-fulcio-rekor-valid", []string{"dir-img-cosign-fulcio-rekor-valid/signature-1"}},
}

// What the tests of containers/image (policy_eval_sigstore_test.go) expect. K is a key,
// R a log's, F the authority; the fixtures have no such name of themselves.
func TestContainersImage(t *testing.T) {
	dir := imageFixtures(t)
	const single, key1, fulcio1, skopeo = "192.168.64.2:5000/cosign-signed-single-sample", "192.168.64.2:5000/cosign-signed/key-1", "192.168.64.2:5000/cosign-signed/fulcio-rekor-1", "192.168.64.2:5000/skopeo-signed"
	file := func(name string) string { return quoted(t, filepath.Join(dir, name)) }
	rekorKey := filepath.Join(filepath.Dir(dir), "internal", "testdata", "rekor.pub") // the fixture is a link to it
	const repository, exact = `,"signedIdentity":{"type":"matchRepository"}`, `,"signedIdentity":{"type":"matchExact"}`
	K, K2 := `"keyPath":`+file("cosign.pub"), `"keyPath":`+file("cosign2.pub")
	KK, K2K := `"keyPaths":[`+file("cosign.pub")+`,`+file("cosign2.pub")+`]`, `"keyPaths":[`+file("cosign2.pub")+`,`+file("cosign.pub")+`]`
	R, notR := `,"rekorPublicKeyPath":`+quoted(t, rekorKey), `,"rekorPublicKeyPath":`+file("cosign.pub")
	RR := `,"rekorPublicKeyPaths":[` + file("cosign.pub") + `,` + quoted(t, rekorKey) + `]`
	fulcio := func(email, issuer string) string {
		return `"fulcio":{"caPath":` + file("fulcio_v1.crt.pem") + `,"oidcIssuer":"` + issuer + `","subjectEmail":"` + email + `"}`
	}
	F := fulcio("mitr@redhat.com", "https://github.com/login/oauth")
	chain := readStored(t, filepath.Join(dir, "dir-img-cosign-fulcio-rekor-valid", "signature-1")).Annotations["dev.sigstore.cosign/chain"]
	FI := `"fulcio":{"caData":` + quoted(t, []byte(chain)) + `,"oidcIssuer":"https://github.com/login/oauth","subjectEmail":"mitr@redhat.com"}`
	without := func(annotation string) func(*stored) { return func(s *stored) { delete(s.Annotations, annotation) } }
	with := func(annotation, value string) func(*stored) {
		return func(s *stored) { s.Annotations[annotation] = value }
	}
	const set, cert, chained, sig = "dev.sigstore.cosign/bundle", "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/chain", "dev.cosignproject.cosign/signature"
	otherSet := readStored(t, filepath.Join(dir, "dir-img-cosign-key-rekor-valid", "signature-1")).Annotations[set]
	n := 0
	for _, c := range []struct {
		folder, as, signed string
		change             func(*stored)
		allowed            bool
	}{
		{"valid", single, K + repository, nil, true},
		{"valid", single, KK + repository, nil, true},
		{"valid", single, K2K + repository, nil, true},
		{"valid", single, K2 + repository, nil, false},
		{"valid", single, K + repository, without(sig), false},
		{"valid", single, K + repository, with(sig, "aW52YWxpZCBzaWduYXR1cmU="), false},
		{"unsigned", "docker.io/testing/manifest:latest", K + repository, nil, false},
		{"other-attachment", "docker.io/testing/manifest:latest", K + repository, nil, false},
		{"other-attachment", single, K + repository, nil, false},
		{"valid", "docker.io/testing/manifest:notlatest", K + repository, nil, false},
		{"valid-2", single, K + repository, nil, true},
		{"mixed", single, K + repository, nil, true},
		{"unknown-key", single, K + repository, nil, false},
		{"valid-2", "docker.io/this/does-not:match", K + repository, nil, false},
		{"valid", single, K + `,"signedIdentity":{"type":"exactReference","dockerReference":"this/does-not:match"}`, nil, false},
		{"modified-manifest", single, K + repository, nil, false},
		{"valid-with-tag", skopeo + ":tag", K + exact, nil, true},
		{"valid-with-tag", skopeo + ":othertag", K + exact, nil, false},
		{"valid-with-tag", skopeo + ":tag", K, nil, true},
		{"valid", single, K + exact, nil, false},
		{"key-rekor-valid", key1, K2 + R + repository, nil, true},
		{"key-rekor-valid", key1, KK + RR + repository, nil, true},
		{"key-rekor-valid", key1, K2K + R + repository, nil, true},
		{"key-rekor-valid", key1, K2 + R + repository, without(set), false},
		{"key-rekor-valid", key1, K2 + R + repository, with(set, "this is not a valid SET"), false},
		{"key-rekor-valid", key1, K2 + notR + repository, nil, false},
		{"key-rekor-valid", key1, K2K + notR + repository, nil, false},
		{"valid", single, KK + R + repository, with(set, otherSet), false},
		{"fulcio-rekor-valid", fulcio1, F + R + repository, nil, true},
		{"fulcio-rekor-valid", fulcio1, F + RR + repository, nil, true},
		{"fulcio-rekor-valid", fulcio1, F + R + repository, without(set), false},
		{"fulcio-rekor-valid", fulcio1, F + R + repository, without(cert), false},
		{"fulcio-rekor-valid", fulcio1, F + R + repository, without(chained), false},
		{"fulcio-rekor-valid", fulcio1, FI + R + repository, without(chained), true},
		{"fulcio-rekor-valid", fulcio1, F + R + repository, with(cert, "this is not a valid certificate"), false},
		{"fulcio-rekor-valid", fulcio1, fulcio("this-does-not-match@example.com", "https://github.com/login/oauth") + R + repository, nil, false},
		{"fulcio-rekor-valid", fulcio1, fulcio("mitr@redhat.com", "https://example.com") + R + repository, nil, false},
		{"fulcio-rekor-valid", fulcio1, F + R + repository, with(set, "this is not a valid SET"), false},
		{"fulcio-rekor-valid", fulcio1, F + notR + repository, nil, false},
	} {
		n++
		p := containers(t, `{"default":[{"type":"sigstoreSigned",`+c.signed+`}]}`)
		v := judgeStored(t, dir, c.folder, c.as, c.change, p)
		if (v.State == verify.Passed) != c.allowed {
			t.Errorf("%s as %s under %s: %s, want allowed %v\n%s", c.folder, c.as, c.signed, v.State, c.allowed, quoted(t, v))
		}
	}
	t.Logf("%d verdicts", n)
	if n < imageVerdicts {
		t.Errorf("only %d verdicts", n)
	}
}

// judgeStored makes a repository of a folder of fixtures, and judges the image in it.
func judgeStored(t *testing.T, dir, folder, as string, change func(*stored), p *policy.Policy) verify.Verdict {
	t.Helper()
	f := imageFolders[folder]
	raw, err := os.ReadFile(filepath.Join(dir, f.manifest, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := layout.ParseReference(as)
	if err != nil {
		t.Fatal(err)
	}
	mem := layout.NewMemory()
	var names []layout.Name
	put := func(tag string, raw []byte) layout.Descriptor {
		var head struct{ MediaType string }
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		d := layout.Descriptor{MediaType: head.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		if err := mem.Put(t.Context(), ref.Repository, d, bytes.NewReader(raw)); err != nil {
			t.Fatal(err)
		}
		names = append(names, layout.Name{Reference: layout.Reference{Repository: ref.Repository, Tag: tag}, Descriptor: d, Manifest: raw})
		return d
	}
	image := put(ref.Tag, raw)
	var layers []layout.Descriptor
	for _, path := range f.signatures {
		s := readStored(t, filepath.Join(dir, filepath.FromSlash(path)))
		if change != nil {
			change(&s)
		}
		d := layout.Descriptor{MediaType: s.MimeType, Digest: digest.FromBytes(s.Payload), Size: int64(len(s.Payload))}
		if err := mem.Put(t.Context(), ref.Repository, d, bytes.NewReader(s.Payload)); err != nil {
			t.Fatal(err)
		}
		d.Annotations = s.Annotations
		layers = append(layers, d)
	}
	if len(layers) > 0 {
		config := layout.Descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: digest.FromBytes([]byte("{}")), Size: 2}
		if err := mem.Put(t.Context(), ref.Repository, config, strings.NewReader("{}")); err != nil {
			t.Fatal(err)
		}
		m := map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}
		put("sha256-"+image.Digest.Encoded()+".sig", []byte(quoted(t, m)))
	}
	if err := mem.Commit(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	g, err := layout.Walk(t.Context(), mem, []layout.Reference{ref}, layout.WalkOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := (&verify.Judge{Policy: p, Trust: &trust.Trust{}}).Graph(t.Context(), mem, g)
	if err != nil {
		t.Fatal(err)
	}
	return r.Verdicts[0]
}

// Their own policy has requirements that are not supported here, and is refused by
// their name; as is their pki.
func TestContainersImagePolicies(t *testing.T) {
	dir := imageFixtures(t)
	data, err := os.ReadFile(filepath.Join(dir, "policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Parse("policy.json", data, ""); !errors.Is(err, policy.ErrPolicy) || !slices.ContainsFunc([]string{"signedBy", "signedBaseLayer", "pki"}, func(s string) bool { return strings.Contains(err.Error(), s) }) {
		t.Errorf("%v", err)
	}
	pki := `{"default":[{"type":"sigstoreSigned","pki":{"caRootsPath":` + quoted(t, filepath.Join(dir, "pki_root_crts.pem")) + `,"subjectEmail":"qiwan@redhat.com"}}]}`
	if _, err := policy.Parse("policy.json", []byte(pki), ""); !errors.Is(err, policy.ErrPolicy) || !strings.Contains(err.Error(), "pki is not supported") {
		t.Errorf("%v", err)
	}
}
