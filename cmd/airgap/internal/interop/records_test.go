//go:build interop && linux

package interop

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/verify/signing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// desk is an isolated side where one key has every role.
type desk struct {
	dir, key, pub string
	image         ocispec.Descriptor
	bundle        string // holds the image as team/hello:v1 and :v2
}

const deskRepo = "reg.example/team/hello"

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{dir: t.TempDir()}
	f := newLayoutFolder(d.file("layout"))
	d.image = f.image("amd64", file{"etc/hello", 0o644, []byte("hello\n")})
	f.name("v1", d.image)
	f.name("v2", d.image)
	if err := f.finish(); err != nil {
		t.Fatal(err)
	}
	signer := signing.InsecureKey("one key in every role")
	key, err := signing.PrivateKeyPEM(signer)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := signing.PublicKeyPEM(signer)
	if err != nil {
		t.Fatal(err)
	}
	d.key, d.pub, d.bundle = d.file("one.key"), d.file("one.pub"), d.file("hello.tar")
	for path, text := range map[string]string{
		d.key: string(key), d.pub: string(pub), d.file("failed.json"): `{"verificationResult":"FAILED"}`,
		d.file("any.yaml"):                  "version: airgap.policy/v1\nrules: [{name: any, match: ['**'], require: {insecureAcceptAnything: true}}]\n",
		d.file("no.yaml"):                   "version: airgap.policy/v1\nrules: [{name: no, match: ['**'], require: {reject: true}}]\n",
		d.file("policy.json"):               `{"default":[{"type":"sigstoreSigned","keyPath":"` + d.pub + `","signedIdentity":{"type":"matchRepository"}}]}`,
		d.file("registries.d/default.yaml"): "default-docker:\n  use-sigstore-attachments: true\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "airgap", "trust", "init", d.file("trust"))
	run(t, "airgap", "export", "oci:"+d.file("layout"), "--as", deskRepo, "-o", d.bundle)
	return d
}

func (d *desk) file(name string) string { return filepath.Join(d.dir, name) }

// recording adds the flags that sign a record.
func (d *desk) recording(args ...string) []string {
	return append(args, "--record-key", d.key, "--by", "desk", "--reason", "interop")
}

func (d *desk) judging(policy string, args ...string) []string {
	return append(args, "--policy", d.file(policy), "--trust", d.file("trust"))
}

// bare imports the bundle into a new store, and records nothing. It returns the store.
func (d *desk) bare(t *testing.T) string {
	t.Helper()
	store := filepath.Join(t.TempDir(), "store")
	run(t, "airgap", "import", d.bundle, "--store", store, "--insecure-skip-verify")
	return store
}

func at(store string) string { return "store:" + store + "#" + deskRepo + ":v1" }

// attest makes a store with an attestation of the document that says FAILED.
func (d *desk) attest(t *testing.T, typ string, flags ...string) string {
	t.Helper()
	store := d.bare(t)
	run(t, "airgap", append([]string{"attest", at(store), "--key", d.key, "--type", typ, "--predicate", d.file("failed.json")}, flags...)...)
	return store
}

// reverified makes a store that was judged by each policy in turn, on record.
func (d *desk) reverified(t *testing.T, policies ...string) string {
	t.Helper()
	store := d.bare(t)
	for _, p := range policies {
		args := d.recording(d.judging(p, "reverify", "--store", store)...)
		if _, err := the.do(invocation{tool: "airgap", args: args}); err != nil && !strings.Contains(err.Error(), "exit status 3") {
			t.Fatal(err)
		}
	}
	return store
}

