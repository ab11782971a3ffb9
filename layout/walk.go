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
	// Keep holds every manifest's bytes in memory, for sources that are
	// slow to ask again.
	Keep bool
	// MayMiss says whether a child that the source does not have was left
	// out earlier, so that the index is sparse; nil means none was.
	MayMiss func(parent digest.Digest, child Descriptor) bool
	// OnManifest is called with the number of manifests seen so far.
	OnManifest func(n int)

	maxManifests, maxAttached int // for tests; 0 means the package's limit
}

// DefaultWalkJobs is how many requests a walk keeps under way: they are small,
// so latency decides.
const DefaultWalkJobs = 48

// Walk collects every manifest reached from refs: down through indexes, and
// from each manifest to everything attached to it, in the repository where it
// was found. Each candidate is fetched and its subject compared before it is
// taken. One that cannot be fetched fails the walk, naming it. Nothing is asked
// twice, and the result does not depend on the order of answers.
func Walk(ctx context.Context, src Source, refs []Reference, o WalkOptions) (*Graph, error) {
	o.Jobs = cmp.Or(o.Jobs, DefaultWalkJobs)
	o.maxManifests = cmp.Or(o.maxManifests, MaxManifests)
	o.maxAttached = cmp.Or(o.maxAttached, MaxAttached)
	w := &walker{
		src: src, opt: o,
		loads: map[digest.Digest]*load{}, places: map[placeKey]*Place{}, answers: map[string]map[Form]Answer{},
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
	return w.graph()
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

// load is a manifest that is fetched once, however many paths lead to it.
type load struct {
	once   sync.Once
	node   *Node
	listed []Descriptor // children, as an index lists them
	skip   []Descriptor // foreign layers left out
	err    error
	// What indexes say of this child, merged so that the order of arrival
	// does not matter.
	platform *Platform
	buildkit digest.Digest
	accepted bool
}

type walker struct {
	src Source
	opt WalkOptions

	mu       sync.Mutex
	wake     *sync.Cond
	queue    []task
	active   int
	err      error
	roots    []Name
	loads    map[digest.Digest]*load
	places   map[placeKey]*Place
	answers  map[string]map[Form]Answer // interned
	tags     []Name
	missing  []Omission
	rejected []Rejection
	count    int
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

// fetch loads a manifest, decides whether what led to it is true, and goes on
// from there.
func (w *walker) fetch(ctx context.Context, t task) error {
	if t.depth > MaxDepth {
		return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest,
			Err: fmt.Errorf("manifests nested or attached more than %d deep: %w", MaxDepth, ErrLimit)}
	}
	l, err := w.load(ctx, t)
	if err != nil {
		return w.failed(t, err)
	}
	if t.claim != nil {
		if reason := t.claim.refute(l.node); reason != "" {
			w.reject(t, reason)
			return nil
		}
		w.attach(t)
	}
	fresh, err := w.enter(t, l)
	if err != nil || !fresh {
		return err
	}
	next, err := w.children(t, l)
	if err != nil {
		return err
	}
	ask := t
	ask.ask, ask.claim, ask.desc = true, nil, l.node.Descriptor
	w.push(append(next, ask)...)
	return nil
}

// failed turns the failure to read t into an error that names it, or into an
// omission where the index is known to be sparse.
func (w *walker) failed(t task, err error) error {
	if errors.Is(err, ErrNotFound) && t.parent != "" && w.opt.MayMiss != nil && w.opt.MayMiss(t.parent, t.desc) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.missing = append(w.missing, Omission{t.parent, t.desc, ReasonAbsent})
		return nil
	}
	what, hint := "", ""
	switch {
	case t.claim != nil:
		what = fmt.Sprintf("attached to %s (%s): ", t.claim.subject, t.claim.form)
		hint = "an attachment that cannot be carried fails the whole run, so that no signature is lost unseen; " +
			"repair it at the source, or delete the dangling entry there"
	case t.parent != "":
		what = fmt.Sprintf("listed by index %s: ", t.parent)
		hint = "choose platforms that the source has with --platform"
	}
	return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest, Err: fmt.Errorf("%s%w", what, err), Hint: hint}
}

