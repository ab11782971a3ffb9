package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"airgap/verify/signing"

	"github.com/urfave/cli/v2"
)

// testCertificateDays is how long a certificate of generate-test is valid: long
// enough for any test, too short for anything to be built upon.
const testCertificateDays = 365

// certOptions are what the flags of cert say.
type certOptions struct {
	name, dir string
	outputOptions
}

func certCommand(u *ui) *cli.Command {
	var o certOptions
	return &cli.Command{
		Name:      "cert",
		Usage:     "make a certificate to try things with",
		ArgsUsage: "generate-test NAME",
		Description: `Makes a CA and a code-signing certificate under it, as Notary Project signatures need
them, valid for a year, and says how to trust the CA:

    NAME.key     the private key, unencrypted, PKCS #8; nobody else can read the file
    NAME.crt     its certificate, then the CA's
    NAME-ca.crt  the CA's certificate, which goes into the trust directory

The CA's own key is not kept, so the CA signs nothing else. This is for tests and
demos: do not trust such a CA where it matters. A file that exists is not replaced.

Examples:
   airgap cert generate-test demo
   airgap cert generate-test demo -o ./certs`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the files into `DIR`, which is made if missing", DefaultText: "this folder", Value: ".", Destination: &o.dir},
		}, o.outputOptions.flags()...),
		Action: func(c *cli.Context) error {
			if c.Args().First() != "generate-test" || c.NArg() != 2 {
				return &adviceError{usagef("cert wants to be told generate-test NAME"), "airgap help cert has examples"}
			}
			o.name = c.Args().Get(1)
			return runCertGenerateTest(c.Context, u, o)
		},
	}
}

// testCertificate is what cert generate-test reports.
type testCertificate struct {
	Name        string    `json:"name"`
	Key         string    `json:"key"` // the files
	Certificate string    `json:"certificate"`
	CA          string    `json:"ca"`
	Subject     string    `json:"subject"`     // of the signing certificate
	Fingerprint string    `json:"fingerprint"` // hex SHA-256 of the CA's certificate, in DER
	NotAfter    time.Time `json:"notAfter"`
	TrustWith   string    `json:"trustWith"` // the command line
}

// certName is what such a certificate, its files and its trust store may be
// called.
var certName = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,49}$`)

func runCertGenerateTest(_ context.Context, u *ui, o certOptions) error {
	if err := o.outputOptions.check(); err != nil {
		return err
	}
	if !certName.MatchString(o.name) {
		return usagef("a certificate cannot be called %q: want letters, digits, '_', '.' and '-', 50 at most, and no '.' or '-' first", o.name)
	}
	chain, err := testChain(o.name, u.now())
	if err != nil {
		return err
	}
	key, err := signing.PrivateKeyPEM(chain.Key)
	if err != nil {
		return err
	}
	base := filepath.Join(o.dir, o.name)
	sum := sha256.Sum256(chain.Root().Raw)
	res := testCertificate{
		Name: o.name, Key: base + ".key", Certificate: base + ".crt", CA: base + "-ca.crt",
		Subject: chain.Certs[0].Subject.String(), Fingerprint: hex.EncodeToString(sum[:]), NotAfter: chain.Certs[0].NotAfter.UTC(),
	}
	res.TrustWith = "airgap trust add --ca " + o.name + " " + shellWord(res.CA)
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	err = writeNew([]newFile{
		{res.Key, key, 0o600},
		{res.Certificate, signing.CertificatesPEM(chain.Certs...), 0o644},
		{res.CA, signing.CertificatesPEM(chain.Root()), 0o644},
	})
	if err != nil {
		return err
	}
	return u.result(o.outputOptions, "TestCertificate", res, func(w io.Writer) { writeTestCertificate(w, res) })
}

func testChain(name string, now time.Time) (signing.Chain, error) {
	// An hour back, for other clocks; whole seconds, as certificates have them.
	now = now.UTC().Truncate(time.Second)
	opts := signing.TestOptions{NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, testCertificateDays)}
	ca, err := signing.NewTestCA(name+" test CA", opts)
	if err != nil {
		return signing.Chain{}, err
	}
	return ca.Issue(name, opts)
}

type newFile struct {
	path string
	data []byte
	perm fs.FileMode
}

// writeNew writes files none of which may exist: all of them, or none.
func writeNew(files []newFile) (err error) {
	var made []string
	defer func() {
		if err == nil {
			return
		}
		for _, path := range made {
			_ = os.Remove(path) // ours: it was not there
		}
	}()
	for _, file := range files {
		f, err := os.OpenFile(file.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, file.perm)
		if errors.Is(err, fs.ErrExist) {
			return &adviceError{fmt.Errorf("%s is there already, and is not replaced", file.path), "give another NAME, or another folder with -o DIR"}
		}
		if err != nil {
			return err
		}
		made = append(made, file.path)
		_, err = f.Write(file.data)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func writeTestCertificate(w io.Writer, res testCertificate) {
	table(w, [][]string{
		{res.Key, "the private key; whoever has it can sign as " + res.Subject},
		{res.Certificate, "its certificate and the CA's, valid until " + res.NotAfter.Format(time.DateOnly)},
		{res.CA, "the CA's certificate"},
	})
	fmt.Fprintf(w, "\nfor tests only; to trust what it signs:\n   %s\n", escape(res.TrustWith))
}

// shellWord quotes a word for a shell where it needs it.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+:@%=,", r)
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
