package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"airgap/bundle"
	"airgap/layout"

	"github.com/urfave/cli/v2"
)

// diffOptions are what the flags of diff say.
type diffOptions struct {
	targets  []string
	as       string
	exitCode bool
	registry registryOptions
	outputOptions
}

func diffCommand(u *ui) *cli.Command {
	var o diffOptions
	return &cli.Command{
		Name:      "diff",
		Usage:     "say what changed between two bundles, signatures included",
		ArgsUsage: "A B",
		Description: `Says which images B has that A has not, which it lacks, which names stand for
something else, and which attachments each image gained or lost. A and B are bundles,
layout folders (oci:DIR), stores (store:DIR), each with "#REF" for one image, or
references in registries. Images are matched by name; if both sides are one image,
those two are compared, whatever their names.

Examples:
   airgap diff monday.tar tuesday.tar
   airgap diff app.tar#ghcr.io/acme/app:1.4 registry.corp/acme/app:1.4
   airgap diff --exit-code app.tar store:/srv/airgap && echo the same`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "exit-code", Usage: "exit with 1 if they differ, as git diff does", Destination: &o.exitCode},
			asFlag(&o.as),
		}, append(o.registry.flags(), o.outputOptions.flags()...)...),
		Action: func(c *cli.Context) error {
			o.targets = c.Args().Slice()
			return runDiff(c.Context, u, o)
		},
	}
}

// diffResult is what diff reports.
type diffResult struct {
	A string `json:"a"`
	B string `json:"b"`
	*bundle.Difference
	// DeltaA and DeltaB say what of each is not carried; nil for what is whole.
	DeltaA *bundle.Delta `json:"deltaA,omitempty"`
	DeltaB *bundle.Delta `json:"deltaB,omitempty"`
}

func runDiff(ctx context.Context, u *ui, o diffOptions) error {
	if err := checkAll(o.outputOptions.check(), o.registry.check(""), checkAs(o.as)); err != nil {
		return err
	}
	if len(o.targets) != 2 {
		return usagef("diff wants two things to compare, %d were given", len(o.targets))
	}
	targets, op, err := openerFor(u, o.registry, o.as, o.targets)
	if err != nil {
		return err
	}
	defer op.Close()
	var graphs [2]*layout.Graph
	var deltas [2]*bundle.Delta
	for i, t := range targets {
		if graphs[i], deltas[i], err = op.graph(ctx, t); err != nil {
			return err
		}
	}
	op.warnUnused(u)
	res := &diffResult{targets[0].String(), targets[1].String(), bundle.Diff(graphs[0], paired(graphs[0], graphs[1])), deltas[0], deltas[1]}
	if err := u.result(o.outputOptions, "DiffResult", res, func(w io.Writer) { writeDiff(w, res) }); err != nil {
		return err
	}
	if o.exitCode && !res.Same {
		return errDifferent
	}
	return nil
}

// graph is what a target holds and, of a delta, what of that it does not carry.
func (op *opener) graph(ctx context.Context, t target) (*layout.Graph, *bundle.Delta, error) {
	s, err := op.open(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	if s.whole != nil && t.name == "" {
		return s.whole, s.bundle.Delta(s.whole), nil
	}
	sel := s.looking()
	g, err := layout.Walk(ctx, sel.Source, sel.References, layout.WalkOptions{MayMiss: sel.MayMiss})
	if t.kind != inRegistry {
		err = local(err)
	}
	if err != nil || s.bundle == nil {
		return g, nil, err
	}
	return g, s.bundle.Delta(g), nil
}

// paired returns b under a's name if both are one image: somebody who names two
// images wants to compare those.
func paired(a, b *layout.Graph) *layout.Graph {
	if len(a.Roots) != 1 || len(b.Roots) != 1 {
		return b
	}
	to, from := a.Roots[0].Reference, b.Roots[0].Reference
	out := *b
	out.Roots = []layout.Name{{Reference: to, Descriptor: b.Roots[0].Descriptor}}
	// One root is in one repository, and so is all that was reached from it.
	out.Places = slices.Clone(b.Places)
	for i := range out.Places {
		if out.Places[i].Repository == from.Repository {
			out.Places[i].Repository = to.Repository
		}
	}
	return &out
}

func writeDiff(w io.Writer, res *diffResult) {
	defer writeDiffDeltas(w, res)
	if res.Same {
		fmt.Fprintf(w, "%s and %s hold the same images, with the same attached\n", escape(res.A), escape(res.B))
		return
	}
	var rows [][]string
	for _, i := range res.Removed {
		rows = append(rows, []string{"- image", nameOnly(i.Reference), shortDigest(i.Digest), plural(i.Attached, "attachment")})
	}
	for _, i := range res.Added {
		rows = append(rows, []string{"+ image", nameOnly(i.Reference), shortDigest(i.Digest), plural(i.Attached, "attachment")})
	}
	for _, m := range res.Moved {
		rows = append(rows, []string{"~ image", m.Reference, shortDigest(m.From), "→ " + shortDigest(m.To)})
	}
	for _, l := range res.Lost {
		rows = append(rows, []string{"- " + string(l.Kind), l.Reference, shortDigest(l.Digest), "on " + shortDigest(l.Subject)})
	}
	for _, g := range res.Gained {
		rows = append(rows, []string{"+ " + string(g.Kind), g.Reference, shortDigest(g.Digest), "on " + shortDigest(g.Subject)})
	}
	table(w, rows)
}

// writeDiffDeltas says which side is a delta, and what it leaves out.
func writeDiffDeltas(w io.Writer, res *diffResult) {
	for _, side := range []struct {
		name  string
		delta *bundle.Delta
	}{{res.A, res.DeltaA}, {res.B, res.DeltaB}} {
		if side.delta != nil {
			fmt.Fprintf(w, "\n%s is a delta", escape(side.name))
			writeDelta(w, side.delta)
		}
	}
}
