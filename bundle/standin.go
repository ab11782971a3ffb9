package bundle

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"airgap/layout"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// holder is a destination that can be asked for a blob without naming a repository.
type holder interface {
	// Holds says whether it has all of a blob, verified; it can then be mounted
	// from the repository "".
	Holds(ctx context.Context, d layout.Descriptor) (bool, error)
}

// standIns are what stands in for the layers that a delta does not carry.
type standIns struct {
	record digest.Digest // manifest of the export record
	all    []*standIn
	jobs   int
}

// standIn is a layer that is not carried.
type standIn struct {
	blob  layout.Blob
	repos []string // of the destination, where it belongs

	lacking []string // those of repos that do not have it
	from    string   // a repository of the destination that has it; "" if any can be mounted
	other   *Bundle  // carries it, if the destination does not have it
	moved   bool     // it was put, and not only found
}

// lookUp looks for every layer of g that b does not carry, and writes nothing: at the
// destination, first in the repositories where it belongs, then in whichever it can be
// mounted from, and last in the bundles that are imported together with b. If one is
// nowhere the error is a [*MissingError] that lists all that are not.
func (b *Bundle) lookUp(ctx context.Context, g *layout.Graph, dst layout.Sink, to *mapped, o ImportOptions) (*standIns, error) {
	absent := b.NotCarried()
	if len(absent) == 0 {
		return &standIns{}, nil
	}
	d, err := b.recordDescriptor()
	if err != nil {
		return nil, b.damaged(err)
	}
	s := &standIns{record: d.Digest, all: standInsOf(g, absent, to), jobs: cmp.Or(o.Jobs, layout.DefaultJobs)}
	elsewhere := slices.Clone(o.MountFrom)
	for _, repo := range to.repos {
		elsewhere = append(elsewhere, repo)
	}
	slices.Sort(elsewhere)
	elsewhere = slices.Compact(elsewhere)
	found := make([]bool, len(s.all))
	err = s.each(ctx, layout.DefaultWalkJobs, func(ctx context.Context, i int) (err error) {
		found[i], err = s.all[i].find(ctx, dst, elsewhere, o.Others)
		return err
	})
	if err != nil {
		return nil, err
	}
	var missing []*standIn
	for i, one := range s.all {
		if !found[i] {
			missing = append(missing, one)
		}
	}
	if missing != nil {
		return nil, s.missing(missing, false)
	}
	return s, nil
}

// standInsOf lists the layers of g that are absent, with where they belong.
func standInsOf(g *layout.Graph, absent map[digest.Digest]bool, to *mapped) []*standIn {
	byDigest := map[digest.Digest]*standIn{}
	var out []*standIn
	for _, p := range g.Places {
		for _, b := range g.Nodes[p.Digest].Blobs {
			if !absent[b.Digest] {
				continue
			}
			one := byDigest[b.Digest]
			if one == nil {
				one = &standIn{blob: b}
				byDigest[b.Digest] = one
				out = append(out, one)
			}
			if repo := to.repos[p.Repository]; !slices.Contains(one.repos, repo) {
				one.repos = append(one.repos, repo)
			}
		}
	}
	return out
}

// each calls fn for all stand-ins, jobs at a time.
func (s *standIns) each(ctx context.Context, jobs int, fn func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for i := range s.all {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return fn(ctx, i)
		})
	}
	return g.Wait()
}

// find looks for one layer. It is there only if it has the size that its descriptor
// says.
func (s *standIn) find(ctx context.Context, dst layout.Sink, elsewhere []string, others []*Bundle) (bool, error) {
	d := s.blob.Descriptor()
	s.from = ""
	for _, repo := range s.repos {
		has, err := serves(ctx, dst, repo, d)
		if err != nil {
			return false, err
		}
		if !has {
			s.lacking = append(s.lacking, repo)
		} else if s.from == "" {
			s.from = repo
		}
	}
	if len(s.lacking) < len(s.repos) {
		return true, nil
	}
	if h, ok := dst.(holder); ok {
		if has, err := h.Holds(ctx, d); has || err != nil {
			return has, err
		}
	}
	for _, repo := range elsewhere {
		if slices.Contains(s.repos, repo) {
			continue
		}
		if has, err := serves(ctx, dst, repo, d); has || err != nil {
			s.from = repo
			return has, err
		}
	}
	for _, other := range others {
		if other.carries(d) {
			s.other = other
			return true, nil
		}
	}
	return false, nil
}

