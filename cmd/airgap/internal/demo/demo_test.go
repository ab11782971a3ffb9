package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMain lets this executable stand for an airgap that fails at once.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "export" {
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// build makes the airgap program, as make does.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "airgap")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "airgap/cmd/airgap")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// facts are what a reader of the transcript has to learn, in this order.
var facts = []string{
	`(?m)^1\. `,
	`Notary signature \(JWS\) by the publisher +on the index`,
	`Notary signature \(COSE\) by the approver +on the index`,
	`cosign signature \(bundle\) by the release key +on the index`,
	`SPDX SBOM +on the \w+ image`,
	`cosign signature \(tag\) by the release key +on the SBOM`,
	`\$ airgap export 127\.0\.0\.1:\d+/team/airgap:1\.0 -o bundle\.tar`,
	`\$ airgap inspect bundle\.tar`,
	`\$ airgap tree bundle\.tar`,
	`\$ airgap diff bundle\.tar `,
	`Registry A is switched off`,
	`\$ airgap import bundle\.tar --to 127\.0\.0\.1:\d+/mirror\n(?s:.*?)\(exit code 3\)`,
	`\$ airgap verify bundle\.tar --policy policy\.yaml --trust trust\n(?s:.*?)UNDECIDED(?s:.*?)\(exit code 8\)`,
	`\$ airgap trust add --trust trust --ca publisher publisher\.pem`,
	`\$ airgap verify bundle\.tar --policy policy\.yaml --trust trust\n +PASSED`,
	`\$ airgap verify bundle\.tar --key stranger\.pub\n(?s:.*?)REFUSED(?s:.*?)\(exit code 3\)`,
	`\$ airgap import damaged\.tar --store (?s:.*?)\(exit code 4\)`,
	`\$ airgap import damaged\.tar --to (?s:.*?)\(exit code 4\)`,
	`\$ airgap import bundle\.tar --to 127\.0\.0\.1:\d+/mirror --policy policy\.yaml --trust trust`,
	`\$ airgap tree 127\.0\.0\.1:\d+/mirror/team/airgap:1\.0`,
	`\$ airgap import bundle\.tar --store store --policy policy\.yaml --trust trust`,
	`\$ airgap tree store:store`,
	`12 manifests and \d+ blobs, .* are the same in registry B`,
	`12 manifests and \d+ blobs are the same in the store`,
	`8 of 8 attachments are found`,
	`ok  Notary signature \(COSE\) by the approver +on the index`,
	`ok  SLSA provenance \(bundle\) by the release key +on the \w+ image`,
	`ok  cosign signature \(tag\) by the release key +on the SBOM`,
	`\$ airgap import bundle\.tar --store store --policy policy\.yaml --trust trust --record-key import\.key (?s:.*?)recorded: 1 × export, 1 × receive\n +approved: 1 image as nih:`,
	`\$ airgap verify store:store --policy inside\.yaml --trust inside\n +PASSED`,
	`\$ airgap promote store:store --to production (?s:.*?)promoted 1 image to production`,
	`\$ airgap export store:store -o second\.tar --record-key import\.key (?s:.*?)the line onward is new here`,
	`\$ airgap import second\.tar --store enclave (?s:.*?)PASSED by enclave\.yaml`,
	`\$ airgap provenance store:enclave --trust enclave-trust --policy policy\.yaml\n`,
	`\[verified\] Notary signature \S+; signed by CN=(publisher|approver)`,
	`1\. \S+ +export  \[verified\] \S+; signed by key exporter`,
	`2\. \S+ +receive  \[verified\] \S+; signed by key import`,
	`3\. \S+ +verdict PASSED  \[verified\] \S+; signed by key import`,
	`4\. \S+ +promote  \[verified\] \S+; signed by key import`,
	`5\. \S+ +export  \[verified\] \S+; signed by key import`,
	`6\. \S+ +receive  \[verified\] \S+; signed by key enclave`,
	`7\. \S+ +verdict PASSED  \[verified\] \S+; signed by key enclave`,
	`\$ airgap import second\.tar --store enclave (?s:.*?)rollback or replay: it has serial 1 of line onward, and 2 was here before(?s:.*?)\(exit code 6\)`,
	`\$ airgap log --store enclave\n(?s:.*?) refuse `,
	`\$ airgap log verify --store enclave\n +1 line`,
	`\$ airgap log verify --store enclave --checkpoint kept\.note\n(?s:.*?)does not continue(?s:.*?)\(exit code 6\)`,
	`\$ \./airgap-from-B version`,
	`It all arrived`,
}

// TestDemo runs the demo as `make demo` does.
func TestDemo(t *testing.T) {
	binary := build(t)
	t.Setenv("TMPDIR", t.TempDir()) // to see what it leaves there
	t.Run("transcript", func(t *testing.T) {
		var out bytes.Buffer
		if err := run(t.Context(), &out, binary, ""); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		checkTranscript(t, out.String())
	})
	t.Run("kept", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "kept")
		var out bytes.Buffer
		if err := run(t.Context(), &out, binary, dir); err != nil {
			t.Fatalf("%v\n%s", err, &out)
		}
		if _, err := os.Stat(filepath.Join(dir, bundleName)); err != nil {
			t.Error(err)
		}
		if err := run(t.Context(), &out, binary, dir); err == nil {
			t.Error("a folder with an earlier run in it was taken")
		}
	})
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

func checkTranscript(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsAny(text, "\x1b\r") {
		t.Errorf("the transcript is not plain text: %q", text)
	}
	rest := text
	for _, fact := range facts {
		at := regexp.MustCompile(fact).FindStringIndex(rest)
		if at == nil {
			t.Fatalf("the transcript does not say, or not in its place: %s\n%s", fact, text)
		}
		rest = rest[at[1]:]
	}
}

// TestToolFails: a tool that does not do its job fails the demo.
func TestToolFails(t *testing.T) {
	exe, err := os.Executable() // see TestMain
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out, exe, ""); err == nil || !strings.Contains(err.Error(), "airgap export") {
		t.Errorf("error is %v", err)
	}
	if err := run(t.Context(), &out, filepath.Join(t.TempDir(), "none"), ""); err == nil {
		t.Error("there was no program to run")
	}
}
