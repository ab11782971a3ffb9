package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"airgap/verify/trust"

	"github.com/urfave/cli/v2"
)

// trustOptions are what the flags of trust say.
type trustOptions struct {
	verb string
	args []string
	dir  string

	// What is added: the store, or the name, or the files.
	ca, signingAuthority, tsa string
	key                       string
	root                      string
	crls                      []string
	name                      string

	within string
	outputOptions
}

// trustVerbs say what trust can do, and which flags go with each beside --trust
// and those of output.
var trustVerbs = []verb[trustOptions]{
	{"init", nil, runTrustInit},
	{"add", []string{"ca", "signing-authority", "tsa", "key", "trusted-root", "crl", "name"}, runTrustAdd},
	{"list", nil, runTrustList},
	{"check", []string{"within"}, runTrustCheck},
	{"remove", nil, runTrustRemove},
	{"confirm", nil, runTrustConfirm},
}

func trustFlag(dir *string) cli.Flag {
	return &cli.StringFlag{Name: "trust", Usage: "trust what is in `DIR`, and nothing else", DefaultText: "$AIRGAP_TRUST, else trust beside the default store", Destination: dir}
}

func trustCommand(u *ui) *cli.Command {
	var o trustOptions
	return &cli.Command{
		Name:      "trust",
		Usage:     "keep the folder that says whom to trust",
		ArgsUsage: "init [DIR] | add FILE... | list | check | remove FILE... | confirm [DIR]",
		Description: `Trust comes from one folder alone, which holds certificates, public keys, Sigstore
trusted roots and revocation lists (CRLs). Certificates lie as in notation's trust
store, truststore/x509/TYPE/STORE/FILE, so notation's own folder can be used as it is.
A file in it that cannot be read as what it should be is an error, for every command.

    init    make the folder, with nothing in it
    add     put FILEs into it: certificates with --ca, --signing-authority or --tsa,
            which name a store; one public key with --key; a trusted root with
            --trusted-root; CRLs with --crl. A CRL takes the place of older ones of
            the same issuer; nothing else is replaced, and private keys are refused
    list    say what is in it
    check   say what has expired, what soon will, which CRL is stale and what else is
            odd; exit code 1 if something has expired or is stale
    remove  take FILEs away, named as list does
    confirm say that somebody has looked it over and all of it is still to be trusted

The folder remembers when it was last confirmed. Init, add and remove confirm what
they come to, unless something was there that nobody had confirmed: a folder that was
never confirmed, or changed by other ways, waits for confirm.

Examples:
   airgap trust init /etc/airgap/trust
   airgap trust add --trust /etc/airgap/trust --ca acme acme-root.pem
   airgap trust add --key release cosign.pub
   airgap trust add --trusted-root trusted_root.json --name public-good
   airgap trust add --crl acme.crl acme-tsa.crl
   airgap trust check --within 90d --format json
   airgap trust remove keys/release.pub
   airgap trust confirm /etc/airgap/trust`,
		Flags: append([]cli.Flag{
			trustFlag(&o.dir),
			&cli.StringFlag{Name: "ca", Usage: "add FILEs with certificates of a CA to the store `STORE`", DefaultText: "none", Destination: &o.ca},
			&cli.StringFlag{Name: "signing-authority", Usage: "add FILEs with certificates of a signing authority to the store `STORE`", DefaultText: "none", Destination: &o.signingAuthority},
			&cli.StringFlag{Name: "tsa", Usage: "add FILEs with the root of a timestamping authority to the store `STORE`", DefaultText: "none", Destination: &o.tsa},
			&cli.StringFlag{Name: "key", Usage: "add the public key in FILE (PEM), to be called `NAME`", DefaultText: "none", Destination: &o.key},
			&cli.StringFlag{Name: "trusted-root", Usage: "add the Sigstore trusted root in `FILE`", DefaultText: "none", Destination: &o.root},
			&cli.StringSliceFlag{Name: "crl", Usage: "add the revocation list in `FILE`, and those in all FILEs that follow; repeatable", DefaultText: "none"},
			&cli.StringFlag{Name: "name", Usage: "call what is added `NAME`; for one file", DefaultText: "the file's own name; trusted_root.json for a trusted root", Destination: &o.name},
			&cli.StringFlag{Name: "within", Usage: "with check: tell what expires within `TIME`, in days (30d) or hours (12h)", DefaultText: "30d", Value: "30d", Destination: &o.within},
		}, o.outputOptions.flags()...),
		Action: func(c *cli.Context) error {
			o.verb, o.args, o.crls = c.Args().First(), c.Args().Tail(), c.StringSlice("crl")
			return runTrust(c.Context, u, o, c.LocalFlagNames())
		},
	}
}