// serves says whether a repository has a blob that nothing here could replace: by
// proof where the destination gives one, and only else by its word.
func serves(ctx context.Context, dst layout.Sink, repo string, d layout.Descriptor) (bool, error) {
	if p, ok := dst.(layout.Prover); ok {
		return p.Prove(ctx, repo, d)
	}
	return dst.Has(ctx, repo, d)
}

// carries says whether a blob is in the bundle itself. Its content is hashed when it
// is read.
func (b *Bundle) carries(d layout.Descriptor) bool {
	rc, err := b.reader.Open(context.Background(), "", d)
	if err != nil {
		return false
	}
	return rc.Close() == nil
}

// settle brings every layer to the repositories that lack it.
func (s *standIns) settle(ctx context.Context, dst layout.Sink, res *ImportResult) error {
	err := s.each(ctx, s.jobs, func(ctx context.Context, i int) error { return s.bring(ctx, dst, s.all[i]) })
	for _, one := range s.all {
		if one.moved {
			res.Sent += one.blob.Size
		} else {
			res.Present += one.blob.Size
		}
	}
	return err
}

// bring mounts a layer where it is lacking; where that cannot be done it is read from
// where it was found, and hashed.
func (s *standIns) bring(ctx context.Context, dst layout.Sink, one *standIn) error {
	d := one.blob.Descriptor()
	for _, repo := range one.lacking {
		if m, ok := dst.(layout.Mounter); ok && one.other == nil {
			ok, err := m.Mount(ctx, repo, d, one.from)
			if err == nil && ok {
				ok, _ = prove(ctx, dst, repo, d)
			}
			if err != nil {
				return err
			}
			if ok {
				continue
			}
		}
		if err := s.send(ctx, dst, repo, one); err != nil {
			return err
		}
		one.moved = true
		// The next repository can take it from this one.
		one.from, one.other = repo, nil
	}
	return nil
}

// send copies a layer from one repository of the destination to another, or out of
// another bundle.
func (s *standIns) send(ctx context.Context, dst layout.Sink, repo string, one *standIn) error {
	d := one.blob.Descriptor()
	var rc io.ReadCloser
	var err error
	switch src, readable := dst.(opener); {
	case one.other != nil:
		rc, err = one.other.reader.Open(ctx, "", d)
		err = one.other.damaged(err)
	case readable && one.from != "":
		rc, err = src.Open(ctx, one.from, d)
	default:
		err = layout.ErrNotFound
	}
	if errors.Is(err, layout.ErrNotFound) && one.other == nil {
		return s.missing([]*standIn{one}, true)
	}
	if err != nil {
		return err
	}
	defer rc.Close()
	if err := dst.Put(ctx, repo, d, rc); err != nil {
		if one.other != nil {
			return one.other.damaged(err)
		}
		return err
	}
	return nil
}

// guard looks once more, directly before the names are written, whether everything is
// still there.
func (s *standIns) guard(dst layout.Sink, commit func(context.Context, []layout.Name) error) func(context.Context, []layout.Name) error {
	if len(s.all) == 0 {
		return commit
	}
	return func(ctx context.Context, names []layout.Name) error {
		lost := make([]bool, len(s.all))
		err := s.each(ctx, layout.DefaultWalkJobs, func(ctx context.Context, i int) (err error) {
			lost[i], err = s.all[i].isLost(ctx, dst)
			return err
		})
		if err != nil {
			return err
		}
		var gone []*standIn
		for i, one := range s.all {
			if lost[i] {
				gone = append(gone, one)
			}
		}
		if gone != nil {
			return s.missing(gone, true)
		}
		return commit(ctx, names)
	}
}

func (s *standIn) isLost(ctx context.Context, dst layout.Sink) (bool, error) {
	d := s.blob.Descriptor()
	for _, repo := range s.repos {
		if has, err := serves(ctx, dst, repo, d); err != nil || !has {
			return !has, err
		}
	}
	// What a session has mounted it believes to have; the file may be gone.
	if h, ok := dst.(holder); ok && !s.moved {
		has, err := h.Holds(ctx, d)
		return !has, err
	}
	return false, nil
}
