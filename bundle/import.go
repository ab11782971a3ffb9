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
	Jobs               int
	Progress           func(layout.Event)
}

// ImportResult says what an import did.
type ImportResult struct {
	Bundle   string        `json:"bundle"`
	Proven   bool          `json:"proven"`   // the whole bundle was proven against its export record
	Verified bool          `json:"verified"` // a policy admitted it
	Names    []ImportedTag `json:"names"`
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
	for _, ref := range b.refs {
		if ref.Repository == "" {
			return nil, &layout.Error{Side: layout.SideBundle, Name: b.Path,
				Err:  fmt.Errorf("%q does not say which repository it belongs to: %w", ref, ErrUsage),
				Hint: "name it with --as REPOSITORY[:TAG]"}
		}
	}
	to, err := o.Mapping.graph(g)
	if err != nil {
		return nil, err
	}
	if err := keepLists(dst, report); err != nil {
		return nil, err
	}
	if !o.Overwrite {
		if _, err := b.checkMoves(ctx, g, dst, to.names); err != nil {
			return nil, err
		}
		dst = b.guard(dst, g)
	}
	res := &ImportResult{Bundle: b.Path, Proven: b.Own(), Verified: report != nil, Report: report, Contents: contents(g, newRecord(g))}
	for i, n := range g.Roots {
		res.Names = append(res.Names, ImportedTag{n.Reference.String(), to.names[i].Reference.String(), n.Descriptor.Digest.String()})
	}
	err = layout.Copy(ctx, dst, b.source, g, layout.CopyOptions{
		Jobs: o.Jobs, Names: to.names, ReadAll: true,
		Rename:   func(repo string) string { return to.repos[repo] },
		Progress: res.count(o.Progress),
	})
	if err != nil {
		return nil, b.damaged(err)
	}
	return res, nil
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

// guarded looks at the tags of the destination once more before they are written:
// the copy took its time, and others may have set them. A registry has no
// conditional write, so that a moment is left in which it could still happen.
type guarded struct {
	layout.Sink
	commit func(ctx context.Context, names []layout.Name) error
}

// Commit implements [layout.Sink].
func (s *guarded) Commit(ctx context.Context, names []layout.Name) error { return s.commit(ctx, names) }

// Mount implements [layout.Mounter].
func (s *guarded) Mount(ctx context.Context, repo string, d layout.Descriptor, from string) (bool, error) {
	m, ok := s.Sink.(layout.Mounter)
	if !ok {
		return false, nil
	}
	return m.Mount(ctx, repo, d, from)
}

func (b *Bundle) guard(dst layout.Sink, g *layout.Graph) layout.Sink {
	return &guarded{Sink: dst, commit: func(ctx context.Context, names []layout.Name) error {
		left, err := b.checkMoves(ctx, g, dst, names)
		if err != nil {
			return err
		}
		return dst.Commit(ctx, left)
	}}
}
