//go:build interop

package sigstore

import (
	"crypto"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// The suite, and how many of its cases there were when this was written: fewer
// mean that something was not found.
const (
	conformanceModule = "github.com/sigstore/sigstore-conformance@v0.0.29"
	conformanceEnv    = "AIRGAP_SIGSTORE_CONFORMANCE" // a checkout of it, instead
	conformanceCases  = 60
)

// What the suite takes where a case says nothing else (test/assets/bundle-verify/README.md).
const (
	conformanceIdentity = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
	conformanceIssuer   = "https://token.actions.githubusercontent.com"
)

// conformanceDiffers lists cases in which the answer is another than the suite's,
// and why.
var conformanceDiffers = map[string]string{}

func conformanceDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv(conformanceEnv)
	if dir == "" {
		cmd := exec.Command("go", "mod", "download", "-json", conformanceModule)
		cmd.Dir = t.TempDir() // outside this module, which must not come to need it
		out, err := cmd.Output()
		var got struct{ Dir, Error string }
		if e := json.Unmarshal(out, &got); e != nil || got.Dir == "" {
			t.Fatalf("cannot fetch %s (%v, %s); set %s to a checkout of it", conformanceModule, err, got.Error, conformanceEnv)
		}
		dir = got.Dir
	}
	return filepath.Join(dir, "test", "assets", "bundle-verify")
}

// TestConformance: what the suite of all Sigstore clients wants verified is
// verified, and all else is not.
func TestConformance(t *testing.T) {
	dir := conformanceDir(t)
	cases, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := map[bool]int{}
	for _, c := range cases {
		if !c.IsDir() {
			continue
		}
		want := !strings.HasSuffix(c.Name(), "_fail")
		n[want]++
		t.Run(c.Name(), func(t *testing.T) {
			err := conformanceVerify(t, filepath.Join(dir, c.Name()), filepath.Join(dir, "a.txt"))
			if why := conformanceDiffers[c.Name()]; why != "" {
				if (err == nil) == want {
					t.Errorf("it no longer differs: %s", why)
				}
				return
			}
			if (err == nil) != want {
				t.Errorf("%v", err)
			}
			t.Log(err)
		})
	}
	t.Logf("%d to pass, %d to fail", n[true], n[false])
	if n[true]+n[false] < conformanceCases {
		t.Errorf("only %d cases", n[true]+n[false])
	}
}

func conformanceVerify(t *testing.T, dir, artifact string) error {
	t.Helper()
	read := func(name, otherwise string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return otherwise
		} else if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if _, err := os.Stat(filepath.Join(dir, "artifact")); err == nil {
		artifact = filepath.Join(dir, "artifact")
	}
	content, err := os.ReadFile(artifact)
	if err != nil {
		t.Fatal(err)
	}
	roots := publicGood(t)
	if own := read("trusted_root.json", ""); own != "" {
		tr, err := root.NewTrustedRootFromJSON([]byte(own))
		if err != nil {
			return err
		}
		roots.Roots[0] = tr
	}
	want := Want{Identity: strings.TrimSpace(read("identity", conformanceIdentity)), Issuer: strings.TrimSpace(read("issuer", conformanceIssuer))}
	if pem := read("key.pub", ""); pem != "" {
		var key crypto.PublicKey
		if key, err = cryptoutils.UnmarshalPEMToPublicKey([]byte(pem)); err != nil {
			return err
		}
		want = Want{Key: key}
	}
	e, err := ParseBundle([]byte(read("bundle.sigstore.json", "")))
	if err != nil {
		return err
	}
	_, err = e.Verify(digest.FromBytes(content), roots, want)
	return err
}
