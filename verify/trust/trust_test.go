package trust_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"airgap/verify/trust"

	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/verifier/truststore"
)

func TestOpen(t *testing.T) {
	files := full(t)
	tr, err := open(t, files)
	must(t, err)
	var stores, keys []string
	for _, s := range tr.Stores() {
		stores = append(stores, fmt.Sprintf("%s:%s %d", s.Type, s.Name, len(s.Certificates)))
	}
	for _, k := range tr.Keys() {
		keys = append(keys, k.Name+" "+k.File)
		if len(k.Fingerprint) != 64 {
			t.Errorf("fingerprint %q", k.Fingerprint)
		}
	}
	if got := strings.Join(stores, ", "); got != "ca:acme 3, ca:other 1, signingAuthority:wabbit 1, tsa:clock 1" {
		t.Errorf("stores %s", got)
	}
	if got := strings.Join(keys, ", "); got != "build keys/build.pem, release keys/release.pub" {
		t.Errorf("keys %s", got)
	}
	if len(tr.Roots()) != 2 || len(tr.CRLs()) != 2 {
		t.Errorf("%d roots, %d CRLs", len(tr.Roots()), len(tr.CRLs()))
	}
	if _, ok := tr.Key("release"); !ok {
		t.Error("no key release")
	}
	if _, ok := tr.Key("release.pub"); ok {
		t.Error("a key is found by its file's name")
	}
	kinds := map[string]int{}
	for _, i := range tr.Items() {
		kinds[i.Kind]++
		if i.File == "" || i.Name == "" || len(i.Fingerprint) != 64 || i.NotAfter.IsZero() && i.Kind != trust.KindKey {
			t.Errorf("item %+v", i)
		}
	}
	want := map[string]int{trust.KindCertificate: 6, trust.KindKey: 2, trust.KindCRL: 2, trust.KindFulcio: 2, trust.KindTSA: 2, trust.KindRekor: 2, trust.KindCTLog: 2}
	if !maps.Equal(kinds, want) {
		t.Errorf("items %v, want %v", kinds, want)
	}
}

// What notation reads from a trust store, and what is read here, is the same.
func TestSameAsNotation(t *testing.T) {
	base := tempDir(t)
	write(t, base, full(t))
	ours := mustOpen(t, base)
	theirs := truststore.NewX509TrustStore(dir.NewSysFS(base))
	for _, s := range []struct {
		typ  truststore.Type
		name string
		ok   bool
	}{
		{"ca", "acme", true}, {"ca", "other", true}, {"signingAuthority", "wabbit", true}, {"tsa", "clock", true},
		{"ca", "wabbit", false}, {"tsa", "acme", false}, {"ca", "nothing", false}, {"ca", "", false}, {"ca", "../ca/acme", false},
		{"CA", "acme", false}, {"", "acme", false}, {"ca", "acme/", false},
	} {
		want, werr := theirs.GetCertificates(t.Context(), s.typ, s.name)
		got, err := ours.GetCertificates(t.Context(), s.typ, s.name)
		if (err == nil) != s.ok || (werr == nil) != s.ok || len(got) != len(want) {
			t.Errorf("%s:%s: %d certificates (%v), notation has %d (%v)", s.typ, s.name, len(got), err, len(want), werr)
			continue
		}
		for i := range got {
			if !got[i].Equal(want[i]) {
				t.Errorf("%s:%s: certificate %d is %s, to notation %s", s.typ, s.name, i, got[i].Subject, want[i].Subject)
			}
		}
	}
}

// Notation's whole configuration folder serves as it is.
func TestNotationFolder(t *testing.T) {
	tr, err := open(t, map[string][]byte{
		"truststore/x509/ca/acme/root.crt": caPEM(t, "acme"),
		"trustpolicy.json":                 []byte("{}"),
		"config.json":                      []byte("{}"),
		"signingkeys.json":                 []byte("{}"),
		"localkeys/acme.key":               []byte("secret"),
		"localkeys/acme.crt":               []byte("certificate"),
		"plugins/x/notation-x":             []byte("program"),
	})
	must(t, err)
	found := tr.Check(now, month)
	if len(tr.Items()) != 1 || len(found) != 1 || found[0].Code != trust.FindPrivateKey || found[0].File != "localkeys/acme.key" {
		t.Errorf("%d items, found %+v", len(tr.Items()), found)
	}
}

