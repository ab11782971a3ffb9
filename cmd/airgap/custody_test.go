package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"airgap/bundle/custody"
	"airgap/bundle/enclave"
	"airgap/layout/layouttest"
	"airgap/store/ledger"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
)

// custodyFiles writes keys, and statements about images of goldenFolders: how v1 was
// built, of "old" and of something else, and two records that are not of airgap's
// making.
func custodyFiles(t *testing.T) {
	t.Helper()
	base := layouttest.New("reg.example/team/app").Image("old").Digest
	release, err := signing.PublicKeyPEM(signing.InsecureKey("airgap test"))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := signing.PrivateKeyPEM(signing.InsecureKey("somebody else"))
	if err != nil {
		t.Fatal(err)
	}
	record := `{"at":"2026-05-04T03:02:01Z","clock":"host","by":"` + "\u202e" + `else","tool":{"name":"other"},"to":{"kind":"store"},"previous":["` + digest.FromString("lost").String() + `"]}`
	for name, text := range map[string]string{
		"release.pub": string(release), "stranger.key": string(stranger), "record.json": record,
		"slsa.json": fmt.Sprintf(`{"buildDefinition":{"buildType":"https://build.example/v1","externalParameters":{"workflow":{"repository":"https://git.example/app","ref":"refs/tags/v1"}},
			"resolvedDependencies":[{"uri":"pkg:docker/old@1","digest":{%q:%q}},{"uri":"git+https://git.example/app@refs/tags/v1","digest":{"gitCommit":"abc"}}]},
			"runDetails":{"builder":{"id":"https://builder.example/1"}}}`, base.Algorithm(), base.Encoded()),
		"base.json": `{"buildDefinition":{"buildType":"x"},"runDetails":{"builder":{"id":"https://builder.example/base\u001b[2J"}}}`,
		"vsa.json": `{"verifier":{"id":"https://corp.example/import"},"timeVerified":"2026-05-04T03:02:02Z","resourceUri":"oci://reg.example/team/app:v1","policy":{"uri":"policy.yaml","digest":{"sha256":"` + digest.FromString("policy").Encoded() + `"}},
			"inputAttestations":[{"digest":{"sha256":"` + digest.FromString("evidence").Encoded() + `"}}],"verificationResult":"PASSED","verifiedLevels":["SLSA_BUILD_LEVEL_UNEVALUATED"]}`,
		"vex.json": `{"statements":[{"status":"not_affected"}]}`, "any.yaml": "version: airgap.policy/v1\nrules:\n- {name: released, match: ['**'], require: {attestation: {predicateType: 'https://slsa.dev/provenance/v1', signedBy: {key: release}}}}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// fixedTool makes records say the same of every build of this program.
func fixedTool(t *testing.T) {
	was, wasVersion := thisTool, version
	thisTool = func() custody.Tool {
		return custody.Tool{Name: "airgap", Version: "test", Digest: digest.FromString("airgap")}
	}
	version = "test"
	t.Cleanup(func() { thisTool, version = was, wasVersion })
}

// The JSON of promote and provenance is as it was, and so is the drawing.
func TestCustodyGolden(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "golden", "custody"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(golden, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	fixedTool(t)
	writeSigningKeys(t)
	goldenFolders(t)
	custodyFiles(t)
	lines := []struct{ file, args string }{
		{"", "trust init T"},
		{"", "trust add --trust T --key release release.pub"},
		{"", "export oci:a -o a.tar"},
		{"", "import a.tar --store s --insecure-skip-verify"},
		{"", "attest store:s#v1 --key release.key --type slsaprovenance1 --predicate slsa.json"},
		{"", "attest store:s#old --key stranger.key --type slsaprovenance1 --predicate base.json"},
		{"", "attest store:s#v1 --key stranger.key --type openvex --predicate vex.json"},
		{"", "sign store:s#v1 --key release.key"},
		{"", "attest store:s#v1 --key stranger.key --type urn:airgap:custody:receive:v1 --predicate record.json"},
		{"", "attest store:s#v1 --key release.key --type https://slsa.dev/verification_summary/v1 --predicate vsa.json"},
		{"promote.json", "promote store:s#v1 --to stage --record-key release.key --trust T --policy any.yaml --format json"},
		{"promote-again.json", "promote store:s#v1 --to stage --record-key release.key --trust T --policy any.yaml --format json"},
		{"promote-claim.json", "promote store:s#v1 --to prod --by board --reason 4711 --format json"},
		{"promote.txt", "promote store:s#v1 --to prod --record-key release.key --by board --reason 4711"},
		{"provenance.json", "provenance store:s#v1 --trust T --format json"},
		{"provenance.txt", "provenance store:s --trust T --policy any.yaml"},
		{"provenance-nothing-pinned.txt", "provenance store:s#v1"},
	}
	for _, c := range lines {
		stdout, stderr, code := runLine(t, signUI(), strings.Fields(c.args)...)
		if code != 0 {
			t.Fatalf("airgap %s: exit code %d\n%s", c.args, code, stderr)
		}
		if c.file != "" {
			compareGolden(t, filepath.Join(golden, c.file), stdout)
		}
		if strings.ContainsAny(stdout+stderr, "\x1b\u202e") {
			t.Errorf("airgap %s: it plays with the terminal", c.args)
		}
		if broken := strings.HasPrefix(c.file, "provenance"); broken != strings.Contains(stderr, "is broken") {
			t.Errorf("airgap %s: %s", c.args, stderr)
		}
	}
	files, err := filepath.Glob(filepath.Join(golden, "*"))
	if err != nil || len(files) != 7 {
		t.Errorf("%d golden files", len(files))
	}
}

// A promotion in a store is in its ledger too, and so is one that was refused; in the
// same commit, so that a store that cannot be written has neither.
func TestPromotionsAreInTheLedger(t *testing.T) {
	t.Chdir(t.TempDir())
	fixedTool(t)
	writeSigningKeys(t)
	goldenFolders(t)
	custodyFiles(t)
	ledgerOf := func() []custody.Entry {
		t.Helper()
		s, err := writeStore("s")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var out []custody.Entry
		err = s.Ledger(func(_ string, l ledger.Log) error {
			return enclave.EachEntry(t.Context(), l, func(_ int64, e custody.Entry) { out = append(out, e) })
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, c := range []struct {
		args string
		code int
	}{
		{"trust init T", 0}, {"trust add --trust T --key release release.pub", 0},
		{"export oci:a -o a.tar", 0}, {"import a.tar --store s --insecure-skip-verify", 0},
		{"promote store:s#old --to prod --record-key release.key --policy any.yaml --trust T", exitRefused},
		{"promote store:s#v1 --to stage --record-key release.key --by board --reason 4711", 0},
		{"promote store:s#v1 --to stage --record-key release.key --by board --reason 4711", 0},
		{"promote store:s#v1 --to prod", 0},
	} {
		if _, stderr, code := runLine(t, signUI(), strings.Fields(c.args)...); code != c.code {
			t.Fatalf("airgap %s: exit code %d\n%s", c.args, code, stderr)
		}
	}
	all := ledgerOf()
	if len(all) < 3 {
		t.Fatalf("%d entries", len(all))
	}
	refused, stage, prod := all[len(all)-3], all[len(all)-2], all[len(all)-1]
	if refused.Act != custody.Refuse || refused.Result != "refused" || refused.Policy == "" || refused.To.Name != "prod" || len(refused.Records) != 0 {
		t.Errorf("%+v", refused)
	}
	if stage.Act != custody.Promote || stage.By != "board" || stage.Reason != "4711" || stage.To.Name != "stage" || len(stage.Records) != 1 || !strings.HasPrefix(stage.Key, "sha256:") || stage.Reference != "reg.example/team/app:v1" {
		t.Errorf("%+v", stage)
	}
	if prod.Act != custody.Promote || prod.Key != "" || prod.To.Name != "prod" || !prod.At.Equal(trustNow) {
		t.Errorf("%+v", prod)
	}
}
