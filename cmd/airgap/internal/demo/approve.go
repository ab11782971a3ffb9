package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"airgap/verify/signing"
)

// insidePolicy is what holds within the isolated side once something was let in.
const insidePolicy = `version: airgap.policy/v1
rules:
- name: let in by us
  match: ["**"]
  require:
    attestation:
      predicateType: https://slsa.dev/verification_summary/v1
      signedBy: {key: import}
      conditions: [predicate.verificationResult == "PASSED"]
`

// approve imports once more, and signs that it did.
func (d *demo) approve(ctx context.Context) error {
	d.step("Sign that it was let in")
	key, err := signing.GenerateKey()
	if err != nil {
		return err
	}
	private, err := signing.PrivateKeyPEM(key)
	if err != nil {
		return err
	}
	public, err := signing.PublicKeyPEM(key)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"import.key": private, "import.pub": public, "inside.yaml": []byte(insidePolicy)} {
		if err := os.WriteFile(filepath.Join(d.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	d.say("The import desk has a key of its own. What passes gets its approval, which names the\npolicy and the evidence (a SLSA Verification Summary):")
	if _, err := d.airgap(ctx, 0, "import", bundleName, "--store", storeName, "--policy", policyName, "--trust", trustName, "--countersign", "import.key"); err != nil {
		return err
	}
	d.say("From here on nobody inside has to know the signers outside. A policy asks for this\none signature:\n")
	for l := range strings.Lines(insidePolicy) {
		d.item("  %s", strings.TrimSuffix(l, "\n"))
	}
	for _, args := range [][]string{
		{"trust", "init", "inside"}, {"trust", "add", "--trust", "inside", "--key", "import", "import.pub"},
		{"verify", "store:" + storeName, "--policy", "inside.yaml", "--trust", "inside"},
	} {
		if _, err := d.airgap(ctx, 0, args...); err != nil {
			return err
		}
	}
	return nil
}
