package main

import (
	"context"
	"io"

	"airgap/bundle"
	"airgap/verify"

	"github.com/urfave/cli/v2"
)

// provenanceOptions are what the flags of provenance say.
type provenanceOptions struct {
	targets  []string
	as       string
	judge    policyOptions
	registry registryOptions
	outputOptions
}

func provenanceCommand(u *ui) *cli.Command {
	var o provenanceOptions
	return &cli.Command{
		Name:      "provenance",
		Usage:     "tell how images came to be, how they came here, and who vouches for it",
		ArgsUsage: "TARGET...",
		Description: `Tells of each image in TARGET (a store, a bundle, a layout folder, or a reference in a
registry; "#REF" behind one of the former for one image of it): how it was built and
of what, as far as that is held in the same place; who signed it; who approved it; its
SBOMs, scan results and VEX; and every step of its way, with the record of each. What
a record names and is not there is a gap, and the way is then BROKEN.

[verified] is what a key of the trust directory signed, or what met a requirement of
the policy, if one is given. [unknown] is signed, and nothing here says that the signer
counts. [claimed] is signed by nobody. Without trust and policy everything is one of
the latter two. It is an answer and no gate: the exit code is 0 whatever it says. Use
airgap verify to ask whether an image may enter.

Examples:
   airgap provenance store:/srv/airgap --trust /etc/airgap/trust
   airgap provenance store:/srv/airgap#registry.corp/team/app:1.4 --policy policy.yaml
   airgap provenance app.tar --key exporter.pub
   airgap provenance registry.corp/team/app:1.4 --format json`,
		Flags: append([]cli.Flag{asFlag(&o.as)},
			append(o.judge.flags(), append(o.registry.flags(), o.outputOptions.flags()...)...)...),
		Action: func(c *cli.Context) error {
			o.targets = c.Args().Slice()
			return runProvenance(c.Context, u, o)
		},
	}
}

// provenanceResult is what provenance reports.
type provenanceResult struct {
	Policy *verify.Origin       `json:"policy,omitempty"` // that was asked
	Trust  string               `json:"trust,omitempty"`  // digest of the trust directory
	Keys   []string             `json:"keys"`             // names of those that are pinned
	Images []*bundle.Provenance `json:"images"`
}

func runProvenance(ctx context.Context, u *ui, o provenanceOptions) error {
	if err := checkAll(o.outputOptions.check(), o.registry.check(""), checkAs(o.as)); err != nil {
		return err
	}
	if len(o.targets) == 0 {
		return usagef("provenance wants a bundle, a folder, a store or a reference")
	}
	opts, err := o.judge.pinned(u)
	if err != nil {
		return err
	}
	targets, op, err := openerFor(u, o.registry, o.as, o.targets)
	if err != nil {
		return err
	}
	defer op.Close()
	res := &provenanceResult{Keys: []string{}, Images: []*bundle.Provenance{}}
	if opts.Judge != nil {
		res.Policy = &verify.Origin{File: opts.Judge.Policy.File, Digest: opts.Judge.Policy.Digest, Environment: opts.Judge.Policy.Environment}
	}
	if opts.Trust != nil {
		res.Trust = opts.Trust.Digest()
	}
	for _, k := range opts.Keys {
		res.Keys = append(res.Keys, k.Name)
	}
	for _, t := range targets {
		all, err := op.provenance(ctx, t, opts)
		if err != nil {
			return err
		}
		res.Images = append(res.Images, all...)
	}
	op.warnUnused(u)
	for _, p := range res.Images {
		if p.Broken {
			u.warn("the way of %s is broken: a record that another names is not there", escape(p.Reference))
		}
	}
	return u.result(o.outputOptions, "ProvenanceResult", res, func(w io.Writer) { writeProvenance(w, res) })
}

// pinned is what is pinned: by a policy and its trust, or by the trust directory alone.
// Where nobody named one, none is needed.
func (o *policyOptions) pinned(u *ui) (bundle.ProvenanceOptions, error) {
	var opts bundle.ProvenanceOptions
	if o.given(u) {
		j, err := o.judge(u)
		if err != nil {
			return opts, err
		}
		j.Now = u.now
		opts.Judge, opts.Trust, opts.Keys = j, j.Trust, bundle.Pinned(j)
		return opts, nil
	}
	if o.env != "" || len(o.rootsFlag.Value()) > 0 {
		return opts, usagef("--env and --trusted-root are about a policy or a signer; give one")
	}
	dir, err := u.trustDir(o.trust)
	if named := o.trust != "" || u.getenv("AIRGAP_TRUST") != ""; !named && (err != nil || !exists(dir)) {
		return opts, nil
	}
	if err == nil {
		opts.Trust, err = o.openTrust(u)
	}
	if err != nil {
		return opts, &policyError{err}
	}
	opts.Keys = bundle.Pinned(&verify.Judge{Trust: opts.Trust})
	return opts, nil
}

// provenance tells of one target.
func (op *opener) provenance(ctx context.Context, t target, o bundle.ProvenanceOptions) ([]*bundle.Provenance, error) {
	s, err := op.open(ctx, t)
	if err != nil {
		return nil, err
	}
	sel := s.looking()
	switch {
	case s.bundle != nil:
		o.Repositories, o.OfBundle = s.whole.Repositories(), true
		if o.Head, err = s.bundle.Head(ctx, o.Keys); err != nil {
			return nil, local(err)
		}
		if t.name == "" {
			o.Graph = s.whole
		}
	case t.kind == inStore:
		o.Repositories = s.Source.(*storeSource).repositories()
	default:
		o.Remote = true
	}
	all, err := bundle.Trace(ctx, sel, o)
	if t.kind != inRegistry {
		err = local(err)
	}
	return all, err
}

// repositories are those that have names.
func (s *storeSource) repositories() []string {
	var out []string
	seen := map[string]bool{}
	for _, n := range s.names {
		if repo := n.Reference.Repository; !seen[repo] {
			seen[repo] = true
			out = append(out, repo)
		}
	}
	return out
}
