package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"airgap/bundle/custody"
	"airgap/layout"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// Sentinel errors of the verbs, to be matched with [errors.Is].
var (
	// ErrUsage: what was asked for makes no sense.
	ErrUsage = errors.New("usage")
	// ErrNoPolicy: there is no policy that could say yes.
	ErrNoPolicy = errors.New("no policy says that this may enter")
	// ErrRefused: the policy says no.
	ErrRefused = errors.New("verification refused it")
	// ErrUndecided: whether the policy is met could not be checked.
	ErrUndecided = errors.New("verification could not be decided")
	// ErrMoves: a tag of the destination stands for something else.
	ErrMoves = errors.New("tags would move")
)

// ImportOptions tune [Import].
type ImportOptions struct {
	Mapping Mapping
	// Overwrite lets tags of the destination move.
	Overwrite bool
	// Judge says what may enter.
	Judge *verify.Judge
	// Partial imports what passed, and what the destination can hold, and leaves
	// the rest; without it nothing enters unless everything does.
	Partial bool
	// InsecureSkipVerify imports without asking any policy. Integrity is
	// checked all the same.
	InsecureSkipVerify bool
	// Memory is what is remembered of earlier imports; nil remembers nothing, and
	// notices no rollback.
	Memory Memory
	// Keys are pinned beside those of the Judge, for what the bundle's maker signed;
	// without a Judge they are all there are.
	Keys []custody.Key
	// AllowRollback takes in what Memory is against; it needs a Reason.
	AllowRollback bool
	// Reason is why, in the words of whoever imports, for the ledger.
	Reason string
	// Reception has the import recorded; nil attaches no record.
	Reception *Reception
	// Now replaces time.Now, for tests.
	Now func() time.Time

	// Approver attaches an approval to every image that comes in; nil attaches
	// none. It needs a Judge whose policy has a digest.
	Approver *Approver
	// Others are bundles that are imported together with this one: what it does not
	// carry, and the destination does not have, is taken from them.
	Others []*Bundle
	// MountFrom names further repositories of the destination where content that
	// the bundle does not carry may be found.
	MountFrom []string
	// Resend sends everything, whatever the destination says that it has.
	Resend bool

	Jobs     int
	Progress func(layout.Event)
}

// ImportResult says what an import did.
type ImportResult struct {
	Bundle   string        `json:"bundle"`
	Proven   bool          `json:"proven"`   // the whole bundle was proven against its export record
	Verified bool          `json:"verified"` // a policy admitted it
	Names    []ImportedTag `json:"names"`
	// Approvals are what the Approver attached.
	Approvals []Approval `json:"approvals,omitempty"`
	// Records are those of the import, and of the export that were signed.
	Records []RecordMade `json:"records,omitempty"`
	// Overridden is what was against the import, and Notes what is odd.
	Overridden []string `json:"overridden,omitempty"`
	Notes      []string `json:"notes,omitempty"`
	// Report has the verdicts; nil if no policy was asked.
	Report *verify.Report `json:"report,omitempty"`
	// LeftOut are images that passed, if a policy was asked, and that the
	// destination cannot hold; with Partial only.
	LeftOut  []LeftOutImage `json:"leftOut,omitempty"`
	Contents Contents       `json:"contents"`
	Sent     int64          `json:"sentBytes"`
	Present  int64          `json:"presentBytes"` // not sent, for they were there
}

// ImportedTag is a name of the destination.
type ImportedTag struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Digest      string `json:"digest"`
}

// LeftOutImage is an image that was not imported.
type LeftOutImage struct {
	Source string `json:"source"`
	Digest string `json:"digest"`
	Reason string `json:"reason"`
}

// Import brings everything in b to dst: blobs, then manifests, then names. It
// proves the bundle first, asks the judge before anything is written, and hashes
// each byte as it is copied, also of what dst has already, so that nothing damaged
// gets a name. If the judge says no, or cannot say, the error matches ErrRefused or
// ErrUndecided, and the result holds the report. If what is remembered of earlier
// imports is against it, the error matches ErrRollback.
func Import(ctx context.Context, b *Bundle, dst layout.Sink, o ImportOptions) (*ImportResult, error) {
	if err := o.check(b); err != nil {
		return nil, err
	}
	i := &importing{Bundle: b, dst: dst, o: o, now: o.clock()}
	if o.Judge != nil && o.Judge.Starts == nil { // each attachment is looked at once
		judge := *o.Judge
		judge.Starts, i.o.Judge = &i.starts, &judge
	}
	res, err := i.run(ctx)
	if lerr := i.logRefusal(ctx, err); lerr != nil {
		err = errors.Join(err, lerr)
	}
	return res, err
}