// refute says why n is not attached as claimed, or "".
func (c *claim) refute(n *Node) string {
	switch {
	case n.Descriptor.Digest == c.subject:
		return "it is the subject itself"
	case n.Subject == "" && slices.Contains(CosignForms, c.form):
		return "" // tied by the tag alone; what it signs is for verify to say
	case n.Subject != c.subject:
		return fmt.Sprintf("its subject is %q", n.Subject)
	}
	return ""
}

func (w *walker) reject(t task, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rejected = append(w.rejected, Rejection{t.repo, t.claim.subject, t.desc.Digest, t.claim.form, reason})
}

func (w *walker) attach(t task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.places[placeKey{t.repo, t.claim.subject}]
	i := slices.IndexFunc(p.Attached, func(e Edge) bool { return e.Digest == t.desc.Digest })
	if i < 0 {
		i = len(p.Attached)
		p.Attached = append(p.Attached, Edge{Digest: t.desc.Digest})
	}
	p.Attached[i].Forms = append(p.Attached[i].Forms, t.claim.form)
	if tag, ok := t.claim.form.Tag(t.claim.subject); ok && t.claim.form != FormReferrersTag {
		w.tags = append(w.tags, Name{Reference: Reference{Repository: t.repo, Tag: tag}, Descriptor: t.desc})
	}
}

// enter marks a manifest as seen in a repository; false if it was already.
func (w *walker) enter(t task, l *load) (bool, error) {
	key := placeKey{t.repo, t.desc.Digest}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.places[key] != nil {
		return false, nil
	}
	if !l.accepted {
		l.accepted = true
		w.count++
		if w.count > w.opt.maxManifests {
			return false, &Error{Side: SideSource, Name: t.repo,
				Err: fmt.Errorf("more than %d manifests: %w", w.opt.maxManifests, ErrLimit)}
		}
		if w.opt.OnManifest != nil {
			w.opt.OnManifest(w.count)
		}
	}
	w.places[key] = &Place{Repository: t.repo, Digest: t.desc.Digest}
	return true, nil
}

// ask collects what is said to be attached, and queues each candidate once for
// each form that lists it.
func (w *walker) ask(ctx context.Context, t task) error {
	found, err := w.src.Attached(ctx, t.repo, t.desc)
	if err != nil {
		return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest, Err: fmt.Errorf("asking for attachments: %w", err)}
	}
	answers := make(map[Form]Answer, len(found))
	var next []task
	for _, inq := range found {
		answers[inq.Form] = inq.Answer
		if inq.Note != "" && inq.Answer == AnswerNone {
			w.mu.Lock()
			w.rejected = append(w.rejected, Rejection{t.repo, t.desc.Digest, "", inq.Form, inq.Note})
			w.mu.Unlock()
		}
		for _, d := range inq.Found {
			if err := CheckDescriptor(d); err != nil {
				return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest, Err: fmt.Errorf("attached (%s): %w", inq.Form, err)}
			}
			next = append(next, task{repo: t.repo, desc: trim(d), depth: t.depth + 1, claim: &claim{t.desc.Digest, inq.Form}})
		}
	}
	if len(next) > w.opt.maxAttached {
		return &Error{Side: SideSource, Name: t.repo, Digest: t.desc.Digest,
			Err: fmt.Errorf("%d attachments, at most %d are accepted: %w", len(next), w.opt.maxAttached, ErrLimit)}
	}
	w.answered(t, answers)
	w.push(next...)
	return nil
}

func (w *walker) answered(t task, answers map[Form]Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := fmt.Sprint(answers)
	if w.answers[key] == nil {
		w.answers[key] = answers
	}
	w.places[placeKey{t.repo, t.desc.Digest}].Answers = w.answers[key]
}