func runTrust(ctx context.Context, u *ui, o trustOptions, given []string) error {
	v, err := choose("trust", trustVerbs, o.verb, given)
	if err != nil {
		return err
	}
	if err := o.outputOptions.check(); err != nil {
		return err
	}
	return v.run(ctx, u, o)
}

// trustDir is the trust directory that is meant: the one that was named, or the
// default.
func (u *ui) trustDir(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	if dir := u.getenv("AIRGAP_TRUST"); dir != "" {
		return dir, nil
	}
	store, err := u.defaultStore()
	if err != nil {
		return "", &adviceError{usagef("there is no folder for the default trust directory: none of $AIRGAP_TRUST, $AIRGAP_STORE and $HOME is set"), "name one with --trust DIR"}
	}
	return filepath.Join(filepath.Dir(filepath.Clean(store)), "trust"), nil
}

// openTrust reads the trust directory of a command that takes no arguments.
func (o *trustOptions) openTrust(u *ui) (*trust.Trust, error) {
	if len(o.args) > 0 {
		return nil, usagef("trust %s wants no arguments; name the trust directory with --trust", o.verb)
	}
	var err error
	if o.dir, err = u.trustDir(o.dir); err != nil {
		return nil, err
	}
	return trust.Open(o.dir)
}

// trustInitResult is what trust init reports.
type trustInitResult struct {
	Trust string `json:"trust"`
	Items int    `json:"items"` // that were there before
}

func runTrustInit(_ context.Context, u *ui, o trustOptions) error {
	dir, err := o.folder(u)
	if err != nil {
		return err
	}
	if err := (trust.Editor{Dir: dir, Now: u.now}).Init(); err != nil {
		return err
	}
	t, err := trust.Open(dir)
	if err != nil {
		return err
	}
	res := trustInitResult{dir, len(t.Items())}
	return u.result(o.outputOptions, "TrustDirectory", res, func(w io.Writer) {
		fmt.Fprintf(w, "%s is a trust directory with %s\n", escape(dir), plural(res.Items, "item"))
		if res.Items == 0 {
			fmt.Fprintln(w, "nobody is trusted yet; airgap trust add adds somebody")
		}
	})
}

// folder is the folder of a verb that takes it as an argument, too.
func (o *trustOptions) folder(u *ui) (string, error) {
	switch {
	case len(o.args) > 1:
		return "", usagef("trust %s is about one folder, %d were given", o.verb, len(o.args))
	case len(o.args) == 1 && o.dir != "":
		return "", usagef("trust %s: give either DIR or --trust", o.verb)
	case len(o.args) == 1:
		return u.trustDir(o.args[0])
	}
	return u.trustDir(o.dir)
}

// trustConfirmed is what trust confirm reports.
type trustConfirmed struct {
	Trust     string    `json:"trust"`
	Digest    string    `json:"digest"`
	Items     int       `json:"items"`
	Confirmed time.Time `json:"confirmed"`
}

func runTrustConfirm(_ context.Context, u *ui, o trustOptions) error {
	dir, err := o.folder(u)
	if err != nil {
		return err
	}
	t, err := (trust.Editor{Dir: dir, Now: u.now}).Confirm()
	if err != nil {
		return err
	}
	at, _ := t.Confirmed()
	res := trustConfirmed{dir, t.Digest(), len(t.Items()), at}
	return u.result(o.outputOptions, "TrustConfirmed", res, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s, %s\n%s\n", escape(dir), plural(res.Items, "item"), res.Digest, confirmedText(t))
	})
}

// confirmedText says when the directory was last confirmed.
func confirmedText(t *trust.Trust) string {
	if at, ok := t.Confirmed(); ok {
		return "confirmed " + at.Format(time.RFC3339)
	}
	return "not confirmed; airgap trust confirm says that somebody has looked it over"
}

// confirmedAt is the zero time for what is not confirmed.
func confirmedAt(t *trust.Trust) time.Time {
	at, _ := t.Confirmed()
	return at
}

// trustList is what trust list reports.
type trustList struct {
	Trust  string `json:"trust"`
	Digest string `json:"digest"` // names it in verdicts
	// Confirmed is missing from one that is not.
	Confirmed time.Time    `json:"confirmed,omitzero"`
	Items     []trust.Item `json:"items"`
}

