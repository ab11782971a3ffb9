package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"airgap/bundle"
	"airgap/bundle/custody"
	"airgap/bundle/enclave"
	"airgap/layout"
	"airgap/store"
	"airgap/verify"
	"airgap/verify/sigstore"

	"github.com/opencontainers/go-digest"
)

// promotion is a place in which images are to be promoted.
type promotion struct {
	*workplace
	store *store.Store // if it is one
	at    time.Time    // of what is entered in its ledger
	graph *layout.Graph
	made  []*bundle.Promotion // for each root of the graph
}

// promotions opens what the targets are in, each once, and resolves each target once.
func (op *opener) promotions(ctx context.Context, targets []target) ([]*promotion, error) {
	var out []*promotion
	byPath := map[string]*promotion{}
	for _, t := range targets {
		key := fmt.Sprint(t.kind, " ", filepath.Clean(t.path))
		p := byPath[key]
		if p == nil {
			w, err := op.workplace(ctx, t)
			if err != nil {
				return nil, err
			}
			p = &promotion{workplace: w}
			p.store, _ = w.Source.(*store.Store)
			byPath[key], out = p, append(out, p)
		}
		if refs, err := pick(t, p.names); t.kind != inRegistry && (err != nil || len(refs) != 1) {
			if err == nil {
				err = &adviceError{usagef("%s stands for %s, and promote wants one", t, plural(len(refs), "image")), "name it as in " + p.name + "#REF; airgap tree " + p.name + " lists what there is"}
			}
			return nil, err
		}
		s, err := p.resolve(ctx, t)
		if err != nil {
			return nil, p.local(err)
		}
		s.ref.Digest = s.desc.Digest // a tag may move meanwhile
		p.subjects = append(p.subjects, s)
	}
	return out, nil
}

// promoteAll judges everything, then makes all records, and only then attaches any.
func promoteAll(ctx context.Context, places []*promotion, by bundle.Promoter, j *verify.Judge, res *promoteResult) error {
	var verdicts []error
	for _, p := range places {
		var err error
		if p.store != nil {
			p.at, err = enclave.LedgerTime(p.store, by.Now())
		}
		if err != nil {
			return p.local(err)
		}
		r, err := p.judge(ctx, j)
		if err != nil {
			return p.local(err)
		}
		if r != nil {
			res.Reports = append(res.Reports, r)
			verdicts = append(verdicts, bundle.Err(r))
			if err := p.refusals(ctx, r, &by, res.Key); err != nil {
				return p.local(err)
			}
		}
	}
	if res.State = stateOf(verdicts); res.State != verify.Passed && res.State != "" {
		return worst(verdicts)
	}
	for i, p := range places {
		by.In = custody.InRegistry
		if p.store != nil {
			by.In = custody.InStore
		}
		var r *verify.Report
		if j != nil {
			r = res.Reports[i]
		}
		if err := p.makeAll(ctx, by, r); err != nil {
			return p.local(err)
		}
	}
	for i, p := range places {
		if err := p.attachAll(ctx, res); err != nil {
			err = p.local(err)
			if i > 0 {
				err = &adviceError{err, "already promoted: what is in " + places[0].name}
			}
			return err
		}
	}
	return nil
}

// stateOf is empty if nothing was judged.
func stateOf(verdicts []error) verify.State {
	switch {
	case len(verdicts) == 0:
		return ""
	case worst(verdicts) == nil:
		return verify.Passed
	case exitCode(worst(verdicts)) == exitRefused:
		return verify.Refused
	}
	return verify.Undecided
}

// judge walks the images and, if there is a judge, has them judged.
func (p *promotion) judge(ctx context.Context, j *verify.Judge) (*verify.Report, error) {
	var refs []layout.Reference
	for _, s := range p.subjects {
		refs = append(refs, s.ref)
	}
	var err error
	p.graph, err = layout.Walk(ctx, p.Source, refs, layout.WalkOptions{MayMiss: mayMissAny})
	if err != nil || j == nil {
		return nil, err
	}
	if p.store != nil {
		kept, err := p.store.RevocationLists()
		if err != nil {
			return nil, err
		}
		var lists []bundle.RevocationList
		for _, l := range kept {
			lists = append(lists, bundle.RevocationList{DER: l.Raw})
		}
		j = bundle.WithLists(j, lists)
	}
	return j.Graph(ctx, p.Source, p.graph)
}

// entryOf is what every line of the ledger about this has.
func entryOf(act custody.Act, at time.Time, root layout.Name, by *bundle.Promoter, key string) custody.Entry {
	return custody.Entry{
		At: at, Act: act, Reference: root.Reference.Name(), Digest: root.Descriptor.Digest, By: by.By, Key: key, Reason: by.Reason,
		To: &custody.Place{Kind: custody.InEnvironment, Name: by.To},
	}
}

