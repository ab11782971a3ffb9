//go:build interop && linux

package interop

import (
	"os"
	"path/filepath"
	"testing"

	"airgap/verify/signing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// notationPolicy trusts whoever is in the store of that name.
const notationPolicy = `{"version":"1.0","trustPolicies":[{"name":"interop","registryScopes":["*"],
"signatureVerification":{"level":"strict"},"trustStores":["ca:interop"],"trustedIdentities":["*"]}]}`

func (l *lab) makeKeys() (*keys, error) {
	k := &keys{cosign: l.path("release"), wrong: l.path("wrong"), notation: map[string]string{}}
	for _, name := range []string{"release", "wrong"} {
		v := invocation{tool: "cosign", args: []string{"generate-key-pair", "--output-key-prefix", name}, dir: l.dir}
		if _, err := l.do(v); err != nil {
			return nil, err
		}
	}
	var err error
	if k.publisher, err = signing.NewTestChain("publisher"); err != nil {
		return nil, err
	}
	stranger, err := signing.NewTestChain("stranger")
	if err != nil {
		return nil, err
	}
	for who, chain := range map[string]signing.Chain{byPublisher: k.publisher, byNobody: stranger} {
		root := l.path(who + ".pem")
		if err := os.WriteFile(root, signing.CertificatesPEM(chain.Root()), 0o644); err != nil {
			return nil, err
		}
		if err := l.notationConfig(k, who, "cert", "add", "--type", "ca", "--store", "interop", root); err != nil {
			return nil, err
		}
	}
	if err := l.notationConfig(k, byCLI, "cert", "generate-test", "--default", "interop"); err != nil {
		return nil, err
	}
	return k, nil
}

// notationConfig makes a configuration of notation; the command says whom it
// trusts.
func (l *lab) notationConfig(k *keys, who string, command ...string) error {
	k.notation[who] = l.path("notation-" + who)
	dir := filepath.Join(k.notation[who], "notation")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "trustpolicy.json"), []byte(notationPolicy), 0o600); err != nil {
		return err
	}
	_, err := l.do(invocation{tool: "notation", args: command, env: []string{"XDG_CONFIG_HOME=" + k.notation[who]}})
	return err
}

// checkSignatures has cosign and notation verify everything that the fixture
// signed, in another repository, and makes sure that they could have refused.
func checkSignatures(t *testing.T, f *fixture, repo repository) {
	t.Helper()
	for _, d := range []ocispec.Descriptor{f.index, f.sbom} {
		checkCosign(t, f, "verify", repo.at(d))
		checkCosign(t, f, "verify", repo.at(d), "--new-bundle-format=false")
		checkNotation(t, f, repo.at(d), byPublisher)
	}
	checkCosign(t, f, "verify", repo.at(f.amd64), "--new-bundle-format=false")
	checkCosign(t, f, "verify-attestation", repo.at(f.index), "--type", "custom")
	checkCosign(t, f, "verify-attestation", repo.at(f.index), "--type", "custom", "--new-bundle-format=false")
	checkNotation(t, f, repo.at(f.index), byCLI)
}

func checkCosign(t *testing.T, f *fixture, verb, ref string, flags ...string) {
	t.Helper()
	verify := func(key string) []string {
		args := []string{verb, "--key", key + ".pub", "--allow-http-registry", "--insecure-ignore-tlog=true"}
		return append(append(args, flags...), ref)
	}
	run(t, "cosign", verify(f.keys.cosign)...)
	refused(t, "cosign", verify(f.keys.wrong)...)
}

func checkNotation(t *testing.T, f *fixture, ref, signer string) {
	t.Helper()
	verify := func(who string) invocation {
		return invocation{
			tool: "notation", args: []string{"verify", "--insecure-registry", ref},
			env: []string{"XDG_CONFIG_HOME=" + f.keys.notation[who]},
		}
	}
	runWith(t, verify(signer))
	refusedWith(t, verify(byNobody))
}