func (i *importing) run(ctx context.Context) (*ImportResult, error) {
	if err := i.admit(ctx); err != nil {
		if i.report == nil {
			return nil, err
		}
		return &ImportResult{Bundle: i.Path, Proven: i.Own(), Report: i.report, Names: []ImportedTag{}}, err
	}
	overrides := i.overrides
	res, err := i.enter(ctx)
	if err == nil || !i.o.Partial || !errors.Is(err, layout.ErrAlgorithm) {
		return res, err
	}
	left, err := i.leaveOut(ctx, err)
	if err != nil {
		return nil, err
	}
	i.overrides = overrides
	if res, err = i.enter(ctx); res != nil {
		res.LeftOut = left
	}
	return res, err
}

// enter brings in what was admitted.
func (i *importing) enter(ctx context.Context) (*ImportResult, error) {
	if err := i.prepare(ctx); err != nil {
		if errors.Is(err, ErrMissing) {
			return &ImportResult{Bundle: i.Path, Proven: i.Own(), Report: i.report, Names: []ImportedTag{}, Contents: i.contents(i.g)}, err
		}
		return nil, err
	}
	return i.bring(ctx)
}

// check finds what makes no sense.
func (o *ImportOptions) check(b *Bundle) error {
	switch {
	case !o.InsecureSkipVerify && o.Judge == nil:
		return &layout.Error{Side: layout.SideBundle, Name: b.Path, Err: ErrNoPolicy}
	case o.InsecureSkipVerify && o.Approver != nil:
		return fmt.Errorf("no approval of what no policy has judged: %w", ErrUsage)
	case o.Memory == nil && o.Judge != nil && o.Judge.Policy.Bundle != nil && o.Judge.Policy.Bundle.Line != "":
		return &layout.Error{Err: fmt.Errorf("the policy wants bundles of a line, and nothing would be remembered of it: %w", ErrUsage), Hint: "name the store that remembers with --memory DIR"}
	case o.AllowRollback && o.Reason == "":
		return fmt.Errorf("what is overridden needs a reason: %w", ErrUsage)
	}
	return nil
}

func (o *ImportOptions) clock() time.Time {
	if o.Now != nil {
		return o.Now().UTC()
	}
	return time.Now().UTC()
}

// importing is one import on its way.
type importing struct {
	*Bundle
	dst layout.Sink
	o   ImportOptions
	now time.Time

	g    *layout.Graph
	head *Head
	// exportRecord is the digest of its manifest; empty for what another tool made.
	exportRecord digest.Digest
	report       *verify.Report // nil if no policy was asked
	starts       layout.Inspector
	// attached was judged by itself, where the destination has no quarantine; leftOut is
	// what of it does not come in.
	attached *attachedJudged
	leftOut  []LeftOutAttachment
	to       *mapped
	absent   *standIns // of what the bundle does not carry

	approvals []*approval
	made      []*madeRecord
	overrides []string // what was against it, and is overridden
	notes     []string
}

// admit finds out what of the bundle may enter. It writes nothing.
func (i *importing) admit(ctx context.Context) error {
	var err error
	if i.g, err = i.Graph(ctx); err != nil {
		return err
	}
	if i.Own() {
		d, err := i.recordDescriptor()
		if err != nil {
			return i.damaged(err)
		}
		i.exportRecord = d.Digest
	}
	if i.head, err = i.Head(ctx, slices.Concat(Pinned(i.o.Judge), i.o.Keys)); err != nil {
		return err
	}
	r := &recall{memory: i.o.Memory, now: i.now}
	if why := expired(i.head, i.now); why != "" {
		r.refuse("%s", why)
	}
	r.blind(i.head)
	if err := i.recall(r, func() error { return cmp.Or(r.clock(i.o.AllowRollback), r.head(i.head, i.delta())) }); err != nil {
		return err
	}
	if !i.o.InsecureSkipVerify {
		if err := i.admitJudged(ctx); err != nil {
			return err
		}
	}
	if i.to, err = i.whereTo(i.g, i.o.Mapping); err != nil {
		return err
	}
	return i.recall(r, func() error { return r.tags(ctx, i.source, &i.starts, i.g, i.to.names) })
}

