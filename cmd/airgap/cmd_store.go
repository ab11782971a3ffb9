package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/bundle/enclave"
	"airgap/layout"
	"airgap/store"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// storeOptions are what the flags of store say.
type storeOptions struct {
	verb   string
	args   []string
	store  string
	record recordOptions
	care   careOptions
	push   pushOptions
	load   loadOptions
	// repositories: of ls, a line for each
	repositories bool
	outputOptions
}

// storeVerbs say what store can do, and which flags go with each beside --store and
// those of output.
var storeVerbs = []verb[storeOptions]{
	{"gc", []string{"grace", "dry-run"}, runStoreGC},
	{"check", checkFlags, runStoreCheck},
	{"backup", []string{"output"}, runStoreBackup},
	{"rebuild", []string{"ledger", "checkpoint"}, runStoreRebuild},
	{"ls", []string{"repositories"}, runStoreLs},
	{"stats", nil, runStoreStats},
	{"push", pushFlags, runStorePush},
	{"load", loadFlags, runStoreLoad},
	{"rm", []string{"record-key", "record-password-file", "by", "reason"}, runStoreRm},
}

func storeCommand(u *ui) *cli.Command {
	var o storeOptions
	return &cli.Command{
		Name:      "store",
		Usage:     "look after a store",
		ArgsUsage: "ls [NAME...] | stats | push REF... | load REF... | rm REF... | gc | check | backup | rebuild",
		Description: `    ls      list the names with what they lead to: all, or those that are meant by a
            reference, a repository, or a pattern as policies have them. Sizes count
            what a name leads to once; so does the sum of all. --repositories has a
            line for each repository
    stats   tell how much is in the store, and how much room there is
    push    bring the images REF (references or patterns) or --all, and everything
            that is attached to them, into a registry: each in the form that the
            registry supports, names last. What is there is not sent. A tag that
            stands for something else there is refused before anything is written.
            What is in quarantine is not pushed. An index that was admitted without
            one of its children meets that child in the registry only if --policy
            passes it. Each image of which something was new
            to the registry is a line of the ledger, so that the store has to be
            writable
    load    put the images REF (references or patterns) into docker, podman or
            containerd on this machine under the names that they have here, or write
            what those read to --output. An index is loaded for the processor of this
            machine, unless --platform says more. Podman without a socket, and
            containerd, are reached by the programs podman and ctr. Engines keep
            images only: signatures stay here
    rm      take the names REF away: all of them or, if one is not there, none. What
            they stood for stays until it is collected, and can be had by its digest
            as long. It is entered in the ledger, in the same step; with --record-key
            a record of it is attached to the image, too. An image in quarantine can
            lose its name
    gc      remove what no name leads to: manifests, what is attached to them, and
            blobs. It runs beside serve and imports: what those count on stays, and
            what was pushed less than --grace ago. --dry-run tells what would go
    check   compare the database with itself, with the ledger and with the files, each
            of which is hashed; --fast compares their sizes. Exit code 4 if something
            is wrong. --repair FROM replaces damaged and missing files from bundles,
            from another store, or from a registry
    backup  write a copy of the database to --output, as it is at one moment; copy the
            folder blobs after it. It holds the key of the ledger
    rebuild make the database anew from the blobs, each of which is hashed, and from
            --ledger, which airgap log export wrote, signed by the ledger's key. With
            --checkpoint it also has to continue one that was kept elsewhere (exit code
            6 if not). Nobody else may use the store.
            What came in later has no name any more. The old database stays beside it

Examples:
   airgap store ls 'ghcr.io/acme/**' --store /srv/airgap
   airgap store push ghcr.io/acme/app:1.4 --to harbor.corp/mirror --reason "change 4712"
   airgap store push --all --to harbor.corp --map ghcr.io/acme=harbor.corp/acme
   airgap store load nginx:1.29 ghcr.io/acme/app:1.4 --docker
   airgap store load 'registry.k8s.io/**' --containerd --namespace k8s.io
   airgap store load ghcr.io/acme/app:1.4 -o - | ssh node podman load
   airgap store rm ghcr.io/acme/app:1.3 --store /srv/airgap
   airgap store rm ghcr.io/acme/app:1.3 --reason "change 4711" --by "import desk" \
      --record-key desk.key
   airgap store gc --store /srv/airgap --dry-run
   airgap store check --store /srv/airgap --fast
   airgap store check --store /srv/airgap --repair app.tar --repair harbor.corp/mirror
   airgap store backup --store /srv/airgap -o monday.db
   airgap store rebuild --store /srv/airgap --ledger ./ledger --checkpoint monday.note`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "store", Usage: "the store in `DIR`", DefaultText: "$AIRGAP_STORE, else airgap/store in the user's data folder", Destination: &o.store},
			&cli.BoolFlag{Name: "repositories", Usage: "ls: a line for each repository, not for each name", Destination: &o.repositories},
		}, append(append(append(append(o.care.flags(), o.push.flags()...), o.load.flags()...), o.record.flags()...), o.outputOptions.flags()...)...),
		Action: func(c *cli.Context) error {
			o.verb, o.args = c.Args().First(), c.Args().Tail()
			return runStore(c.Context, u, o, c.LocalFlagNames())
		},
	}
}

