package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// exportOptions are what the flags of export say.
type exportOptions struct {
	refs, lists  []string
	output       string
	as           string
	platforms    []string
	jobs         int
	dryRun       bool
	noLists      bool // revocation lists
	listHosts    cli.StringSlice
	allowMissing cli.StringSlice
	attached     attachedFrom
	foreign      foreignOptions

	record recordOptions
	line   lineOptions

	file string // where output leads; empty for stdout

	delta    deltaOptions
	registry registryOptions
	outputOptions
}

func exportCommand(u *ui) *cli.Command {
	var o exportOptions
	return &cli.Command{
		Name:      "export",
		Usage:     "collect images, and everything attached to them, into one bundle",
		ArgsUsage: "REF...",
		Description: `Collects every REF, and from each manifest reached everything that is attached to
it (signatures, attestations, SBOMs, and the signatures on those), into one tar
that is an OCI image layout. What is attached and cannot be fetched fails the
export and is named.

A REF is a reference in a registry, or oci:DIR, bundle:FILE or store:DIR, or a path
to a bundle or a layout folder that contains a slash or ends in .tar. "#REF" behind
one of those takes one image out of it, else everything is taken.

The bundle gets its name when it is whole. An export that was stopped goes on from
what it had when it is run again with the same arguments, and the same input gives
the same bytes. A bundle that holds just this already is hashed and left as it is.

With images from a registry, the revocation lists that certificates in Notary
signatures point to are fetched and travel along; one that cannot be had is named in a
warning. They are fetched from public addresses only, for it is a signature that says
where; --revocation-list-host names the hosts inside that have any.

With --record-key the export is signed: the bundle, and each image, get a record of
who took it from where, and when. With --line it is one of a sequence, and import
refuses what is older than what came before, or does not follow it.

An image that has nothing for any chosen platform is an error; one that has nothing
for some of them is named in a warning.

With --since the bundle is a delta: of the layers it carries those that the far side
does not hold by its receipts (airgap receipt), or, for links with no way back, those
that no earlier bundle brought. Manifests, signatures and all else that is attached
are always carried, so a delta is inspected and verified like a full bundle; it can be
imported where the rest is, and other tools see an image that lacks layers. With
--trust or --key receipts have to be signed by a key that is pinned. --only carries of
the layers those that an import was found to lack.

Examples:
   airgap export ghcr.io/acme/app:1.4 -o app.tar
   airgap export -f images.txt --platform linux/amd64 -o release.tar
   airgap export -f images.txt --dry-run
   airgap export -f images.txt --since receipt.json --key enclave.pub -o delta.tar
   airgap export -f images.txt --since monday.tar -o tuesday.tar
   airgap export ghcr.io/acme/app:1.4 -o - | ssh diode 'cat > app.tar'
   airgap export monday.tar oci:./more#app:2 store:/srv/airgap -o all.tar`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the bundle to `FILE`, or to stdout if it is -", DefaultText: "none: required, unless --dry-run", Destination: &o.output},
			&cli.StringSliceFlag{Name: "file", Aliases: []string{"f"}, Usage: "take references from `LIST` too, one on a line, with # comments; - is stdin; repeatable", DefaultText: "none"},
			&cli.StringSliceFlag{Name: "platform", Usage: "of indexes, take the children for `OS/ARCH[/VARIANT]` only, and all that belongs to those; the index stays as it was signed; repeatable", DefaultText: "all platforms"},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "move `N` layers at once", Value: layout.DefaultJobs, DefaultText: fmt.Sprint(layout.DefaultJobs), Destination: &o.jobs},
			&cli.BoolFlag{Name: "dry-run", Usage: "say what the bundle would hold, and its exact size, and write nothing", Destination: &o.dryRun},
			&cli.BoolFlag{Name: "no-revocation-lists", Usage: "do not fetch the revocation lists (CRLs) that certificates in signatures point to", Destination: &o.noLists},
			&cli.StringSliceFlag{Name: "revocation-list-host", Usage: "fetch revocation lists from `HOST`, too, though its address is private; repeatable", DefaultText: "none", Destination: &o.listHosts},
			&cli.StringSliceFlag{Name: "allow-missing-referrer", Usage: "leave out the attachment `DIGEST` if the registry lists it and does not have it; the export record says so; repeatable", DefaultText: "none", Destination: &o.allowMissing},
			asFlag(&o.as),
			o.attached.flag(),
		}, slices.Concat(o.foreign.flags(), o.record.flags(), o.line.flags(), o.delta.flags(), o.registry.flags(), o.outputOptions.flags())...),
		Action: func(c *cli.Context) error {
			o.refs, o.lists, o.platforms = c.Args().Slice(), c.StringSlice("file"), c.StringSlice("platform")
			return runExport(c.Context, u, o)
		},
	}
}