// admitJudged asks the policy, and leaves in the graph what may enter.
func (i *importing) admitJudged(ctx context.Context) (err error) {
	if err := i.checkNamed(); err != nil {
		return err
	}
	if i.report, err = i.judge(ctx, i.o.Judge, i.g, i.head); err != nil {
		return err
	}
	if _, ok := i.dst.(quarantines); !ok {
		if i.attached, err = i.judgeAttached(ctx, i.o.Judge, i.g, i.report, &i.starts); err != nil {
			return i.damaged(err)
		}
	}
	if err := i.complete(ctx); err != nil {
		return err
	}
	if i.g, err = i.admitted(ctx, i.g, i.report, i.o.Partial); err != nil {
		return err
	}
	return i.leaveOutUnjudged(ctx)
}

// recall holds something of the bundle against what is remembered.
func (i *importing) recall(r *recall, look func() error) error {
	if i.o.Memory != nil {
		err := look()
		if i.now.Before(r.latest) { // no entry is older than the one before
			i.now = r.latest
		}
		if err != nil {
			return i.fail(err)
		}
	}
	i.overrides, i.notes = r.against, r.notes
	return i.fail(r.verdict(i.o.AllowRollback))
}

// prepare makes what is to be attached, before anything is written.
func (i *importing) prepare(ctx context.Context) error {
	var err error
	if i.o.Overwrite {
		if err := i.noteMoves(ctx); err != nil {
			return err
		}
	}
	if i.absent, err = i.lookUp(ctx, i.g, i.dst, i.to, i.o); err != nil {
		return err
	}
	if i.approvals, err = i.approve(ctx); err != nil {
		return err
	}
	exported, err := i.exported()
	if err != nil {
		return err
	}
	received, err := i.received(ctx, exported)
	if err != nil {
		return i.damaged(err)
	}
	overridden, err := i.overridden(received)
	if err != nil {
		return i.damaged(err)
	}
	i.made = slices.Concat(exported, received, overridden)
	return keepLists(i.dst, i.report)
}

// checkNamed fails if an image has no repository, which policy rules and destinations are
// found by.
func (b *Bundle) checkNamed() error {
	for _, ref := range b.refs {
		if ref.Repository == "" {
			return &layout.Error{Side: layout.SideBundle, Name: b.Path,
				Err:  fmt.Errorf("%q does not say which repository it belongs to: %w", ref, ErrUsage),
				Hint: "name it with --as REPOSITORY[:TAG]"}
		}
	}
	return nil
}

// whereTo says where everything of g goes.
func (b *Bundle) whereTo(g *layout.Graph, m Mapping) (*mapped, error) {
	if err := b.checkNamed(); err != nil {
		return nil, err
	}
	for name := range b.ambiguous() {
		return nil, &layout.Error{Side: layout.SideBundle, Name: b.Path,
			Err:  fmt.Errorf("%s stands for several images: %w", name, ErrUsage),
			Hint: "take one of them by its digest: airgap export " + b.Path + "#sha256:… (airgap inspect lists them)"}
	}
	return m.graph(g)
}

// bring copies what was admitted, then adds what was made here, then publishes names.
func (i *importing) bring(ctx context.Context) (*ImportResult, error) {
	commit := i.commit
	if !i.o.Overwrite {
		m := &moves{i.source, i.g, i.dst}
		if _, err := m.check(ctx, i.to.names); err != nil {
			return nil, err
		}
		commit = m.guard(commit)
	}
	res := &ImportResult{
		Bundle: i.Path, Proven: i.Own(), Verified: i.report != nil, Report: i.report, Contents: i.contents(i.g),
		Overridden: i.overrides, Notes: i.notes,
	}
	for n, root := range i.g.Roots {
		res.Names = append(res.Names, ImportedTag{root.Reference.String(), i.to.names[n].Reference.String(), root.Descriptor.Digest.String()})
	}
	if err := i.absent.settle(ctx, i.dst, res); err != nil {
		return nil, err
	}
	commit = i.absent.guard(i.dst, commit)
	err := layout.Copy(ctx, &committing{i.dst, commit}, i.source, i.g.Without(i.NotCarried()), layout.CopyOptions{
		Jobs: i.o.Jobs, Names: i.to.names, ReadAll: true, Resend: i.o.Resend,
		Rename:   func(repo string) string { return i.to.repos[repo] },
		Progress: res.count(i.o.Progress),
	})
	if err != nil {
		return nil, i.damaged(err)
	}
	res.Notes = i.notes // it is known at the end what is in quarantine
	res.Approvals, res.Records = results(i.approvals), made(i.made)
	return res, nil
}

