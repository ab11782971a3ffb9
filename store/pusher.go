package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"airgap/layout"
	"airgap/store/push"

	"github.com/opencontainers/go-digest"
	"go.etcd.io/bbolt"
)

// PushOptions tune [Store.Pusher].
type PushOptions struct {
	// Entry writes the line of the ledger for what a client did. If it fails,
	// that is not done. nil keeps no ledger.
	Entry func(PushEvent) ([]byte, error)
	// Admit judges a manifest that was pushed to repo, and what is there with it.
	// The manifest is in quarantine until Admit releases it. nil admits nothing:
	// see [Store.Pusher].
	Admit func(ctx context.Context, repo string, dgst digest.Digest) error
	// Sparse takes manifests that list blobs which their repository does not
	// have. Indexes may always list what is not there.
	Sparse bool
	// Repaired is called for each file that was damaged or missing, and that what a
	// client pushed has replaced. It may be called by several goroutines.
	Repaired func(digest.Digest)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// PushEvent is what a client did, for the ledger.
type PushEvent struct {
	By        string
	Deleted   bool // else pushed
	Reference layout.Reference
	Digest    digest.Digest
	Held      string // why it is not given out, if it is not
	Served    bool   // it was served before, as something that was admitted
}

// Pusher returns the store as those see it who push to it.
//
// Without a judge (Admit is nil) nothing that is pushed is admitted. A repository that
// a push makes is marked so, and gives out what is pushed to it; [View.Admitted] tells.
// An import that gives a name to something there ends that, and what was only pushed
// goes into quarantine. To a repository that holds admitted content only that can be
// pushed which belongs to something there and from which nothing can be started:
// signatures and the like.
//
// With a judge everything can be pushed, and is in quarantine until the judge releases
// it. A tag that leads to something which is given out does not move.
func (s *Store) Pusher(o PushOptions) *Pusher {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Pusher{store: s, view: s.View(), pending: s.PushersView(), o: o}
}

// Pusher takes what clients push; see [Store.Pusher].
type Pusher struct {
	store   *Store
	view    *View
	pending *View // as those see it who push
	o       PushOptions
	// putting is held from the line of the ledger until it is there, and while
	// something is judged: lines are in order, and no verdict is about what
	// another has changed since.
	putting sync.Mutex
}

var _ push.Pusher = (*Pusher)(nil)

// begin starts a session whose content comes from a client.
func (p *Pusher) begin(ctx context.Context) (*Session, error) {
	session, err := p.store.Begin(ctx)
	if err == nil {
		session.origin = origin{at: max(p.o.Now().Unix(), 1), judged: p.o.Admit != nil}
	}
	return session, err
}

// Mount implements [push.Pusher].
func (p *Pusher) Mount(ctx context.Context, repo string, dgst digest.Digest, from string, may func(string) bool) error {
	size, err := p.mountable(ctx, dgst, from, may)
	if err != nil {
		return p.store.wrap(dgst, err)
	}
	if err := checkName(repo, maxRepositoryBytes); err != nil {
		return p.store.wrap(dgst, err)
	}
	session, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	session.origin.check = func(tx *bbolt.Tx) error {
		if _, there := blobSize(tx, dgst); !there {
			return p.store.missing(from, dgst) // it was collected meanwhile
		}
		return nil
	}
	if err := session.gain(repo, func(g *gain) { g.blobs[dgst] = size }); err != nil {
		return p.store.wrap(dgst, err)
	}
	return session.Commit(ctx, nil)
}

// mountable finds a blob that is given out.
func (p *Pusher) mountable(ctx context.Context, dgst digest.Digest, from string, may func(string) bool) (size int64, err error) {
	repos := []string{from}
	if from == "" {
		if repos, err = p.store.Repositories(ctx); err != nil {
			return 0, err
		}
	}
	for _, repo := range repos {
		if !may(repo) {
			continue
		}
		size, given, err := p.view.blobSize(repo, dgst)
		if err = errors.Join(err, ctx.Err()); err != nil {
			return 0, err
		}
		if !given {
			continue
		}
		// A damaged one has to be pushed again.
		if state, err := p.store.examine(ctx, layout.Descriptor{Digest: dgst, Size: size}); err != nil || state == stateSound {
			return size, err
		}
		break // all repositories have the same file
	}
	return 0, p.store.missing(from, dgst)
}

// Intact reports whether the store has content, a blob or a manifest, with the bytes that
// its digest says: whoever pushes can leave it out. Whether it is served does not count.
func (p *Pusher) Intact(ctx context.Context, dgst digest.Digest) (bool, error) {
	var d layout.Descriptor
	known := false
	err := p.store.view(func(tx *bbolt.Tx) error {
		d.Digest = dgst
		d.Size, known = blobSize(tx, dgst)
		return nil
	})
	if err != nil || !known {
		return false, p.store.wrap(dgst, err)
	}
	state, err := p.store.examine(ctx, d)
	return state == stateSound, p.store.wrap(dgst, err)
}

// tellRepaired reports what a session has repaired.
func (p *Pusher) tellRepaired(session *Session) {
	if p.o.Repaired == nil {
		return
	}
	for _, dgst := range session.Repaired() {
		p.o.Repaired(dgst)
	}
}

// Put implements [push.Pusher].
func (p *Pusher) Put(ctx context.Context, m push.Manifest) (push.Result, error) {
	parsed, err := layout.ParseManifest(m.Descriptor, m.Bytes)
	if err != nil {
		return push.Result{}, &push.Refusal{Err: push.ErrManifest, Why: err.Error()}
	}
	in := &putting{p: p, m: m, parsed: parsed}
	if parsed.Subject != nil {
		in.result.Subject = parsed.Subject.Digest
	}
	err = in.proveContent(ctx)
	if err == nil {
		_, err = p.store.startable(parsed) // remembered, so that nobody waits for it below
	}
	if err != nil {
		return in.result, p.store.wrap(m.Digest, err)
	}
	p.putting.Lock()
	defer p.putting.Unlock()
	if err := unchanged(func() error { return in.commit(ctx) }); err != nil {
		return in.result, p.store.wrap(m.Digest, err)
	}
	if p.o.Admit == nil {
		return in.result, nil
	}
	err = unchanged(func() error { return p.o.Admit(ctx, m.Repository, m.Digest) })
	if err != nil {
		return in.result, err
	}
	return in.result, in.held(ctx)
}

// changedTries is how often something is tried that others who use the store may come
// before.
const changedTries = 5

// unchanged tries again what failed because the store changed meanwhile.
func unchanged(fn func() error) (err error) {
	for range changedTries {
		if err = fn(); !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return err
}

// putting is a manifest on its way into the store.
type putting struct {
	p      *Pusher
	m      push.Manifest
	parsed *layout.Manifest
	result push.Result
	pin    bool // no tag leads to it, nor a subject

	// What was so before: the manifest was given out, and these tags led to it.
	given bool
	same  map[string]bool
	noted map[string]bool // same, when its lines were written
}

// names are what leads to the manifest once it is there.
func (in *putting) names() []layout.Name {
	var out []layout.Name
	for _, tag := range in.m.Tags {
		out = append(out, layout.Name{Reference: layout.Reference{Repository: in.m.Repository, Tag: tag}, Descriptor: in.m.Descriptor})
	}
	if in.pin {
		out = append(out, layout.Name{Reference: layout.Reference{Repository: in.m.Repository, Digest: in.m.Digest}, Descriptor: in.m.Descriptor})
	}
	return out
}

// commit publishes it, in quarantine if there is a judge.
func (in *putting) commit(ctx context.Context) error {
	if err := in.look(); err != nil {
		return err
	}
	session, err := in.p.begin(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	session.origin.check, session.origin.after = in.check, in.after
	if err := session.Put(ctx, in.m.Repository, in.m.Descriptor, bytes.NewReader(in.m.Bytes)); err != nil {
		return err
	}
	if err := in.enter(ctx, session); err != nil {
		return err
	}
	if err := session.Commit(ctx, in.names()); err != nil {
		return err
	}
	in.p.tellRepaired(session)
	return nil
}

// proveContent refuses a manifest that lists a blob or a child of which the repository has
// only a damaged file: a client that pulls the manifest could not pull that.
func (in *putting) proveContent(ctx context.Context) error {
	here := map[digest.Digest]int64{}
	err := in.p.store.view(func(tx *bbolt.Tx) error {
		for _, d := range slices.Concat(in.parsed.Blobs(), in.parsed.Manifests) {
			size, listed := blobSize(tx, d.Digest)
			if listed && member(tx, in.m.Repository, d) {
				here[d.Digest] = size
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dgst := range sorted(here) {
		state, err := in.p.store.examine(ctx, layout.Descriptor{Digest: dgst, Size: here[dgst]})
		if err != nil {
			return err
		}
		if state != stateSound {
			return refuse(push.ErrBlobUnknown, "push it again", "%s is damaged here", dgst)
		}
	}
	return nil
}

// look finds out which tags lead to the manifest, and whether it needs a name without a tag
// to stay.
func (in *putting) look() error {
	return in.p.store.view(func(tx *bbolt.Tx) error {
		in.before(tx)
		in.noted = in.same
		if len(in.m.Tags) > 0 || in.parsed.Subject != nil {
			return nil
		}
		named, err := in.p.store.leadsHere(tx, in.m.Repository, in.m.Digest)
		in.pin = !named
		return err
	})
}

// enter writes the lines of the ledger. What is served stays so, and gets no reason.
func (in *putting) enter(ctx context.Context, session *Session) error {
	e := PushEvent{By: in.m.By, Digest: in.m.Digest, Reference: layout.Reference{Repository: in.m.Repository, Digest: in.m.Digest}}
	served := false
	if in.p.o.Admit != nil {
		var err error
		if served, err = session.Serves(ctx, in.m.Repository, in.m.Digest); err != nil {
			return err
		}
		e.Held = reasonUnjudged
	}
	if len(in.m.Tags) == 0 {
		return in.p.enter(session, e.of(served))
	}
	for _, tag := range in.m.Tags {
		e.Reference = layout.Reference{Repository: in.m.Repository, Tag: tag}
		if err := in.p.enter(session, e.of(served && in.noted[tag])); err != nil {
			return err
		}
	}
	return nil
}

// of is the event of something that was served before, or not.
func (e PushEvent) of(served bool) PushEvent {
	if e.Served = served; served {
		e.Held = ""
	}
	return e
}

func (p *Pusher) enter(session *Session, e PushEvent) error {
	if p.o.Entry == nil {
		return nil
	}
	line, err := p.o.Entry(e)
	if err != nil {
		return err
	}
	return session.Log(line)
}

// leadsHere says whether a name, or an index, leads to a manifest of repo.
func (s *Store) leadsHere(tx *bbolt.Tx, repo string, dgst digest.Digest) (bool, error) {
	if repo == "" {
		return false, nil
	}
	b := tx.Bucket(reposBucket).Bucket([]byte(repo))
	if b == nil || b.Bucket(repoManifests).Get(key(dgst)) == nil {
		return false, nil
	}
	if b.Bucket(repoPins).Get(key(dgst)) != nil {
		return true, nil
	}
	found := errors.New("found")
	err := b.Bucket(repoTags).ForEach(func(_, v []byte) error {
		if digest.Digest(v) == dgst {
			return found
		}
		return nil
	})
	if err == nil {
		err = eachManifest(b, func(parent digest.Digest) error {
			children, err := s.children(tx, repo, parent)
			for _, c := range children {
				if c == dgst {
					return found
				}
			}
			return err
		})
	}
	if errors.Is(err, found) {
		return true, nil
	}
	return false, err
}

// refuse is a refusal with what a client is told.
func refuse(err error, hint, format string, args ...any) error {
	return &push.Refusal{Err: err, Why: fmt.Sprintf(format, args...), Hint: hint}
}
