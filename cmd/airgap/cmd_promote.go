package main

import (
	"context"
	"crypto"
	"io"
	"regexp"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// promoteOptions are what the flags of promote say.
type promoteOptions struct {
	targets     []string
	environment string
	record      recordOptions
	judge       policyOptions
	registry    registryOptions
	outputOptions
}

func promoteCommand(u *ui) *cli.Command {
	var o promoteOptions
	return &cli.Command{
		Name:      "promote",
		Usage:     "record that images are approved for an environment",
		ArgsUsage: "TARGET...",
		Description: `Attaches to the image that TARGET names a record that it is approved for the
environment NAME: a reference in a registry, or one image in a store (store:DIR#REF).
Nothing is copied and no tag moves. The record says who, when, from where, why, and
which records were there before; a policy can ask for it, as an attestation of type
urn:airgap:custody:promote:v1 whose predicate.to.name is NAME. In a store it is
entered in the ledger too.

With a policy only what passes it is promoted, and the record names the policy; else
the exit code is 3 or 8, and nothing is attached. Which environment an image is in is
believed of keys in the trust directory, and of the key that signs now. Without
--record-key nobody signs the record: it is a claim, which no policy believes.

Examples:
   airgap promote registry.corp/team/app:1.4 --to prod --record-key promoter.key
   airgap promote store:/srv/airgap#registry.corp/team/app:1.4 --to prod \
      --record-key promoter.key --by "release board" --reason "change 4711" \
      --policy policy.yaml --trust /etc/airgap/trust`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "promote to the environment `NAME`", DefaultText: "none; required", Destination: &o.environment},
		}, append(o.record.flags(), append(o.judge.flags(), append(o.registry.flags(), o.outputOptions.flags()...)...)...)...),
		Action: func(c *cli.Context) error {
			o.targets = c.Args().Slice()
			return runPromote(c.Context, u, o)
		},
	}
}

// environmentName is what an environment may be called: policies compare it.
var environmentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)

// parse finds what makes no sense.
func (o *promoteOptions) parse() ([]target, error) {
	if err := checkAll(o.outputOptions.check(), o.registry.check("")); err != nil {
		return nil, err
	}
	switch {
	case len(o.targets) == 0:
		return nil, usagef("promote wants a reference, or an image in a store")
	case o.environment == "":
		return nil, usagef("promote wants --to NAME, an environment")
	case !environmentName.MatchString(o.environment):
		return nil, usagef("--to %q: want a name of letters, digits, '.', '_', '/' and '-', as prod", o.environment)
	case o.judge.signer != (policy.Signer{}):
		return nil, &adviceError{usagef("promote needs a policy in a file: the record names it by its digest"), "write what --key or the identity say into a policy; see docs/policy.md"}
	}
	targets, err := parseTargets(o.targets)
	if err == nil {
		err = withHosts(targets)
	}
	for _, t := range targets {
		if err == nil && t.kind == inBundle {
			err = &adviceError{usagef("%s: a promotion is recorded where an image is used, in a registry or a store", t), "import it, and promote it there"}
		}
	}
	return targets, err
}

// promoteResult is what promote reports.
type promoteResult struct {
	Environment string           `json:"environment"`
	State       verify.State     `json:"state,omitempty"` // by the policy, if one was asked
	Signed      bool             `json:"signed"`          // or the records are claims
	Key         string           `json:"keyFingerprint,omitempty"`
	Promoted    []promotedImage  `json:"promoted"`
	Reports     []*verify.Report `json:"reports,omitempty"`
}

// promotedImage is an image that was promoted, and the record of that.
type promotedImage struct {
	Target    string          `json:"target"`
	Reference string          `json:"reference"`
	Digest    digest.Digest   `json:"digest"`
	Manifest  digest.Digest   `json:"manifest"` // of the record
	Record    *custody.Record `json:"record"`
	Present   bool            `json:"present"` // an equal one was there already
}

func runPromote(ctx context.Context, u *ui, o promoteOptions) error {
	targets, err := o.parse()
	if err != nil {
		return err
	}
	pins, err := o.judge.pinned(u)
	if err != nil {
		return err
	}
	recording, err := o.record.recording(ctx, u)
	if err != nil {
		return err
	}
	op, err := newOpener(u, o.registry, "", targets)
	if err != nil {
		return err
	}
	defer op.Close()
	places, err := op.promotions(ctx, targets)
	if err != nil {
		return err
	}
	res, err := o.result(u, recording.Key)
	if err != nil {
		return err
	}
	err = promoteAll(ctx, places, bundle.Promoter{Recording: recording, To: o.environment, Keys: pins.Keys}, pins.Judge, res)
	if err != nil && len(res.Reports) == 0 {
		return err
	}
	// The verdict is a result, too.
	if err := u.result(o.outputOptions, "PromoteResult", res, func(w io.Writer) { writePromoted(w, res) }); err != nil {
		return err
	}
	return err
}

// result is what can be said before anything is done.
func (o *promoteOptions) result(u *ui, key crypto.Signer) (*promoteResult, error) {
	res := &promoteResult{Environment: o.environment, Signed: key != nil, Promoted: []promotedImage{}}
	if key == nil {
		u.warn("nobody signs this promotion: it is a claim, which anybody could make and no policy believes; sign it with --record-key KEY")
		return res, nil
	}
	var err error
	res.Key, err = sigstore.Fingerprint(key.Public())
	return res, err
}
