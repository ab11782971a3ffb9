package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/bundle/registry"
	"airgap/layout"
	"airgap/verify"
	"airgap/verify/policy"
	"airgap/verify/signing"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// importOptions are what the flags of import say.
type importOptions struct {
	bundles   []string
	to, store string
	rules     []string
	as        string
	jobs      int
	overwrite bool
	resend    bool
	verify    bool
	skip      bool // verification
	partial   bool

	approver keyOptions // whose key countersigns
	verifier string     // what approvals name

	record        recordOptions
	media         custody.Media
	allowRollback bool
	memory        string // the store that remembers imports into a registry

	landing  landingOptions
	judge    policyOptions
	registry registryOptions
	outputOptions
}

func importCommand(u *ui) *cli.Command {
	var o importOptions
	return &cli.Command{
		Name:      "import",
		Usage:     "verify a bundle and bring it into a registry or a store",
		ArgsUsage: "BUNDLE...",
		Description: `Brings everything in each BUNDLE (a tar, a layout folder, or - for a stream on
stdin) into a registry or a store: blobs first, then manifests, names last. Every
digest, every size and the export record are checked always; nothing damaged gets a
name. Whether it may enter is for a policy to say (see airgap help verify); nothing
enters unless every image passes, or with --partial, those that do; if that is not
all of them, the exit code still says so (3 or 8). Without a policy nothing enters;
--insecure-skip-verify imports what nobody has judged. An attachment that could be
started itself is in a store's quarantine until it passes airgap reverify; into a
registry it comes only if it passes by itself.

Into a registry, ghcr.io/acme/app becomes HOST/PREFIX/acme/app; into a store, names
stay. --map overrides both. A tag that stands for something else at the destination,
or two names that would become one, is refused before anything is written.

With --countersign each image that passed gets this side's approval, signed with KEY:
an attestation (SLSA Verification Summary) that names the policy, the evidence, the
source and the destination. It arrives together with the image, and a policy can ask
for it later, instead of for what was asked for here. The key is one that airgap
attest takes; its password comes from --password-file, $AIRGAP_PASSWORD or
$COSIGN_PASSWORD, or is asked for if there is a terminal.

Several bundles are imported one after the other; the first that fails ends it.
Running the same command again sends only what is missing.

A delta (airgap export --since) counts on layers that are at the destination. Each is
looked for before anything is written: in the repositories where it belongs, in those
it can be mounted from (a store: anywhere), and in the other bundles of the same
command. If one is nowhere, nothing is imported; --missing writes the list of them,
and airgap export --only sends what is on it.

Examples:
   airgap import app.tar --policy policy.yaml --to registry.corp:5000/mirror
   airgap import app.tar --policy policy.yaml --env prod --store /srv/airgap
   airgap import app.tar --key cosign.pub --store /srv/airgap
   airgap import app.tar --policy policy.yaml --store /srv/airgap \
      --countersign import.key --verifier-id https://corp.example/import
   airgap import app.tar --to registry.corp --map ghcr.io/acme=registry.corp/acme
   airgap import ./skopeo-layout --as ghcr.io/acme/app --to registry.corp
   airgap import delta.tar --policy policy.yaml --missing missing.json
   airgap import delta.tar rest.tar --policy policy.yaml
   receive-from-diode | airgap import - --store /srv/airgap`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "import into the registry `HOST[/PREFIX]`", DefaultText: "none: import into a store", Destination: &o.to},
			&cli.StringFlag{Name: "store", Usage: "import into the store in `DIR`, which is made if missing", DefaultText: "$AIRGAP_STORE, else airgap/store in the user's data folder", Destination: &o.store},
			mapFlag(),
			&cli.BoolFlag{Name: "overwrite", Usage: "let tags of the destination move", Destination: &o.overwrite},
			&cli.BoolFlag{Name: "resend", Usage: "send everything, even what the destination says it has already", Destination: &o.resend},
			&cli.BoolFlag{Name: "verify", Usage: "ask the policy whether it may enter", Value: true, Destination: &o.verify},
			&cli.BoolFlag{Name: "insecure-skip-verify", Usage: "import what no policy has judged; digests, sizes and the record are checked all the same", Destination: &o.skip},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "move `N` layers at once", Value: layout.DefaultJobs, DefaultText: fmt.Sprint(layout.DefaultJobs), Destination: &o.jobs},
			&cli.BoolFlag{Name: "partial", Usage: "import the images that pass and that the destination can hold, and leave out the others", Destination: &o.partial},
			asFlag(&o.as),
			&cli.StringFlag{Name: "countersign", Category: "Signing:", Usage: "attach to every image that passes an approval, signed with the private key in `KEY` (PEM, or as cosign encrypts it)", DefaultText: "none", Destination: &o.approver.key},
			&cli.StringFlag{Name: "verifier-id", Category: "Signing:", Usage: "approvals name `URI` as who verified", DefaultText: "nih:sha-256; and the fingerprint of the key", Destination: &o.verifier},
			o.approver.passwordFlag("Signing:"),
			&cli.StringFlag{Name: "media-label", Category: recordCategory, Usage: "records say that the bundle came on media with this `LABEL`", DefaultText: "none", Destination: &o.media.Label},
			&cli.StringFlag{Name: "media-serial", Category: recordCategory, Usage: "records say that the bundle came on media with this serial `NUMBER`", DefaultText: "none", Destination: &o.media.Serial},
			&cli.BoolFlag{Name: "allow-rollback", Category: recordCategory, Usage: "take in what is older than what came before, or does not continue it; --reason says why, and the ledger has it", Destination: &o.allowRollback},
			&cli.StringFlag{Name: "memory", Category: recordCategory, Usage: "with --to: the store in `DIR` remembers what came in, and has the ledger", DefaultText: "the default store, if there is one", Destination: &o.memory},
		}, append(append(append(o.landing.flags(), o.record.flags()...), o.judge.flags()...), append(o.registry.flags(), o.outputOptions.flags()...)...)...),
		Action: func(c *cli.Context) error {
			o.bundles, o.rules = c.Args().Slice(), c.StringSlice("map")
			return runImport(c.Context, u, o)
		},
	}
}

func mapFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "map", Usage: "`SRC=DST` brings the repository SRC, and all beneath it, to DST; the longest SRC that fits wins; repeatable", DefaultText: "none"}
}

// check finds what makes no sense, and what will be refused anyway: nobody wants
// to hear that after the last of 100 GB came through a diode.
func (o *importOptions) check(u *ui) error {
	stdin := 0
	for _, b := range o.bundles {
		if b == "-" {
			stdin++
		}
	}
	taken := ""
	if stdin > 0 {
		taken = "import -"
	}
	if err := checkAll(o.outputOptions.check(), o.registry.check(taken), checkJobs(o.jobs), checkAs(o.as), o.landing.check(o.to)); err != nil {
		return err
	}
	switch {
	case len(o.bundles) == 0:
		return &adviceError{usagef("nothing to import: give a bundle"), "airgap help import has examples"}
	case stdin > 1:
		return usagef("stdin can be read once")
	case o.memory != "" && o.to == "":
		return usagef("--memory is about --to; a store remembers by itself")
	case o.allowRollback && o.record.reason == "":
		return usagef("--allow-rollback wants --reason TEXT, for the ledger")
	case o.to != "" && o.store != "":
		return usagef("--to and --store: want one destination")
	case !o.verify && !o.skip:
		return &adviceError{usagef("--verify=false is not how to say that"), "to import what no policy has judged, use --insecure-skip-verify"}
	case o.to != "" && !validHost(o.to):
		return usagef("--to %q: want HOST[/PREFIX]", o.to)
	case o.skip && o.approver.key != "":
		return usagef("--insecure-skip-verify lets in what no policy has judged; there is nothing to --countersign")
	case o.skip && o.judge.given(u):
		return usagef("--insecure-skip-verify asks no policy; give one or the other")
	case !o.skip && !o.judge.given(u):
		return noPolicy("; nothing was read. To import what nobody has judged, add --insecure-skip-verify")
	}
	return o.checkApprover()
}

// checkApprover finds what an approval would lack.
func (o *importOptions) checkApprover() error {
	switch {
	case o.approver.key == "" && o.record.key.key == "" && o.verifier != "":
		return usagef("--verifier-id is about approvals and signed records; make them with --countersign or --record-key KEY")
	case o.approver.key == "" && o.approver.passwordFile != "":
		return usagef("--password-file is about the key of --countersign")
	case o.approver.key != "" && o.judge.signer != (policy.Signer{}):
		return &adviceError{usagef("--countersign needs a policy in a file: an approval names it by its digest"), "write what --key or the identity say into a policy; see docs/policy.md"}
	case o.verifier != "" && signing.CheckURI(o.verifier) != nil:
		return usagef("--verifier-id %q: want a URI, as https://corp.example/import", o.verifier)
	}
	return nil
}

