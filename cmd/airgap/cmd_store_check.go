package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"

	"airgap/bundle"
	"airgap/bundle/enclave"
	"airgap/bundle/registry"
	"airgap/layout"
	"airgap/store"

	"github.com/opencontainers/go-digest"
)

// storeCheckResult is what store check reports.
type storeCheckResult struct {
	Store    string            `json:"store"`
	Hashed   bool              `json:"hashed"`
	Blobs    int               `json:"blobs"`
	Bytes    int64             `json:"bytes"`
	Problems []enclave.Problem `json:"problems"` // what is left after a repair
	Repaired []repairedBlob    `json:"repaired,omitempty"`
	Orphans  int               `json:"orphans"`
}

// repairedBlob is a damaged or missing file that was replaced.
type repairedBlob struct {
	Digest digest.Digest `json:"digest"`
	From   string        `json:"from"`
}

func runStoreCheck(ctx context.Context, u *ui, o storeOptions) (err error) {
	from := slices.Concat(o.care.repair.Value(), o.args)
	if len(o.care.repair.Value()) == 0 {
		if err := o.noArgs(); err != nil {
			return err
		}
	}
	if err := o.push.registry.check(""); err != nil {
		return err
	}
	sources, err := o.repairSources(ctx, u, from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sources.close()) }()
	return o.inStore(u, len(from) == 0, func(st *store.Store, dir string) error {
		report, err := o.check(ctx, u, st, nil)
		if err != nil {
			return local(err)
		}
		res := &storeCheckResult{Store: dir, Hashed: !o.care.fast, Blobs: report.Blobs, Bytes: report.Bytes, Problems: []enclave.Problem{}, Orphans: report.Orphans}
		if len(from) > 0 && len(report.Damaged) > 0 {
			if res.Repaired, err = sources.repair(ctx, u, st, report.Damaged); err != nil {
				return local(err)
			}
			if report, err = o.check(ctx, u, st, report.Damaged); err != nil {
				return local(err)
			}
		}
		for _, found := range report.Problems {
			res.Problems = append(res.Problems, enclave.Problem{Repository: found.Repository, Digest: found.Digest, Problem: found.Err.Error()})
		}
		err = report.Err()
		if err == nil {
			err = res.replay(ctx, st)
		}
		if rerr := u.result(o.outputOptions, "StoreCheckResult", res, func(w io.Writer) { writeChecked(w, res) }); rerr != nil {
			return rerr
		}
		return local(err)
	})
}

// replay adds where a store that is sound is not what its ledger says. The error is about
// the first of these.
func (res *storeCheckResult) replay(ctx context.Context, st *store.Store) error {
	found, err := enclave.CheckLedger(ctx, st)
	if err != nil || len(found) == 0 {
		return err
	}
	res.Problems = append(res.Problems, found...)
	p := found[0]
	return &layout.Error{Side: layout.SideStore, Name: p.Repository, Digest: p.Digest,
		Err:  fmt.Errorf("%s (%s: %w)", p.Problem, plural(len(found), "problem"), layout.ErrCorrupt),
		Hint: "somebody has edited the database: airgap log verify --checkpoint says whether the ledger is what it was; airgap log export and airgap store rebuild make names and quarantine what it says"}
}

// check checks a store. If only is given, no other blob is hashed.
func (o *storeOptions) check(ctx context.Context, u *ui, st *store.Store, only []store.Damage) (store.Report, error) {
	how := store.CheckOptions{Hashes: !o.care.fast}
	if only != nil {
		how.Hashes, how.Only = true, map[digest.Digest]bool{}
		for _, d := range only {
			how.Only[d.Digest] = true
		}
		return st.Check(ctx, how)
	}
	total, err := st.Stats(ctx)
	if err != nil {
		return store.Report{}, err
	}
	p := u.progress("check", o.outputOptions)
	defer p.close()
	p.event(layout.Event{Kind: layout.EventPlan, N: total.Bytes, Count: total.Blobs})
	how.OnBlob = func(size int64) { p.event(layout.Event{Kind: layout.EventSkip, N: size}) }
	return st.Check(ctx, how)
}

func writeChecked(w io.Writer, res *storeCheckResult) {
	for _, r := range res.Repaired {
		fmt.Fprintf(w, "repaired %s from %s\n", r.Digest, escape(r.From))
	}
	for _, p := range res.Problems {
		fmt.Fprintf(w, "%s %s: %s\n", escape(p.Repository), p.Digest, escape(p.Problem))
	}
	how := "each hashed"
	if !res.Hashed {
		how = "by their sizes; without --fast each is hashed"
	}
	fmt.Fprintf(w, "%s, %s, %s; problems: %d\n", plural(res.Blobs, "blob"), humanSize(res.Bytes), how, len(res.Problems))
	if len(res.Repaired) > 0 {
		fmt.Fprintf(w, "%s repaired\n", plural(len(res.Repaired), "file"))
	}
	if res.Orphans > 0 {
		fmt.Fprintf(w, "%s that the database does not list, which is no problem; store gc removes them\n", plural(res.Orphans, "file"))
	}
}

// repairSource is a bundle, a store or a registry that may have what a store has lost.
type repairSource struct {
	name  string
	open  func(context.Context, store.Damage) (io.ReadCloser, error)
	close func() error
}

