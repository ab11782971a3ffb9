package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"airgap/bundle"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// treeOptions are what the flags of tree say.
type treeOptions struct {
	attached  attachedFrom
	targets   []string
	as        string
	platforms []string
	registry  registryOptions
	outputOptions
}

func treeCommand(u *ui) *cli.Command {
	var o treeOptions
	return &cli.Command{
		Name:      "tree",
		Usage:     "draw images with everything that is attached to them",
		ArgsUsage: "TARGET...",
		Description: `Draws the graph of each image in TARGET: platforms, signatures, attestations, SBOMs,
and what is attached to those, with how each is attached. TARGET is a reference in a
registry, a bundle, a layout folder (oci:DIR) or a store (store:DIR); "#REF" behind
one of the latter draws one image of it. A kind says what a manifest calls itself;
nothing is verified here.

Examples:
   airgap tree ghcr.io/acme/app:1.4
   airgap tree app.tar
   airgap tree app.tar#ghcr.io/acme/app:1.4
   airgap tree store:/srv/airgap --format json`,
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "platform", Usage: "of indexes, draw the children for `OS/ARCH[/VARIANT]` only; repeatable", DefaultText: "all platforms"},
			asFlag(&o.as),
			o.attached.flag(),
		}, append(o.registry.flags(), o.outputOptions.flags()...)...),
		Action: func(c *cli.Context) error {
			o.targets, o.platforms = c.Args().Slice(), c.StringSlice("platform")
			return runTree(c.Context, u, o)
		},
	}
}

// treeResult is what tree reports.
type treeResult struct {
	Trees []*bundle.Tree `json:"trees"`
}

func runTree(ctx context.Context, u *ui, o treeOptions) error {
	if err := checkAll(o.outputOptions.check(), o.registry.check(""), checkAs(o.as)); err != nil {
		return err
	}
	if len(o.targets) == 0 {
		return usagef("tree wants a bundle, a folder, a store or a reference")
	}
	platforms, err := parsePlatforms(o.platforms)
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
	res := &treeResult{Trees: []*bundle.Tree{}}
	for _, t := range targets {
		trees, err := op.trees(ctx, t, platforms)
		if err != nil {
			return err
		}
		res.Trees = append(res.Trees, trees...)
	}
	op.warnUnused(u)
	op.warnNothingElsewhere(u)
	return u.result(o.outputOptions, "TreeResult", res, func(w io.Writer) { writeTrees(w, res.Trees) })
}

func (op *opener) trees(ctx context.Context, t target, platforms []layout.Platform) ([]*bundle.Tree, error) {
	s, err := op.open(ctx, t)
	if err != nil {
		return nil, err
	}
	trees, err := bundle.Trees(ctx, s.looking(), platforms)
	if t.kind != inRegistry {
		err = local(err)
	}
	return trees, err
}

// looking is the selection for those who only look: an index in a registry may
// lack children that were left out on the way there, and that is to be seen, not
// an error.
func (o *opened) looking() bundle.Selection {
	s := o.Selection
	if o.target.kind == inRegistry {
		s.MayMiss = mayMissAny
	}
	return s
}

// mayMissAny is for sources that keep no record of what was left out.
func mayMissAny(string, digest.Digest, layout.Descriptor) bool { return true }

func writeTrees(w io.Writer, trees []*bundle.Tree) {
	for i, t := range trees {
		if i > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w, escape(t.Reference))
		writeTree(w, t, "", "")
	}
}

// writeTree draws t behind the branch head, and what is beneath it behind body.
func writeTree(w io.Writer, t *bundle.Tree, head, body string) {
	fmt.Fprintln(w, head+describe(t))
	for i, n := range t.Nodes {
		if i < len(t.Nodes)-1 {
			writeTree(w, n, body+"├─ ", body+"│  ")
		} else {
			writeTree(w, n, body+"└─ ", body+"   ")
		}
	}
}

// describe is one line: what, which, for what platform, how large, how attached.
func describe(t *bundle.Tree) string {
	parts := []string{string(t.Kind)}
	if t.LeftOut != "" {
		parts[0] = "(left out)"
	}
	if t.Kind == layout.KindArtifact && t.ArtifactType != "" {
		parts[0] = "artifact " + t.ArtifactType
	}
	parts = append(parts, shortDigest(t.Digest))
	if t.Platform != "" {
		parts = append(parts, t.Platform)
	}
	if t.LeftOut == "" {
		parts = append(parts, humanSize(t.Size))
	}
	line := strings.Join(parts, "  ")
	var remarks []string
	if len(t.By) > 0 {
		remarks = append(remarks, "by "+formList(t.By))
	}
	if t.NotCarried > 0 {
		remarks = append(remarks, humanSize(t.NotCarried)+" not carried")
	}
	if t.Above {
		remarks = append(remarks, "drawn above")
	}
	if t.LeftOut != "" {
		remarks = append(remarks, t.LeftOut)
	}
	if len(remarks) > 0 {
		line += "  [" + strings.Join(remarks, "; ") + "]"
	}
	return escape(line)
}