// refusals enters in a store's ledger what the policy did not let be promoted.
func (p *promotion) refusals(ctx context.Context, r *verify.Report, by *bundle.Promoter, key string) error {
	if p.store == nil || r.State == verify.Passed {
		return nil
	}
	session, err := p.store.Begin(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	for i, v := range r.Verdicts {
		if v.State == verify.Passed {
			continue
		}
		e := entryOf(custody.Refuse, p.at, p.graph.Roots[i], by, key)
		e.Result, e.Policy = string(v.State), digest.Digest(r.Policy.Digest)
		if err := enclave.Enter(session, e); err != nil {
			return err
		}
	}
	return session.Commit(ctx, nil)
}

// makeAll makes the records.
func (p *promotion) makeAll(ctx context.Context, by bundle.Promoter, r *verify.Report) error {
	for _, root := range p.graph.Roots {
		one, err := by.Promote(ctx, p.Source, p.graph, root, r)
		if errors.Is(err, custody.ErrRecord) { // what was given does not fit in
			err = usagef("%w", err)
		}
		if err != nil {
			return err
		}
		p.made = append(p.made, one)
	}
	p.attach = p.attacher(by)
	return nil
}

// attacher attaches, and in a store enters it in the ledger in the same commit.
func (p *promotion) attacher(by bundle.Promoter) func(context.Context, []bundle.Addition, func(layout.Event)) ([]bool, error) {
	if p.store == nil {
		return p.attach
	}
	return func(ctx context.Context, all []bundle.Addition, _ func(layout.Event)) ([]bool, error) {
		session, err := p.store.Begin(ctx)
		if err != nil {
			return nil, err
		}
		defer session.Close()
		key := ""
		if by.Key != nil {
			if key, err = sigstore.Fingerprint(by.Key.Public()); err != nil {
				return nil, err
			}
		}
		for i, one := range p.made {
			if one.Present {
				continue
			}
			e := entryOf(custody.Promote, p.at, p.graph.Roots[i], &by, key)
			e.Result, e.Policy, e.Records = string(one.Record.Result), one.Record.Policy, []digest.Digest{one.Artifact.Manifest.Digest}
			if err := enclave.Enter(session, e); err != nil {
				return nil, err
			}
		}
		return bundle.Attach(ctx, session, all)
	}
}

// attachAll attaches what was made and is not there.
func (p *promotion) attachAll(ctx context.Context, res *promoteResult) error {
	var all []bundle.Addition
	for _, one := range p.made {
		if !one.Present {
			all = append(all, one.Addition)
		}
	}
	if len(all) > 0 {
		if _, err := p.attach(ctx, all, nil); err != nil {
			return err
		}
	}
	for i, one := range p.made {
		root := p.graph.Roots[i]
		res.Promoted = append(res.Promoted, promotedImage{
			Target: p.target(root), Reference: root.Reference.Name(), Digest: root.Descriptor.Digest,
			Manifest: one.Artifact.Manifest.Digest, Record: &one.Record, Present: one.Present,
		})
	}
	return nil
}

// target is what the user called a root.
func (p *promotion) target(root layout.Name) string {
	for _, s := range p.subjects {
		if s.ref.String() == root.Reference.String() {
			return s.target.String()
		}
	}
	return root.Reference.String()
}

func writePromoted(w io.Writer, res *promoteResult) {
	for _, r := range res.Reports {
		writeReport(w, r)
		fmt.Fprintln(w)
	}
	if len(res.Promoted) == 0 {
		fmt.Fprintln(w, "nothing was promoted")
		return
	}
	for _, p := range res.Promoted {
		did := "attached"
		if p.Present {
			did = "was there already:"
		}
		what := "record"
		if !res.Signed {
			what = "claim (NOT SIGNED)"
		}
		fmt.Fprintf(w, "%s  %s\n   %s → %s\n   %s %s %s\n", escape(strings.TrimSuffix(p.Reference, "@"+string(p.Digest))), escape(string(p.Digest)),
			placeText(p.Record.From), placeText(p.Record.To), did, what, escape(string(p.Manifest)))
	}
	if res.Signed {
		fmt.Fprintf(w, "promoted %s to %s, signed with key %s\n", plural(len(res.Promoted), "image"), escape(res.Environment), res.Key)
	} else {
		fmt.Fprintf(w, "claimed that %s may go to %s; nobody signed that\n", plural(len(res.Promoted), "image"), escape(res.Environment))
	}
}

// placeText is a place in a few words.
func placeText(p *custody.Place) string {
	if p == nil {
		return "?"
	}
	s := string(p.Kind)
	if p.Name != "" {
		s += " " + p.Name
	}
	if p.Digest != "" {
		s += " " + shortDigest(p.Digest)
	}
	return escape(s)
}
