package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"airgap/bundle"
	"airgap/bundle/enclave"
	"airgap/layout"
	"airgap/store"
	"airgap/verify"
	"airgap/verify/policy"

	"github.com/urfave/cli/v2"
)

// reverifyOptions are what the flags of reverify say.
type reverifyOptions struct {
	args   []string
	store  string
	dryRun bool
	record recordOptions
	judge  policyOptions
	outputOptions
}

func reverifyCommand(u *ui) *cli.Command {
	var o reverifyOptions
	return &cli.Command{
		Name:  "reverify",
		Usage: "judge everything in a store again, and hold back what no longer passes",
		Description: `Judges every image in a store by today's policy, trust and revocation lists, also those
that are in quarantine and those that no tag leads to any more. What does not pass goes
into quarantine: it is kept, and neither its name nor its digest leads to it any more;
nor to what it consists of and what is attached to it, unless an image in the same
repository that passes contains that too. What is attached to an image and can be
started, or is an index, is judged by itself. What passes again comes back. Each change
is entered in the ledger, in the same step, with the reason and the policy.

What could not be checked does not pass, and neither does an image that no rule is for;
nor one that cannot be judged, for damage or because more is attached to it than is
looked at. The others are judged all the same.
Rules are about the names that images have in the store: as they were imported, or what
import --map made of them. A policy for source references is right for a store whose
names were not mapped.

The exit code is 0 if nothing is in quarantine in the end, else 3, or 8 if all that is
lacking could not be checked. Import ends a quarantine too, if its policy lets the image
in again.

With --record-key each verdict that changed something is attached to its image, signed:
a SLSA Verification Summary, PASSED or FAILED.

Examples:
   airgap reverify --store /srv/airgap --policy policy.yaml --trust /etc/airgap/trust
   airgap reverify --policy policy.yaml --env prod --dry-run
   airgap reverify --policy policy.yaml --record-key desk.key --by "import desk" \
      --reason "key of team x was stolen"`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "the store in `DIR`", DefaultText: "$AIRGAP_STORE, else airgap/store in the user's data folder", Destination: &o.store},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would change, and change nothing", Destination: &o.dryRun},
		}, append(o.record.flags(), append(o.judge.flags(), o.outputOptions.flags()...)...)...),
		Action: func(c *cli.Context) error {
			o.args = c.Args().Slice()
			return runReverify(c.Context, u, o)
		},
	}
}

// reverifyResult is what reverify reports.
type reverifyResult struct {
	Store string `json:"store"`
	*enclave.ReverifyResult
}

func (o *reverifyOptions) check(u *ui) error {
	switch {
	case len(o.args) > 0:
		return usagef("reverify judges a whole store, and takes no %q", o.args[0])
	case !o.judge.given(u):
		return noPolicy("")
	case o.record.key.key != "" && o.judge.signer != (policy.Signer{}):
		return &adviceError{usagef("--record-key needs a policy in a file: a record names it by its digest"), "write what --key or the identity say into a policy; see docs/policy.md"}
	}
	return o.outputOptions.check()
}

func runReverify(ctx context.Context, u *ui, o reverifyOptions) (err error) {
	if err := o.check(u); err != nil {
		return err
	}
	judge, err := o.judge.judge(u)
	if err != nil {
		return err
	}
	judge.Now = u.now
	recording, err := o.record.recording(ctx, u)
	if err != nil {
		return err
	}
	dir, err := u.storeDir(o.store)
	if err != nil {
		return err
	}
	st, err := openThere(dir, o.dryRun)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	how := enclave.ReverifyOptions{Judge: judge, Recording: recording, Now: u.now(), DryRun: o.dryRun}
	if recording.Key != nil {
		if how.Verifier, err = verifier("", recording.Key); err != nil {
			return err
		}
	}
	found, err := enclave.Reverify(ctx, st, how)
	if err != nil {
		return local(err)
	}
	res := &reverifyResult{dir, found}
	if err := u.result(o.outputOptions, "ReverifyResult", res, func(w io.Writer) { writeReverified(w, res) }); err != nil {
		return err
	}
	return res.verdict()
}

// storeDir is the store that is meant: the one that was named, or the default.
func (u *ui) storeDir(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	return u.defaultStore()
}

// openThere opens a store, and makes none.
func openThere(dir string, readOnly bool) (*store.Store, error) {
	return store.Open(dir, store.Options{ReadOnly: readOnly || !store.Is(dir)})
}

// verdict is nil if nothing is in quarantine in the end.
func (r *reverifyResult) verdict() error {
	if len(r.Quarantined) == 0 {
		return nil
	}
	held := pluralIs(len(r.Quarantined), "image")
	if r.DryRun {
		held = plural(len(r.Quarantined), "image") + " would be"
	}
	var names []string
	for _, h := range r.Quarantined {
		names = append(names, fmt.Sprintf("%s %s", h.Reference, h.State))
	}
	sentinel := bundle.ErrRefused
	if r.State == verify.Undecided {
		sentinel = bundle.ErrUndecided
	}
	return &layout.Error{Side: layout.SideStore, Name: r.Store, Err: fmt.Errorf("%s in quarantine: %s: %w", held, strings.Join(names, "; "), sentinel),
		Hint: "it is kept; what passes again, by import or by reverify, comes back"}
}

func writeReverified(w io.Writer, res *reverifyResult) {
	if res.Report != nil {
		writeReport(w, res.Report)
		fmt.Fprintln(w)
	}
	now, quarantine := "now in quarantine", "in quarantine"
	if res.DryRun {
		now = "would go into quarantine"
	}
	rows := [][]string{{"IMAGE", "DIGEST", "STATE", "WHY"}}
	for _, h := range res.Quarantined {
		what := quarantine
		if h.New {
			what = now
		}
		if h.PartOfOthers {
			what += " (the name alone: an image that passed contains it)"
		}
		rows = append(rows, []string{nameOnly(h.Reference), shortDigest(h.Digest), what, h.Reason})
	}
	for _, h := range res.Released {
		what := "released"
		if res.DryRun {
			what = "would be released"
		}
		rows = append(rows, []string{nameOnly(h.Reference), shortDigest(h.Digest), what, h.Reason})
	}
	if len(rows) > 1 {
		table(w, rows)
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s; in quarantine: %d; released: %d; manifests that are not given out: %d\n",
		plural(res.Images, "image"), len(res.Quarantined), len(res.Released), res.Manifests)
	if n := len(res.NotAdmitted); n > 0 {
		fmt.Fprintf(w, "not judged: %s of what clients pushed, which nobody has admitted\n", countRepositories(n))
	}
	if res.DryRun {
		fmt.Fprintln(w, "nothing was changed (--dry-run)")
	}
}