func runStore(ctx context.Context, u *ui, o storeOptions, given []string) error {
	v, err := choose("store", storeVerbs, o.verb, given)
	if err != nil {
		return err
	}
	if err := o.outputOptions.check(); err != nil {
		return err
	}
	return v.run(ctx, u, o)
}

// inStore runs fn with the store that is meant. None is made.
func (o *storeOptions) inStore(u *ui, readOnly bool, fn func(st *store.Store, dir string) error) (err error) {
	dir, err := u.storeDir(o.store)
	if err != nil {
		return err
	}
	st, err := openThere(dir, readOnly)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return fn(st, dir)
}

// storeRmResult is what store rm reports.
type storeRmResult struct {
	Store   string        `json:"store"`
	Removed []removedName `json:"removed"`
}

type removedName struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	Record    digest.Digest `json:"record,omitempty"` // manifest of the record that was attached
}

func runStoreRm(ctx context.Context, u *ui, o storeOptions) error {
	if len(o.args) == 0 {
		return usagef("store rm wants names to take away")
	}
	recording, err := o.record.recording(ctx, u)
	if err != nil {
		return err
	}
	return o.inStore(u, false, func(st *store.Store, dir string) error {
		res, err := removeNames(ctx, st, dir, o.args, recording, u.now())
		if err != nil {
			return local(err)
		}
		return u.result(o.outputOptions, "StoreRemoveResult", res, func(w io.Writer) { writeRemoved(w, res) })
	})
}

// removeNames takes all names away, in one step, or none.
func removeNames(ctx context.Context, st *store.Store, dir string, args []string, by bundle.Recording, now time.Time) (*storeRmResult, error) {
	state, err := st.State()
	if err != nil {
		return nil, err
	}
	at, err := enclave.LedgerTime(st, now)
	if err != nil {
		return nil, err
	}
	all, err := st.Judged().Names(ctx)
	if err != nil {
		return nil, err
	}
	names, err := namesCalled(dir, args, all)
	if err != nil {
		return nil, err
	}
	session, err := st.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	if err := session.Expect(state); err != nil {
		return nil, err
	}
	res := &storeRmResult{Store: dir, Removed: []removedName{}}
	var records []bundle.Addition
	for _, n := range names {
		e := custody.Entry{At: at, Act: custody.Delete, Reference: n.Reference.Name(), Digest: n.Descriptor.Digest, By: by.By, Reason: by.Reason}
		one := removedName{Reference: e.Reference, Digest: e.Digest}
		if by.Key != nil {
			a, err := by.Delete(ctx, st.Judged(), n, custody.InStore)
			if err == nil {
				e.Key, err = sigstore.Fingerprint(by.Key.Public())
			}
			if errors.Is(err, custody.ErrRecord) { // what was given does not fit in
				err = usagef("%w", err)
			}
			if err != nil {
				return nil, err
			}
			one.Record = a.Artifact.Manifest.Digest
			e.Records, records = []digest.Digest{one.Record}, append(records, a)
		}
		if err := errors.Join(session.Remove(n.Reference), enclave.Enter(session, e)); err != nil {
			return nil, err
		}
		res.Removed = append(res.Removed, one)
	}
	_, err = bundle.Attach(ctx, session, records)
	return res, err
}

// namesCalled finds the names that are meant, each once. One that is not there, or
// could be another, is an error: what is taken away is not guessed.
func namesCalled(dir string, args []string, all []layout.Name) ([]layout.Name, error) {
	var out []layout.Name
	for _, arg := range args {
		ref, err := layout.ParseReference(arg)
		if err != nil {
			return nil, usagef("%w", err)
		}
		i := slices.IndexFunc(all, func(n layout.Name) bool { return n.Reference.Name() == ref.Name() })
		if i >= 0 && ref.Tag != "" && ref.Digest != "" && ref.Digest != all[i].Descriptor.Digest {
			return nil, &layout.Error{Side: layout.SideStore, Name: dir, Err: fmt.Errorf("%s stands for %s, not for %s: %w", ref.Name(), all[i].Descriptor.Digest, ref.Digest, layout.ErrNotFound),
				Hint: "nothing was changed"}
		}
		if i < 0 {
			return nil, &layout.Error{Side: layout.SideStore, Name: dir, Err: fmt.Errorf("there is no name %s%s: %w", ref.Name(), tagsOf(ref, all), layout.ErrNotFound),
				Hint: "nothing was changed; airgap tree store:" + dir + " lists the names"}
		}
		if !slices.ContainsFunc(out, func(n layout.Name) bool { return n.Reference == all[i].Reference }) {
			out = append(out, all[i])
		}
	}
	return out, nil
}

// tagsOf says which tags a digest has, that is no name by itself.
func tagsOf(ref layout.Reference, all []layout.Name) string {
	var tags []string
	for _, n := range all {
		if n.Reference.Repository == ref.Repository && ref.Digest != "" && n.Descriptor.Digest == ref.Digest && n.Reference.Tag != "" {
			tags = append(tags, n.Reference.Tag)
		}
	}
	if len(tags) == 0 {
		return ""
	}
	return " (it has the tags " + strings.Join(tags, ", ") + ")"
}

func writeRemoved(w io.Writer, res *storeRmResult) {
	for _, n := range res.Removed {
		fmt.Fprintf(w, "removed %s  %s\n", escape(n.Reference), shortDigest(n.Digest))
	}
	fmt.Fprintf(w, "%s; what they stood for stays until it is collected\n", plural(len(res.Removed), "name"))
}
