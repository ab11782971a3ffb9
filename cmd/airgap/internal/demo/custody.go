package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"

	"airgap/verify/signing"
)

const (
	secondBundle = "second.tar"
	thirdBundle  = "third.tar"
	secondStore  = "enclave"
	secondTrust  = "enclave-trust"
)

// enclavePolicy is that of the second enclave: what the first one promoted, in the
// bundles that it sends.
const enclavePolicy = `version: airgap.policy/v1
bundle: {keys: [import], line: onward}
rules:
- name: promoted
  match: ["**"]
  require:
    allOf:
    - attestation:
        predicateType: urn:airgap:custody:promote:v1
        signedBy: {key: import}
        conditions: [predicate.to.name == "production"]
    - attestation:
        predicateType: https://slsa.dev/verification_summary/v1
        signedBy: {key: import}
        conditions: [predicate.verificationResult == "PASSED"]
`

// writeKey makes a key pair, NAME.key and NAME.pub.
func (d *demo) writeKey(name string) error {
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
	return d.writeFiles(map[string][]byte{name + ".key": private, name + ".pub": public})
}

func (d *demo) writeFiles(files map[string][]byte) error {
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(d.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// airgaps runs several commands that all succeed.
func (d *demo) airgaps(ctx context.Context, commands ...[]string) error {
	for _, args := range commands {
		if _, err := d.airgap(ctx, 0, args...); err != nil {
			return err
		}
	}
	return nil
}

// onward promotes the image and carries it into a second enclave.
func (d *demo) onward(ctx context.Context) error {
	d.step("Promote it, and carry it on into a second enclave")
	if err := d.writeKey("enclave"); err != nil {
		return err
	}
	if err := d.writeFiles(map[string][]byte{"enclave.yaml": []byte(enclavePolicy)}); err != nil {
		return err
	}
	d.say("The platform team approves the image for production. That, too, is a record that is\nattached to it, and the store's ledger has a line about it. The next bundle is signed,\nand the first of a line:")
	err := d.airgaps(ctx,
		[]string{"promote", "store:" + storeName, "--to", "production", "--record-key", "import.key", "--by", "platform team"},
		[]string{"export", "store:" + storeName, "-o", secondBundle, "--record-key", "import.key", "--by", "platform team", "--line", "onward"},
	)
	if err != nil {
		return err
	}
	d.say("The second enclave takes in what the first one promoted, and nothing else:\n")
	for l := range strings.Lines(enclavePolicy) {
		d.item("  %s", strings.TrimSuffix(l, "\n"))
	}
	return d.airgaps(ctx,
		[]string{"trust", "init", secondTrust},
		[]string{"trust", "add", "--trust", secondTrust, "--key", "import", "import.pub"},
		[]string{"trust", "add", "--trust", secondTrust, "--key", "exporter", "exporter.pub"},
		[]string{"trust", "add", "--trust", secondTrust, "--key", "release", "release.pub"},
		[]string{"trust", "add", "--trust", secondTrust, "--key", "enclave", "enclave.pub"},
		[]string{"trust", "add", "--trust", secondTrust, "--ca", "publisher", "publisher.pem"},
		[]string{"trust", "add", "--trust", secondTrust, "--ca", "approver", "approver.pem"},
		[]string{"import", secondBundle, "--store", secondStore, "--policy", "enclave.yaml", "--trust", secondTrust,
			"--record-key", "enclave.key", "--by", "enclave desk", "--media-label", "disc 2"},
	)
}

// history asks how the image got where it is.
func (d *demo) history(ctx context.Context) error {
	d.step("Ask how it got there")
	d.say("Two hops and a promotion later, one command answers: who built it from what, who\nsigned, who let it in by which policy, and every hop, each record by a key that the\nenclave has pinned. Whose Notary signatures count is for the first policy to say.")
	_, err := d.airgap(ctx, 0, "provenance", "store:"+secondStore, "--trust", secondTrust, "--policy", policyName)
	return err
}

// replay shows that there is no way back.
func (d *demo) replay(ctx context.Context) error {
	d.step("An old bundle, and an old ledger")
	d.say("The next bundle of the line comes in. Then somebody brings the one before it once\nmore: all its signatures hold, and it is refused all the same (6: rollback).")
	database := filepath.Join(d.dir, secondStore, "airgap.db")
	before, err := os.ReadFile(database)
	if err != nil {
		return err
	}
	err = d.airgaps(ctx,
		[]string{"export", "store:" + storeName, "-o", thirdBundle, "--record-key", "import.key", "--by", "platform team", "--line", "onward", "-q"},
		[]string{"import", thirdBundle, "--store", secondStore, "--policy", "enclave.yaml", "--trust", secondTrust, "-q"},
	)
	if err != nil {
		return err
	}
	if _, err := d.airgap(ctx, 6, "import", secondBundle, "--store", secondStore, "--policy", "enclave.yaml", "--trust", secondTrust); err != nil {
		return err
	}
	d.say("The ledger has all of it, the refusal too. Its state, in a few lines, is kept\nelsewhere:")
	err = d.airgaps(ctx,
		[]string{"log", "--store", secondStore},
		[]string{"log", "checkpoint", "--store", secondStore, "-o", "kept.note"},
	)
	if err != nil {
		return err
	}
	note, err := os.Open(filepath.Join(d.dir, "kept.note"))
	if err != nil {
		return err
	}
	defer note.Close()
	text, err := io.ReadAll(note)
	if err != nil {
		return err
	}
	d.say("kept.note:\n")
	for l := range strings.Lines(string(text)) {
		d.item("  %s", strings.TrimSuffix(l, "\n"))
	}
	d.say("Somebody puts the store's database back to what it was before. It is sound in itself,\nand its ledger is not the one that was seen:")
	if err := os.WriteFile(database, before, 0o600); err != nil {
		return err
	}
	if _, err := d.airgap(ctx, 0, "log", "verify", "--store", secondStore); err != nil {
		return err
	}
	_, err = d.airgap(ctx, 6, "log", "verify", "--store", secondStore, "--checkpoint", "kept.note")
	return err
}