// readApprover reads the key that countersigns; nil if there is none.
func (o *importOptions) readApprover(ctx context.Context, u *ui) (*bundle.Approver, error) {
	if o.approver.key == "" {
		return nil, nil
	}
	key, err := o.approver.readKey(ctx, u, "--countersign")
	if err == nil {
		err = signing.CheckKey(key)
	}
	var by signing.Verifier
	if err == nil {
		by, err = verifier(o.verifier, key)
	}
	if err != nil {
		if !errors.Is(err, errUsage) {
			err = usagef("--countersign %s: %w", o.approver.key, err)
		}
		return nil, err
	}
	return &bundle.Approver{Key: key, Verifier: by}, nil
}

// readReception says how the import is recorded with the images; nil if it is not.
func (o *importOptions) readReception(ctx context.Context, u *ui, to custody.PlaceKind) (*bundle.Reception, error) {
	recording, err := o.record.recording(ctx, u)
	if err != nil || recording.Key == nil && o.record.by == "" && o.media == (custody.Media{}) {
		return nil, err
	}
	r := &bundle.Reception{Recording: recording, To: to}
	if o.media != (custody.Media{}) {
		r.Media = &o.media
	}
	if recording.Key != nil {
		r.Verifier, err = verifier(o.verifier, recording.Key)
	}
	return r, err
}

// validHost says whether to is HOST[/PREFIX].
func validHost(to string) bool {
	_, err := layout.ParseReference(to + "/x")
	return err == nil
}

func (o *importOptions) mapping() (bundle.Mapping, error) {
	m, err := parseMapping(o.to, o.rules)
	if err != nil {
		return m, err
	}
	for i, r := range m.Rules {
		if host, _, _ := strings.Cut(r.To, "/"); o.to == "" && o.store == "" && strings.ContainsAny(host, ".:") {
			return m, &adviceError{usagef("--map %s names the registry %s; where is it to be imported?", o.rules[i], host),
				"give --to " + host + " for that registry, or --store DIR for a store that keeps such names"}
		}
	}
	return m, nil
}

// parseMapping reads --to and --map.
func parseMapping(to string, rules []string) (bundle.Mapping, error) {
	m := bundle.Mapping{To: to}
	for _, s := range rules {
		r, err := bundle.ParseRule(s)
		if err != nil {
			return m, err
		}
		m.Rules = append(m.Rules, r)
	}
	return m, nil
}

// importResult is what import reports.
type importResult struct {
	Destination string           `json:"destination"` // as other commands take it
	Bundles     []importedBundle `json:"bundles"`
}

type importedBundle struct {
	*bundle.ImportResult
	Caveats []string `json:"caveats,omitempty"` // what could not be proven
	// Repaired lists blobs and manifests whose file in the store was damaged or missing,
	// and that the bundle's copy has replaced.
	Repaired []digest.Digest `json:"repaired,omitempty"`
}

