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
	"airgap/verify"

	"github.com/opencontainers/go-digest"
	"github.com/urfave/cli/v2"
)

// pushOptions are what the flags of store push say, beside those of store.
type pushOptions struct {
	to        string
	all       bool
	overwrite bool
	resend    bool
	jobs      int
	mountFrom cli.StringSlice
	rules     cli.StringSlice
	judge     policyOptions
	registry  registryOptions
}

const pushCategory = "Push:"

func (o *pushOptions) flags() []cli.Flag {
	mapping := mapFlag().(*cli.StringSliceFlag)
	mapping.Category, mapping.Destination = pushCategory, &o.rules
	return append([]cli.Flag{
		&cli.StringFlag{Name: "to", Category: pushCategory, Usage: "push into the registry `HOST[/PREFIX]`", DefaultText: "none: required", Destination: &o.to},
		&cli.BoolFlag{Name: "all", Category: pushCategory, Usage: "push every name that is not in quarantine", Destination: &o.all},
		mapping,
		&cli.BoolFlag{Name: "overwrite", Category: pushCategory, Usage: "let tags of the registry move", Destination: &o.overwrite},
		&cli.BoolFlag{Name: "resend", Category: pushCategory, Usage: "send everything, even what the registry says it has already", Destination: &o.resend},
		&cli.StringSliceFlag{Name: "mount-from", Category: pushCategory, Usage: "mount layers from the repository `REPO` of the registry, where it has them, instead of sending them; repeatable", DefaultText: "none", Destination: &o.mountFrom},
		&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Category: pushCategory, Usage: "move `N` layers at once", Value: layout.DefaultJobs, DefaultText: fmt.Sprint(layout.DefaultJobs), Destination: &o.jobs},
	}, append(o.judge.flags(), o.registry.flags()...)...)
}

// pushFlags are the flags that go with store push.
var pushFlags = []string{
	"to", "all", "map", "overwrite", "resend", "mount-from", "jobs", "by", "reason",
	"plain-http", "insecure", "ca-file", "cert-file", "key-file", "username", "password-stdin", "registry-config", "no-referrers-api",
	"policy", "env", "trust-policy", "trust", "key", "certificate-identity", "certificate-identity-regexp",
	"certificate-oidc-issuer", "certificate-oidc-issuer-regexp", "trusted-root",
}

// checkFlags are the flags that go with store check.
var checkFlags = []string{
	"fast", "repair",
	"plain-http", "insecure", "ca-file", "cert-file", "key-file", "username", "password-stdin", "registry-config",
}

func (o *storeOptions) checkPush() error {
	p := &o.push
	if err := checkAll(p.registry.check(""), checkJobs(p.jobs), checkMountFrom(p.mountFrom.Value(), p.to)); err != nil {
		return err
	}
	switch {
	case p.to == "":
		return usagef("store push: where to? give --to HOST[/PREFIX]")
	case !validHost(p.to):
		return usagef("--to %q: want HOST[/PREFIX]", p.to)
	case len(o.args) == 0 && !p.all:
		return &adviceError{usagef("store push wants names to push"), "--all pushes everything that is not in quarantine"}
	case len(o.args) > 0 && p.all:
		return usagef("--all and %q: want one or the other", o.args[0])
	}
	return nil
}

// storePushResult is what store push reports.
type storePushResult struct {
	Store       string `json:"store"`
	Destination string `json:"destination"`
	*bundle.PushResult
	LeftOut []leftOutName `json:"leftOut,omitempty"`
}

type leftOutName struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	Reason    string        `json:"reason"`
}

func leftOut(held []heldName) []leftOutName {
	var out []leftOutName
	for _, h := range held {
		out = append(out, leftOutName{h.ref.Name(), h.digest, "in quarantine: " + h.reason})
	}
	return out
}