// noteMoves finds the tags that will move: an override that belongs on the record.
func (i *importing) noteMoves(ctx context.Context) error {
	if i.o.Memory == nil && i.o.Reception == nil {
		return nil
	}
	for _, n := range i.to.names {
		ref := n.Reference
		if ref.Digest = ""; ref.Tag == "" {
			continue
		}
		was, err := i.dst.Resolve(ctx, ref)
		switch {
		case errors.Is(err, layout.ErrNotFound):
		case err != nil:
			return err
		case was.Digest != n.Descriptor.Digest:
			i.overrides = append(i.overrides, fmt.Sprintf("--overwrite: %s was %s", ref, was.Digest))
		}
	}
	return nil
}

// commit ends the copy. What was made here comes before the names, and so does what
// is to be remembered: nothing is ever visible that the ledger does not have.
func (i *importing) commit(ctx context.Context, names []layout.Name) error {
	var all []*arriving
	for _, a := range i.approvals {
		all = append(all, &a.arriving)
	}
	for _, r := range i.made {
		all = append(all, &r.arriving)
	}
	if err := putArriving(ctx, i.dst, all); err != nil {
		return err
	}
	if err := i.logImport(ctx); err != nil {
		return err
	}
	if err := i.logLeftOut(); err != nil {
		return err
	}
	if err := i.quarantineUnjudged(ctx); err != nil {
		return err
	}
	if i.o.Memory != nil {
		if err := i.o.Memory.Commit(ctx); err != nil {
			return err
		}
	}
	return i.dst.Commit(ctx, names)
}

// approve signs the verdict: for the approver, and for whoever records the import.
func (i *importing) approve(ctx context.Context) ([]*approval, error) {
	approvers := []*Approver{i.o.Approver}
	if r := i.o.Reception; r != nil && r.Key != nil && i.report != nil {
		approvers = append(approvers, &Approver{Key: r.Key, Verifier: r.Verifier})
	}
	var out []*approval
	for _, a := range approvers {
		if a == nil {
			continue
		}
		all, err := a.approve(i.g, i.report, i.to)
		if err != nil {
			return nil, i.fail(err)
		}
		for n, one := range all {
			if err := one.comesAlong(ctx, i.source, i.g, i.g.Roots[n].Reference.Repository); err != nil {
				return nil, i.damaged(err)
			}
		}
		out = append(out, all...)
	}
	return out, nil
}

func (res *ImportResult) count(next func(layout.Event)) func(layout.Event) {
	return func(e layout.Event) {
		switch e.Kind {
		case layout.EventDone:
			res.Sent += e.N
		case layout.EventSkip:
			res.Present += e.N
		case layout.EventResend:
			res.Sent += e.N
			res.Present -= e.N * int64(e.Count)
		}
		if next != nil {
			next(e)
		}
	}
}

// committing is a sink with another end: its content goes to the sink, and what
// publishes the names is commit.
type committing struct {
	layout.Sink
	commit func(ctx context.Context, names []layout.Name) error
}

// Commit implements [layout.Sink].
func (s *committing) Commit(ctx context.Context, names []layout.Name) error {
	return s.commit(ctx, names)
}

// Mount implements [layout.Mounter].
func (s *committing) Mount(ctx context.Context, repo string, d layout.Descriptor, from string) (bool, error) {
	m, ok := s.Sink.(layout.Mounter)
	if !ok {
		return false, nil
	}
	return m.Mount(ctx, repo, d, from)
}

// Prove implements [layout.Prover].
func (s *committing) Prove(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	return prove(ctx, s.Sink, repo, d)
}

// prove has dst prove that it serves a blob, where its word alone is none; a store
// and a file know what they have.
func prove(ctx context.Context, dst layout.Sink, repo string, d layout.Descriptor) (bool, error) {
	p, ok := dst.(layout.Prover)
	if !ok {
		return true, nil
	}
	return p.Prove(ctx, repo, d)
}
