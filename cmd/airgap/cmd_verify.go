package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"airgap/bundle"
	"airgap/layout"
	"airgap/verify"

	"github.com/urfave/cli/v2"
)

// verifyOptions are what the flags of verify say.
type verifyOptions struct {
	attached attachedFrom
	targets  []string
	as       string
	judge    policyOptions
	registry registryOptions
	outputOptions
}

func verifyCommand(u *ui) *cli.Command {
	var o verifyOptions
	return &cli.Command{
		Name:      "verify",
		Usage:     "say whether images may enter, and why",
		ArgsUsage: "TARGET...",
		Description: `Judges each image in TARGET by a policy: a bundle, a layout folder (oci:DIR), a store
(store:DIR), or a reference in a registry; "#REF" behind one of the former judges
one image of it. The verdict names the rule, and for each of its requirements the
evidence (what, by whom, when by which clock) or why there is none. For a bundle or
a store nothing is asked of any network.

A verdict is one of three: passed (exit code 0), refused (3), or undecided (8),
which means that something could not be checked, as for want of a revocation list. Of
several TARGETs, one that cannot be opened keeps no other from being judged; the exit
code is that of what was wrong with it.

Without a policy, one signer can be named as cosign has it: --key, or an identity
and its issuer with a trusted root.

Examples:
   airgap verify app.tar --policy policy.yaml --trust /etc/airgap/trust
   airgap verify app.tar --policy policy.yaml --env prod --format json
   airgap verify app.tar --trust-policy trustpolicy.json
   airgap verify app.tar --key cosign.pub
   airgap verify store:/srv/airgap --policy policy.yaml`,
		Flags: append([]cli.Flag{asFlag(&o.as), o.attached.flag()},
			append(o.judge.flags(), append(o.registry.flags(), o.outputOptions.flags()...)...)...),
		Action: func(c *cli.Context) error {
			o.targets = c.Args().Slice()
			return runVerify(c.Context, u, o)
		},
	}
}

// verifyResult is what verify reports.
type verifyResult struct {
	State   verify.State   `json:"state"`
	Targets []targetReport `json:"targets"`
}

// targetReport has the verdicts about a target, or why there are none.
type targetReport struct {
	Target string         `json:"target"`
	Report *verify.Report `json:"report,omitempty"`
	Error  string         `json:"error,omitempty"`
}

func runVerify(ctx context.Context, u *ui, o verifyOptions) error {
	if err := checkAll(o.outputOptions.check(), o.registry.check(""), checkAs(o.as)); err != nil {
		return err
	}
	if len(o.targets) == 0 {
		return usagef("verify wants a bundle, a folder, a store or a reference")
	}
	if !o.judge.given(u) {
		return noPolicy("")
	}
	j, err := o.judge.judge(u)
	if err != nil {
		return err
	}
	targets, op, err := openerFor(u, o.registry, o.as, o.targets)
	if err != nil {
		return err
	}
	defer op.Close()
	if err := o.attached.find(u, op); err != nil {
		return err
	}
	res, verdict, err := op.verifyAll(ctx, targets, j)
	if res == nil {
		return err
	}
	op.warnUnused(u)
	op.warnNothingElsewhere(u)
	// The verdict is the result, whatever it is.
	if err := u.result(o.outputOptions, "VerifyResult", res, func(w io.Writer) { writeVerify(w, res) }); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return verdict
}

// verifyAll judges the targets one by one. One that cannot be judged does not keep
// the verdicts about the others from being told; err is about the first such one.
// Without any verdict there is no result.
func (op *opener) verifyAll(ctx context.Context, targets []target, j *verify.Judge) (res *verifyResult, verdict, err error) {
	res = &verifyResult{State: verify.Passed}
	var verdicts []error
	for _, t := range targets {
		r, failed := op.verify(ctx, t, j)
		if failed != nil {
			err = cmp.Or(err, failed)
			res.Targets = append(res.Targets, targetReport{Target: t.String(), Error: errorText(failed)})
			if ctx.Err() != nil {
				break
			}
			continue
		}
		res.Targets = append(res.Targets, targetReport{Target: t.String(), Report: r})
		verdicts = append(verdicts, bundle.Err(r))
	}
	if len(verdicts) == 0 {
		return nil, nil, err
	}
	verdict = worst(verdicts)
	switch {
	case errors.Is(verdict, bundle.ErrRefused):
		res.State = verify.Refused
	case verdict != nil || err != nil:
		res.State = verify.Undecided
	}
	return res, verdict, err
}

// verify judges one target.
func (op *opener) verify(ctx context.Context, t target, j *verify.Judge) (*verify.Report, error) {
	s, err := op.open(ctx, t)
	if err != nil {
		return nil, err
	}
	g := s.whole
	if g == nil || t.name != "" {
		sel := s.looking()
		g, err = layout.Walk(ctx, sel.Source, sel.References, layout.WalkOptions{MayMiss: sel.MayMiss})
	}
	var r *verify.Report
	switch {
	case err != nil:
	case s.bundle != nil:
		r, err = s.bundle.Judge(ctx, j, g)
	default:
		r, err = bundle.WithLists(j, s.Lists).Graph(ctx, s.Source, g)
	}
	if t.kind != inRegistry {
		err = local(err)
	}
	return r, err
}

// worst is a refusal, if there is one, before what could not be decided.
func worst(errs []error) error {
	var out error
	for _, err := range errs {
		if err != nil && (out == nil || errors.Is(err, bundle.ErrRefused) && !errors.Is(out, bundle.ErrRefused)) {
			out = err
		}
	}
	return out
}

func writeVerify(w io.Writer, res *verifyResult) {
	for i, t := range res.Targets {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if len(res.Targets) > 1 {
			fmt.Fprintf(w, "%s\n\n", escape(t.Target))
		}
		if t.Report == nil {
			fmt.Fprintf(w, "NO VERDICT  %s\n", t.Error)
			continue
		}
		writeReport(w, t.Report)
	}
}

// noPolicy says what to give, and otherwise what else can be done.
func noPolicy(otherwise string) error {
	return &adviceError{bundle.ErrNoPolicy, "give --policy FILE (and --trust DIR), notation's --trust-policy FILE, or one signer with --key or --certificate-identity" + otherwise}
}