func runStorePush(ctx context.Context, u *ui, o storeOptions) (err error) {
	if err := o.checkPush(); err != nil {
		return err
	}
	p := &storePush{now: u.now}
	if p.mapping, err = parseMapping(o.push.to, o.push.rules.Value()); err != nil {
		return err
	}
	if o.push.judge.given(u) {
		if p.judge, err = o.push.judge.judge(u); err != nil {
			return err
		}
		p.judge.Now = u.now
	}
	if p.by, err = o.record.recording(ctx, u); err != nil {
		return err
	}
	dir, err := u.storeDir(o.store)
	if err != nil {
		return err
	}
	host, _, _ := strings.Cut(o.push.to, "/")
	client, err := o.push.registry.client(ctx, u, host, layout.SideDestination)
	if err != nil {
		return err
	}
	if p.store, err = openThere(dir, false); err != nil {
		return forLedger(err)
	}
	defer func() { err = errors.Join(err, p.store.Close()) }()
	if p.src, err = sourceOf(ctx, p.store); err != nil {
		return err
	}
	if p.judge != nil {
		p.judge = bundle.WithLists(p.judge, p.src.lists)
	}
	chosen, err := p.src.choose(ctx, p.store, dir, o.args)
	if err != nil {
		return err
	}
	res := &storePushResult{Store: dir, Destination: o.push.to, LeftOut: leftOut(chosen.held)}
	if res.PushResult, err = p.run(ctx, u, o, chosen.refs, client); err != nil {
		return err
	}
	return u.result(o.outputOptions, "StorePushResult", res, func(w io.Writer) { writePushed(w, res) })
}

// forLedger says why a store that is only read needs to be written.
func forLedger(err error) error {
	if layout.Hint(err) != "" {
		return err
	}
	return &adviceError{err, "what leaves the store is entered in its ledger, so that it has to be writable"}
}

// storePush pushes out of one store.
type storePush struct {
	store   *store.Store
	src     *storeSource
	mapping bundle.Mapping
	judge   *verify.Judge // nil without a policy
	by      bundle.Recording
	now     func() time.Time
}

func (p *storePush) run(ctx context.Context, u *ui, o storeOptions, refs []layout.Reference, dst layout.Sink) (*bundle.PushResult, error) {
	if len(refs) == 0 { // all are in quarantine
		return &bundle.PushResult{Names: []bundle.PushedName{}}, nil
	}
	if _, err := enclave.LedgerTime(p.store, p.now()); err != nil {
		return nil, err
	}
	m := u.progress("push", o.outputOptions)
	defer m.close()
	s := bundle.Selection{Source: p.src, Kind: custody.InStore, References: refs, MayMiss: mayMissAny}
	res, err := bundle.Push(ctx, s, dst, bundle.PushOptions{
		Mapping: p.mapping, Overwrite: o.push.overwrite, Resend: o.push.resend, MountFrom: o.push.mountFrom.Value(),
		BeforeNames: p.enter, Marks: p.store, Judge: p.judge, Jobs: o.push.jobs, OnManifest: m.manifest, Progress: m.event,
	})
	if err != nil && again(err) {
		err = &adviceError{err, "run the same command again: what was sent already is not sent again"}
	}
	return res, err
}

// maxEnterTries is how often the ledger is tried, if others keep changing the store.
const maxEnterTries = 10

// enter writes the ledger: a line for each image of which something was not at the
// destination. It comes before the names, so that none is there that the ledger does
// not have.
func (p *storePush) enter(ctx context.Context, names []bundle.PushedName, sparse []bundle.SparseIndex) error {
	for try := 1; ; try++ {
		err := p.tryEnter(ctx, names, sparse)
		if !errors.Is(err, store.ErrChanged) || try == maxEnterTries {
			return err
		}
	}
}