func runImport(ctx context.Context, u *ui, o importOptions) error {
	if err := o.check(u); err != nil {
		return err
	}
	mapping, err := o.mapping()
	if err != nil {
		return err
	}
	var judge *verify.Judge
	if !o.skip {
		if judge, err = o.judge.judge(u); err != nil {
			return err
		}
		judge.Now = u.now
	}
	approver, err := o.readApprover(ctx, u)
	if err != nil {
		return err
	}
	seen := newSeen(&o, mapping)
	if err := seen.ahead(ctx); err != nil {
		return err
	}
	dst, err := o.destination(ctx, u)
	if err != nil {
		return err
	}
	defer dst.close()
	if judge != nil {
		judge = bundle.WithLists(judge, dst.lists)
	}
	if o.skip {
		u.warn("--insecure-skip-verify: no policy is asked and no signature is checked; whatever is in the bundle is imported")
	}
	var keys []custody.Key
	if o.skip {
		// What is older than what came before is that, whether a policy is asked
		// or not.
		pins, err := o.judge.pinned(u)
		if err != nil {
			return err
		}
		keys = pins.Keys
	}
	reception, err := o.readReception(ctx, u, dst.kind)
	if err != nil {
		return err
	}
	how := bundle.ImportOptions{
		Mapping: mapping, Overwrite: o.overwrite, Resend: o.resend, Judge: judge, Partial: o.partial, InsecureSkipVerify: o.skip, Approver: approver, Jobs: o.jobs,
		Keys: keys, AllowRollback: o.allowRollback, Reason: o.record.reason, Reception: reception, Now: u.now,
	}
	res := &importResult{Destination: dst.name}
	for _, path := range o.bundles {
		one, err := o.importOne(ctx, u, path, dst, how, seen)
		if one != nil && one.ImportResult != nil {
			res.Bundles = append(res.Bundles, *one)
		}
		if err != nil && (errors.Is(err, bundle.ErrRefused) || errors.Is(err, bundle.ErrUndecided) || errors.Is(err, bundle.ErrMissing)) {
			// The verdict is a result, too.
			if err := u.result(o.outputOptions, "ImportResult", res, func(w io.Writer) { writeImport(w, res) }); err != nil {
				return err
			}
		}
		if err != nil {
			return dst.explain(err, res)
		}
	}
	seen.warn(u)
	if err := dst.close(); err != nil {
		return err
	}
	if err := u.result(o.outputOptions, "ImportResult", res, func(w io.Writer) { writeImport(w, res) }); err != nil {
		return err
	}
	return res.leftOut()
}

// leftOut is the error of an import that let in some images and not all, or nil:
// a script that looks at the exit code alone has to know.
func (r *importResult) leftOut() error {
	var verdicts []error
	came, all := 0, 0
	for _, b := range r.Bundles {
		came, all = came+len(b.Names), all+len(b.Names)+len(b.LeftOut)
		if b.Report != nil {
			all += len(b.Report.Verdicts) - len(b.Names) - len(b.LeftOut)
			verdicts = append(verdicts, bundle.Err(b.Report))
		}
	}
	err := worst(verdicts)
	if err == nil {
		err = r.notHeld()
	}
	if err != nil {
		return &adviceError{err, fmt.Sprintf("--partial: %d of %s imported to %s, the others were left out", came, plural(all, "image"), r.Destination)}
	}
	return nil
}

// notHeld is the error of images that the destination cannot hold, or nil.
func (r *importResult) notHeld() error {
	var left []string
	for _, b := range r.Bundles {
		for _, l := range b.LeftOut {
			left = append(left, nameOnly(l.Source)+" was left out: "+l.Reason)
		}
	}
	if left == nil {
		return nil
	}
	return &layout.Error{Side: layout.SideDestination, Name: r.Destination, Err: fmt.Errorf("%s: %w", strings.Join(left, "; "), registry.ErrRegistry)}
}

func (o *importOptions) importOne(ctx context.Context, u *ui, path string, dst *destination, how bundle.ImportOptions, seen *seen) (*importedBundle, error) {
	b, err := o.open(ctx, u, path, dst)
	if err != nil {
		return nil, local(err)
	}
	defer b.Close()
	seen.bundle(b)
	if path == "-" && len(o.bundles) == 1 {
		if err := seen.unmatched(); err != nil {
			return nil, err
		}
	}
	caveats, err := u.caveats(ctx, b)
	if err != nil {
		return nil, local(err)
	}
	sink, memory, done, err := dst.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	p := u.progress("import", o.outputOptions)
	defer p.close()
	how.Progress, how.MountFrom = p.event, o.landing.mountFrom.Value()
	if len(b.NotCarried()) > 0 {
		var closeOthers func()
		how.Others, closeOthers = o.others(ctx, path)
		defer closeOthers()
	}
	if memory != nil {
		how.Memory = memory
	}
	res, err := bundle.Import(ctx, b, sink, how)
	if res != nil {
		u.odd(b, res)
	}
	repaired := repairedBy(sink)
	for _, dgst := range repaired {
		u.warn("%s: %s was damaged in %s; the copy in the bundle has replaced it", escape(b.Path), dgst, escape(dst.name))
	}
	return &importedBundle{res, caveats, repaired}, local(o.landing.keep(err))
}

// repairedBy lists what a sink has repaired.
func repairedBy(sink layout.Sink) []digest.Digest {
	if r, ok := sink.(interface{ Repaired() []digest.Digest }); ok {
		return r.Repaired()
	}
	return nil
}