func runTrustList(_ context.Context, u *ui, o trustOptions) error {
	t, err := o.openTrust(u)
	if err != nil {
		return err
	}
	res := trustList{o.dir, t.Digest(), confirmedAt(t), append([]trust.Item{}, t.Items()...)}
	return u.result(o.outputOptions, "TrustList", res, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %s, %s\n%s\n", escape(o.dir), plural(len(res.Items), "item"), t.Digest(), confirmedText(t))
		if len(res.Items) > 0 {
			fmt.Fprintln(w)
			writeItems(w, res.Items)
		}
	})
}

func writeItems(w io.Writer, items []trust.Item) {
	rows := [][]string{{"KIND", "NAME", "UNTIL", "FINGERPRINT", "FILE", "SUBJECT"}}
	for _, i := range items {
		until := "-"
		if !i.NotAfter.IsZero() {
			until = i.NotAfter.Format(time.DateOnly)
		}
		rows = append(rows, []string{i.Kind, i.Name, until, i.Fingerprint[:min(len(i.Fingerprint), 16)], i.File, i.Subject})
	}
	table(w, rows)
}

// trustCheck is what trust check reports.
type trustCheck struct {
	Trust  string `json:"trust"`
	Digest string `json:"digest"`
	// Confirmed is missing from one that is not.
	Confirmed time.Time       `json:"confirmed,omitzero"`
	Items     int             `json:"items"`
	Problems  int             `json:"problems"` // findings that make the exit code 1
	Findings  []trust.Finding `json:"findings"`
}

func runTrustCheck(_ context.Context, u *ui, o trustOptions) error {
	within, err := parseWithin(o.within)
	if err != nil {
		return err
	}
	t, err := o.openTrust(u)
	if err != nil {
		return err
	}
	res := trustCheck{Trust: o.dir, Digest: t.Digest(), Confirmed: confirmedAt(t), Items: len(t.Items()), Findings: append([]trust.Finding{}, t.Check(u.now(), within)...)}
	for _, f := range res.Findings {
		if f.Problem {
			res.Problems++
		}
	}
	if err := u.result(o.outputOptions, "TrustCheck", res, func(w io.Writer) { writeTrustCheck(w, res, confirmedText(t)) }); err != nil {
		return err
	}
	if res.Problems > 0 {
		return &adviceError{fmt.Errorf("%s: expired, stale or of the future: %d", o.dir, res.Problems), "add what takes its place, then airgap trust remove the old file"}
	}
	return nil
}

func writeTrustCheck(w io.Writer, res trustCheck, confirmed string) {
	fmt.Fprintf(w, "%s: %s, %s\n%s\n", escape(res.Trust), plural(res.Items, "item"), res.Digest, confirmed)
	if len(res.Findings) == 0 {
		fmt.Fprintln(w, "nothing to do")
		return
	}
	fmt.Fprintln(w)
	for _, f := range res.Findings {
		mark := "note:    "
		if f.Problem {
			mark = "PROBLEM: "
		}
		fmt.Fprintln(w, mark+findingText(f))
	}
}

func findingText(f trust.Finding) string {
	var about []string
	for _, s := range []string{f.File, f.Subject} {
		if s != "" {
			about = append(about, escape(s))
		}
	}
	return strings.Join(append(about, escape(f.Message)), ": ")
}

// maxWithinDays keeps a time.Duration from overflowing.
const maxWithinDays = 100 * 365

// parseWithin reads a time in days, or as Go writes durations.
func parseWithin(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= maxWithinDays {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	return 0, usagef("--within %q: want a number of days or hours, as 30d or 12h", s)
}

// trustRemoved is what trust remove reports.
type trustRemoved struct {
	Trust   string   `json:"trust"`
	Removed []string `json:"removed"`
}

func runTrustRemove(_ context.Context, u *ui, o trustOptions) error {
	if len(o.args) == 0 {
		return &adviceError{usagef("trust remove wants a file"), "airgap trust list shows the files"}
	}
	dir, err := u.trustDir(o.dir)
	if err != nil {
		return err
	}
	res := trustRemoved{Trust: dir, Removed: []string{}}
	for _, file := range o.args {
		if err := (trust.Editor{Dir: dir, Now: u.now}).Remove(file); err != nil {
			return alsoDone(err, "removed", res.Removed)
		}
		res.Removed = append(res.Removed, file)
	}
	return u.result(o.outputOptions, "TrustRemoved", res, func(w io.Writer) {
		for _, file := range res.Removed {
			fmt.Fprintf(w, "removed %s; what it said is trusted no longer\n", escape(file))
		}
	})
}

// alsoDone tells, of a command that failed, what it did before.
func alsoDone(err error, verb string, done []string) error {
	if len(done) == 0 {
		return err
	}
	return &adviceError{err, "already " + verb + ": " + strings.Join(done, ", ")}
}