func asFlag(dst *string) cli.Flag {
	return &cli.StringFlag{Name: "as", Usage: "in a layout of another tool, let what has no name of its own be in repository `NAME`; with a tag, its only image gets that", DefaultText: "none", Destination: dst}
}

func (o *exportOptions) check(u *ui) error {
	stdin := ""
	for _, l := range o.lists {
		if l == "-" {
			stdin = "--file -"
		}
	}
	if err := checkAll(o.outputOptions.check(), o.registry.check(stdin), checkJobs(o.jobs), checkAs(o.as), o.foreign.check()); err != nil {
		return err
	}
	switch {
	case len(o.refs) == 0 && len(o.lists) == 0:
		return &adviceError{usagef("nothing to export: give references, or a list with --file"), "airgap help export has examples"}
	case o.output == "" && !o.dryRun:
		return &adviceError{usagef("where to? give --output FILE"), "-o - writes to stdout; --dry-run only says what would be written"}
	case o.output == "-" && u.stdoutIsTerminal && !o.dryRun:
		return &adviceError{usagef("stdout is a terminal, and a bundle is nothing to look at"), "give -o FILE, or pipe the output"}
	case o.output == "" || o.output == "-":
		return o.delta.check("")
	}
	file, err := outputFile(o.output)
	if err != nil {
		return err
	}
	o.file = file
	return checkAll(checkInputs(o.file, o.lists), o.delta.check(o.file))
}

func checkJobs(n int) error {
	if n < 1 || n > maxJobs {
		return usagef("--jobs %d: want 1 to %d", n, maxJobs)
	}
	return nil
}

// maxJobs keeps a slip of the finger from opening thousands of connections.
const maxJobs = 256

// checkAs refuses a name that is none, before anything is read.
func checkAs(as string) error {
	if as == "" {
		return nil
	}
	if _, err := layout.ParseReference(as); err != nil {
		return usagef("--as: %w", err)
	}
	return nil
}

// parsePlatforms reads the flag's values; commas separate, as with docker.
func parsePlatforms(list []string) ([]layout.Platform, error) {
	var out []layout.Platform
	for _, s := range list {
		for one := range strings.SplitSeq(s, ",") {
			p, err := layout.ParsePlatform(one)
			if err != nil {
				return nil, usagef("--platform: %w", err)
			}
			out = append(out, p)
		}
	}
	return out, nil
}

func runExport(ctx context.Context, u *ui, o exportOptions) error {
	if err := o.check(u); err != nil {
		return err
	}
	platforms, err := parsePlatforms(o.platforms)
	if err != nil {
		return err
	}
	since, err := o.delta.bases(ctx, u)
	if err != nil {
		return err
	}
	targets, err := o.targets(ctx, u)
	if err != nil {
		return err
	}
	allowed, err := parseDigests("--allow-missing-referrer", o.allowMissing.Value())
	if err != nil {
		return err
	}
	o.registry.keepDir = u.keptManifests()
	op, err := newOpener(u, o.registry, o.as, targets)
	if err != nil {
		return err
	}
	defer op.Close()
	if err := o.attached.find(u, op); err != nil {
		return err
	}
	parts, err := op.selections(ctx, targets)
	if err != nil {
		return err
	}
	op.warnUnused(u)
	p := u.progress("export", o.outputOptions)
	defer p.close()
	opts := bundle.ExportOptions{
		DryRun: o.dryRun, FetchList: o.fetchList(targets), Since: since, Platforms: platforms, SkipForeign: o.foreign.skips(), FetchForeign: o.foreign.fetch(targets), AllowMissing: allowed, Jobs: o.jobs,
		OnManifest: p.manifest, Progress: p.event,
	}
	done, err := o.recording(ctx, u, &opts)
	if err != nil {
		return err
	}
	defer done()
	if o.output != "-" {
		opts.Output = o.file
	} else if !o.dryRun {
		opts.Writer = u.stdout
	}
	res, err := bundle.Export(ctx, parts, opts)
	p.close()
	if err != nil {
		return o.explain(err, targets)
	}
	if res.Bundle != "" {
		res.Bundle = o.output
	}
	op.warnNothingElsewhere(u)
	for _, l := range res.ForeignLayers {
		u.warn("foreign layer %s was fetched from %s", shortDigest(l.Digest), escape(l.URL))
	}
	for _, l := range res.MissingLists {
		u.warn("no revocation list from %s: %s; whether certificates that point there were revoked will be unknown", escape(l.URL), escape(l.Reason))
	}
	u.warnSetAside(res.Contents.SetAside, allowed)
	for _, m := range res.Unmatched {
		u.warn("%s has nothing for %s", escape(nameOnly(m.Reference)), escape(m.Platform))
	}
	return o.print(u, res)
}

