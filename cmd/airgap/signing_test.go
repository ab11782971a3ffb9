package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"airgap/layout"
	"airgap/layout/layouttest"
	"airgap/verify/signing"
)

func signUI() *ui {
	u := testUI()
	u.now = func() time.Time { return trustNow }
	return u
}

// writeSigningKeys writes the same keys in every run: release.key, and
// publisher.key with publisher.crt.
func writeSigningKeys(t *testing.T) {
	t.Helper()
	ca, err := signing.NewTestCA("airgap test root", signing.TestOptions{InsecureSeed: "root"})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Issue("publisher", signing.TestOptions{InsecureSeed: "publisher"})
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := signing.PrivateKeyPEM(chain.Key)
	if err != nil {
		t.Fatal(err)
	}
	release, err := signing.PrivateKeyPEM(signing.InsecureKey("airgap test"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"release.key": release, "publisher.key": publisher, "publisher.crt": signing.CertificatesPEM(chain.Certs...), "vex.json": []byte("{}"),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// The JSON of sign and attest is as it was; so are, as no random numbers are in
// them, the signatures.
func TestSignGolden(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "golden", "sign"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	writeSigningKeys(t)
	goldenFolders(t)
	lines := []struct{ file, args string }{
		{"", "export oci:a -o a.tar"},
		{"", "import a.tar --store s --insecure-skip-verify"},
		{"cosign.json", "sign a.tar#v1 --key release.key"},
		{"cosign-again.json", "sign bundle:a.tar#v1 store:s#reg.example/team/app:v1 --key release.key --recursive"},
		{"notary.json", "sign store:s#v1 --key publisher.key --chain publisher.crt -a approved=yes --expiry 30d"},
		{"notary-cose.json", "sign a.tar#old --key publisher.key --chain publisher.crt --form notary-cose"},
		{"attest.json", "attest a.tar#old --key release.key --type openvex --predicate vex.json"},
	}
	for _, c := range lines {
		stdout, stderr, code := runLine(t, signUI(), append(strings.Fields(c.args), "--format", "json")...)
		if code != 0 {
			t.Fatalf("airgap %s: exit code %d\n%s", c.args, code, stderr)
		}
		if c.file != "" {
			compareGolden(t, filepath.Join(golden, c.file), stdout)
		}
	}
	files, err := filepath.Glob(filepath.Join(golden, "*.json"))
	if err != nil || len(files) != len(lines)-2 {
		t.Errorf("%d golden files, want one for each command line above", len(files))
	}
}

// Neither a key nor its password is in anything that the program writes or sends:
// not in its output, in a bundle, a store, or a request to a registry.
func TestKeysStayHere(t *testing.T) {
	t.Chdir(t.TempDir())
	writeSigningKeys(t)
	reg := startRegistry(t, true)
	var mu sync.Mutex
	var sent bytes.Buffer
	next := reg.next
	reg.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		fmt.Fprintf(&sent, "%s %s\n%s", r.URL, r.Header, body)
		mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
	c, err := reg.client()
	if err != nil {
		t.Fatal(err)
	}
	b := layouttest.New(reg.host + "/team/app")
	b.Tag("v1", b.Image("a"))
	if err := b.Content().Load(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	anything := "version: airgap.policy/v1\nrules:\n- {name: any, match: ['**'], require: {insecureAcceptAnything: true}}\n"
	if err := os.WriteFile("any.yaml", []byte(anything), 0o600); err != nil {
		t.Fatal(err)
	}
	ref := reg.host + "/team/app:v1"
	var said strings.Builder
	for _, c := range []struct {
		args string
		code int
	}{
		{"trust init T", 0},
		{"export " + ref + " -o a.tar", 0},
		{"import a.tar --store s --insecure-skip-verify", 0},
		{"sign " + ref + " a.tar#v1 store:s#v1 --key release.key", 0},
		{"sign " + ref + " a.tar#v1 store:s#v1 --key publisher.key --chain publisher.crt --format json", 0},
		{"attest " + ref + " a.tar#v1 store:s#v1 --key release.key --type vuln --predicate vex.json", 0},
		{"import a.tar --store s --policy any.yaml --trust T --countersign release.key", 0},
		{"import a.tar --to " + reg.host + "/copy --policy any.yaml --trust T --countersign release.key --format json", 0},
		{"import a.tar --store s --policy any.yaml --trust T --countersign publisher.crt", exitUsage},
		{"sign " + ref + " --key publisher.key --chain publisher.key", exitUsage},
		{"sign " + ref + " --key publisher.key --chain release.key", exitUsage},
		{"sign " + ref + " --key publisher.crt", exitUsage},
		{"attest " + ref + " --key release.key --type vuln --predicate publisher.key", exitUsage},
	} {
		stdout, stderr, code := runLine(t, signUI(), strings.Fields(c.args)...)
		if said.WriteString(stdout + stderr); code != c.code {
			t.Fatalf("airgap %s: exit code %d\n%s", c.args, code, stderr)
		}
	}
	places := map[string]string{"the output": said.String(), "requests": sent.String(), "the bundle": readAll(t, "a.tar")}
	err = filepath.Walk("s", func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			places[path] = readAll(t, path)
		}
		return err
	})
	if err != nil || len(places) < 10 {
		t.Fatalf("%d places, %v", len(places), err)
	}
	for _, name := range []string{"release.key", "publisher.key"} {
		text := readAll(t, name)
		block, _ := pem.Decode([]byte(text))
		scalar := string(block.Bytes[36:68]) // of PKCS #8 with P-256
		lines := strings.Split(text, "\n")
		for place, content := range places {
			for _, secret := range []string{scalar, lines[1], lines[2]} {
				if strings.Contains(content, secret) {
					t.Errorf("%s: the content of %s is in it", place, name)
				}
			}
		}
	}
}

// A signature that comes to a bundle after its export, by somebody whose
// certificates point to a revocation list: nobody fetches that any more, which is
// said. In a registry somebody will.
func TestMissingListIsTold(t *testing.T) {
	t.Chdir(t.TempDir())
	writeSigningKeys(t)
	goldenFolders(t)
	const url = "http://crl.example/ca.crl"
	ca, err := signing.NewTestCA("airgap test root", signing.TestOptions{InsecureSeed: "root"})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Issue("publisher", signing.TestOptions{InsecureSeed: "publisher", CRL: url})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("pointed.crt", signing.CertificatesPEM(chain.Certs...), 0o600); err != nil {
		t.Fatal(err)
	}
	reg := startRegistry(t, true)
	c, err := reg.client()
	if err != nil {
		t.Fatal(err)
	}
	b := layouttest.New(reg.host + "/team/app")
	b.Tag("v1", b.Image("a"))
	if err := b.Content().Load(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		told int
	}{
		{"export oci:a -o a.tar", 0},
		{"sign a.tar#old --key publisher.key --chain pointed.crt -q", 1},
		{"sign a.tar#old a.tar#v1 --key publisher.key --chain pointed.crt --form notary-cose --recursive", 1},
		{"sign a.tar#old --key publisher.key --chain publisher.crt", 0},
		{"attest a.tar#old --key release.key --type openvex --predicate vex.json", 0},
		{"sign " + reg.host + "/team/app:v1 --key publisher.key --chain pointed.crt", 0},
	} {
		_, stderr, code := runLine(t, signUI(), strings.Fields(c.line)...)
		if told := strings.Count(stderr, "a.tar carries no revocation list from "+url); code != 0 || told != c.told {
			t.Errorf("airgap %s: exit code %d, told %d times, want %d\n%s", c.line, code, told, c.told, stderr)
		}
	}
}

// The JSON of an import that countersigns is as it was, and the approval in it: the
// clock is the command's.
func TestCountersignGolden(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "golden", "countersign"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	writeSigningKeys(t)
	goldenFolders(t)
	public, err := signing.PublicKeyPEM(signing.InsecureKey("airgap test"))
	if err != nil {
		t.Fatal(err)
	}
	policy := "version: airgap.policy/v1\nrules:\n- {name: all, match: ['**'], require: {cosign: {key: release}}}\n"
	for name, data := range map[string][]byte{"release.pub": public, "policy.yaml": []byte(policy)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ file, args string }{
		{"", "trust init T"},
		{"", "trust add --trust T --key release release.pub"},
		{"", "export oci:a#old -o a.tar"},
		{"", "sign a.tar#old --key release.key"},
		{"import.json", "import a.tar --policy policy.yaml --trust T --store s --countersign release.key --verifier-id https://corp.example/import"},
		{"import-again.json", "import a.tar --policy policy.yaml --trust T --store s --countersign release.key --verifier-id https://corp.example/import"},
	} {
		stdout, stderr, code := runLine(t, signUI(), append(strings.Fields(c.args), "--format", "json")...)
		if code != 0 {
			t.Fatalf("airgap %s: exit code %d\n%s", c.args, code, stderr)
		}
		if c.file != "" {
			compareGolden(t, filepath.Join(golden, c.file), stdout)
		}
	}
}

func readAll(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A tag that moves after it was resolved does not get a signature: what was named
// is resolved once, and its digest signed.
func TestTagIsResolvedOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	writeSigningKeys(t)
	reg := startRegistry(t, true)
	c, err := reg.client()
	if err != nil {
		t.Fatal(err)
	}
	repo := reg.host + "/team/app"
	b := layouttest.New(repo)
	first, second := b.Image("first"), b.Image("second")
	b.Tag("v1", first)
	if err := b.Content().Load(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	item, _ := b.Content().Find(repo, second.Digest)
	next, asked := reg.next, 0
	reg.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/v1") {
			asked++
			move := r.Clone(r.Context())
			move.Method, move.Body = http.MethodPut, io.NopCloser(bytes.NewReader(item.Bytes))
			move.Header = http.Header{"Content-Type": {second.MediaType}}
			next.ServeHTTP(httptest.NewRecorder(), move)
		}
	})
	stdout, stderr, code := runLine(t, signUI(), "sign", repo+":v1", "--key", "release.key", "--format", "json")
	if code != 0 || asked != 1 || !strings.Contains(stdout, `"digest": "`+string(first.Digest)+`"`) {
		t.Fatalf("exit code %d, the tag was asked for %d times\n%s%s", code, asked, stdout, stderr)
	}
	for _, d := range []layout.Descriptor{first, second} {
		found, err := c.Attached(t.Context(), repo, d)
		if err != nil {
			t.Fatal(err)
		}
		signed := 0
		for _, inq := range found {
			signed += len(inq.Found)
		}
		if (signed > 0) != (d.Digest == first.Digest) {
			t.Errorf("%d signatures on %s", signed, d.Digest)
		}
	}
}

// If one of several places fails, what is done in the others is told; and what was
// refused can be signed by the same command.
func TestOnePlaceFails(t *testing.T) {
	t.Chdir(t.TempDir())
	writeSigningKeys(t)
	goldenFolders(t)
	reg := startRegistry(t, true)
	c, err := reg.client()
	if err != nil {
		t.Fatal(err)
	}
	b := layouttest.New(reg.host + "/team/app")
	b.Tag("v1", b.Image("a"))
	if err := b.Content().Load(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := runLine(t, signUI(), "export", "oci:a", "-o", "a.tar"); code != 0 {
		t.Fatal(stderr)
	}
	next := reg.next
	reg.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/") {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
	line := []string{"sign", "a.tar#v1", reg.host + "/team/app:v1", "--key", "release.key"}
	stdout, stderr, code := runLine(t, signUI(), line...)
	if code != exitRegistry || stdout != "" || !strings.Contains(stderr, "hint: already signed: what is in a.tar\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	reg.next = next
	stdout, stderr, code = runLine(t, signUI(), line...)
	if code != 0 || strings.Count(stdout, "was there already") != 1 || strings.Count(stdout, "attached cosign") != 1 {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
}
