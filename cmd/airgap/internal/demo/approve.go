package main

import (
	"context"
	"strings"
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
	if err := d.writeKey("import"); err != nil {
		return err
	}
	if err := d.writeFiles(map[string][]byte{"inside.yaml": []byte(insidePolicy)}); err != nil {
		return err
	}
	d.say("The import desk has a key of its own. It records what it takes in, and that it passed:\na summary that names the policy and the evidence (a SLSA Verification Summary).")
	if _, err := d.airgap(ctx, 0, "import", bundleName, "--store", storeName, "--policy", policyName, "--trust", trustName,
		"--record-key", "import.key", "--by", "import desk", "--media-label", "disc 1"); err != nil {
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
