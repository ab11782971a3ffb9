package main

import (
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/store"
	"airgap/verify/signing"
	"airgap/verify/verifytest"
)

const reverifyRepo = "reg.example/team/app"

// reverifyPolicy lets in what key release signed, under every tag but copy.
const reverifyPolicy = `version: airgap.policy/v1
rules:
- {name: team, match: ["reg.example/team/app"], require: {cosign: {key: release}}}
- {name: copies, match: ["reg.example/team/app:copy"], require: {cosign: {key: other}}}
`

// reverifyStore makes, in the present folder, a store s with images that came in
// without a policy:
//
//	v1      signed by release
//	copy    the same image
//	index   signed by release; its child is tagged child
//	bare    an index that nobody signed, with two children: that of index, and one
//	        of its own, which has an SBOM
//	lone    not signed; its name is taken away
func reverifyStore(t *testing.T) (c layouttest.Content, named map[string]layout.Descriptor) {
	t.Helper()
	b := layouttest.New(reverifyRepo)
	named = map[string]layout.Descriptor{"v1": b.Image("one"), "child": b.Image("child"), "own": b.Image("own"), "lone": b.Image("lone")}
	named["copy"] = named["v1"]
	amd, arm := layouttest.ForPlatform(named["child"], "linux", "amd64"), layouttest.ForPlatform(named["own"], "linux", "arm64")
	named["index"], named["bare"] = b.Index(amd), b.Index(amd, arm)
	for _, what := range []string{"v1", "index"} {
		a, err := signing.BundleSignature(named[what], signing.InsecureKey("release"))
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range a.Blobs {
			b.Blob(blob.Desc.MediaType, blob.Data)
		}
		named[what+" signature"] = b.Blob(a.Manifest.MediaType, a.Raw)
	}
	named["own SBOM"] = b.Referrer(named["own"], "application/spdx+json", "SBOM")
	for _, tag := range []string{"v1", "copy", "child", "index", "bare", "lone"} {
		b.Tag(tag, named[tag])
	}
	c = b.Content()
	if err := writeFolder(c, "content"); err != nil {
		t.Fatal(err)
	}
	key := func(name, seed string) {
		data, err := signing.PublicKeyPEM(signing.InsecureKey(seed))
		if err == nil {
			err = os.WriteFile(name, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	key("release.pub", "release")
	key("other.pub", "other")
	if err := os.WriteFile("policy.yaml", []byte(reverifyPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"trust init T", "trust add --trust T --key release release.pub", "trust add --trust T --key other other.pub",
		"import content --store s --insecure-skip-verify", "store rm reg.example/team/app:lone --store s",
	} {
		mustRun(t, 0, line)
	}
	return c, named
}

func mustRun(t *testing.T, want int, line string) (stdout string) {
	t.Helper()
	stdout, stderr, code := runLine(t, testUI(), strings.Fields(line)...)
	if code != want {
		t.Fatalf("airgap %s: exit code %d, want %d\n%s\n%s", line, code, want, stdout, stderr)
	}
	return stdout
}

// held says by which ways each thing in the store s is closed: by its name, by its
// digest.
func held(t *testing.T, named map[string]layout.Descriptor) map[string]string {
	t.Helper()
	s, err := store.Open("s", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if r, err := s.Check(t.Context(), store.CheckOptions{Hashes: true}); errors.Join(err, r.Err()) != nil {
		t.Fatal(err, r.Err())
	}
	out := map[string]string{}
	for what, d := range named {
		_, byName := s.Resolve(t.Context(), layout.Reference{Repository: reverifyRepo, Tag: what})
		_, byDigest := s.Resolve(t.Context(), layout.Reference{Repository: reverifyRepo, Digest: d.Digest})
		if byDigest != nil && !errors.Is(byDigest, store.ErrQuarantined) {
			t.Errorf("%s: %v", what, byDigest)
		}
		for way, err := range map[string]error{"name ": byName, "digest": byDigest} {
			if errors.Is(err, store.ErrQuarantined) {
				if way == "digest" {
					out[what] += way
				} else {
					out[what] = way + out[what]
				}
			}
		}
	}
	return out
}

func compareHeld(t *testing.T, got, want map[string]string) {
	t.Helper()
	for what := range got {
		if got[what] != want[what] {
			t.Errorf("%s: closed by %q, want %q", what, got[what], want[what])
		}
	}
	for what := range want {
		if got[what] == "" {
			t.Errorf("%s: open, want it closed by %q", what, want[what])
		}
	}
}

// What is held back: each name that does not pass; of manifests, those that only
// images that do not pass lead to, with all that belongs to them, also where no name
// leads to any more. What one that passes consists of stays, whoever else has it.
func TestReverifyHolds(t *testing.T) {
	t.Chdir(t.TempDir())
	_, named := reverifyStore(t)
	mustRun(t, exitRefused, "reverify --store s --policy policy.yaml --trust T")
	want := map[string]string{
		"copy": "name ", "child": "name ", // the images of v1 and of index
		"bare": "name digest", "own": "digest", "own SBOM": "digest", "lone": "digest",
	}
	compareHeld(t, held(t, named), want)

	// The same once more changes nothing, and enters nothing.
	before := mustRun(t, 0, "log --store s --format json")
	mustRun(t, exitRefused, "reverify --store s --policy policy.yaml --trust T")
	compareHeld(t, held(t, named), want)
	if after := mustRun(t, 0, "log --store s --format json"); after != before {
		t.Errorf("judged twice, the ledger is %s", after)
	}

	// Without the key of the signatures nothing passes, and so all is closed.
	if err := os.WriteFile("other.yaml", []byte(strings.ReplaceAll(reverifyPolicy, "release", "other")), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, exitRefused, "reverify --store s --policy other.yaml --trust T")
	for what, how := range held(t, named) {
		if !strings.Contains(how, "digest") {
			t.Errorf("%s is closed by %q", what, how)
		}
	}
	if out := mustRun(t, 0, "tree store:s --format json"); !strings.Contains(out, `"trees": []`) {
		t.Errorf("there is something to see: %s", out)
	}

	// And back.
	mustRun(t, exitRefused, "reverify --store s --policy policy.yaml --trust T")
	compareHeld(t, held(t, named), want)
	out := mustRun(t, 0, "log list --store s --act release --format json")
	if n := strings.Count(out, `"act": "release"`); n != 2 { // v1 and index
		t.Errorf("%d releases are entered: %s", n, out)
	}
}

// Judging again and failing half-way leaves everything as it was.
func TestReverifyIsOneStep(t *testing.T) {
	t.Chdir(t.TempDir())
	_, named := reverifyStore(t)
	before := mustRun(t, 0, "log --store s --format json")
	mustRun(t, exitUsage, "reverify --store s --policy policy.yaml --trust T --record-key policy.yaml")
	mustRun(t, exitRefused, "reverify --store s --policy policy.yaml --trust T --dry-run")
	compareHeld(t, held(t, named), nil)
	if after := mustRun(t, 0, "log --store s --format json"); after != before {
		t.Errorf("the ledger is %s", after)
	}
}

// By a clock that is behind the ledger nothing is judged, for what has expired would pass;
// and nothing is entered, for the next would be let in by it.
func TestReverifyClockBehind(t *testing.T) {
	t.Chdir(t.TempDir())
	_, named := reverifyStore(t)
	before := mustRun(t, 0, "log --store s")
	for _, line := range []string{
		"reverify --store s --policy policy.yaml --trust T", "store rm reg.example/team/app:v1 --store s", "promote store:s#reg.example/team/app:v1 --to prod",
	} {
		early := testUI()
		early.now = func() time.Time { return time.Unix(0, 0).Add(-time.Hour) }
		if _, stderr, code := runLine(t, early, strings.Fields(line)...); code != exitUndecided || !strings.Contains(stderr, "this machine's clock says") {
			t.Errorf("%s: exit code %d: %s", line, code, stderr)
		}
	}
	if after := mustRun(t, 0, "log --store s"); after != before {
		t.Errorf("the ledger is %s", after)
	}
	compareHeld(t, held(t, named), nil)
}

// A certificate that was revoked after its image came in takes the image out again; and
// a revocation list that has gone stale leaves open whether it was.
func TestReverifyAfterRevocation(t *testing.T) {
	t.Chdir(t.TempDir())
	ca := verifytest.Root(t, "root")
	chain := verifytest.Issue(t, ca, "publisher", signing.TestOptions{CRL: "http://crl.example/ca.crl"})
	b := layouttest.New(reverifyRepo)
	image := b.Image("signed")
	a, err := signing.Notary(image, chain, signing.NotaryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range a.Blobs {
		b.Blob(blob.Desc.MediaType, blob.Data)
	}
	named := map[string]layout.Descriptor{"v1": image, "signature": b.Blob(a.Manifest.MediaType, a.Raw)}
	b.Tag("v1", image)
	if err := writeFolder(b.Content(), "content"); err != nil {
		t.Fatal(err)
	}
	list := func(l verifytest.List) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: verifytest.CRL(t, ca, l).Raw})
	}
	for name, data := range map[string][]byte{
		"root.pem":    signing.CertificatesPEM(ca.Certs[0]),
		"policy.yaml": []byte("version: airgap.policy/v1\nrules:\n- {name: all, match: ['**'], require: {notary: {stores: ['ca:acme'], identities: ['*']}}}\n"),
		"1.crl":       list(verifytest.List{Number: 1}),
		"2.crl":       list(verifytest.List{Number: 2, Revoked: chain.Certs[:1]}),
		"3.crl":       list(verifytest.List{Number: 3, NextUpdate: time.Now().Add(-time.Minute)}),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want int, line string) string {
		t.Helper()
		u := testUI()
		u.now = time.Now // lists go by the real one
		stdout, stderr, code := runLine(t, u, strings.Fields(line)...)
		if code != want {
			t.Fatalf("airgap %s: exit code %d, want %d\n%s\n%s", line, code, want, stdout, stderr)
		}
		return stdout
	}
	const judged = " --policy policy.yaml --trust T"
	run(0, "trust init T")
	run(0, "trust add --trust T --ca acme root.pem")
	run(0, "trust add --trust T --crl 1.crl")
	run(0, "import content --store s"+judged)
	run(0, "reverify --store s"+judged)
	run(0, "trust add --trust T --crl 2.crl")
	if out := run(exitRefused, "reverify --store s"+judged); !strings.Contains(out, "revoked") {
		t.Errorf("it does not say why: %s", out)
	}
	compareHeld(t, held(t, named), map[string]string{"v1": "name digest", "signature": "digest"})
	if out := run(0, "log list --store s --act quarantine"); !strings.Contains(out, "revoked") {
		t.Errorf("the ledger does not say why: %s", out)
	}
	run(exitRefused, "import content --store s"+judged) // its list does not help it
	compareHeld(t, held(t, named), map[string]string{"v1": "name digest", "signature": "digest"})
	run(0, "trust add --trust T --crl 3.crl")
	if out := run(exitUndecided, "reverify --store s"+judged); !strings.Contains(out, "in quarantine") {
		t.Errorf("with a stale list: %s", out)
	}
	compareHeld(t, held(t, named), map[string]string{"v1": "name digest", "signature": "digest"})
}

// A store without images has nothing to hold back.
func TestReverifyEmpty(t *testing.T) {
	t.Chdir(t.TempDir())
	reverifyStore(t)
	s, err := store.Open("e", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out := mustRun(t, 0, "reverify --store e --policy policy.yaml --trust T"); !strings.Contains(out, "0 images") {
		t.Error(out)
	}
}

// The JSON of reverify and of store rm is as it was.
func TestGoldenReverify(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "golden", "reverify"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	reverifyStore(t)
	for _, c := range []struct {
		file, line string
		code       int
	}{
		{"dry-run.json", "reverify --store s --policy policy.yaml --trust T --dry-run", exitRefused},
		{"reverify.json", "reverify --store s --policy policy.yaml --trust T --by desk --reason audit", exitRefused},
		{"log.json", "log list --store s --act quarantine", 0},
		{"store-rm.json", "store rm reg.example/team/app:bare reg.example/team/app:copy --store s", 0},
	} {
		out := mustRun(t, c.code, c.line+" --format json")
		lines := strings.Split(out, "\n")
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), `"origin":`) })
		compareGolden(t, filepath.Join(golden, c.file), strings.Join(lines, "\n"))
	}
	files, err := filepath.Glob(filepath.Join(golden, "*.json"))
	if err != nil || len(files) != 4 {
		t.Errorf("%d golden files, want one for each command line above", len(files))
	}
}