// parseDigests reads the values of a flag.
func parseDigests(flag string, list []string) ([]digest.Digest, error) {
	var out []digest.Digest
	for _, s := range list {
		d, err := layout.ParseDigest(s)
		if err != nil {
			return nil, usagef("%s: %w", flag, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// warnSetAside warns of what the export knows less of than it should: attachments that
// were allowed to be missing, and registries that gave no true answer.
func (u *ui) warnSetAside(list []bundle.RecordSetAside, allowed []digest.Digest) {
	missed, warned := map[digest.Digest]bool{}, map[string]bool{}
	for _, s := range list {
		text := fmt.Sprintf("%s: %s; attachments were looked for under tags only, and the export record says so", s.Repository, s.Reason)
		switch {
		case s.Reason == layout.ReasonMissingReferrer:
			missed[s.Digest] = true
			text = fmt.Sprintf("%s: %s, attached to %s, is missing and left out; the export record says so", s.Repository, s.Digest, s.Subject)
		case s.Digest != "" || s.By != layout.FormReferrers:
			continue
		}
		if !warned[text] {
			warned[text] = true
			u.warn("%s", escape(text))
		}
	}
	for _, d := range allowed {
		if !missed[d] {
			u.warn("--allow-missing-referrer %s: not needed; no listed attachment with this digest is missing", d)
		}
	}
}

// fetchList is how revocation lists are fetched, or nil: whoever exports from what
// lies here alone may have no network, and reaches for none.
func (o *exportOptions) fetchList(targets []target) func(context.Context, string) ([]byte, error) {
	remote := slices.ContainsFunc(targets, func(t target) bool { return t.kind == inRegistry })
	if o.noLists || !remote {
		return nil
	}
	return bundle.ListFetcher{Hosts: o.listHosts.Value()}.Fetch
}

// targets are those of the arguments, then those of the lists.
func (o *exportOptions) targets(ctx context.Context, u *ui) ([]target, error) {
	targets, err := parseTargets(o.refs)
	if err != nil {
		return nil, err
	}
	listed, err := u.readLists(ctx, o.lists)
	return append(targets, listed...), err
}

// selections opens all targets. References in registries share one client, and
// so one set of connections and logins.
func (op *opener) selections(ctx context.Context, targets []target) ([]bundle.Selection, error) {
	var parts []bundle.Selection
	remote := -1
	for _, t := range targets {
		s, err := op.open(ctx, t)
		if err != nil {
			return nil, err
		}
		switch {
		case s.bundle != nil:
			// What its makers signed goes on with the images.
			if s.Source, err = s.bundle.SourceWithRecords(ctx); err != nil {
				return nil, err
			}
			parts = append(parts, s.Selection)
		case t.kind != inRegistry:
			parts = append(parts, s.Selection)
		case remote < 0:
			remote = len(parts)
			parts = append(parts, s.Selection)
		default:
			parts[remote].References = append(parts[remote].References, t.ref)
		}
	}
	return parts, nil
}

// explain adds what only the command knows: where the source lies, and what of an
// unfinished file is kept.
func (o *exportOptions) explain(err error, targets []target) error {
	remote := false
	for _, t := range targets {
		remote = remote || t.kind == inRegistry
	}
	if !remote {
		err = local(err)
	}
	if isDamage(err) && isLocal(err) && layout.Hint(err) == "" {
		return &adviceError{err, "the source is damaged: copy it again from where it came from, or leave it out"}
	}
	if o.file == "" || o.dryRun || !again(err) {
		return err
	}
	partial := o.file + layout.PartialSuffix
	if _, serr := os.Stat(partial); serr == nil {
		return &adviceError{err, "run the same command again: layers that had arrived whole are kept in " + partial + ", the ones under way are fetched again"}
	}
	return err
}

// print writes the result; to stderr if the bundle itself has gone to stdout.
func (o *exportOptions) print(u *ui, res *bundle.ExportResult) error {
	w := u.stdout
	if o.output == "-" && !o.dryRun {
		if w = u.stderr; o.quiet {
			return nil
		}
	}
	return u.resultTo(w, o.outputOptions, "ExportResult", res, func(w io.Writer) { writeExport(w, res) })
}

func writeExport(w io.Writer, res *bundle.ExportResult) {
	name := res.Bundle
	if name == "" {
		name = "the bundle"
	}
	verb := "has"
	if res.DryRun {
		verb = "would have"
	}
	fmt.Fprintf(w, "%s %s %s (%s)\n", escape(name), verb, humanSize(res.Size), exactSize(res.Size))
	if !res.DryRun {
		fmt.Fprintf(w, "fetched %s", humanSize(res.Fetched))
		if res.Reused > 0 {
			fmt.Fprintf(w, ", took over %s from an earlier file", humanSize(res.Reused))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w)
	writeContents(w, &res.Contents)
	if res.DryRun {
		fmt.Fprintf(w, "\n%s in it; nothing was written\n", plural(len(res.Files), "file"))
	}
}
