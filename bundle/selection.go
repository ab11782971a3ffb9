package bundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"airgap/bundle/custody"
	"airgap/layout"

	"github.com/opencontainers/go-digest"
)

// Selection is a source and what is wanted from it.
type Selection struct {
	Source     layout.Source
	References []layout.Reference
	// MayMiss is for sources whose indexes may be sparse; see
	// [layout.WalkOptions].
	MayMiss func(repo string, parent digest.Digest, child layout.Descriptor) bool
	// Lists are revocation lists that came with the source, for URLs that give
	// none now.
	Lists []RevocationList
	// Kind is where the source lies, for records of the export; empty means a
	// registry.
	Kind custody.PlaceKind
	// AttachedFrom are repositories in which what is attached was looked for, too.
	AttachedFrom []string
	// NotCarried are layers that the source, a delta, leaves to its destination.
	NotCarried map[digest.Digest]bool
}

// union makes one source of several selections. A repository that is in more
// than one answers with what all of them have.
type union struct {
	parts  []Selection
	byRef  map[string][]layout.Source
	byRepo map[string][]layout.Source
	kinds  map[string]custody.PlaceKind // by reference
}

func newUnion(parts []Selection) *union {
	u := &union{parts: parts, byRef: map[string][]layout.Source{}, byRepo: map[string][]layout.Source{}, kinds: map[string]custody.PlaceKind{}}
	for _, p := range parts {
		for _, ref := range p.References {
			if _, ok := u.kinds[ref.String()]; !ok {
				u.kinds[ref.String()] = p.Kind
			}
			if !slices.Contains(u.byRef[ref.String()], p.Source) {
				u.byRef[ref.String()] = append(u.byRef[ref.String()], p.Source)
			}
			if !slices.Contains(u.byRepo[ref.Repository], p.Source) {
				u.byRepo[ref.Repository] = append(u.byRepo[ref.Repository], p.Source)
			}
		}
	}
	return u
}

// place is where an image comes from. One that is in several places comes from the
// first.
func (u *union) place(ref layout.Reference) *custody.Place {
	p := &custody.Place{Kind: custody.InRegistry, Name: ref.Repository}
	p.Kind = cmp.Or(u.kinds[ref.String()], p.Kind)
	return p
}

// attachedFrom lists the further repositories in which what is attached was looked for.
func (u *union) attachedFrom() []string {
	var out []string
	for _, p := range u.parts {
		out = append(out, p.AttachedFrom...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (u *union) references() []layout.Reference {
	var out []layout.Reference
	for _, p := range u.parts {
		out = append(out, p.References...)
	}
	return out
}

// mayMiss asks every part that the repository is in: what one of them should
// have, and has not, is lost.
func (u *union) mayMiss(repo string, parent digest.Digest, child layout.Descriptor) bool {
	for _, p := range u.parts {
		holds := slices.ContainsFunc(p.References, func(ref layout.Reference) bool { return ref.Repository == repo })
		if holds && (p.MayMiss == nil || !p.MayMiss(repo, parent, child)) {
			return false
		}
	}
	return true
}

// Resolve implements [layout.Source].
func (u *union) Resolve(ctx context.Context, ref layout.Reference) (layout.Descriptor, error) {
	var first layout.Descriptor
	for i, src := range u.byRef[ref.String()] {
		d, err := src.Resolve(ctx, ref)
		if err != nil {
			return layout.Descriptor{}, err
		}
		if i > 0 && d.Digest != first.Digest {
			return layout.Descriptor{}, &layout.Error{Side: layout.SideSource, Name: ref.String(), Digest: d.Digest,
				Err:  fmt.Errorf("asked for from two sources, the other has %s: %w", first.Digest, layout.ErrUnsupported),
				Hint: "take it from one of them, as in bundle:FILE#REF, or pin it by digest"}
		}
		first = d
	}
	if first.Digest == "" {
		return first, &layout.Error{Side: layout.SideSource, Name: ref.String(), Err: layout.ErrNotFound}
	}
	return first, nil
}

// Open implements [layout.Source].
func (u *union) Open(ctx context.Context, repo string, d layout.Descriptor) (rc io.ReadCloser, err error) {
	err = &layout.Error{Side: layout.SideSource, Name: repo, Digest: d.Digest, Err: layout.ErrNotFound}
	for _, src := range u.byRepo[repo] {
		if rc, err = src.Open(ctx, repo, d); !errors.Is(err, layout.ErrNotFound) {
			return rc, err
		}
	}
	return nil, err
}

// Attached implements [layout.Source]. A source that does not have the subject
// has nothing to say about it.
func (u *union) Attached(ctx context.Context, repo string, subject layout.Descriptor) (layout.Attachments, error) {
	sources := u.byRepo[repo]
	if len(sources) == 1 {
		return sources[0].Attached(ctx, repo, subject)
	}
	var out layout.Attachments
	for _, src := range sources {
		got, err := src.Attached(ctx, repo, subject)
		if errors.Is(err, layout.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, inq := range got {
			out = merge(out, inq)
		}
	}
	return out, nil
}

// merge adds an answer to those of other sources: found outweighs none, and none
// outweighs unsupported.
func merge(all layout.Attachments, inq layout.Inquiry) layout.Attachments {
	i := slices.IndexFunc(all, func(o layout.Inquiry) bool { return o.Form == inq.Form })
	if i < 0 {
		return append(all, inq)
	}
	for _, d := range inq.Found {
		if !slices.ContainsFunc(all[i].Found, func(o layout.Descriptor) bool { return o.Digest == d.Digest }) {
			all[i].Found = append(slices.Clip(all[i].Found), d)
		}
	}
	rank := map[layout.Answer]int{layout.AnswerUnsupported: 1, layout.AnswerNone: 2, layout.AnswerFound: 3}
	if rank[inq.Answer] > rank[all[i].Answer] {
		all[i].Answer = inq.Answer
	}
	all[i].Note, all[i].Doubt = cmp.Or(all[i].Note, inq.Note), cmp.Or(all[i].Doubt, inq.Doubt)
	return all
}
