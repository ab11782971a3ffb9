package main

import (
	"context"
	"fmt"
	"io"

	"airgap/bundle"

	"github.com/urfave/cli/v2"
)

// inspectOptions are what the flags of inspect say.
type inspectOptions struct {
	path string
	as   string
	outputOptions
}

func inspectCommand(u *ui) *cli.Command {
	var o inspectOptions
	return &cli.Command{
		Name:      "inspect",
		Usage:     "say what is in a bundle, after proving what can be proven without reading layers",
		ArgsUsage: "BUNDLE",
		Description: `Reads the head of a bundle, or of a layout folder, and says which images are in it,
with what attached, how large, and what was left out. A bundle made by airgap is
proven against its export record: every header, name, manifest and attachment has to
be what the record says. Layers are hashed when they are imported.

Examples:
   airgap inspect app.tar
   airgap inspect --format json app.tar
   airgap inspect ./skopeo-layout --as ghcr.io/acme/app`,
		Flags: append([]cli.Flag{asFlag(&o.as)}, o.outputOptions.flags()...),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("inspect wants one bundle, %d were given", c.NArg())
			}
			o.path = c.Args().First()
			return runInspect(c.Context, u, o)
		},
	}
}

func runInspect(ctx context.Context, u *ui, o inspectOptions) error {
	if err := o.outputOptions.check(); err != nil {
		return err
	}
	if err := checkAs(o.as); err != nil {
		return err
	}
	t, err := parseLocal(o.path)
	if err != nil {
		return err
	}
	b, err := bundle.Open(ctx, t.path, bundle.OpenOptions{As: o.as})
	if err != nil {
		return local(err)
	}
	defer b.Close()
	if o.as != "" && !usesAs(b, o.as) {
		u.warn("%s", unusedAs(o.as))
	}
	res, err := bundle.Inspect(ctx, b)
	if err != nil {
		return local(err)
	}
	return u.result(o.outputOptions, "Inspection", res, func(w io.Writer) { writeInspection(w, res) })
}

func writeInspection(w io.Writer, res *bundle.Inspection) {
	size := "a folder"
	if res.Size > 0 {
		size = humanSize(res.Size) + " (" + exactSize(res.Size) + ")"
	}
	fmt.Fprintf(w, "%s: %s\n", escape(res.Bundle), size)
	if res.Own {
		fmt.Fprintln(w, "made by airgap; proven against its export record, but for the content of layers")
	}
	for _, c := range res.Caveats {
		fmt.Fprintf(w, "note: %s\n", escape(c))
	}
	fmt.Fprintln(w)
	writeContents(w, &res.Contents)
}