func (p *storePush) tryEnter(ctx context.Context, names []bundle.PushedName, sparse []bundle.SparseIndex) error {
	state, err := p.store.State()
	if err != nil {
		return err
	}
	at, err := enclave.LedgerTime(p.store, p.now())
	if err != nil {
		return err
	}
	session, err := p.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := session.Expect(state); err != nil {
		return err
	}
	entered, err := bundle.RememberAbsent(session, sparse)
	if err != nil {
		return err
	}
	if entered {
		if err := p.enterSparse(session, at, sparse); err != nil {
			return err
		}
	}
	for _, n := range names {
		if err := p.stillGiven(ctx, n); err != nil {
			return err
		}
		entered = entered || !n.Present
		if n.Present {
			continue
		}
		err := enclave.Enter(session, custody.Entry{
			At: at, Act: custody.Export, Reference: n.Source, Digest: n.Digest, By: p.by.By, Reason: p.reason(n),
			To: &custody.Place{Kind: custody.InRegistry, Name: n.Repository},
		})
		if errors.Is(err, custody.ErrRecord) { // what was given does not fit in
			err = usagef("%w", err)
		}
		if err != nil {
			return err
		}
	}
	if !entered {
		return nil
	}
	return session.Commit(ctx, nil)
}

// enterSparse enters the indexes that went without some of their children, with the
// references by whose rules they were admitted, so that store rebuild can remember them.
func (p *storePush) enterSparse(session *store.Session, at time.Time, sparse []bundle.SparseIndex) error {
	for _, s := range sparse {
		absent := slices.Compact(slices.Sorted(slices.Values(s.Absent)))
		for _, ref := range s.References {
			err := enclave.Enter(session, custody.Entry{
				At: at, Act: custody.Export, Reference: ref, Digest: s.Digest, By: p.by.By,
				To:     &custody.Place{Kind: custody.InRegistry, Name: s.Repository},
				Absent: absent[:min(len(absent), custody.MaxAbsent)],
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// stillGiven fails if an image has come into quarantine while it was sent.
func (p *storePush) stillGiven(ctx context.Context, n bundle.PushedName) error {
	ref, err := layout.ParseReference(n.Source)
	if err != nil {
		return err
	}
	if ref.Digest == "" { // what the name stands for now is another matter
		_, err = p.store.Resolve(ctx, ref)
	}
	if errors.Is(err, store.ErrQuarantined) {
		return err
	}
	ref.Digest = n.Digest
	if _, err = p.store.Resolve(ctx, ref); errors.Is(err, store.ErrQuarantined) {
		return err
	}
	return nil
}

// reason is why, and what the push did away with.
func (p *storePush) reason(n bundle.PushedName) string {
	if n.Was == "" {
		return p.by.Reason
	}
	moved := fmt.Sprintf("--overwrite: %s was %s", n.Destination, n.Was)
	if p.by.Reason == "" {
		return moved
	}
	return p.by.Reason + "; " + moved
}

func writePushed(w io.Writer, res *storePushResult) {
	fmt.Fprintf(w, "%s → %s: sent %s, %s was there\n", escape(res.Store), escape(res.Destination), humanSize(res.Sent), humanSize(res.Present))
	if len(res.Names) > 0 {
		rows := [][]string{{"IMAGE", "PUSHED AS", "DIGEST", "BEFORE"}}
		for _, n := range res.Names {
			rows = append(rows, []string{n.Source, n.Destination, shortDigest(n.Digest), before(n)})
		}
		fmt.Fprintln(w)
		table(w, rows)
		fmt.Fprintf(w, "\n%s, %s; attached: %s\n", plural(res.Contents.Manifests, "manifest"), plural(res.Contents.Blobs, "blob"), escape(kindCounts(res.Contents.Attachments)))
	}
	writeHeldBack(w, "pushed", res.LeftOut)
}

// before says what a name was at the destination.
func before(n bundle.PushedName) string {
	switch {
	case n.Present:
		return "the same"
	case n.Was != "":
		return shortDigest(n.Was)
	}
	return "-"
}

// writeHeldBack tells what was left out, and why.
func writeHeldBack(w io.Writer, done string, all []leftOutName) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s not %s:\n", pluralIs(len(all), "name"), done)
	var rows [][]string
	for _, n := range all {
		rows = append(rows, []string{"  " + n.Reference, shortDigest(n.Digest), n.Reason})
	}
	table(w, rows)
}