func TestSnapshot(t *testing.T) {
	base := tempDir(t)
	write(t, base, full(t))
	tr := mustOpen(t, base)
	must(t, os.RemoveAll(base))
	tr.Stores()[0].Certificates[0] = trust.Certificate{}
	tr.Keys()[0].Name = "changed"
	tr.Roots()[0], tr.CRLs()[0] = nil, nil
	certs, err := tr.GetCertificates(t.Context(), "ca", "acme")
	must(t, err)
	certs[0] = nil
	if s := tr.Stores()[0]; s.Certificates[0].Certificate == nil || tr.Keys()[0].Name != "build" || tr.Roots()[0] == nil || tr.CRLs()[0] == nil {
		t.Error("what was handed out changed the trust")
	}
	if certs, err := tr.GetCertificates(t.Context(), "ca", "acme"); err != nil || certs[0] == nil {
		t.Errorf("the trust has changed: %v", err)
	}
}

// The digest is what sha256sum makes of the files that count, and changes with
// each of their bytes and names, and with nothing else.
func TestDigest(t *testing.T) {
	files := full(t)
	digest := func(files map[string][]byte) string {
		tr, err := open(t, files)
		must(t, err)
		return tr.Digest()
	}
	first := digest(files)
	var lines bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if base := filepath.Base(name); !strings.HasPrefix(base, "README") && base != ".gitignore" {
			fmt.Fprintf(&lines, "%x  %s\n", sha256.Sum256(files[name]), name)
		}
	}
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(lines.Bytes())); first != want || digest(files) != want {
		t.Errorf("digest %s, want %s", first, want)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		changed := maps.Clone(files)
		changed[name] = append([]byte("\n"), files[name]...)
		counts := !strings.Contains(name, "README") && name != ".gitignore"
		if der := files[name][0] == 0x30; !der && (digest(changed) != first) != counts {
			got := digest(changed)
			t.Errorf("%s changed: digest %s, was %s", name, got, first)
		}
		delete(changed, name)
		if got := digest(changed); (got != first) != counts {
			t.Errorf("%s is gone: digest %s, was %s", name, got, first)
		}
	}
	moved := maps.Clone(files)
	moved["keys/other.pub"] = moved["keys/release.pub"]
	delete(moved, "keys/release.pub")
	if digest(moved) == first {
		t.Error("a key has another name, and the digest is the same")
	}
}

// The trusted root of the public good instance, which none of this project made.
func TestPublicGoodRoot(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sigstore/sigstore-go").Output()
	must(t, err)
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "examples", "trusted-root-public-good.json"))
	must(t, err)
	tr, err := open(t, map[string][]byte{"trusted_root.json": data})
	must(t, err)
	kinds := map[string]int{}
	for _, i := range tr.Items() {
		kinds[i.Kind]++
	}
	if kinds[trust.KindFulcio] == 0 || kinds[trust.KindRekor] == 0 || kinds[trust.KindCTLog] == 0 {
		t.Errorf("items %v", kinds)
	}
	// It keeps authorities and logs that have ended beside newer ones, which is
	// no problem; its one timestamping authority has ended, which is.
	if found := tr.Check(now, month); len(found) != 1 || found[0].Code != trust.FindExpired || !strings.Contains(found[0].Message, trust.KindTSA) {
		t.Errorf("found %+v", found)
	}
}

func TestOpenNothing(t *testing.T) {
	_, err := trust.Open(filepath.Join(tempDir(t), "nowhere"))
	wantErr(t, "no folder", err, trust.ErrNotTrust)
	_, err = trust.Open(tempDir(t))
	wantErr(t, "an empty folder", err, trust.ErrNotTrust)
	_, err = open(t, map[string][]byte{"README": nil, "trustpolicy.json": nil})
	wantErr(t, "no part of one", err, trust.ErrNotTrust)
	file := filepath.Join(tempDir(t), "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if _, err = trust.Open(file); err == nil {
		t.Error("a file is opened")
	}
	tr, err := open(t, map[string][]byte{"keys/README": nil, "truststore/x509/ca/empty/.x": nil})
	if tr != nil || err == nil {
		t.Error("a hidden file in a store is passed over")
	}
}

func TestEmptyStore(t *testing.T) {
	base := tempDir(t)
	must(t, os.MkdirAll(filepath.Join(base, "truststore/x509/ca/empty"), 0o755))
	tr := mustOpen(t, base)
	if _, err := tr.GetCertificates(t.Context(), "ca", "empty"); err == nil {
		t.Error("an empty store gives certificates")
	} else {
		wantErr(t, "an empty store", err, fs.ErrNotExist)
	}
	codes := ""
	for _, f := range tr.Check(now, month) {
		codes += f.Code + " "
	}
	if codes != "empty " {
		t.Errorf("found %s", codes)
	}
}