// Nothing that is on record, and no refusal, is an approval: cosign, notation and
// containers/image accept no image for it, though one key has every role.
func TestRecordsAreNoSignatures(t *testing.T) {
	need(t, "airgap", "cosign", "notation", "oras")
	d := newDesk(t)
	k, err := keysOnce()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		store func(t *testing.T) string
		says  []string // predicate types that have to be there
	}{
		"export": {func(t *testing.T) string {
			signed, store := filepath.Join(t.TempDir(), "signed.tar"), filepath.Join(t.TempDir(), "store")
			run(t, "airgap", d.recording("export", "oci:"+d.file("layout"), "--as", deskRepo, "-o", signed, "--line", "interop", "--line-dir", t.TempDir())...)
			run(t, "airgap", "import", signed, "--store", store, "--insecure-skip-verify")
			return store
		}, []string{"urn:airgap:custody:export:v1"}},
		"receive and override": {func(t *testing.T) string {
			store := filepath.Join(t.TempDir(), "store")
			run(t, "airgap", d.recording("import", d.bundle, "--store", store, "--insecure-skip-verify")...)
			return store
		}, []string{"urn:airgap:custody:receive:v1", "urn:airgap:custody:override:v1"}},
		"promote": {func(t *testing.T) string {
			store := d.bare(t)
			run(t, "airgap", d.recording("promote", at(store), "--to", "prod")...)
			return store
		}, []string{"urn:airgap:custody:promote:v1"}},
		"delete": {func(t *testing.T) string {
			store := d.bare(t)
			run(t, "airgap", d.recording("store", "rm", deskRepo+":v2", "--store", store)...)
			return store
		}, []string{"urn:airgap:custody:delete:v1"}},
		"refuse, then release": {func(t *testing.T) string { return d.reverified(t, "no.yaml", "any.yaml") }, []string{"https://slsa.dev/verification_summary/v1"}},
		"refusal attested":     {func(t *testing.T) string { return d.attest(t, "https://slsa.dev/verification_summary/v1") }, []string{"https://slsa.dev/verification_summary/v1"}},
		"record attested":      {func(t *testing.T) string { return d.attest(t, "urn:airgap:custody:promote:v1") }, []string{"urn:airgap:custody:promote:v1"}},
		"attested as a record": {func(t *testing.T) string { return d.attest(t, "https://example.com/scan", "--form", "record") }, []string{"https://example.com/scan"}},
	} {
		t.Run(what, func(t *testing.T) {
			store := c.store(t)
			host := serve(t, "--store", store)
			ref := repository{host, deskRepo}.at(d.image)
			for _, typ := range c.says {
				if len(recordsIn(t, host, d.image, typ)) == 0 {
					t.Fatalf("there is nothing of type %s to take for a signature", typ)
				}
				refused(t, "cosign", "verify-attestation", "--key", d.pub, "--type", typ, "--insecure-ignore-tlog=true", "--allow-http-registry", ref)
			}
			d.refusedByAll(t, k, ref)
		})
	}
}

// cosignVerify is what people run.
func (d *desk) cosignVerify(ref string, flags ...string) []string {
	return append(append([]string{"verify", "--key", d.pub, "--insecure-ignore-tlog=true", "--allow-http-registry"}, flags...), ref)
}

func (d *desk) refusedByAll(t *testing.T, k *keys, ref string) {
	t.Helper()
	for _, flags := range [][]string{nil, {"--new-bundle-format=false"}, {"--new-bundle-format=false", "--experimental-oci11"}} {
		refused(t, "cosign", d.cosignVerify(ref, flags...)...)
	}
	refusedWith(t, invocation{tool: "notation", args: []string{"verify", "--insecure-registry", ref}, env: []string{"XDG_CONFIG_HOME=" + k.notation[byPublisher]}})
	if _, err := the.find("skopeo"); err == nil {
		refused(t, "skopeo", "--policy", d.file("policy.json"), "--registries.d", d.file("registries.d"), "copy", "--src-tls-verify=false", "docker://"+ref, "dir:"+t.TempDir())
	}
}

