//go:build interop && linux

package interop

import (
	"os"
	"testing"

	"airgap/verify/signing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What airgap sign and airgap attest make, cosign and notation accept, and refuse
// from anybody else: made in a registry of either kind, or in a bundle or a store
// that is brought to one afterwards.
func TestToolsAcceptWhatIsSigned(t *testing.T) {
	need(t, "airgap", "cosign", "notation", "oras")
	im, err := imagesOnce()
	if err != nil {
		t.Fatal(err)
	}
	k, err := keysOnce()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{images: *im, keys: k}
	s := newSigner(t, f)
	for _, kind := range registries {
		t.Run(kind.name, func(t *testing.T) {
			plain := repository{kind.host(t), "team/hello"}
			run(t, "oras", "copy", "--from-oci-layout", im.dir+":v1", "--to-plain-http", plain.String()+":v1")
			s.sign(t, plain.String()+":v1", "--form", "notary-cose")
			s.check(t, f, plain)
		})
	}
	source := repository{withReferrers(t), "team/hello"}
	run(t, "oras", "copy", "--from-oci-layout", im.dir+":v1", "--to-plain-http", source.String()+":v1")
	file, store := t.TempDir()+"/app.tar", t.TempDir()+"/store"
	run(t, "airgap", "export", source.String()+":v1", "-o", file)
	run(t, "airgap", "import", file, "--store", store, "--insecure-skip-verify")
	t.Run("bundle", func(t *testing.T) {
		s.sign(t, "bundle:"+file+"#v1")
		host := withReferrers(t)
		run(t, "airgap", "import", file, "--to", host, "--insecure-skip-verify")
		s.check(t, f, repository{host, "team/hello"})
	})
	t.Run("store", func(t *testing.T) {
		s.sign(t, "store:"+store+"#v1")
		host, again := withReferrers(t), t.TempDir()+"/again.tar"
		run(t, "airgap", "export", "store:"+store, "-o", again)
		run(t, "airgap", "import", again, "--to", host, "--insecure-skip-verify")
		s.check(t, f, repository{host, "team/hello"})
	})
}

// signer has the files to sign with: cosign's own key, encrypted as cosign does
// it, and a key with its chain.
type signer struct {
	cosign, notary, chain string
	predicate             string
}

func newSigner(t *testing.T, f *fixture) *signer {
	t.Helper()
	dir := t.TempDir()
	s := &signer{
		cosign: f.keys.cosign + ".key",
		notary: dir + "/notary.key", chain: dir + "/notary.crt", predicate: dir + "/vex.json",
	}
	key, err := signing.PrivateKeyPEM(f.keys.publisher.Key)
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range map[string][]byte{
		s.notary: key, s.chain: signing.CertificatesPEM(f.keys.publisher.Certs...),
		s.predicate: []byte(`{"@context": "https://openvex.dev/ns/v0.2.0", "statements": []}`),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *signer) sign(t *testing.T, target string, notary ...string) {
	t.Helper()
	run(t, "airgap", "sign", target, "--key", s.cosign, "--recursive")
	run(t, "airgap", append([]string{"sign", target, "--key", s.notary, "--chain", s.chain, "--expiry", "1d", "-a", "approved=yes"}, notary...)...)
	run(t, "airgap", "attest", target, "--key", s.cosign, "--type", "openvex", "--predicate", s.predicate)
}

func (s *signer) check(t *testing.T, f *fixture, repo repository) {
	t.Helper()
	for _, d := range []ocispec.Descriptor{f.index, f.amd64} {
		checkCosign(t, f, "verify", repo.at(d))
	}
	checkCosign(t, f, "verify-attestation", repo.at(f.index), "--type", "openvex")
	checkNotation(t, f, repo.at(f.index), byPublisher)
	signed := invocation{tool: "notation", args: []string{"verify", "--insecure-registry", "--user-metadata", "approved=yes", repo.at(f.index)}}
	signed.env = []string{"XDG_CONFIG_HOME=" + f.keys.notation[byPublisher]}
	runWith(t, signed)
	signed.args[3] = "approved=no"
	refusedWith(t, signed)
}

// A key that cosign encrypted with a password signs what cosign verifies with the
// public half.
func TestKeyOfCosign(t *testing.T) {
	need(t, "airgap", "cosign", "oras")
	im, err := imagesOnce()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	password := []string{"COSIGN_PASSWORD=correct horse"}
	runWith(t, invocation{tool: "cosign", args: []string{"generate-key-pair", "--output-key-prefix", "locked"}, dir: dir, env: password})
	repo := repository{withReferrers(t), "team/hello"}
	run(t, "oras", "copy", "--from-oci-layout", im.dir+":v1", "--to-plain-http", repo.String()+":v1")
	sign := invocation{tool: "airgap", args: []string{"sign", repo.String() + ":v1", "--key", dir + "/locked.key"}}
	refusedWith(t, sign)
	sign.env = password
	runWith(t, sign)
	run(t, "cosign", "verify", "--key", dir+"/locked.pub", "--allow-http-registry", "--insecure-ignore-tlog=true", repo.at(im.index))
}
