package bundle

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"airgap/layout"
	"airgap/verify"

	"golang.org/x/sync/errgroup"
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
	// Partial imports what passed and leaves the rest; without it nothing
	// enters unless everything passed.
	Partial bool
	// InsecureSkipVerify imports without asking any policy. Integrity is
	// checked all the same.
	InsecureSkipVerify bool
	// Approver attaches an approval to every image that comes in; nil attaches
	// none. It needs a Judge whose policy has a digest.
	Approver *Approver
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
	// Report has the verdicts; nil if no policy was asked.
	Report   *verify.Report `json:"report,omitempty"`
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

// Import brings everything in b to dst: blobs, then manifests, then names. It
// proves the bundle first, asks the judge before anything is written, and hashes
// each byte as it is copied, also of what dst has already, so that nothing damaged
// gets a name. If the judge says no, or cannot say, the error matches ErrRefused or
// ErrUndecided, and the result holds the report.
func Import(ctx context.Context, b *Bundle, dst layout.Sink, o ImportOptions) (*ImportResult, error) {
	if !o.InsecureSkipVerify && o.Judge == nil {
		return nil, &layout.Error{Side: layout.SideBundle, Name: b.Path, Err: ErrNoPolicy}
	}
	if o.InsecureSkipVerify && o.Approver != nil {
		return nil, fmt.Errorf("no approval of what no policy has judged: %w", ErrUsage)
	}
	g, err := b.Graph(ctx)
	if err != nil {
		return nil, err
	}
	var report *verify.Report
	if !o.InsecureSkipVerify {
		if report, err = b.judge(ctx, o.Judge, g); err != nil {
			return nil, err
		}
		if g, err = b.admitted(ctx, g, report, o.Partial); err != nil {
			return &ImportResult{Bundle: b.Path, Proven: b.Own(), Report: report, Names: []ImportedTag{}}, err
		}
	}
	to, err := b.whereTo(g, o.Mapping)
	if err != nil {
		return nil, err
	}
	approvals, err := b.approvals(ctx, g, report, to, o.Approver)
	if err != nil {
		return nil, err
	}
	if err := keepLists(dst, report); err != nil {
		return nil, err
	}
	return b.bring(ctx, g, dst, to, report, approvals, o)
}

// whereTo says where everything of g goes.
func (b *Bundle) whereTo(g *layout.Graph, m Mapping) (*mapped, error) {
	for _, ref := range b.refs {
		if ref.Repository == "" {
			return nil, &layout.Error{Side: layout.SideBundle, Name: b.Path,
				Err:  fmt.Errorf("%q does not say which repository it belongs to: %w", ref, ErrUsage),
				Hint: "name it with --as REPOSITORY[:TAG]"}
		}
	}
	return m.graph(g)
}

// bring copies what was admitted, then adds the approvals, then publishes names.
func (b *Bundle) bring(ctx context.Context, g *layout.Graph, dst layout.Sink, to *mapped, report *verify.Report, approvals []*approval, o ImportOptions) (*ImportResult, error) {
	commit := o.Approver.before(dst, approvals)
	if !o.Overwrite {
		if _, err := b.checkMoves(ctx, g, dst, to.names); err != nil {
			return nil, err
		}
		commit = b.guard(dst, g, commit)
	}
	res := &ImportResult{Bundle: b.Path, Proven: b.Own(), Verified: report != nil, Report: report, Contents: contents(g, newRecord(g))}
	for i, n := range g.Roots {
		res.Names = append(res.Names, ImportedTag{n.Reference.String(), to.names[i].Reference.String(), n.Descriptor.Digest.String()})
	}
	err := layout.Copy(ctx, &committing{dst, commit}, b.source, g, layout.CopyOptions{
		Jobs: o.Jobs, Names: to.names, ReadAll: true,
		Rename:   func(repo string) string { return to.repos[repo] },
		Progress: res.count(o.Progress),
	})
	if err != nil {
		return nil, b.damaged(err)
	}
	res.Approvals = results(approvals)
	return res, nil
}

// approvals signs what is to be attached, before anything is written.
func (b *Bundle) approvals(ctx context.Context, g *layout.Graph, r *verify.Report, to *mapped, a *Approver) ([]*approval, error) {
	if a == nil {
		return nil, nil
	}
	all, err := a.approve(g, r, to)
	if err != nil {
		return nil, b.fail(err)
	}
	for i, one := range all {
		if err := a.comesAlong(ctx, b, g, g.Roots[i], one); err != nil {
			return nil, b.damaged(err)
		}
	}
	return all, nil
}

func (res *ImportResult) count(next func(layout.Event)) func(layout.Event) {
	return func(e layout.Event) {
		switch e.Kind {
		case layout.EventDone:
			res.Sent += e.N
		case layout.EventSkip:
			res.Present += e.N
		}
		if next != nil {
			next(e)
		}
	}
}

// checkMoves asks the destination for every tag and refuses if one stands for
// something else, listing all of them. It returns the names that are left to
// write: a cosign tag that has more signatures there than here stays as it is.
func (b *Bundle) checkMoves(ctx context.Context, g *layout.Graph, dst layout.Sink, names []layout.Name) ([]layout.Name, error) {
	moves, keep := make([]string, len(names)), make([]bool, len(names))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(layout.DefaultWalkJobs)
	for i, n := range names {
		if n.Reference.Tag != "" {
			eg.Go(func() (err error) {
				moves[i], keep[i], err = b.move(ctx, g, dst, n)
				return err
			})
		}
	}
	if err := eg.Wait(); err != nil {
		return nil, err
	}
	if list := strings.Join(moves, ""); list != "" {
		return nil, &layout.Error{Side: layout.SideDestination, Err: fmt.Errorf("%w:%s", ErrMoves, list),
			Hint: "no name was written; let them move with --overwrite, or import elsewhere with --map SRC=DST"}
	}
	left := []layout.Name{}
	for i, n := range names {
		if !keep[i] {
			left = append(left, n)
		}
	}
	return left, nil
}

// move says what a tag would lose, or "", and whether what is there is to stay.
func (b *Bundle) move(ctx context.Context, g *layout.Graph, dst layout.Sink, n layout.Name) (lost string, keep bool, err error) {
	ref := n.Reference
	ref.Digest = ""
	was, err := dst.Resolve(ctx, ref)
	switch {
	case errors.Is(err, layout.ErrNotFound):
		return "", false, nil
	case err != nil || was.Digest == n.Descriptor.Digest:
		return "", false, err
	}
	raw, err := g.ReadManifest(ctx, b.source, n.Descriptor.Digest)
	if err != nil {
		return "", false, err
	}
	grows, holds, err := compareSignatures(ctx, dst, ref, was, n.Descriptor, raw)
	if err != nil || grows || holds {
		return "", holds, err
	}
	return fmt.Sprintf("\n  %s is %s, would become %s", ref, was.Digest, n.Descriptor.Digest), false, nil
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

// guard looks at the tags of the destination once more before they are written:
// the copy took its time, and others may have set them. A registry has no
// conditional write, so that a moment is left in which it could still happen.
func (b *Bundle) guard(dst layout.Sink, g *layout.Graph, commit func(context.Context, []layout.Name) error) func(context.Context, []layout.Name) error {
	return func(ctx context.Context, names []layout.Name) error {
		left, err := b.checkMoves(ctx, g, dst, names)
		if err != nil {
			return err
		}
		return commit(ctx, left)
	}
}