// recordsIn lists the sealed records of a type on an image in a registry.
func recordsIn(t *testing.T, host string, image ocispec.Descriptor, typ string) []string {
	t.Helper()
	var list ocispec.Index
	found := run(t, "oras", "discover", "--plain-http", "--format", "json", repository{host, deskRepo}.at(image))
	var discovered struct {
		Referrers []ocispec.Descriptor `json:"referrers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal([]byte(found), &discovered); err != nil {
		t.Fatal(err)
	}
	list.Manifests = append(discovered.Referrers, discovered.Manifests...)
	var out []string
	for _, m := range list.Manifests {
		raw := run(t, "oras", "manifest", "fetch", "--plain-http", repository{host, deskRepo}.at(m))
		var doc ocispec.Manifest
		if err := json.Unmarshal([]byte(raw), &doc); err != nil {
			t.Fatal(err)
		}
		// The other is that of a Sigstore bundle, which must not be taken either.
		if doc.Annotations["in-toto.io/predicate-type"] == typ || doc.Annotations["dev.sigstore.bundle.predicateType"] == typ {
			out = append(out, run(t, "oras", "blob", "fetch", "--plain-http", "--output", "-", repository{host, deskRepo}.at(doc.Layers[0])))
		}
	}
	return out
}

// Whoever can attach something cannot make of a record what cosign takes, neither under
// its own payload type nor under that of statements.
func TestRecordsCannotBeWrapped(t *testing.T) {
	need(t, "airgap", "cosign", "oras")
	d := newDesk(t)
	store := d.bare(t)
	run(t, "airgap", d.recording("promote", at(store), "--to", "prod")...)
	records := recordsIn(t, serve(t, "--store", store), d.image, "urn:airgap:custody:promote:v1")
	if len(records) != 1 {
		t.Fatalf("%d records", len(records))
	}
	var r struct {
		Payload     []byte
		PayloadType string
		Signatures  []struct{ Sig []byte }
	}
	if err := json.Unmarshal([]byte(records[0]), &r); err != nil {
		t.Fatal(err)
	}
	for _, payloadType := range []string{r.PayloadType, "application/vnd.in-toto+json"} {
		host := withReferrers(t)
		run(t, "airgap", "import", d.bundle, "--to", host, "--insecure-skip-verify")
		ref := repository{host, "team/hello"}.at(d.image)
		bundle, err := json.Marshal(map[string]any{
			"mediaType":            signing.MediaTypeBundle,
			"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": ""}},
			"dsseEnvelope":         map[string]any{"payload": r.Payload, "payloadType": payloadType, "signatures": []any{map[string]any{"sig": r.Signatures[0].Sig}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "bundle.json"), bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		runWith(t, invocation{tool: "oras", dir: dir, args: []string{"attach", "--plain-http", "--artifact-type", signing.MediaTypeBundle, ref, "bundle.json:" + signing.MediaTypeBundle}})
		if said := refused(t, "cosign", d.cosignVerify(ref)...); strings.Contains(said, "no signatures found") {
			t.Errorf("%s: cosign did not look at it: %s", payloadType, said)
		}
	}
}

// What is an approval counts as one: a signature, a countersignature; and, for cosign
// verify, any attestation in its own form. That the others are refused is not because
// nothing here is accepted.
func TestApprovalsAreSignatures(t *testing.T) {
	need(t, "airgap", "cosign")
	d := newDesk(t)
	for what, make := range map[string]func(t *testing.T, store string){
		"signed": func(t *testing.T, store string) {
			run(t, "airgap", "sign", at(store), "--key", d.key)
		},
		"attested in cosign's form": func(t *testing.T, store string) {
			run(t, "airgap", "attest", at(store), "--key", d.key, "--type", "https://example.com/scan", "--predicate", d.file("failed.json"))
		},
		"countersigned": func(t *testing.T, store string) {
			run(t, "airgap", d.judging("any.yaml", "import", d.bundle, "--store", store, "--countersign", d.key)...)
		},
	} {
		t.Run(what, func(t *testing.T) {
			store := d.bare(t)
			make(t, store)
			run(t, "cosign", d.cosignVerify(repository{serve(t, "--store", store), deskRepo}.at(d.image))...)
		})
	}
}