type repairSources []repairSource

func (all repairSources) close() error {
	var errs []error
	for _, s := range all {
		if s.close != nil {
			errs = append(errs, s.close())
		}
	}
	return errors.Join(errs...)
}

// repairSources opens what --repair names: a bundle, store:DIR, or HOST[/PREFIX].
func (o *storeOptions) repairSources(ctx context.Context, u *ui, names []string) (all repairSources, err error) {
	var client *registry.Client
	for _, name := range names {
		var s repairSource
		dir, isStore := strings.CutPrefix(name, "store:")
		switch {
		case isStore || store.Is(name):
			s, err = storeToRepairFrom(dir)
		case isBundlePath(name):
			s, err = bundleToRepairFrom(ctx, name)
		case !namesRegistry(name):
			err = usagef("--repair %q: neither a bundle, nor store:DIR, nor HOST[/PREFIX]", name)
		default:
			host, _, _ := strings.Cut(name, "/")
			if client == nil {
				client, err = o.push.registry.client(ctx, u, host, layout.SideSource)
			}
			s = registryToRepairFrom(client, name)
		}
		if err != nil {
			return nil, errors.Join(err, all.close())
		}
		all = append(all, s)
	}
	return all, nil
}

// isBundlePath reports whether an argument is meant as a path: it exists, or looks like
// nothing else.
func isBundlePath(s string) bool {
	return strings.HasPrefix(s, "oci:") || strings.HasPrefix(s, "bundle:") || looksLikePath(s) || exists(s)
}

// namesRegistry reports whether s is HOST[/PREFIX], with a host that nobody can take for a
// path.
func namesRegistry(s string) bool {
	host, _, _ := strings.Cut(s, "/")
	ref, err := layout.ParseReference(s + "/x")
	return err == nil && ref.Registry() == host
}

func storeToRepairFrom(dir string) (repairSource, error) {
	other, err := openThere(dir, true)
	if err != nil {
		return repairSource{}, err
	}
	open := func(ctx context.Context, d store.Damage) (io.ReadCloser, error) {
		return other.Content(ctx, d.Descriptor)
	}
	return repairSource{"store:" + dir, open, other.Close}, nil
}

func bundleToRepairFrom(ctx context.Context, path string) (repairSource, error) {
	t, err := parseLocal(path)
	if err != nil {
		return repairSource{}, err
	}
	b, err := bundle.Open(ctx, t.path, bundle.OpenOptions{As: "repair.invalid/content"}) // names do not count
	if err != nil {
		return repairSource{}, local(err)
	}
	content, err := b.Content(ctx)
	if err != nil {
		return repairSource{}, errors.Join(local(err), b.Close())
	}
	open := func(ctx context.Context, d store.Damage) (io.ReadCloser, error) { return content(ctx, d.Descriptor) }
	return repairSource{t.path, open, b.Close}, nil
}

// registryToRepairFrom asks a registry in the repositories where import and store push
// would have brought the content, and in those that have the registry's own name.
func registryToRepairFrom(c *registry.Client, to string) repairSource {
	host, _, _ := strings.Cut(to, "/")
	open := func(ctx context.Context, d store.Damage) (rc io.ReadCloser, err error) {
		err = layout.ErrNotFound
		for _, repo := range d.Repositories {
			candidates := []string{}
			if mapped, merr := (bundle.Mapping{To: to}).Repository(repo); merr == nil {
				candidates = append(candidates, mapped)
			}
			if strings.HasPrefix(repo, host+"/") && !slices.Contains(candidates, repo) {
				candidates = append(candidates, repo)
			}
			for _, at := range candidates {
				if rc, err = c.Open(ctx, at, d.Descriptor); err == nil || !errors.Is(err, layout.ErrNotFound) {
					return rc, err
				}
			}
		}
		return nil, err
	}
	return repairSource{name: to, open: open}
}

// repair replaces each damaged file by the first source that has its content. What a source
// cannot give is reported, and looked for in the next.
func (all repairSources) repair(ctx context.Context, u *ui, st *store.Store, damaged []store.Damage) ([]repairedBlob, error) {
	session, err := st.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	var out []repairedBlob
	for _, d := range damaged {
		from, err := all.repairOne(ctx, u, session, d)
		if err != nil {
			return nil, err
		}
		if from != "" {
			out = append(out, repairedBlob{d.Digest, from})
		}
	}
	if out == nil {
		return nil, nil
	}
	return out, session.Commit(ctx, nil)
}

// repairOne returns the name of the source that had the content; "" if none had.
func (all repairSources) repairOne(ctx context.Context, u *ui, session *store.Session, d store.Damage) (string, error) {
	for _, s := range all {
		rc, err := s.open(ctx, d)
		if err == nil {
			err = errors.Join(session.Repair(ctx, d.Descriptor, rc), rc.Close())
		}
		switch {
		case err == nil:
			return s.name, nil
		case ctx.Err() != nil || isDiskFull(err):
			return "", err
		case !errors.Is(err, layout.ErrNotFound):
			u.warn("%s: %s", escape(s.name), errorText(err))
		}
	}
	return "", nil
}

// isDiskFull reports whether the disk has no space left.
func isDiskFull(err error) bool { return errors.Is(err, syscall.ENOSPC) }
