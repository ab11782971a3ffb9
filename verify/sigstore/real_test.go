package sigstore

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// libraryDir is where the source of sigstore-go is: it has material that none of
// us made, signed by the public Sigstore.
var libraryDir = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	return string(bytes.TrimSpace(out)), err
})

func libraryFile(t testing.TB, path string) []byte {
	t.Helper()
	dir, err := libraryDir()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "pkg", "testing", "data", filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func publicGood(t testing.TB) Material {
	t.Helper()
	tr, err := root.NewTrustedRootFromJSON(libraryFile(t, "trusted-roots/public-good.json"))
	if err != nil {
		t.Fatal(err)
	}
	return Material{Roots: []*root.TrustedRoot{tr}}
}

// sigstoreJS is what a package of the public registry is signed with.
const (
	sigstoreJSDigest   = digest.Digest("sha512:46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c")
	sigstoreJSIdentity = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"
	githubIssuer       = "https://token.actions.githubusercontent.com"
)

// TestPublicSigstore: a real attestation verifies with the real roots, for what it
// is about and by whom it is, and otherwise not.
func TestPublicSigstore(t *testing.T) {
	e, err := ParseBundle(libraryFile(t, "bundles/sigstore.js@2.0.0-provenance.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := Want{Identity: sigstoreJSIdentity, Issuer: githubIssuer}
	s, err := e.Verify(sigstoreJSDigest, publicGood(t), want)
	if err != nil {
		t.Fatal(err)
	}
	if s.IsSignature || s.PredicateType != "https://slsa.dev/provenance/v1" || s.TimeSource != TimeLogged || s.Signer.Issuer != githubIssuer {
		t.Errorf("it says %q, signed by %s at %s by the %s", s.PredicateType, s.Signer, s.Time, s.TimeSource)
	}
	_, pinned := newSigstore(t)
	for name, c := range map[string]struct {
		subject digest.Digest
		m       Material
		want    Want
		reason  Reason
	}{
		"subject":      {image, publicGood(t), want, WrongSubject},
		"identity":     {sigstoreJSDigest, publicGood(t), Want{Identity: identity, Issuer: githubIssuer}, WrongIdentity},
		"another root": {sigstoreJSDigest, pinned, want, Untrusted},
	} {
		if _, err := e.Verify(c.subject, c.m, c.want); reason(t, err) != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTwoSignatures: a bundle has one signature.
func TestTwoSignatures(t *testing.T) {
	if _, err := ParseBundle(libraryFile(t, "bundles/dsse-2sigs.sigstore.json")); reason(t, err) != Malformed {
		t.Error(err)
	}
}