// odd tells what was overridden, and what somebody should know.
func (u *ui) odd(b *bundle.Bundle, res *bundle.ImportResult) {
	for _, s := range res.Overridden {
		u.warn("%s: overridden: %s", escape(b.Path), escape(s))
	}
	for _, s := range res.Notes {
		u.warn("%s: %s", escape(b.Path), escape(s))
	}
}

// open opens a bundle, or first takes it from stdin.
func (o *importOptions) open(ctx context.Context, u *ui, path string, dst *destination) (*bundle.Bundle, error) {
	opts := bundle.OpenOptions{As: o.as, TempDir: dst.spoolDir}
	if path == "-" {
		return openSpooled(ctx, u, dst.spoolDir, opts)
	}
	t, err := parseLocal(path)
	if err != nil {
		return nil, err
	}
	return bundle.Open(ctx, t.path, opts)
}

// caveats says what cannot be proven of a bundle that another tool made.
func (u *ui) caveats(ctx context.Context, b *bundle.Bundle) ([]string, error) {
	if b.Own() {
		return nil, nil
	}
	g, err := b.Graph(ctx)
	if err != nil {
		return nil, err
	}
	caveats := b.Caveats(g)
	for _, c := range caveats {
		u.warn("%s: %s", escape(b.Path), escape(c))
	}
	return caveats, nil
}

func writeImport(w io.Writer, res *importResult) {
	for i, b := range res.Bundles {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if b.Report != nil {
			writeReport(w, b.Report)
			fmt.Fprintln(w)
		}
		if len(b.Names) == 0 {
			fmt.Fprintf(w, "%s: nothing was imported\n", escape(b.Bundle))
			continue
		}
		fmt.Fprintf(w, "%s → %s: sent %s, %s was there\n\n", escape(b.Bundle), escape(res.Destination), humanSize(b.Sent), humanSize(b.Present))
		rows := [][]string{{"IMAGE", "IMPORTED AS", "DIGEST"}}
		for _, n := range b.Names {
			rows = append(rows, []string{nameOnly(n.Source), nameOnly(n.Destination), n.Digest})
		}
		table(w, rows)
		fmt.Fprintf(w, "\n%s, %s; attached: %s\n", plural(b.Contents.Manifests, "manifest"), plural(b.Contents.Blobs, "blob"), escape(kindCounts(b.Contents.Attachments)))
		for _, l := range b.LeftOut {
			fmt.Fprintf(w, "left out: %s: %s\n", escape(nameOnly(l.Source)), escape(l.Reason))
		}
		writeRecords(w, b.Records)
		writeApprovals(w, b.Approvals)
		fmt.Fprintf(w, "integrity: %s\npolicy: %s\n", proven(b.Proven), admitted(b.Verified))
	}
}

// writeApprovals tells how many images were approved, by whom.
func writeApprovals(w io.Writer, all []bundle.Approval) {
	images, there := map[string]int{}, map[string]int{}
	for _, a := range all {
		images[a.Verifier]++
		if a.Present {
			there[a.Verifier]++
		}
	}
	for _, by := range slices.Sorted(maps.Keys(images)) {
		fmt.Fprintf(w, "approved: %s as %s", plural(images[by], "image"), escape(by))
		if n := there[by]; n > 0 {
			fmt.Fprintf(w, "; %d of the approvals were there already", n)
		}
		fmt.Fprintln(w)
	}
}

// writeRecords tells what was recorded with the images.
func writeRecords(w io.Writer, all []bundle.RecordMade) {
	if len(all) == 0 {
		return
	}
	count, claims, strangers := map[string]int{}, 0, 0
	for _, r := range all {
		count[string(r.Act)]++
		switch {
		case !r.Signed:
			claims++
		case r.Standing != custody.Verified:
			strangers++
		}
	}
	var parts []string
	for _, act := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%d × %s", count[act], act))
	}
	fmt.Fprintf(w, "recorded: %s", strings.Join(parts, ", "))
	if claims > 0 {
		fmt.Fprintf(w, "; %d of them not signed, and so claims", claims)
	}
	if strangers > 0 {
		fmt.Fprintf(w, "; %d of them by a key that is not pinned", strangers)
	}
	fmt.Fprintln(w)
}

func proven(ok bool) string {
	if ok {
		return "every byte is what the export record describes"
	}
	return "every digest and size fits; there was no export record to compare with"
}

func admitted(ok bool) string {
	if ok {
		return "admitted"
	}
	return "NOT VERIFIED (--insecure-skip-verify)"
}
