package bundle

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"airgap/layout"
	"airgap/verify"

	"github.com/opencontainers/go-digest"
)

// PushOptions tune [Push].
type PushOptions struct {
	Mapping Mapping
	// Overwrite lets tags of the destination move.
	Overwrite bool
	// MountFrom names further repositories of the destination from which a blob is
	// mounted, where they have it, so that it need not be sent.
	MountFrom []string
	// Resend sends everything, whatever the destination says that it has.
	Resend bool
	// BeforeNames is called when all content is there, with the names that are about
	// to be written; an error keeps them from it.
	// sparse are the indexes among what is pushed that were admitted without some of
	// their children; see [RememberAbsent].
	BeforeNames func(ctx context.Context, names []PushedName, sparse []SparseIndex) error
	// Marks has what is remembered of the destination; see [RememberAbsent]. nil has
	// nothing.
	Marks MarkReader
	// Judge judges a child that would come to an index which was admitted without it;
	// nil refuses it.
	Judge *verify.Judge

	Jobs       int
	OnManifest func(n int)
	Progress   func(layout.Event)
}

// PushResult says what a push did.
type PushResult struct {
	Names    []PushedName `json:"names"`
	Contents Contents     `json:"contents"`
	Sent     int64        `json:"sentBytes"`
	Present  int64        `json:"presentBytes"` // not sent, for they were there
}

// PushedName is a name of the destination.
type PushedName struct {
	Source      string        `json:"source"`
	Destination string        `json:"destination"`
	Digest      digest.Digest `json:"digest"`
	Repository  string        `json:"-"` // of the destination
	// Was is what the name stood for, if it has been moved.
	Was digest.Digest `json:"was,omitempty"`
	// Present: the name stood for this, and all that belongs to it was there.
	Present bool `json:"present"`
}

// Push brings what s selects, and everything that is attached to it, to dst: blobs,
// then manifests, then names. It does not judge: that was done when the content came
// into the source. A tag of dst that stands for something else is refused before
// anything is written, with an error that matches ErrMoves; so is a mapping that
// brings two names together. An index that the source has without a child is not brought
// together with that child: the error matches ErrRefused.
func Push(ctx context.Context, s Selection, dst layout.Sink, o PushOptions) (*PushResult, error) {
	if len(s.References) == 0 {
		return nil, fmt.Errorf("nothing to push: %w", ErrUsage)
	}
	g, err := layout.Walk(ctx, s.Source, s.References, layout.WalkOptions{MayMiss: s.MayMiss, OnManifest: o.OnManifest})
	if err != nil {
		return nil, err
	}
	to, err := o.Mapping.graph(g)
	if err != nil {
		return nil, err
	}
	p := &pushing{moves: moves{s.Source, g, dst}, o: o, to: to, sent: map[digest.Digest]bool{}}
	if p.was, err = p.look(ctx, to.names); err != nil {
		return nil, err
	}
	if !o.Overwrite {
		if err := refuseMoves(to.names, p.was); err != nil {
			return nil, err
		}
	}
	if err := p.refuseCompleting(ctx); err != nil {
		return nil, err
	}
	return p.run(ctx)
}

// pushing is one push on its way.
type pushing struct {
	moves
	o   PushOptions
	to  *mapped
	was []standing // of to.names, when it began
	res PushResult

	starts layout.Inspector
	sparse []SparseIndex

	mu   sync.Mutex
	sent map[digest.Digest]bool
}

func (p *pushing) run(ctx context.Context) (*PushResult, error) {
	commit := p.commit
	if !p.o.Overwrite {
		commit = p.guard(commit)
	}
	p.res.Contents = contents(p.g, newRecord(p.g))
	err := layout.Copy(ctx, &committing{mountable(p.dst, p.o.MountFrom), commit}, p.src, p.g, layout.CopyOptions{
		Jobs: p.o.Jobs, Names: p.to.names, Resend: p.o.Resend,
		Rename:   func(repo string) string { return p.to.repos[repo] },
		Progress: p.event,
	})
	if err != nil {
		return nil, err
	}
	return &p.res, nil
}

func (p *pushing) event(e layout.Event) {
	switch e.Kind {
	case layout.EventDone:
		p.res.Sent += e.N
		p.mu.Lock()
		p.sent[e.Descriptor.Digest] = true
		p.mu.Unlock()
	case layout.EventSkip:
		p.res.Present += e.N
	case layout.EventResend:
		p.res.Sent += e.N
		p.res.Present -= e.N * int64(e.Count)
		p.mu.Lock()
		p.sent[e.Descriptor.Digest] = true
		p.mu.Unlock()
	}
	if p.o.Progress != nil {
		p.o.Progress(e)
	}
}

// commit writes the names that are left to write.
func (p *pushing) commit(ctx context.Context, names []layout.Name) error {
	p.res.Names = p.names()
	if p.o.BeforeNames != nil {
		if err := p.o.BeforeNames(ctx, slices.Clone(p.res.Names), p.sparse); err != nil {
			return err
		}
	}
	return p.dst.Commit(ctx, names)
}

// names says where each image goes, and whether it was there.
func (p *pushing) names() []PushedName {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []PushedName
	for i, root := range p.g.Roots {
		n := p.to.names[i]
		present := (n.Reference.Tag == "" || p.was[i].there) && !p.reachesSent(root)
		out = append(out, PushedName{
			Source: root.Reference.Name(), Destination: n.Reference.Name(), Digest: root.Descriptor.Digest, Repository: n.Reference.Repository,
			Was: p.was[i].lost, Present: present,
		})
	}
	return out
}

// reachesSent says whether anything that belongs to a root was sent. p.mu is held.
func (p *pushing) reachesSent(root layout.Name) bool {
	if len(p.sent) == 0 {
		return false
	}
	for d := range reach(p.g, root) {
		if p.sent[d] || slices.ContainsFunc(p.g.Nodes[d].Blobs, func(b layout.Blob) bool { return p.sent[b.Digest] }) {
			return true
		}
	}
	return false
}

// mountable is dst, which mounts what it lacks from the given repositories before it
// says that it has not got it.
func mountable(dst layout.Sink, from []string) layout.Sink {
	m, ok := dst.(layout.Mounter)
	if !ok || len(from) == 0 {
		return dst
	}
	return &mounting{dst, m, from}
}

type mounting struct {
	layout.Sink
	layout.Mounter
	from []string
}

// Has implements [layout.Sink].
func (m *mounting) Has(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	has, err := m.Sink.Has(ctx, repo, d)
	if has || err != nil || layout.IsManifest(d.MediaType) {
		return has, err
	}
	for _, from := range m.from {
		if from == repo {
			continue
		}
		if ok, err := m.Mount(ctx, repo, d, from); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// Prove implements [layout.Prover].
func (m *mounting) Prove(ctx context.Context, repo string, d layout.Descriptor) (bool, error) {
	return prove(ctx, m.Sink, repo, d)
}
