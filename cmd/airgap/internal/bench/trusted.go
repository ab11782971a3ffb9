//go:build unix

package main

import (
	"errors"
	"os"
	"path/filepath"

	"airgap/verify/signing"
	"airgap/verify/trust"
)

// nameBenchmark is what the signers of all sets are called in the trust directory.
const nameBenchmark = "benchmark"

// The requirements that what is signed here meets.
const (
	requireNotary = `notary: {stores: ["ca:benchmark"], identities: ["x509.subject: C=XX, ST=Test, O=airgap test, CN=benchmark"]}`
	requireCosign = "cosign: {key: benchmark}"
	requireSBOM   = "artifact: {type: " + mediaTypeSBOM + ", signedBy: {" + requireCosign + "}}"
	requireAll    = "allOf: [{" + requireNotary + "}, {" + requireCosign + "}, {" + requireSBOM + "}]"
	requireBoth   = "allOf: [{" + requireNotary + "}, {" + requireCosign + "}]"
)

// onePolicy is a policy with one rule for everything.
func onePolicy(require string) []byte {
	return []byte("version: airgap.policy/v1\nrules:\n- name: all\n  match: [\"**\"]\n  require: {" + require + "}\n")
}

// makeTrust makes a trust directory with the signers of all sets.
func makeTrust(dir string, keys *signers) error {
	key, err := signing.PublicKeyPEM(keys.key)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), trust.Init(dir)); err != nil {
		return err
	}
	_, err = trust.AddCertificate(dir, "ca", nameBenchmark, signing.CertificatesPEM(keys.chain.Root()), "root.pem")
	if err == nil {
		_, err = trust.AddKey(dir, nameBenchmark, key)
	}
	return err
}

// judgedBy writes a policy and a trust directory, and returns the flags that name
// them.
func (r *rig) judgedBy(require string) ([]string, error) {
	keys, err := newSigners()
	if err != nil {
		return nil, err
	}
	policy, dir := r.path("out", "policy.yaml"), r.path("out", "trust")
	if err := os.MkdirAll(filepath.Dir(policy), 0o755); err != nil {
		return nil, err
	}
	return []string{"--policy", policy, "--trust", dir}, errors.Join(os.WriteFile(policy, onePolicy(require), 0o644), makeTrust(dir, keys))
}
