package layout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

// WalkOptions tune [Walk]. The zero value walks everything.
type WalkOptions struct {
	// Platforms selects children of the indexes that are named (and of
	// indexes nested in them); empty takes all. The index itself stays as
	// it is, and BuildKit attestations go with the child they speak of.
	Platforms []Platform
	// SkipForeign leaves out layers whose media type says that they are not
	// kept in registries.
	SkipForeign bool
	// Jobs is how many requests run at once; 0 means DefaultWalkJobs.
	Jobs int
	// Keep holds the manifests' bytes in memory, MaxManifestsKept of them, for
	// sources that are slow to ask again.
	Keep bool
	// MayMiss says whether a child that the source does not have was left
	// out earlier, so that the index is sparse; nil means none was.
	MayMiss func(repo string, parent digest.Digest, child Descriptor) bool
	// MayMissAttached lists manifests that a source may list as attached though it
	// does not have them. They become rejections; nil allows none.
	MayMissAttached map[digest.Digest]bool
	// OnManifest is called with the number of manifests seen so far.
	OnManifest func(n int)

	maxManifests, maxAttached int // for tests; 0 means the package's limit
}

// DefaultWalkJobs is how many requests a walk keeps under way: they are small,
// so latency decides.
const DefaultWalkJobs = 48

// Walk collects every manifest reached from refs: down through indexes, and
// from each manifest to everything attached to it, in the repository where it
// was found. Each candidate is fetched, from the repository that lists it, and
// its subject compared before it is taken. One that cannot be fetched fails the
// walk, naming it. No repository is asked for anything twice, and the result does
// not depend on the order of answers.
func Walk(ctx context.Context, src Source, refs []Reference, o WalkOptions) (*Graph, error) {
	o.Jobs = cmp.Or(o.Jobs, DefaultWalkJobs)
	o.maxManifests = cmp.Or(o.maxManifests, MaxManifests)
	o.maxAttached = cmp.Or(o.maxAttached, MaxAttached)
	w := &walker{
		src: src, opt: o,
		loads: map[digest.Digest]*load{}, spots: map[placeKey]*spot{}, answers: map[string]map[Form]Answer{},
		interned: map[string]string{},
		room:     semaphore.NewWeighted(MaxManifestsAtOnce),
	}
	w.wake = sync.NewCond(&w.mu)
	seen := map[string]bool{}
	for _, ref := range refs {
		if !seen[ref.String()] {
			seen[ref.String()] = true
			w.roots = append(w.roots, Name{Reference: ref})
		}
	}
	err := w.resolve(ctx)
	if err == nil {
		err = w.run(ctx)
	}
	if err != nil {
		return nil, err
	}
	g, err := w.graph()
	if err == nil {
		err = w.checkPlatforms(ctx, g)
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

type placeKey struct {
	repo   string
	digest digest.Digest
}

// task is one piece of work: to fetch a manifest and go on from there, or to ask
// what is attached to it.
type task struct {
	ask    bool
	repo   string
	desc   Descriptor
	depth  int
	filter bool          // platform selection applies
	parent digest.Digest // the index that lists desc
	claim  *claim        // desc is said to be attached
}

type claim struct {
	subject digest.Digest
	form    Form
}

// spot is a manifest in one repository, from which it is fetched once, however
// many paths lead to it.
type spot struct {
	once     sync.Once
	err      error
	entered  bool                   // taken: it is part of the graph
	filtered bool                   // the platform selection applied each time
	absent   map[digest.Digest]bool // see absentOpaque
	Place
}

// load is what a manifest says: the same in every repository that has it.
type load struct {
	once     sync.Once
	err      error
	node     *Node
	listed   []listing // children of an index
	opaque   []opaqueListing
	skip     []Blob // foreign layers that are left out
	accepted bool
}

type walker struct {
	src  Source
	opt  WalkOptions
	room *semaphore.Weighted // bytes of manifests under way

	mu       sync.Mutex
	wake     *sync.Cond
	queue    []task
	active   int
	err      error
	roots    []Name
	loads    map[digest.Digest]*load
	spots    map[placeKey]*spot
	answers  map[string]map[Form]Answer // each once
	interned map[string]string
	tags     []Name
	missing  []Omission
	rejected []Rejection
	count    int   // of manifests
	kept     int64 // bytes of manifests
	listed   int   // of what they list
}

// run drains the queue with a fixed number of workers. The queue is a stack, so
// that it stays short on deep graphs.
func (w *walker) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range w.opt.Jobs {
		wg.Go(func() {
			for t, ok := w.next(); ok; t, ok = w.next() {
				err := ctx.Err()
				if err == nil {
					err = w.do(ctx, t)
				}
				if w.finish(err) {
					cancel()
				}
			}
		})
	}
	wg.Wait()
	return w.err
}

func (w *walker) next() (task, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queue) == 0 && w.active > 0 && w.err == nil {
		w.wake.Wait()
	}
	if len(w.queue) == 0 || w.err != nil {
		return task{}, false
	}
	t := w.queue[len(w.queue)-1]
	w.queue = w.queue[:len(w.queue)-1]
	w.active++
	return t, true
}

// finish reports whether the walk has to stop.
func (w *walker) finish(err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active--
	if err != nil && w.err == nil {
		w.err = err
	}
	w.wake.Broadcast()
	return w.err != nil
}

func (w *walker) push(tasks ...task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, tasks...)
	w.wake.Broadcast()
}

func (w *walker) do(ctx context.Context, t task) error {
	if t.ask {
		return w.ask(ctx, t)
	}
	return w.fetch(ctx, t)
}

// resolve turns the names into digests, all of them before anything else, so
// that of many names every one that is not there is told at once.
func (w *walker) resolve(ctx context.Context) error {
	absent := make([]error, len(w.roots))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(w.opt.Jobs)
	for i := range w.roots {
		g.Go(func() error {
			ref := w.roots[i].Reference
			d, err := w.src.Resolve(gctx, ref)
			if err == nil {
				err = CheckDescriptor(d)
			}
			if err == nil && ref.Digest != "" && d.Digest != ref.Digest {
				err = fmt.Errorf("it answers with %s: %w", d.Digest, ErrCorrupt)
			}
			if errors.Is(err, ErrNotFound) {
				absent[i] = err
				return nil
			}
			w.roots[i].Descriptor = trim(d)
			return sideError(err, ref.String())
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, n := range w.roots {
		w.queue = append(w.queue, task{repo: n.Reference.Repository, desc: n.Descriptor, filter: true})
	}
	return joinLines(absent)
}

// sideError names the reference in an error that has no side yet.
func sideError(err error, name string) error {
	if e := (*Error)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return &Error{Side: SideSource, Name: name, Err: err}
}

// joinLines returns the only error, or one that lists them all.
func joinLines(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return fmt.Errorf("%d names could not be resolved:\n%w", len(errs), errors.Join(errs...))
}
